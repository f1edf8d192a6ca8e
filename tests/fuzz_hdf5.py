"""Mutants of HDF5 files that h5py itself writes: links that lead elsewhere, sizes with nothing behind them, cycles."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from fuzz_commands import json_mutant
from fuzz_messages import lie

__all__ = ["hdf5_mutant"]

_TEXTS = ["", "../x", "/", ".", "a/b", "\x1b[31m", "x\ny", "\u202e", "n" * 3000, "model_weights", "layers", "vars", "0"]
_SHAPES: list[tuple[int, ...]] = [(), (0,), (2**20, 2**12), (2**40,), (1,) * 12, (0, 2**31), (3, 3)]


def hdf5_mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole HDF5 file of which one to three groups, datasets, links or attributes are others."""
    import h5py

    held = io.BytesIO(data)
    with h5py.File(held, "r+") as file:
        for _ in range(int(rng.integers(1, 4))):
            places = list(_places(file))
            try:
                _change(h5py, file, places[int(rng.integers(len(places)))], rng)
            except (OSError, TypeError, ValueError, KeyError, RuntimeError):
                continue  # libhdf5 itself does not write this one
    return held.getvalue()


def _places(file: Any) -> Iterator[Any]:
    """Every group and dataset, once, however they are linked."""
    yield file
    found: list[str] = []
    file.visit(found.append)
    for name in found:
        yield file[name]


def _change(h5py: Any, file: Any, place: Any, rng: np.random.Generator) -> None:
    group = place if isinstance(place, h5py.Group) else place.parent
    names = list(group) or ["x"]
    name = names[int(rng.integers(len(names)))]
    match rng.integers(11):
        case 0:
            _relinked(h5py, file, group, name, rng)
        case 1:
            _replaced(h5py, group, name, rng)
        case 2 | 3:
            _attribute(place, rng)
        case 4:
            del group[name]
        case 5:  # the group in itself, or a hard link to one above it
            group[str(rng.choice(["vars", "x", "layers"]))] = group if rng.random() < 0.5 else file
        case 6:
            deep = group
            for _ in range(int(rng.choice([3, 70, 500]))):
                deep = deep.create_group(str(rng.choice(["x", "layers", "vars"])))
        case 7:
            for number in range(int(rng.choice([10, 3000]))):
                group.create_group(f"g{number}/vars")
        case 8:
            group.move(name, _TEXTS[int(rng.integers(len(_TEXTS)))] or "y")
        case 9 if "model_config" in file.attrs:
            config = json_mutant(json.loads(file.attrs["model_config"]), rng)
            file.attrs["model_config"] = json.dumps(config)
        case _ if isinstance(place, h5py.Dataset) and place.shape:
            place[...] = rng.choice([np.nan, np.inf, 0.0, 3e38])


def _relinked(h5py: Any, file: Any, group: Any, name: str, rng: np.random.Generator) -> None:
    """In the place of a group or dataset: a link that leads elsewhere, to itself or nowhere."""
    del group[name]
    match rng.integers(4):
        case 0:
            group[name] = h5py.ExternalLink("/etc/hostname", "/x")
        case 1:
            group[name] = h5py.ExternalLink("good0", "/")
        case 2:
            group[name] = h5py.SoftLink(f"{group.name}/{name}")
        case 3:
            group[name] = h5py.SoftLink(str(rng.choice(["/", "/layers", "nowhere", "../x"])))


def _replaced(h5py: Any, group: Any, name: str, rng: np.random.Generator) -> None:
    """Another dataset under the name: huge and never written, of odd types, packed, virtual, or elsewhere."""
    del group[name]
    shape = _SHAPES[int(rng.integers(len(_SHAPES)))]
    match rng.integers(8):
        case 0:
            group.create_dataset(name, shape, "f4")
        case 1:
            group.create_dataset(name, (2**31, 8), "f4", chunks=(1024, 8), compression="gzip", fillvalue=1.0)
        case 2:  # a bomb
            group.create_dataset(
                name, data=np.zeros(int(rng.choice([10**6, 10**7])), "f4"), compression="gzip", chunks=True
            )
        case 3:
            kinds = [
                h5py.string_dtype(),
                h5py.ref_dtype,
                h5py.vlen_dtype(np.dtype("f4")),
                np.dtype("c8"),
                np.dtype("V7"),
            ]
            kinds += [np.dtype([("a", "f4"), ("b", "i1")]), np.dtype(">f4"), np.dtype("f8"), np.dtype("(3,)f4")]
            group.create_dataset(name, (2, 2), kinds[int(rng.integers(len(kinds)))])
        case 4:
            layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
            layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(4,))
            group.create_virtual_dataset(name, layout)
        case 5:
            group.create_dataset(name, (4,), "f4", external=[("/etc/hostname", 0, 16)])
        case 6:
            group.create_dataset(name, data=h5py.Empty("f4"))
        case 7:
            filters = [{"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True}, {"scaleoffset": 3}]
            group.create_dataset(name, data=np.ones((8, 8), "f4"), chunks=(4, 4), **filters[int(rng.integers(4))])


def _attribute(place: Any, rng: np.random.Generator) -> None:
    """An attribute that lists others' names, names that nobody has, too many, itself, or no text."""
    keys = [*place.attrs, "layer_names", "weight_names", "name", "keras_version"]
    key = keys[int(rng.integers(len(keys)))]
    texts = [_TEXTS[int(rng.integers(len(_TEXTS)))] for _ in range(int(rng.choice([1, 2, 40])))]
    match rng.integers(5):
        case 0:
            place.attrs[key] = texts
        case 1:
            place.attrs[key] = texts[0]
        case 2:
            place.attrs[key] = np.arange(5) if rng.random() < 0.5 else float(lie(rng))
        case 3:
            del place.attrs[key]
        case 4:
            held = place.attrs.get(key)
            if isinstance(held, np.ndarray):
                rng.shuffle(held)
                place.attrs[key] = held if rng.random() < 0.5 else np.concatenate([held, held])
