"""What test_shares divides over processes, which import it from here by its name."""

from __future__ import annotations

import os
import time
from pathlib import Path


def share_of(given, share, of):
    """What a test asks for by a word: an answer, an error, an end, or a long wait."""
    word = given if isinstance(given, str) else ""
    if word == "fails" and share:
        raise ValueError("share 1 fails")
    if isinstance(given, Path) and share:
        (given / str(share)).touch()
    elif isinstance(given, Path):
        until = time.monotonic() + 60
        while len(list(given.iterdir())) < of - 1 and time.monotonic() < until:
            time.sleep(0.01)
    if word == "interrupted" and not share:
        raise KeyboardInterrupt
    if word == "cannot be sent":
        return lambda: share
    if word == "dies" and os.getpid() != int(os.environ["REFNET_TEST_OWNER"]):
        os._exit(3)
    if word in ("interrupted", "waits"):
        time.sleep(60 if share else 1)
    return share, of, os.getpid(), given
