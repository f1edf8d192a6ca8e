"""Mutants that go through commands: golden packs, candidates of ports, and files of weights with hostile names.

    PYTHONPATH=. python tests/fuzz.py packs --count 2000

Findings are, besides those of `fuzz`: an error that no check foresaw (the command line makes one line of it, which
hides it from everybody else), a character on stdout or stderr that a terminal obeys, more than one line on stderr,
another exit status than 0, 1 and 2, and any file that is there afterwards and was not before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import damaged
from fuzz_lines import said_by
from fuzz_worker import FINE, Worker, within

from refnet.errors import FormatError

__all__ = ["fuzz_commands", "json_mutant", "read"]

_NAMES = [
    "x\nsame network, bit for bit", "\x1b[31mred", "\x1b]0;t\x07", "\x9b2J", "\u202egnp", "a\u2028b", "\udcff", "",
    "n" * 70_000, "../../etc/passwd", "/etc/passwd", "a\0b", ".", "con.bn.w", "input", "head.logits", "💥" * 50, "\r0",
]  # fmt: skip
_VALUES: list[Any] = [
    0, 1, -1, 2, 3, 7, 33, 255, 4096, 10**6, 2**31 - 1, 2**31, 2**40, 2**62, 10**30, -(2**63), 0.5, 1e-300, 1e308, -0.0,
    None, True, False, [], {}, [[]], [1, 1], [2**31, 2**31], [[0, 0], [2**30, 2**30]], "same", *_NAMES,
]  # fmt: skip
_DTYPES = ["<f4", ">f4", "<f8", "<f2", "<i4", "|u1", "|b1", "<c8", "<U9", "|O", "<M8[s]", "V3", "<f16", "\\q<f4"]


def read(path: Path) -> dict[str, np.ndarray]:
    """Run the command that a mutant is for; raises what is found, and FormatError where the command refuses."""
    folder = path.parent
    before = _listing(folder)
    if path.name == "pack":
        options = ["--no-causes"] if len(before) % 2 else ["--no-causes", "--json"]
        lines = [["compare", str(path), str(folder / "port"), *options]]
    else:
        lines = [["summary", str(path)], ["verify", str(path)]]
    statuses = [said_by(line)[0] for line in lines]
    if _listing(folder) != before:
        raise AssertionError("files are left behind")
    if 2 in statuses:
        raise FormatError("refused")
    return {}


def _listing(folder: Path) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(where, name), folder) for where, _, names in os.walk(folder) for name in names
    )


def fuzz_commands(
    kind: str, folder: Path, count: int, seed: int, keep: Path | None = None, seconds: float = math.inf
) -> Counter[str]:
    """How often each outcome was met among `count` mutants of a kind of `COMMANDS`."""
    outcomes: Counter[str] = Counter()
    rng = np.random.default_rng(seed)
    good = _good(folder / "good0")
    good_name = "weights.npz" if kind == "files" else "pack"
    worker = Worker(kind, str(folder), [f"good0/{good_name}"])
    for name in within(seconds, _mutants(kind, good, folder / "mutant", rng, count)):
        outcome = worker.outcome(f"mutant/{name}")
        outcomes[outcome] += 1
        if keep is not None and outcome not in FINE and outcomes[outcome] <= 3:
            words = "".join(letter if letter.isalnum() else "_" for letter in outcome)[:60]
            shutil.copytree(folder / "mutant", keep / f"{kind}-{words}-{outcomes[outcome]}", symlinks=True)
    worker.stop()
    return outcomes


def _good(folder: Path) -> Path:
    """A pack, a candidate that is right, and a file of weights."""
    import refnet

    net = refnet.load()
    folder.mkdir(parents=True)
    refnet.write_pack(net, refnet.random_input(net.graph, 1), folder / "pack", only="*block[123]*")
    shutil.copytree(folder / "pack" / "tensors", folder / "port")
    refnet.write_weights(net.graph, net.params, folder / "weights.npz")
    return folder


def _mutants(kind: str, good: Path, place: Path, rng: np.random.Generator, count: int) -> Iterator[str]:
    for _ in range(count):
        shutil.rmtree(place, ignore_errors=True)
        if kind == "files":
            place.mkdir()
            yield _weights_mutant(good / "weights.npz", place, rng)
            continue
        shutil.copytree(good, place)
        (_pack_mutant if kind == "packs" else _candidate_mutant)(place, rng)
        yield "pack"


# ---------------------------------------------------------------------------------------------------------------- packs


def json_mutant(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value of which one part, somewhere within, is another, is gone, twice, elsewhere or deep."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        made: Any = dict(value) if isinstance(value, dict) else list(value)
        keys = list(made) if isinstance(made, dict) else list(range(len(made)))
        key = keys[int(rng.integers(len(keys)))]
        match rng.integers(12):
            case 0:
                del made[key]
            case 1 if isinstance(made, dict):
                made[_NAMES[int(rng.integers(len(_NAMES)))]] = made.pop(key)
            case 2 if isinstance(made, list):
                made += [made[key]] * int(rng.choice([1, 100, 3000]))
            case 3:
                other = keys[int(rng.integers(len(keys)))]
                made[key], made[other] = made[other], made[key]
            case _:
                made[key] = json_mutant(made[key], rng)
        return made
    if rng.random() < 0.05:
        nested: Any = value
        for _ in range(int(rng.choice([3, 90, 500]))):
            nested = [nested]
        return nested
    return _VALUES[int(rng.integers(len(_VALUES)))]


def _pack_mutant(place: Path, rng: np.random.Generator) -> None:
    """A manifest that lies, arrays that are others, links."""
    manifest = place / "pack" / "manifest.json"
    entries = json.loads(manifest.read_text())
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.6:
            index = int(rng.integers(len(entries["graph"])))
            entries["graph"][index] = json_mutant(entries["graph"][index], rng)
        else:
            entries = json_mutant(entries, rng)
        if not isinstance(entries, dict) or not isinstance(entries.get("graph"), list) or not entries["graph"]:
            break
    text = json.dumps(entries).encode("utf-8", "surrogatepass")
    manifest.write_bytes(damaged(text, rng) if rng.random() < 0.1 else text)
    if rng.random() < 0.2:
        _array_mutant(place / "pack" / "tensors", rng)


# ----------------------------------------------------------------------------------------------------------- candidates


def _candidate_mutant(place: Path, rng: np.random.Generator) -> None:
    """A folder, an archive or a safetensors file of which an array, its name or its header is another."""
    port = place / "port"
    for _ in range(int(rng.integers(1, 4))):
        _array_mutant(port, rng)
    arrays = {}
    for path in sorted(port.glob("*.npy")):
        if not path.is_file() or path.is_symlink() or path.stat().st_size > 1 << 20:
            continue
        with contextlib.suppress(Exception):
            arrays[path.stem] = np.load(path, allow_pickle=False)
    if rng.random() < 0.4 and arrays:
        shutil.rmtree(port)
        (_as_npz if rng.random() < 0.5 else _as_safetensors)(port, arrays, rng)


def _array_mutant(folder: Path, rng: np.random.Generator) -> None:
    """One .npy file of a folder damaged, of another shape, dtype or size, elsewhere, or under another name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    if not files:
        return
    path = files[int(rng.integers(len(files)))]
    match rng.integers(8):
        case 0 | 1:
            path.write_bytes(damaged(path.read_bytes(), rng))
        case 2:
            shape = tuple(int(rng.choice([0, 1, 3, -1, 7, 2**20, 2**62])) for _ in range(int(rng.integers(6))))
            path.write_bytes(_npy(shape, _DTYPES[int(rng.integers(len(_DTYPES)))], path.read_bytes()[128:]))
        case 3:
            with open(path, "r+b") as file:
                file.truncate(int(rng.choice([0, 1, 10, 100, 2**33])))
        case 4:
            path.unlink()
            target = rng.choice(["/etc/passwd", "../weights.npz", path.name, "/dev/zero", "missing"])
            path.symlink_to(str(target))
        case 5:
            name = _NAMES[int(rng.integers(len(_NAMES)))].replace("/", "_").replace("\0", "_")[:60]
            with contextlib.suppress(OSError, UnicodeError):
                path.rename(path.with_name(f"{name}.npy"))
        case 6:
            odd = rng.choice([np.nan, np.inf, -np.inf, 1e308, 3.4e38, 1e-45, 0.0])
            with contextlib.suppress(Exception):
                y = np.load(path, allow_pickle=False).astype(rng.choice([np.float32, np.float64, np.float16]))
                with np.errstate(over="ignore"):
                    y.flat[:: int(rng.choice([1, 7, 10**6]))] = odd
                np.save(path, y)
        case 7:
            path.unlink()
            os.mkfifo(path) if rng.random() < 0.5 else path.mkdir()


