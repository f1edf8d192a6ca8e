"""Golden packs: every tensor of a run, with the graph and the params that made it, in one folder.

Values are computed in float64 from the input and params as the pack stores them, and rounded once. Tensors are written
and read one at a time. A pack is written whole or not at all and never over anything; one that breaks its own
manifest anywhere is refused. The format is specified in docs/pack-format.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers.atomic import atomic_folder
from refnet.graph import SOURCE, Graph, walk
from refnet.network import Network
from refnet.pack.formats import FORMATS, Stored, read_array, writer
from refnet.pack.manifest import DTYPES, FORMAT, LAYOUTS, MANIFEST, head, laid_out, manifest_text, parse_manifest
from refnet.readings import fast
from refnet.readings.shapes import shapes
from refnet.threads import on_one_thread

__all__ = ["DTYPES", "FORMAT", "FORMATS", "LAYOUTS", "Pack", "read_pack", "write_pack"]

Array = npt.NDArray[Any]


# ---------------------------------------------------------------------------------------------------------- writing


@on_one_thread
def write_pack(
    net: Network,
    x: Array,
    path: str | Path,
    *,
    dtype: str = "float32",
    layout: str = "nchw",
    only: str | None = None,
    format: str = "npy",  # noqa: A002
    origin: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    last: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """Run a network in float64 and write every tensor, rounded once, as a golden pack.

    Parameters
    ----------
    net : its params are rounded to `dtype` first, and so is x: the pack alone gives the same values again
    x : (N, C, H, W) array of float32 or float64
    path : of the folder that will be the pack
    dtype : of everything stored, 'float32' or 'float64'
    layout : of the tensors with four axes, 'nchw' or 'nhwc'; params keep refnet's own axes
    only : a pattern such as 'block3.*': which tensors to store; the input, graph and params are there in any case
    format : 'npy', 'raw', 'safetensors' or 'c' (arrays to compile; `read_pack` does not read these back)
    origin : where weights and input are from, as JSON, for the manifest; by default nothing is said
    extra : further JSON entries for the manifest
    last : makes more of them, when all arrays are written

    Raises
    ------
    RequestError
        if the path exists, an argument is none of these, the network does not take x, or a value leaves the range of
        `dtype`. Nothing is left on disk then, nor after an interrupt.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import refnet
    >>> with TemporaryDirectory() as folder:
    ...     write_pack(refnet.load(), np.zeros((1, 3, 32, 32), np.float32), f"{folder}/pack", only="stem.*")
    ...     print(refnet.read_pack(f"{folder}/pack").names)
    ('input', 'stem.conv', 'stem.bn', 'stem.act')
    """
    path = Path(path)
    for what, value, known in (("dtype", dtype, DTYPES), ("layout", layout, LAYOUTS), ("format", format, FORMATS)):
        if value not in known:
            raise RequestError(f"{what} {value!r}: take one of {', '.join(known)}")
    x, params = _input(net, x, dtype), _Rounded(net.params, dtype)
    every = shapes(net.graph)
    kept = [name for name in every if name == SOURCE or only is None or fnmatchcase(name, only)]
    if len(kept) == 1:
        raise RequestError(f"no tensor matches {only!r}; they are called like {', '.join([*every][1:4])}")
    first = head(net.graph, dtype, layout, format, origin or {})
    if taken := [key for key in extra or {} if key in (*first, "params", "tensors")]:
        raise RequestError(f"extra: {taken[0]!r} is an entry of every manifest already")
    first |= extra or {}
    terms = {conv: [float(f"{term:.3g}") for term in each] for conv, each in net.folded.items()}
    folded = {"folded": terms} if terms else {}  # a port that folds by itself rounds in proportion to these
    json.dumps({**first, **folded}, allow_nan=False)  # what is no JSON fails now, not after the work
    planned = {
        "params": net.graph.params(),
        "tensors": {name: laid_out((len(x), *every[name]), layout) for name in kept},
    }
    with atomic_folder(path) as folder, np.errstate(over="ignore", invalid="ignore"):
        with closing(writer(format, folder, planned, dtype)) as out:
            entries = {name: out.add("params", name, params[name]) for name in planned["params"]}
            tensors = {SOURCE: {**out.add("tensors", SOURCE, _stored(x, layout)), "op": SOURCE}}
            for node, y in walk(net.graph, fast, params, {SOURCE: x}):
                if node.name in planned["tensors"]:
                    tensors[node.name] = {**out.add("tensors", node.name, _stored(y, layout)), "op": node.op}
                del y  # or it would outlive the next node's run
        manifest = {**first, **last(), **folded, "params": entries, "tensors": tensors}
        (folder / MANIFEST).write_text(manifest_text(manifest), encoding="ascii")


class _Rounded(Mapping[str, Array]):
    """Params as the pack stores them, widened to float64 one at a time when they are asked for."""

    def __init__(self, params: Mapping[str, Array], dtype: str) -> None:
        self.params, self.dtype = params, dtype

    def __getitem__(self, name: str) -> Array:
        return self.params[name].astype(self.dtype, copy=False).astype(np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)


def _input(net: Network, x: Array, dtype: str) -> Array:
    """x in float64, holding the values that the pack stores."""
    x = np.asarray(x)
    if str(x.dtype) not in DTYPES:
        raise RequestError(f"input: {x.dtype}; take float32 or float64, scaled as the network expects")
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
        net.checked(x.astype(net.dtype, copy=False))
    return x.astype(np.float64)


def _stored(y: Array, layout: str) -> Array:
    """(N, C, H, W) -> (N, H, W, C) where the layout asks for it; a view."""
    return y.transpose(0, 2, 3, 1) if layout == "nhwc" and y.ndim == 4 else y


# ---------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class Pack:
    """A golden pack on disk. Arrays are read when they are asked for, and their hashes verified then.

    Attributes
    ----------
    path : the folder
    manifest : what its manifest.json says
    graph : the network, with the attributes that it was run with
    params : {'stem.conv.w': array, ...}; each is read once and kept. `Network(pack.graph, pack.params)` runs it again
    """

    path: Path
    manifest: Mapping[str, Any]
    graph: Graph
    params: Mapping[str, Array]
    _tensors: Mapping[str, Array]

    @property
    def names(self) -> tuple[str, ...]:
        """The stored tensors in order of execution, the input first."""
        return tuple(self._tensors)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every array in the pack."""
        return np.dtype(str(self.manifest["dtype"]))

    def tensor(self, name: str) -> Array:
        """One tensor, (N, C, H, W) or (N, C), whatever the layout it is stored in.

        Raises
        ------
        FormatError
            if its file is not what the manifest says, or holds NaN or infinity.
        RequestError
            if the pack does not store it.
        """
        if name not in self._tensors:
            raise RequestError(f"{self.path}: stores no tensor {name!r}; the first are {', '.join(self.names[:4])}")
        y = self._tensors[name]
        nhwc = self.manifest["layout"] == "nhwc" and y.ndim == 4
        return y.transpose(0, 3, 1, 2) if nhwc else y

    def images(self, first: int, count: int) -> Pack:
        """The same pack as it would be of some of its images alone."""
        return replace(self, _tensors=_Images(self._tensors, slice(first, first + count)))


