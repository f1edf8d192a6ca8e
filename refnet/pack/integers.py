"""Packs of integers: what every node of a quantised network makes, and what its kernels are prepared with.

A folder: manifest.json, the input, the integers of every tensor, weights and biases as integers, scales, and the
multipliers and shifts that the runtime derives of them; sums before they are rescaled where they are asked for. Written
whole or not at all. docs/pack-format.md specifies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RefnetError, RequestError
from refnet.files.containers.atomic import atomic_folder
from refnet.files.graph_text import graph_of, json_field
from refnet.graph import SOURCE, Node
from refnet.network.quantised import QuantisedNetwork
from refnet.pack.integer_arrays import INTEGER_FORMATS, ArrayWriter, array_writer, read_stored
from refnet.pack.manifest import INTEGER_FORMAT, LAYOUTS, MANIFEST, PackFiles, manifest_object, manifest_text
from refnet.readings.integer.derived import SUMMED, constants, exact_sums
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.limits import check_growth

__all__ = ["IntegerPack", "is_integer_pack", "read_integer_pack", "write_integer_pack"]

Array = npt.NDArray[Any]


def write_integer_pack(
    net: QuantisedNetwork,
    x: Array,
    path: str | Path,
    *,
    layout: str = "nchw",
    only: str | None = None,
    form: str = "npy",
    accumulators: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Run a network of integers and write what every node makes.

    Parameters
    ----------
    x : (N, C, H, W), float32 or the integers that the network reads
    path : of the folder that will be the pack
    layout : of the tensors with four axes, 'nchw' or 'nhwc'; params keep refnet's own axes
    only : a pattern such as 'block3.*': which tensors to store
    form : 'npy', 'raw' or 'c' (arrays to compile)
    accumulators : store the sums of convolutions and linear layers before they are rescaled, too
    origin : where weights and input are from

    Raises
    ------
    RequestError
        if the path exists, an argument is none of these, or the network does not take x. Nothing is left on disk then.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import refnet
    >>> x = refnet.probe(refnet.load().graph)[1:]
    >>> net = refnet.quantise(refnet.load(), [x])
    >>> with TemporaryDirectory() as folder:
    ...     write_integer_pack(net, x, f"{folder}/pack", only="stem.*", accumulators=True)
    ...     pack = read_integer_pack(f"{folder}/pack")
    ...     pack.tensor("stem.conv").dtype, pack.accumulators("stem.conv").dtype
    (dtype('int8'), dtype('int32'))
    """
    for what, value, known in (("layout", layout, LAYOUTS), ("format", form, INTEGER_FORMATS)):
        if value not in known:
            raise RequestError(f"{what} {value!r}: take one of {', '.join(known)}")
    kept = {node.name for node in net.graph.nodes if only is None or fnmatchcase(node.name, only)}
    if not kept:
        raise RequestError(f"no tensor matches {only!r}; they are called like {net.graph.nodes[0].name}")
    given = net.given(x)
    with atomic_folder(path) as folder, closing(array_writer(form, folder)) as out:
        manifest = _head(net, layout, form, origin or {})
        manifest["quantised"] = {name: _said(q) for name, q in net.quantised.items()}
        manifest["params"] = {name: _param(out, name, net.params[name]) for name in net.graph.params()}
        tensors = {SOURCE: _tensor(out, net, SOURCE, _bare(given), layout)}
        sums: dict[str, Any] = {}
        made: dict[str, Any] = {SOURCE: given}
        for node, y in net.steps(x):
            if node.name in kept:
                tensors[node.name] = _tensor(out, net, node.name, _bare(y), layout) | {"op": node.op}
                if accumulators and (total := _sums(net, node, made)) is not None:
                    sums[node.name] = out.add("accumulators", node.name, _laid(total, layout))
            made[node.name] = y
            for name in node.inputs:  # what no later node reads is let go
                if all(
                    net.graph.nodes.index(reader) <= net.graph.nodes.index(node) for reader in net.graph.readers()[name]
                ):
                    made.pop(name, None)
        manifest |= {"constants": _constants(out, net), "tensors": tensors, "accumulators": sums}
        (folder / MANIFEST).write_text(manifest_text(manifest), encoding="ascii")