def _npy(shape: tuple[int, ...], dtype: str, body: bytes) -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + body


def _as_npz(path: Path, arrays: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            held = io.BytesIO()
            np.save(held, array)
            called = _NAMES[int(rng.integers(len(_NAMES)))] if rng.random() < 0.1 else name
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a name that is there twice
                archive.writestr(f"{called[:60_000]}.npy", held.getvalue())
        if rng.random() < 0.2:
            archive.writestr("bomb.npy", _npy((60_000_000,), "|u1", bytes(60_000_000)))


def _as_safetensors(path: Path, arrays: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    head, body = {}, b""
    for name, array in arrays.items():
        numbers = array.real if array.dtype.kind in "fiubc" else np.zeros(array.shape)  # texts, dates and records
        with np.errstate(over="ignore", invalid="ignore"):
            data = np.asarray(numbers, "<f4").tobytes()
        head[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(json_mutant(head, rng)).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


# ----------------------------------------------------------------------------------------------------- files of weights


def _weights_mutant(good: Path, place: Path, rng: np.random.Generator) -> str:
    """Weights under hostile names, of odd values, with others beside them; as .npz or safetensors."""
    with np.load(good) as archive:
        arrays = {name: archive[name] for name in archive.files if archive[name].dtype.kind == "f"}
    names = list(arrays)
    for _ in range(int(rng.integers(1, 4))):
        name = names[int(rng.integers(len(names)))]
        match rng.integers(5):
            case 0 if name in arrays:
                arrays[_NAMES[int(rng.integers(len(_NAMES)))] or "x"] = arrays.pop(name)
            case 1:
                arrays[_NAMES[int(rng.integers(len(_NAMES)))] or "x"] = np.ones(3, np.float32)
            case 2 if name in arrays:
                arrays[name] = np.full_like(arrays[name], rng.choice([np.nan, np.inf, 0, 1e38, -1e-45]))
            case 3 if name in arrays:
                arrays[name] = arrays[name].reshape(-1)[: int(rng.choice([0, 1, 5]))]
            case 4:
                arrays.pop(name, None)
    path = place / f"{hashlib.sha256(rng.bytes(8)).hexdigest()[:8]}\x1b[31m.weights"
    (_as_npz if rng.random() < 0.5 else _as_safetensors)(path, arrays, rng)
    return path.name
