"""Commands that are killed or told to end at every moment, and what they leave.

    PYTHONPATH=. python tests/kill.py --kills 50 --signals 200 --seed 0

Each command runs once undisturbed; then it is killed (SIGKILL) or told to end (SIGINT, SIGTERM, SIGHUP) at moments from
its start to its end. Findings, which make the exit status 1:

- an output that is neither whole nor absent, or other bytes than those of the undisturbed run;
- after a kill and one more run, anything beside the output;
- after a signal, anything left but what a run goes on from, more than one line on stderr, a status that is neither
  128 + n nor 0, or one that does not say whether the output is there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from refnet.files import shipped

__all__ = ["COMMANDS", "Disturbed", "disturbed"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Disturbed(NamedTuple):
    """A command that writes one output.

    Attributes
    ----------
    line : its words
    output : what it writes, in the folder that it runs in
    goes_on : what it may leave for the next run, which then makes the same bytes
    log : a file that it writes on the way, and that stays
    resume : words with which a run goes on where there is a log
    picture : a file that it writes before its output
    """

    line: tuple[str, ...]
    output: str
    goes_on: str = ""
    log: str = ""
    resume: tuple[str, ...] = ()
    picture: str = ""


COMMANDS = {
    "golden": Disturbed(("golden", "refnet/digits", "-o", "pack", "--no-detectability"), "pack"),
    "convert": Disturbed(("convert", str(shipped.path("digits_weights.npz")), "made.onnx"), "made.onnx"),
    "evaluate": Disturbed(("evaluate", "--out", "said.npz", "--threads", "1"), "said.npz", "said.npz.journal"),
    "quantise": Disturbed(("quantise", "-o", "digits.npz"), "digits.npz"),
    "quantise-pack": Disturbed(("quantise", "-o", "pack", "--accumulators"), "pack"),
    "probe": Disturbed(("probe", "refnet/digits", "--batch", "1", "-o", "x.npy"), "x.npy"),
    "verify": Disturbed(("verify", str(shipped.path("digits_weights.npz")), "--junit", "found.xml"), "found.xml"),
    "netadapt": Disturbed(
        ("netadapt", "--target", "0.97", "--kinds", "bottleneck", "--jobs", "1", "--quiet", "--out", "small.npz"),
        "small.npz",
        "small.jsonl.part",
        "small.jsonl",
        ("--resume",),
        "small.svg",
    ),
    "fetch": Disturbed(("fetch",), "fetched/digits.npz", "fetched/digits.npz.part"),
}
# What a command is run as that would take long: as its own first lines do, then a part of the work.
_HEARING = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: os._exit(128 + number))
from refnet.__main__ import command
"""
# `netadapt` on each tenth of the scans.
_NETADAPT = f"""{_HEARING}
from refnet.search import scan_task
scans = scan_task.adaptation_scans()
few = type(scans)(*(type(part)(part.x[::10], part.labels[::10]) for part in scans))
scan_task.adaptation_scans = lambda: few
command()
"""
# The command `fetch` of a file that a server on this machine has, a little at a time.
_FETCH = f"""{_HEARING}
from refnet.files import published
entry = published.Published("refnet/digits", "digits.npz", sys.argv[2], "sha256:" + sys.argv[3])
published.PUBLISHED = (entry,)
import refnet.cli.fetch
refnet.cli.fetch.find_published = lambda *_, **__: entry
sys.argv[1:] = ["fetch", "refnet/digits", "--to", "fetched", "--quiet"]
command()
"""


@functools.cache
def _server() -> tuple[str, str]:
    """The address of a server of the weights that ship, and their hash."""
    path = shipped.path("digits_weights.npz")

    class Slow(SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
            with contextlib.suppress(OSError):  # whoever asked is dead
                while data := source.read(1 << 14):
                    outputfile.write(data)
                    time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Slow, directory=str(path.parent)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{http.server_port}/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest()


def _started(command: Disturbed, folder: Path) -> subprocess.Popen[bytes]:
    again = command.resume if command.log and (folder / command.log).exists() else ()
    line = [sys.executable, "-m", "refnet", *command.line, *again]
    if command.line == ("fetch",):
        line = [sys.executable, "-c", _FETCH, "fetch", *_server()]
    if command.line[0] == "netadapt":
        line[1:3] = ["-c", _NETADAPT]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0)