def _head(net: QuantisedNetwork, layout: str, form: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    from refnet import __version__  # here, for the package's own first lines import half the house

    nodes = [{**asdict(node), "params": dict(node.params), "attrs": dict(node.attrs)} for node in net.graph.nodes]
    return {
        "format": INTEGER_FORMAT,
        "refnet": __version__,
        "recipe": asdict(net.graph.recipe),
        "kernels": net.kernels,
        "layout": layout,
        "storage": form,
        "origin": dict(origin),
        "graph": nodes,
        "returns": list(net.graph.outputs),
    }


def _bare(y: Any) -> Array:
    return y.values if isinstance(y, QuantisedTensor) else np.asarray(y)


def _laid(y: Array, layout: str) -> Array:
    return y.transpose(0, 2, 3, 1) if layout == "nhwc" and y.ndim == 4 else y


def _tensor(out: ArrayWriter, net: QuantisedNetwork, name: str, y: Array, layout: str) -> dict[str, Any]:
    q = net.quantised.get(name)
    key = {"key": net.keys[name]} if name in net.keys else {}  # the file's own name of the tensor
    return out.add("tensors", name, _laid(y, layout)) | ({} if q is None else _said(q)) | key


def _said(q: Quantisation) -> dict[str, Any]:
    """What integers stand for; a float32 is written as the float64 that it is."""
    scale, zero_point = q.single()
    return {"scale": float(scale), "zero_point": zero_point, "dtype": str(q.dtype)}


def _param(out: ArrayWriter, name: str, param: Any) -> dict[str, Any]:
    """Weights with what they stand for; scales are numbers of the manifest, and arrays besides where there are many."""
    if not isinstance(param, QuantisedTensor):
        return out.add("params", name, np.asarray(param))
    q = param.quantisation
    entry = out.add("params", name, param.values)
    out.add("params", f"{name}.scale", q.scale.reshape(-1))
    return entry | {
        "scale": q.scale.astype(float).tolist(),
        "zero_point": q.zero_point.tolist(),
        "axis": q.axis,
    }


def _constants(out: ArrayWriter, net: QuantisedNetwork) -> dict[str, Any]:
    found = {}
    for node in net.graph.nodes:
        w = net.params.get(f"{node.name}.w")
        inputs = [net.quantised.get(name) for name in node.inputs]
        other = net.params.get(f"{node.name}.y")
        inputs += [other.quantisation] if isinstance(other, QuantisedTensor) else []
        weights = w if isinstance(w, QuantisedTensor) else None
        made = constants(node.op, node.attrs, inputs, weights, net.quantised.get(node.name), net.kernels)
        for key, array in made.items():
            found[f"{node.name}.{key}"] = out.add("constants", f"{node.name}.{key}", array)
    return found


def _sums(net: QuantisedNetwork, node: Node, made: Mapping[str, Any]) -> Array | None:
    w, x = net.params.get(f"{node.name}.w"), made.get(node.inputs[0])
    if node.op not in SUMMED or not isinstance(w, QuantisedTensor) or not isinstance(x, QuantisedTensor):
        return None
    return exact_sums(node.op, node.attrs, x, w, net.params.get(f"{node.name}.b"), net.kernels)


# ---------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class IntegerPack:
    """A pack of integers on disk.

    Attributes
    ----------
    path : of the folder
    manifest : its entries
    net : the network that made it, in the kernels that it was run with
    """

    path: Path
    manifest: Mapping[str, Any]
    net: QuantisedNetwork

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that are stored, the input first."""
        return tuple(self.manifest["tensors"])

    def tensor(self, name: str) -> Array:
        """The integers of one tensor, (N, C, H, W)."""
        return self._read("tensors", name)

    def accumulators(self, name: str) -> Array:
        """The sums of a node before they are rescaled, (N, C, H, W)."""
        return self._read("accumulators", name)

    def constant(self, name: str) -> Array:
        """A multiplier, shift or clip, by 'node.multiplier'."""
        return self._read("constants", name)

    def _read(self, kind: str, name: str) -> Array:
        entries = self.manifest[kind]
        if name not in entries:
            raise RequestError(f"{self.path}: stores no {kind} of {name!r}")
        array = read_stored(self.path, self.manifest["storage"], name, entries[name])
        first = self.manifest["layout"] == "nhwc" and array.ndim == 4 and kind != "constants"
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if first else array


def is_integer_pack(path: str | Path) -> bool:
    """Whether a folder is a pack of integers, by the first entry of its manifest."""
    file = Path(path) / MANIFEST
    if not file.is_file():
        return False
    with open(file, "rb") as stream:
        return f'"{INTEGER_FORMAT}"'.encode() in stream.read(200)


def read_integer_pack(path: str | Path) -> IntegerPack:
    """Open a pack of integers.

    Parameters
    ----------
    path : of the folder

    Raises
    ------
    FormatError
        in one line that names the file: no manifest, of another version, or what no network is.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import refnet
    >>> x = refnet.probe(refnet.load().graph)[1:]
    >>> with TemporaryDirectory() as folder:
    ...     write_integer_pack(refnet.quantise(refnet.load(), [x]), x, f"{folder}/pack", only="head.l*")
    ...     read_integer_pack(f"{folder}/pack").names
    ('input', 'head.logits')
    """
    path = Path(path)
    file = path / MANIFEST
    try:
        entries = manifest_object(path)
        if entries.get("format") != INTEGER_FORMAT:
            raise FormatError(f"is of the format {str(entries.get('format'))[:60]!r}; this is read: {INTEGER_FORMAT!r}")
        if entries["storage"] == "c":
            raise FormatError("this pack is C source, to be compiled, not read: write it again in another format")
        for key, known in (("storage", INTEGER_FORMATS), ("layout", LAYOUTS)):
            if entries.get(key) not in known:
                raise FormatError(f"{key} is {str(entries.get(key))[:60]!r}; it is one of {', '.join(known)}")
        graph = check_growth(graph_of(entries, "manifest"))
        files = PackFiles(path)
        for kind in ("params", "tensors", "constants", "accumulators"):
            for name, entry in json_field(entries, kind, dict, "manifest").items():
                files.path(json_field(entry, "file", str, name))
        params = {name: _held(path, entries["storage"], name, entries["params"][name]) for name in graph.params()}
        for name, shape in graph.params().items():
            if (found := _bare(params[name]).shape) != shape:
                raise FormatError(f"{name} has shape {found}, in the graph it has {shape}")
        quantised = {
            name: Quantisation(entry["scale"], entry["zero_point"], None, entry["dtype"])
            for name, entry in entries["quantised"].items()
        }
        return IntegerPack(path, entries, QuantisedNetwork(graph, params, quantised, entries["kernels"]))
    except OSError as error:
        raise FormatError(f"{file}: cannot be read ({error.strerror or error}): no golden pack") from error
    except RefnetError as error:
        raise FormatError(f"{file}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"{file}: not as a pack of integers is ({' '.join(str(error).split())[:200]})") from None


def _held(path: Path, form: str, name: str, entry: dict[str, Any]) -> Any:
    array = read_stored(path, form, name, entry)
    if "scale" not in entry:
        return array
    zero = np.array(entry["zero_point"], np.int64)
    return QuantisedTensor(array, Quantisation(entry["scale"], zero, entry["axis"], entry["dtype"]))
