"""Damaged files: thousands of mutants of a good file, each read in a process with a limit on memory and time.

    PYTHONPATH=. python tests/fuzz.py onnx --count 10000 --seed 0
    PYTHONPATH=. python tests/fuzz.py hdf5 --count 10000 --file some.h5
    PYTHONPATH=. python tests/fuzz.py packs --count 2000

Of the formats that are folders, every second mutant is one of `fuzz_structures`, whose lengths are right; those of
`modules` are PyTorch files whose pickles are changed instruction by instruction, see `fuzz_pickles`; those of `nested`
are .keras files whose configurations are changed model by model, see `fuzz_keras`; `packs`, `candidates` and `files` go
through the commands themselves, see `fuzz_commands`.

A mutant must be refused with FormatError, or give exactly the arrays that the vendor's own reader returns for those
bytes. Where it tells a structure, that is translated too. Whatever else happens is a finding, and makes the exit
status 1: another exception, a crash, more than 5 seconds of processor time or a minute, more memory than four times
the file and 200 MB, a file opened that lies elsewhere, a program started, other numbers than the vendor reads.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_vendors import VENDORS, no_vendor

from refnet.errors import FormatError

__all__ = ["FINE", "Worker", "damaged", "fuzz", "mutants"]

SECONDS = 5  # of processor time, of the reader and the processes that it starts: a busy machine is no finding
PATIENCE = 60  # seconds on the clock: who waits uses no processor
MEMORY = 200 << 20  # bytes, and four times the file
FINE = ("refused", "as the vendor reads it", "the vendor refuses it", "the vendor's reader crashes")

Arrays = dict[str, np.ndarray]


# ----------------------------------------------------------------------------------------------------------- mutants


def mutants(data: bytes, seed: int, count: int, container: str = "") -> Iterator[bytes]:
    """Damaged copies. Of a zip archive, every second one has a member damaged and a checksum that is right.

    Of a container that `fuzz_headers` knows, every third one says something else in a form that is right.
    """
    from fuzz_headers import KNOWING

    rng = np.random.default_rng(seed)
    for index in range(count):
        if container in KNOWING and index % 3 == 2:
            yield KNOWING[container](data, rng)
        elif data[:4] == b"PK\x03\x04" and index % 2:
            yield _in_archive(data, rng)
        else:
            yield damaged(data, rng)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes flipped, replaced, cut, repeated or moved; often near the start or the end, where structure is."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = max(len(changed), 1)
        reach = size if rng.random() < 0.5 else min(size, 4096)
        at = int(rng.integers(reach)) if rng.random() < 0.6 else size - 1 - int(rng.integers(reach))
        match rng.integers(7):
            case 0:
                changed[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                changed[at : at + 1] = bytes([data[at % len(data)] ^ (1 << int(rng.integers(8)))])
            case 2:
                number = rng.choice(_NUMBERS)
                changed[at : at + 8] = struct.pack("<q", int(number))[: int(rng.choice([1, 2, 4, 8]))]
            case 3:
                changed[at : at + int(rng.integers(1, 64))] = b""
            case 4:
                changed[at:at] = changed[at : at + int(rng.integers(1, 64))]
            case 5:
                other = int(rng.integers(size))
                length = int(rng.integers(1, 64))
                changed[at : at + length] = changed[other : other + length]
            case 6:
                if rng.random() < 0.2:
                    del changed[at:]
                else:
                    changed[at : at + 4] = rng.bytes(4)
    return bytes(changed)


_NUMBERS = [0, 1, -1, 127, 128, 255, 256, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, -(2**63), 1000, 100_000]


def _in_archive(data: bytes, rng: np.random.Generator) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = [(info, source.read(info)) for info in source.infolist()]
    chosen = int(rng.integers(len(members)))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for index, (info, body) in enumerate(members):
            target.writestr(info.filename, damaged(body, rng) if index == chosen and body else body)
    return made.getvalue()


SAMPLES = {
    "onnx": [
        "v3_small-new20-unfolded.onnx",
        "v3_small-old11-folded.onnx",
        "timm_tf-old20-unfolded.onnx",
        "v3_small-external.onnx",
    ],
    "tflite": ["keras_v3_small.tflite", "keras_v1-float16.tflite"],
    "safetensors": ["v3_small.safetensors"],
    "pth": ["v3_small.pth", "v3_small-legacy.pth"],
    "hdf5": ["keras_v3_small.h5", "keras_v3_small.weights.h5", "keras_v3_small-tf_keras.h5"],
    "keras": ["keras_v3_small.keras"],
}
MODULES = {"keras": "hdf5", "nested": "hdf5", "checkpoint": "bundle"}
NESTED = ["shared-keras2.keras", "shared-keras3.keras", "deep-keras2.keras", "layers-keras3.keras"]
# What is read by a module of the fuzzer: by commands, or as a network too.
OWN = {"modules": "fuzz_pickles", "packs": "fuzz_commands", "candidates": "fuzz_commands", "files": "fuzz_commands"}
PICKLES = ["own.pth", "own-legacy.pth", "v3-protocol5.pth", "v3-script.pt", "lightning.ckpt", "average-object.pth"]


# ----------------------------------------------------------------------------------------------------------- the worker


def _limit_memory(size: int) -> None:
    """Allow what the process has now, and four times the file and 200 MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 4 * size + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _size(path: Path) -> int:
    """Bytes of a file; of one in a folder of its own, of the whole folder."""
    folder = next((each for each in (path, *path.parents) if each.name == "mutant"), None)
    folder = None if folder is not None and folder.is_file() else folder
    files = [path] if folder is None else [each for each in folder.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files if each.exists())


