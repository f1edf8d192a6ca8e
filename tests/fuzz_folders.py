"""Damaged models of the formats that are folders; `fuzz.py` is the command."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fuzz_structures
import numpy as np
from fuzz import damaged
from fuzz_worker import FINE, Worker, within
from support import unpack

__all__ = ["FOLDERS", "fuzz_folders", "good_folders"]

# Of the formats that are folders: the good ones, and what in them is read, "" for the folder.
FOLDERS = {
    "tfjs": {
        "keras_v1-layers-uint8": "",
        "keras_v3_small-graph-uint8": "model.json",
        "layers-tfjs": "",
        "heatmap-graph": "model.json",
        "teachable-tfjs": "model.json",
    },
    "tensorflow": {"slim_v1-frozen.pb": "slim_v1-frozen.pb", "keras_v2-saved": ""},
    "openvino": {"openvino": "openvino.xml", "openvino-float16": "openvino-float16.xml"},
    "ncnn": {"ncnn": "ncnn.param", "ncnn-float16": "ncnn-float16.param"},
    "checkpoint": {"slim_v1-average": "model.ckpt-1234.index", "keras_v2-checkpoint": "weights.index"},
}


def fuzz_folders(
    container: str, samples: dict[Path, str], count: int, seed: int, keep: Path | None = None, seconds: float = math.inf
) -> Counter[str]:
    """As `fuzz`, of folders: each with the file in it that is read."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as above:
        folder, outside = Path(above, "in"), Path(above, "outside")
        outside.write_bytes(b"not for reading")
        for index, sample in enumerate(samples):
            shutil.copytree(sample, folder / f"good{index}")
        worker = Worker(container, str(folder), [f"good{i}/{name}" for i, name in enumerate(samples.values())])
        for index, (sample, name) in enumerate(samples.items()):
            rng = np.random.default_rng(seed + index)
            share = count // len(samples) + (index < count % len(samples))
            folders = _folder_mutants(sample, name, folder / "mutant", outside, rng, share)
            for _ in within(seconds / len(samples), folders):
                outcome = worker.outcome(f"mutant/{name}")
                outcomes[outcome] += 1
                if keep is not None and outcome not in FINE and outcomes[outcome] <= 3:
                    words = "".join(letter if letter.isalnum() else "_" for letter in outcome)[:60]
                    kept = keep / f"{container}-{words}-{outcomes[outcome]}"
                    shutil.copytree(folder / "mutant", kept, symlinks=True, ignore=_pipes, dirs_exist_ok=True)
        worker.stop()
    return outcomes


def _folder_mutants(
    sample: Path, main: str, place: Path, outside: Path, rng: np.random.Generator, count: int
) -> Iterator[None]:
    files = {str(path.relative_to(sample)): path.read_bytes() for path in sample.rglob("*") if path.is_file()}
    knowing = fuzz_structures.folders(files, main, place, outside, rng, count)
    for index in range(count):
        if index % 2:
            next(knowing)
            yield
            continue
        shutil.rmtree(place, ignore_errors=True)
        chosen = str(rng.choice(sorted(files)))
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(damaged(data, rng) if name == chosen else data)
        yield


def _pipes(folder: str, held: list[str]) -> list[str]:
    return [name for name in held if Path(folder, name).is_fifo()]


def good_folders(container: str, folder: Path) -> dict[Path, str]:
    """The good folders of this kind; a file that stands alone gets a folder, with what is called as it is."""
    for archive in ("tensorflow/models", "deployed/networks", "layers/networks"):
        unpack(Path(__file__).parent / "data" / f"{archive}.tar.xz", folder)
    found = {}
    for name, inside in FOLDERS[container].items():
        place = folder / name
        if not place.is_dir():
            place = folder / f"{name}-folder"
            place.mkdir()
            for file in [file for file in folder.glob(f"{Path(inside).stem}.*") if file.is_file()]:
                file.rename(place / file.name)
        found[place] = inside
    return found
