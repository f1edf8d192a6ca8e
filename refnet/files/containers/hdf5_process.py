"""What reads an HDF5 file with libhdf5, in a process of its own: bytes on stdin, a safetensors file on stdout.

Each array is called by its owner, a zero byte and its name there. The text 'facts' beside them is JSON: the model's
configuration and Keras' version where the file has them, whether variables are numbered, and names of layers. Exit
status: 0 done; 3 refused, with a line on stderr; 4 h5py is not installed.

Refuses links to other places and files, virtual and external storage, filters but gzip's, types but plain numbers, what
was never written, and what declares more than a file of its size may hold. Walks by hard links, step by step.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers import safetensors
from refnet.files.containers.archive import allowed, shown

__all__ = ["BETWEEN", "work"]

BETWEEN = "\0"  # the owner of an array and its name
_MOST_TEXT = 2 << 20  # bytes of a configuration
_MOST_NAMES = 100_000
_MOST_OBJECTS = 50_000  # groups and datasets that are looked at
_DEEPEST = 64  # models in models: a configuration ends before
_MOST_AXES = 8
_NO_WEIGHTS = ("optimizer", "seed_generator", "_metrics", "compile_metrics", "loss_tracker")


class _Limits(NamedTuple):
    """What the process may take: bytes of memory beyond what it has at the start, seconds of processor time."""

    memory: int
    seconds: float


def work() -> None:
    """Read stdin, write stdout, leave with the status."""
    try:
        import h5py
    except ImportError:
        sys.exit(4)
    except Exception as error:  # built for another NumPy
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(5)
    data = sys.stdin.buffer.read()
    # libhdf5 and the dataset being read each have a copy of what the file holds. A whole network takes a tenth of a
    # second of an idle machine; on one that does other things a tenth became more than one.
    _limit(_Limits(memory=(160 << 20) + 3 * len(data), seconds=2 + len(data) / (16 << 20)))
    try:
        try:
            image = h5py.h5f.open_file_image(data)
            file = h5py.File(image)  # both stay, for with the last of them every dataset is closed
            _put(_Walk(h5py, allowed(len(data))).found(file))
        except FormatError:
            raise
        except Exception as error:  # h5py raises a dozen types on damaged bytes
            raise FormatError(f"damaged ({' '.join(str(error).split())[:150]}): fetch or save the file again") from None
    except FormatError as error:
        print(error, file=sys.stderr)
        sys.exit(3)


def _limit(limits: _Limits) -> None:
    try:
        import resource
    except ImportError:  # not of Unix: crashes are contained all the same
        return
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)  # SIGPROF ends the process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (taken + limits.memory,) * 2)


class _Found(NamedTuple):
    """Datasets by owner and name, and the facts."""

    datasets: dict[str, Any]
    facts: dict[str, Any]


def _put(found: _Found) -> None:
    tensors = {}
    for key, dataset in found.datasets.items():
        kind = "bfloat16" if dataset.dtype.kind == "V" else dataset.dtype.newbyteorder("<").str
        tensors[key] = kind, dataset.shape
    out = sys.stdout.buffer
    out.write(safetensors.header(tensors, {"facts": json.dumps(found.facts)}))
    for dataset in found.datasets.values():
        array = np.asarray(dataset[()])
        out.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    out.flush()


class _Walk:
    """Goes through a file, counting what it meets."""

    def __init__(self, h5py: Any, limit: int) -> None:
        self.h5py, self.limit = h5py, limit
        self.objects = self.size = 0
        self.datasets: dict[str, Any] = {}
        self.names: dict[str, str] = {}

    def found(self, file: Any) -> _Found:
        facts: dict[str, Any] = {}
        for name in ("model_config", "keras_version"):
            if name in file.attrs:
                texts = self.texts(file, name)
                if len(texts) != 1:
                    raise FormatError(f"its attribute {name} is not one text: the file is damaged")
                facts[name] = texts[0]
        root = self.child(file, "model_weights") if file.id.links.exists(b"model_weights") else file
        numbered = not any(name in root.attrs for name in ("layer_names", "layer_names0"))
        if numbered:
            self.numbered(root, (), {root.id})
        else:
            self.by_name(root)
        if plain := numbered and not self.datasets:
            self.plain(root, (), {root.id})
        if not self.datasets:
            raise FormatError("an HDF5 file that holds no arrays, or only those of an optimizer")
        return _Found(self.datasets, {**facts, "numbered": numbered, "plain": plain, "names": self.names})

    def plain(self, group: Any, path: tuple[str, ...], above: set[Any]) -> None:
        """Every array by its path, as those who write state dicts into HDF5 by themselves have them."""
        for name, inner in self.inside(group, path, above):
            if isinstance(inner, self.h5py.Group):
                self.plain(inner, (*path, name), above | {inner.id})
            else:
                self.add("/".join(path), name, inner)

    def inside(self, group: Any, path: tuple[str, ...], above: set[Any]) -> Iterator[tuple[str, Any]]:
        """What a group holds beside what is of training, if it is not itself in it."""
        if len(path) > _DEEPEST:
            raise FormatError("its groups are nested too deeply: refused")
        for name in group:
            if name not in _NO_WEIGHTS:
                inner = self.child(group, name)
                if inner.id in above:
                    raise FormatError("a group that contains itself: refused")
                yield name, inner

    def by_name(self, root: Any) -> None:
        """Weights where two attributes list the layers and the variables of each. Groups would not tell them apart."""
        for layer in self.split_texts(root, "layer_names"):
            group = self.at(root, layer)
            for weight in self.split_texts(group, "weight_names"):
                self.add(layer, weight, self.at(group, weight))

    def numbered(self, group: Any, path: tuple[str, ...], above: set[Any]) -> None:
        """Weights where every layer has a group vars, with datasets 0, 1, ... in it."""
        for name, inner in self.inside(group, path, above):
            if not isinstance(inner, self.h5py.Group):
                continue  # a dataset outside of vars is none of Keras'
            if name != "vars":
                self.numbered(inner, (*path, name), above | {inner.id})
                continue
            owner = "/".join(path)
            if "name" in inner.attrs and owner:
                self.names[owner] = self.texts(inner, "name")[0]
            for number in sorted(inner, key=lambda text: (len(text), text)):
                if not (number.isascii() and number.isdigit() and len(number) < 4):
                    raise FormatError(f"{shown(f'{owner}/vars/{number}')} is no number of a variable: not Keras'")
                self.add(owner, number, self.child(inner, number))

    def at(self, group: Any, path: str) -> Any:
        for name in path.split("/"):
            group = self.child(group, name)
        return group

    def child(self, group: Any, name: str) -> Any:
        """What a group holds under a name; nothing is followed out of it."""
        self.objects += 1
        if self.objects > _MOST_OBJECTS:
            raise FormatError(f"has more than {_MOST_OBJECTS} groups and arrays: refused")
        # Asking the group itself would follow the link, into another file too.
        links = group.id.links if isinstance(group, self.h5py.Group) and name not in ("", ".") else None
        if links is None or not links.exists(name.encode()):
            raise FormatError(f"{shown(name)} is missing: the file is incomplete, fetch or save it again")
        if links.get_info(name.encode()).type != self.h5py.h5l.TYPE_HARD:
            raise FormatError(f"{shown(name)} is a link to another place: refused")
        return group[name]

    def add(self, owner: str, name: str, dataset: Any) -> None:
        where = shown(f"{owner}/{name}")
        if not isinstance(dataset, self.h5py.Dataset):
            raise FormatError(f"{where} is no array: the file is damaged")
        self.allow(dataset, where)
        key = owner + BETWEEN + name
        if key in self.datasets:
            raise FormatError(f"lists {where} twice: refused, one would hide the other")
        self.datasets[key] = dataset

    def allow(self, dataset: Any, where: str) -> None:
        """Refuse an array before anything of it is read."""
        dtype, shape = self.dtype(dataset, where), dataset.shape
        if shape is None or len(shape) > _MOST_AXES:
            raise FormatError(f"{where} has an impossible shape: the file is damaged")
        size = math.prod(shape) * dtype.itemsize
        plan = dataset.id.get_create_plist()
        layout = plan.get_layout()
        h5d, h5z = self.h5py.h5d, self.h5py.h5z
        if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED) or plan.get_external_count():
            raise FormatError(f"{where} is stored in other files: refused")
        filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
        if not filters <= {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}:
            raise FormatError(f"{where} is compressed by something else than gzip: save the file without")
        chunk = math.prod(plan.get_chunk()) * dtype.itemsize if layout == h5d.CHUNKED else 0
        self.size += size
        if max(self.size, chunk) > self.limit:
            raise FormatError(f"{where} is too large for a file of this size: refused")
        if size and not dataset.id.get_storage_size():
            raise FormatError(f"{where} was never written: the file is incomplete")

    def dtype(self, dataset: Any, where: str) -> np.dtype[Any]:
        h5t = self.h5py.h5t
        kind = dataset.id.get_type()
        if kind.get_class() == h5t.OPAQUE and kind.get_size() == 2 and self.is_bfloat16(dataset):
            return np.dtype("V2")
        plain = [getattr(h5t, f"IEEE_F{bits}{end}") for bits in (16, 32, 64) for end in ("LE", "BE")]
        plain += [getattr(h5t, f"STD_{s}{bits}{end}") for s in "IU" for bits in (8, 16, 32, 64) for end in ("LE", "BE")]
        if not any(kind.equal(known) for known in plain):
            raise FormatError(f"{where} holds something else than plain numbers: not a file of weights")
        dtype: np.dtype[Any] = dataset.dtype
        return dtype

    def is_bfloat16(self, dataset: Any) -> bool:
        return "dtype" in dataset.attrs and self.texts(dataset, "dtype") == ["bfloat16"]

    def split_texts(self, owner: Any, name: str) -> list[str]:
        """An attribute of many texts; one of more than 64 KiB is split into name0, name1, ..."""
        if name in owner.attrs:
            return self.texts(owner, name)
        found: list[str] = []
        for number in range(_MOST_NAMES):
            if f"{name}{number}" not in owner.attrs:
                break
            found += self.texts(owner, f"{name}{number}")
            if len(found) > _MOST_NAMES:
                raise FormatError(f"its attribute {name} is too long: refused")
        return found

    def texts(self, owner: Any, name: str) -> list[str]:
        """An attribute of texts, of fixed or variable length, one or many."""
        stored = self.h5py.h5a.open(owner.id, name.encode())
        count = stored.get_space().get_simple_extent_npoints()
        if count == 0:  # of whatever type: an empty list has none
            return []
        kind = stored.get_type()
        fixed = 0 if kind.get_class() != self.h5py.h5t.STRING or kind.is_variable_str() else kind.get_size()
        if kind.get_class() != self.h5py.h5t.STRING or count > _MOST_NAMES or count * fixed > _MOST_TEXT:
            raise FormatError(f"its attribute {shown(name)} is no text, or too long: the file is damaged")
        value = owner.attrs[name]
        texts = [
            _decoded(text, name) for text in (value.ravel().tolist() if isinstance(value, np.ndarray) else [value])
        ]
        if sum(map(len, texts)) > _MOST_TEXT:
            raise FormatError(f"its attribute {shown(name)} is too long: refused")
        return texts


def _decoded(text: object, name: str) -> str:
    try:
        found = text.decode("utf-8") if isinstance(text, bytes) else text
        if isinstance(found, str):
            found.encode("utf-8")  # h5py keeps bytes that are no UTF-8 as halves of characters
            return found
    except UnicodeError:
        pass
    raise FormatError(f"its attribute {shown(name)} is no text: the file is damaged")
