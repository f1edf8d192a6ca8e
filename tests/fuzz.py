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
import io
import math
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from fuzz_worker import COMMANDS, FINE, Worker, within
from integer_files import write_vww
from support import unpack

__all__ = ["damaged", "fuzz", "mutants"]

Mutants = Callable[[bytes, int, int], Iterator[bytes]]

ARRAYS = Path(__file__).parent.parent / "weights" / "digits_weights.npz"

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
                changed[at : at + 1] = bytes([(data or b"\0")[at % max(len(data), 1)] ^ (1 << int(rng.integers(8)))])
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
NESTED = ["shared-keras2.keras", "shared-keras3.keras", "deep-keras2.keras", "layers-keras3.keras"]
PICKLES = ["v3-protocol5.pth", "v3-script.pt", "lightning.ckpt", "own-legacy.pth", "v3-hidden.pth", "v3-compiled.pth"]


# ----------------------------------------------------------------------------------------------------------- the parent


def fuzz(
    container: str, samples: list[Path], count: int, seed: int, keep: Path | None = None, seconds: float = math.inf
) -> Counter[str]:
    """How often each outcome was met among `count` mutants of the samples.

    Parameters
    ----------
    keep : a folder for the first three mutants of each finding
    seconds : after which it ends, each sample having had its share of them
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
            made = _structured().get(container, partial(mutants, container=container))
            for mutant in within(seconds / len(samples), made(sample.read_bytes(), seed + index, share)):
                Path(folder, "mutant").write_bytes(mutant)
                outcome = worker.outcome("mutant")
                outcomes[outcome] += 1
                if keep is not None and outcome not in FINE and outcomes[outcome] <= 3:
                    keep.mkdir(parents=True, exist_ok=True)
                    name = "".join(letter if letter.isalnum() else "_" for letter in outcome)[:60]
                    (keep / f"{container}-{name}-{outcomes[outcome]}").write_bytes(mutant)
        worker.stop()
    return outcomes


def _structured() -> dict[str, Mutants]:
    """Of files that are changed as what they are only."""
    from fuzz_integers import integer_mutants
    from fuzz_keras import keras_mutants
    from fuzz_pickles import pickle_mutants

    return {"modules": pickle_mutants, "nested": keras_mutants, "integers": integer_mutants}


def main() -> int:
    """Print how often each outcome was met; 1 if one of them is a finding."""
    from fuzz_commands import fuzz_commands
    from fuzz_folders import FOLDERS, fuzz_folders, good_folders

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("container", choices=sorted({*SAMPLES, *FOLDERS, *COMMANDS, *_structured(), "npz"}))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, action="append", help="a good file to damage, instead of the vendors' own")
    parser.add_argument("--keep", type=Path, help="a folder for the first mutants of each finding")
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after so many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.container in COMMANDS:
            outcomes = fuzz_commands(
                options.container, Path(folder), options.count, options.seed, options.keep, options.seconds
            )
        elif options.container in FOLDERS:
            found = good_folders(options.container, Path(folder))
            outcomes = fuzz_folders(
                options.container, found, options.count, options.seed, options.keep, options.seconds
            )
        else:
            samples = options.file or _samples(options.container, Path(folder))
            outcomes = fuzz(options.container, samples, options.count, options.seed, options.keep, options.seconds)
    for outcome, times in outcomes.most_common():
        print(f"{times:7d}  {outcome}{'' if outcome in FINE else '   <-- a finding'}")
    return int(any(outcome not in FINE for outcome in outcomes))


def _samples(container: str, folder: Path) -> list[Path]:
    """The vendors' own files of this kind, out of the archive that the tests have."""
    data = Path(__file__).parent / "data"
    if container == "integers":
        vww, _ = write_vww(folder)
        return [vww, *sorted((data / "integers").glob("*.onnx")), *sorted((data / "integers").glob("*.pth"))]
    archives = {"modules": "modules/modules.tar.xz", "nested": "layers/networks.tar.xz"}
    archive = data / archives.get(container, "exports/exports.tar.xz")
    if container == "npz":
        return [ARRAYS]
    unpack(archive, folder)
    return [folder / name for name in {"modules": PICKLES, "nested": NESTED}.get(container) or SAMPLES[container]]


if __name__ == "__main__":
    sys.exit(main())