class _Watch:
    """Remembers what a reader should not do: open files elsewhere, start programs, reach for the network."""

    def __init__(self, folder: str, may_start: bool) -> None:
        self.folder, self.may_start, self.seen = os.path.realpath(folder), may_start, ""
        self.on = False
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on or self.seen:
            return
        if event == "open" and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            own = (
                self.folder,
                sys.prefix,
                sys.base_prefix,
                os.path.dirname(os.path.dirname(__file__)),
                "/proc",
                "/dev",
            )
            if not path.startswith(own):
                self.seen = f"opened {path}"
        elif event.split(".")[0] in ("socket", "ctypes") or event in ("os.system", "os.exec", "os.posix_spawn"):
            self.seen = event
        elif event == "subprocess.Popen" and not (self.may_start and args[0] == sys.executable):
            self.seen = f"started {args[0]}"


def _work(container: str, folder: str, pipe: Any) -> None:
    """Read one file after another; say what came of it."""
    room = f"refnet.files.containers.{MODULES.get(container, container)}"
    reader = importlib.import_module(OWN.get(container, room))
    vendor = VENDORS.get(container, no_vendor)
    importers = importlib.import_module("refnet.files.importers")
    tempfile.tempdir = folder  # a reader may make files of its own
    watch = _Watch(folder, may_start=container in ("hdf5", "keras", "nested"))
    for name in pipe.recv():  # the good files: what is imported when it is first needed
        _read(reader, importers, Path(folder, name))
        vendor(Path(folder, name))
    pipe.send("ready")
    path = Path(folder, pipe.recv())
    while True:
        _limit_memory(_size(path))
        watch.on, watch.seen = True, ""
        said, arrays = _outcome(reader, importers, path)
        watch.on = False
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pipe.send(watch.seen or said)
        if arrays is not None and not watch.seen:
            pipe.send(_compared(arrays, vendor, path))
        path = Path(folder, pipe.recv())


def _read(reader: Any, importers: Any, path: Path) -> Arrays:
    from refnet.files.containers import Contents

    held = reader.read(path)
    if not isinstance(held, Contents):
        return held  # type: ignore[no-any-return]
    if held.structure is not None:
        importers.import_graph(held, _open_size(held))
    return held.arrays


def _open_size(held: Any) -> tuple[int, int] | None:
    """A size for a network that leaves its own open."""
    return (33, 49) if any(None in shape[2:] for shape in held.structure.inputs.values()) else None


def _outcome(reader: Any, importers: Any, path: Path) -> tuple[str, Arrays | None]:
    from refnet.errors import RequestError
    from refnet.files.containers import Contents

    arrays: Arrays | None = None
    try:
        held = reader.read(path)
        arrays = held.arrays if isinstance(held, Contents) else held
        if isinstance(held, Contents) and held.structure is not None:
            importers.import_graph(held, _open_size(held))
    except (FormatError, RequestError) as error:
        text = str(error)
        if "more memory than there is" in text:
            return "more memory than allowed", None
        if "\n" in text:
            return "refused in several lines", None
    except MemoryError:
        return "more memory than allowed", None
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:80]}", None
    return ("refused", None) if arrays is None else ("read", arrays)


def _compared(arrays: Arrays, vendor: Callable[[Path], Arrays | None], path: Path) -> str:
    try:
        theirs = vendor(path)
    except Exception:
        return "the vendor refuses it"
    if theirs is None:
        return "as the vendor reads it"
    for name, array in theirs.items():
        ours = arrays.get(name)
        if ours is None or ours.shape != array.shape or ours.dtype != array.dtype or ours.tobytes() != array.tobytes():
            return "read as other numbers"
    return "as the vendor reads it"


# ----------------------------------------------------------------------------------------------------------- the parent


