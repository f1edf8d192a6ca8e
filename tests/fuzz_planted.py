"""A reader that does what it should not, as its file says: what the fuzzer must find."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from refnet.errors import FormatError

__all__ = ["read"]


def read(path: Path) -> dict[str, np.ndarray]:
    """Do what the file says."""
    act = path.read_text()
    match act:
        case "print":
            print("a word", flush=True)
        case "write":  # as a C library does
            os.write(2, b"a word")
        case "open":
            Path("/etc/hostname").read_bytes()
        case "change":
            (path.parent.parent / "changed").write_text("x")
        case "leave":
            (path.parent / "left").touch()
        case "damage":
            path.write_text("read")
        case "start":
            subprocess.run(["true"], check=False)
        case "call":
            os.system("true")
        case "connect":
            socket.socket().close()
        case "unpickle":
            pickle.loads(pickle.dumps(Path))
        case "ask":
            np.ones(300 << 20, np.uint8)
        case "wait":
            while time.process_time():
                pass
        case "die":
            os.abort()
        case "raise":
            raise KeyError("x")
        case "lines":
            error = FormatError("x")
            error.args = ("\x1b[31m",)
            raise error
        case "exit":
            sys.exit(0)
        case "refuse":
            raise FormatError("no")
    return {}