def _content(path: Path) -> dict[str, bytes] | None:
    """The bytes of a file, or of all files of a folder; None where there is nothing."""
    if path.is_dir():
        return {each.relative_to(path).as_posix(): each.read_bytes() for each in path.rglob("*") if each.is_file()}
    return {"": path.read_bytes()} if path.exists() else None


def _logged(command: Disturbed, folder: Path) -> dict[str, bytes]:
    """What stands in the log and the picture in the end."""
    paths = {name: folder / name for name in (command.log, command.picture) if name}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def _beside(command: Disturbed, folder: Path) -> list[str]:
    """What lies there and is neither the output nor in it."""
    output = folder / command.output
    own = {output, *(folder / name for name in (command.log, command.picture) if name)}
    every = [each for each in folder.rglob("*") if each not in own and output not in each.parents]
    goes_on = folder / command.goes_on
    every = [each for each in every if each not in output.parents and goes_on not in each.parents]
    return sorted(each.relative_to(folder).as_posix() for each in every)


def disturbed(
    name: str, number: int, after: float, whole: dict[str, bytes], logged: Mapping[str, bytes] = MappingProxyType({})
) -> Iterator[str]:
    """Findings of one run that a signal ends after so many seconds; `whole` is what an undisturbed run wrote.

    `logged` is what it left in its log and its picture.
    """
    command = COMMANDS[name]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        process = _started(command, folder)
        time.sleep(after)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        found, left = _content(folder / command.output), _beside(command, folder)
        if found is not None and found != whole:
            yield "an output that is not whole"
        if number == signal.SIGKILL:
            if found is not None and name in ("golden", "quantise-pack"):
                return  # it writes over nothing
            again = _started(command, folder)
            again.communicate(timeout=120)
            if again.returncode:
                yield f"the next run ends with {again.returncode}"
            if _content(folder / command.output) != whole:
                yield "the next run makes something else"
            elif _logged(command, folder) != dict(logged):
                yield "the next run logs or draws something else"
            if left := _beside(command, folder):
                yield f"left by the next run: {len(left)}"
            return
        if process.returncode not in (0, 128 + number, -number):
            yield f"status {process.returncode}"
        if process.returncode == -number and said != b"":
            yield "ended by the system, with words"
        if (process.returncode == 0) != (found is not None):
            yield f"status {process.returncode} and {'an' if found else 'no'} output"
        if said.count(b"\n") > 1:
            yield f"{said.count(bytes([10]))} lines on stderr: {said[-200:].decode('utf-8', 'replace')!r}"
        if left and left != [command.goes_on]:
            yield f"left: {', '.join(left)[:60]}"


def main() -> int:
    """Disturb every command; print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], help="by default all")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--signals", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
    bad, rng = 0, random.Random(options.seed)
    for name in options.commands or COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            process = _started(COMMANDS[name], Path(folder))
            process.communicate()
            seconds = time.monotonic() - began
            whole = _content(Path(folder, COMMANDS[name].output))
            logged = _logged(COMMANDS[name], Path(folder))
        assert whole, f"{name} writes nothing"
        found: Counter[str] = Counter()
        rounds = [(signal.SIGKILL, i, options.kills) for i in range(options.kills)]
        rounds += [(SIGNALS[i % 3], i, options.signals) for i in range(options.signals)]
        for done, (number, index, count) in enumerate(rounds, 1):
            found.update(disturbed(name, number, 1.1 * seconds * (index + rng.random()) / count, whole, logged))
            if done % 10 == 0:
                print(f"{name}: {done} of {len(rounds)}, findings: {found.total()}", file=sys.stderr, flush=True)
        bad += found.total()
        print(f"{name}: {options.kills} kills, {options.signals} signals over {seconds:.1f} s: ", end="")
        print("nothing found" if not found else "; ".join(f"{times} x {what}" for what, times in found.items()))
        sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.exit(main())