def fuzz(container: str, samples: list[Path], count: int, seed: int, keep: Path | None = None) -> Counter[str]:
    """How often each outcome was met among `count` mutants of the samples.

    Parameters
    ----------
    keep : a folder for the first three mutants of each finding
    """
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for index, sample in enumerate(samples):
            Path(folder, f"good{index}").write_bytes(sample.read_bytes())
            for beside in sample.parent.glob(f"{sample.name}.*"):  # an ONNX file's external data
                Path(folder, beside.name).write_bytes(beside.read_bytes())
        worker = Worker(container, folder, [f"good{index}" for index in range(len(samples))])
        for index, sample in enumerate(samples):
            share = count // len(samples) + (index < count % len(samples))
            from fuzz_keras import keras_mutants
            from fuzz_pickles import pickle_mutants

            plain = partial(mutants, container=container)
            made = {"modules": pickle_mutants, "nested": keras_mutants}.get(container, plain)
            for mutant in made(sample.read_bytes(), seed + index, share):
                Path(folder, "mutant").write_bytes(mutant)
                outcome = worker.outcome("mutant")
                outcomes[outcome] += 1
                if keep is not None and outcome not in FINE and outcomes[outcome] <= 3:
                    keep.mkdir(parents=True, exist_ok=True)
                    name = "".join(letter if letter.isalnum() else "_" for letter in outcome)[:60]
                    (keep / f"{container}-{name}-{outcomes[outcome]}").write_bytes(mutant)
        worker.stop()
    return outcomes


class Worker:
    """A process that reads files, started again when it dies or takes too long."""

    def __init__(self, container: str, folder: str, good: list[str]) -> None:
        self.container, self.folder, self.good = container, folder, good
        self.start()

    def start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_work, args=(self.container, self.folder, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send(self.good)
        self.pipe.recv()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def outcome(self, name: str) -> str:
        self.pipe.send(name)
        said = self.answer("crash", f"more than {SECONDS} seconds")
        return self.answer("the vendor's reader crashes", "the vendor's reader crashes") if said == "read" else said

    def answer(self, dead: str, late: str) -> str:
        """What the worker says, or what became of it."""
        end, least = time.monotonic() + PATIENCE, 0.0
        try:
            while time.monotonic() < end:
                if self.pipe.poll(0.5):
                    return str(self.pipe.recv())
                used = _processor_time(self.process.pid)  # looked at only when it is slow
                least = least or used
                if used - least > SECONDS:
                    break
            dead = late
        except (EOFError, ConnectionError):
            pass
        self.stop()
        self.start()
        return dead


def _processor_time(pid: int | None) -> float:
    """Seconds that a process and those that it started have used; what has ended and was not waited for is left out."""
    ticks: dict[int, int] = {}
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            number = int(stat.parent.name)
            parents[number] = int(fields[1])
            ticks[number] = sum(map(int, fields[11:15]))  # its own and of children that it has waited for
    family = {pid}
    while more := {number for number, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[number] for number in family & ticks.keys()) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Print how often each outcome was met; 1 if one of them is a finding."""
    from fuzz_commands import COMMANDS, fuzz_commands
    from fuzz_folders import FOLDERS, fuzz_folders, good_folders

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("container", choices=sorted({*SAMPLES, *FOLDERS, *COMMANDS, "npz", "modules", "nested"}))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, action="append", help="a good file to damage, instead of the vendors' own")
    parser.add_argument("--keep", type=Path, help="a folder for the first mutants of each finding")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.container in COMMANDS:
            outcomes = fuzz_commands(options.container, Path(folder), options.count, options.seed, options.keep)
        elif options.container in FOLDERS:
            found = good_folders(options.container, Path(folder))
            outcomes = fuzz_folders(options.container, found, options.count, options.seed, options.keep)
        else:
            samples = options.file or _samples(options.container, Path(folder))
            outcomes = fuzz(options.container, samples, options.count, options.seed, options.keep)
    for outcome, times in outcomes.most_common():
        print(f"{times:7d}  {outcome}{'' if outcome in FINE else '   <-- a finding'}")
    return int(any(outcome not in FINE for outcome in outcomes))


def _samples(container: str, folder: Path) -> list[Path]:
    """The vendors' own files of this kind, out of the archive that the tests have."""
    import tarfile

    data = Path(__file__).parent / "data"
    archives = {"modules": "modules/modules.tar.xz", "nested": "layers/networks.tar.xz"}
    archive = data / archives.get(container, "exports/exports.tar.xz")
    if container == "npz":
        return [Path(__file__).parent.parent / "weights" / "digits_weights.npz"]
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return [folder / name for name in {"modules": PICKLES, "nested": NESTED}.get(container) or SAMPLES[container]]


if __name__ == "__main__":
    sys.exit(main())