class _Images(Mapping[str, Array]):
    """Tensors of which some images alone are taken."""

    def __init__(self, tensors: Mapping[str, Array], images: slice) -> None:
        self.tensors, self.taken = tensors, images

    def __getitem__(self, name: str) -> Array:
        return self.tensors[name][self.taken]

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


class _Arrays(Mapping[str, Array]):
    """Arrays of a pack by name, each read and verified when it is asked for."""

    def __init__(self, folder: Path, form: str, stored: Mapping[str, Stored], *, keep: bool) -> None:
        self.folder, self.form, self.stored, self.keep = folder, form, stored, keep
        self.kept: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name in self.kept:
            return self.kept[name]
        stored = self.stored[name]
        array = read_array(self.folder / stored.file, name, stored, self.form)
        if self.keep:
            array.flags.writeable = False
            self.kept[name] = array
        return array

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def read_pack(path: str | Path) -> Pack:
    """Open a golden pack: its manifest is checked now, its arrays when they are read.

    Parameters
    ----------
    path : of the folder

    Returns
    -------
    Pack

    Raises
    ------
    FormatError
        in one line that names the file: no manifest, of another version, not a network that refnet knows how to run,
        a file that is missing or outside the folder, a shape that the network does not make.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import refnet
    >>> with TemporaryDirectory() as folder:
    ...     write_pack(refnet.load(), np.ones((1, 3, 32, 32), np.float32), f"{folder}/pack")
    ...     pack = read_pack(f"{folder}/pack")
    ...     print(pack.tensor("head.flatten").shape, len(pack.params))
    (1, 10) 210
    """
    path = Path(path)
    if not path.is_dir():
        raise FormatError(f"{path}: {'is a file; a golden pack is a folder' if path.exists() else 'does not exist'}")
    manifest = parse_manifest(path)
    form = manifest.entries["storage"]
    params = _Arrays(path, form, manifest.params, keep=True)
    return Pack(path, manifest.entries, manifest.graph, params, _Arrays(path, form, manifest.tensors, keep=False))
