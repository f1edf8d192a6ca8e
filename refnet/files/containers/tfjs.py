"""TensorFlow.js models: a folder with model.json and the files of numbers that it lists.

A layers model has Keras' configuration, a graph model a GraphDef, both as JSON. The manifest names arrays in groups;
a group's files, one behind the other, hold its arrays in order. Integers that stand for floats (uint8, uint16 with
scale and min) become the float32 that TensorFlow.js makes of them: float32(integer * scale + min), in float64. Weights
of float16 stay as they are. Everything is checked: sizes against files, names, kinds; files must lie beside model.json.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers import json_text
from refnet.files.containers.archive import opened, shown
from refnet.files.containers.beside import Beside, inside
from refnet.files.containers.graphdef import GraphDefNode, by_name, ends, flatten
from refnet.files.containers.keras_config import every_layer, keras_model, structure
from refnet.files.containers.keras_weights import owners
from refnet.files.containers.structure import Contents, IntegerScale, Structure
from refnet.files.containers.tensorflow_values import Budget, array_of, checked_size

__all__ = ["MODEL", "read"]

Array = npt.NDArray[Any]
Json = Mapping[str, Any]

MODEL = "model.json"
_DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "|u1", "uint16": "<u2", "bool": "|b1"}
_SHARED = 16 << 20  # bytes that arrays may take beyond what the files are worth
_WIDENED = 4  # a byte becomes a float32
_MOST_FILES = 10_000


def read(path: str | os.PathLike[str]) -> Contents:
    """Read every array of a model, and how they are used.

    Parameters
    ----------
    path : of model.json, or of its folder

    Returns
    -------
    contents : of the kind 'tfjs-layers' or 'tfjs-graph'

    Raises
    ------
    FormatError
        if it is no such model, is damaged, or holds what this module refuses. One line: the file, what is wrong.
    """
    where = Path(path)
    where = inside(where, MODEL)
    with opened(where) as file:
        model = json_text.parse_json(file.read(), MODEL)
        topology = model.get("modelTopology")
        if not isinstance(topology, dict):
            raise FormatError("no model of TensorFlow.js: model.json has no modelTopology")
        manifest = _Manifest(model, Beside(where.parent))
        arrays = manifest.arrays()
        if isinstance(topology.get("node"), list):
            return manifest.described(_graph(model, topology, arrays))
        return _layers(model, topology, manifest, arrays)


class _Manifest:
    """The arrays that a model lists, and the files that hold them."""

    def __init__(self, model: Json, files: Beside) -> None:
        groups = model.get("weightsManifest")
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
            raise FormatError("model.json has no weightsManifest: save the model with its weights")
        self.groups, self.files = groups, files
        self.quantised: dict[str, tuple[str, Json]] = {}
        self.count = 0

    def described(self, contents: Contents) -> Contents:
        """The contents, with what is known of the integers that some arrays were."""
        assert contents.structure is not None
        held = {name: found for name, found in self.quantised.items() if name in contents.arrays}
        scales = {name: _scale(quantised) for name, (_, quantised) in held.items()}
        stored = {name: dtype for name, (dtype, _) in held.items()}
        return contents._replace(structure=contents.structure._replace(scales=scales), stored=stored)

    def arrays(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for group in self.groups:
            weights, paths = group.get("weights"), group.get("paths")
            if not isinstance(weights, list) or not isinstance(paths, list):
                raise FormatError("its weightsManifest has a group without weights or paths: damaged")
            body = memoryview(b"".join(self._files(paths)))
            budget, at = Budget(_WIDENED * len(body) + _SHARED), 0
            for weight in weights:
                name, shape, dtype, quantised = _entry(weight)
                size = checked_size(shape, dtype, name)
                if at + size > len(body):
                    raise FormatError(f"its files end before {shown(name)} does: fetch them again")
                budget.spend(size * (_WIDENED if quantised else 1))
                if name in found:
                    raise FormatError(f"holds {shown(name)} twice: refused, one would hide the other")
                array = array_of(body[at : at + size], dtype, shape, name)
                if quantised is not None:
                    self.quantised[name] = (str(array.dtype), quantised)
                    array = _unpacked(array, quantised, name)
                found[name] = array
                at += size
            if at != len(body):
                raise FormatError(f"its files hold {len(body)} bytes, its manifest lists {at}: not of one model")
        return found

    def _files(self, paths: list[Any]) -> Iterator[bytes]:
        for path in paths:
            self.count += 1
            if not isinstance(path, str) or self.count > _MOST_FILES:
                raise FormatError("its weightsManifest lists files by something else than names, or too many: damaged")
            size = self.files.size(path, "weights")
            yield self.files.read(path, 0, size, "weights")


def _entry(weight: Any) -> tuple[str, tuple[int, ...], str, Json | None]:
    """Name, shape, dtype in the file and quantisation of an array, checked."""
    match weight:
        case {"name": str(name), "shape": list(shape), "dtype": str(kind)} if name:
            quantised = weight.get("quantization")
            if not all(type(side) is int and 0 <= side < 2**31 for side in shape):
                raise FormatError(f"{shown(name)} has an impossible shape: damaged")
            if quantised is not None:
                if not isinstance(quantised, dict):
                    raise FormatError(f"{shown(name)} is quantised by something else than numbers: damaged")
                kind = str(quantised.get("dtype"))
                quantised = None if kind == "float16" else quantised
            if kind not in _DTYPES or (quantised is not None and kind not in ("uint8", "uint16")):
                raise FormatError(f"{shown(name)} is of type {shown(kind)}: only numbers are read")
            return name, tuple(shape), _DTYPES[kind], quantised
    raise FormatError("its weightsManifest has an entry without a name, a shape or a type: damaged")


def _unpacked(array: Array, quantised: Json, name: str) -> Array:
    """Integers that stand for floats as float32."""
    scale, least = quantised.get("scale"), quantised.get("min")
    if not (_is_number(scale) and _is_number(least)) or quantised.get("original_dtype", "float32") != "float32":
        raise FormatError(f"{shown(name)} is quantised without a scale and a least value, or to integers: damaged")
    with np.errstate(over="ignore"):
        return np.asarray(array * np.float64(scale) + np.float64(least), np.float32)


def _scale(quantised: Json) -> IntegerScale:
    """What the integers stand for, as near as a zero point says it."""
    scale = np.float64(quantised["scale"])
    with np.errstate(all="ignore"):
        point = np.nan_to_num(np.clip(-np.float64(quantised["min"]) / scale, -(2.0**62), 2.0**62))
    return IntegerScale(np.array([scale]), np.array([np.rint(point)], np.int64), 0)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _layers(model: Json, topology: Json, manifest: _Manifest, arrays: dict[str, Array]) -> Contents:
    """A layers model: Keras' configuration, alone or with what wrote it around it."""
    config = topology.get("model_config", topology)
    if not isinstance(config, dict):
        raise FormatError("its modelTopology is neither a graph nor Keras' configuration")
    version = topology.get("keras_version", config.get("keras_version", ""))
    producer = f"TensorFlow.js layers model, keras {version}" if _is_word(version) else "TensorFlow.js layers model"
    layers = keras_model(config)
    contents = manifest.described(Contents("tfjs-layers", arrays, structure(layers, producer)))
    names = owners(arrays, every_layer(layers))
    names = {weight: f"{path}/{weight.rpartition('/')[2]}" for weight, path in names.items()}
    return _renamed(contents, names)


def _renamed(contents: Contents, names: Mapping[str, str]) -> Contents:
    """Arrays under other names: behind those of the models that their layers are in."""
    arrays = {names.get(name, name): array for name, array in contents.arrays.items()}
    if len(arrays) < len(contents.arrays):
        raise FormatError("its weightsManifest lists two arrays that are the same weight of a layer: damaged")
    assert contents.structure is not None
    scales = {names.get(name, name): scale for name, scale in contents.structure.scales.items()}
    stored = {names.get(name, name): dtype for name, dtype in contents.stored.items()}
    return contents._replace(arrays=arrays, stored=stored, structure=contents.structure._replace(scales=scales))


def _is_word(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) < 40 and text.isprintable()


# --------------------------------------------------------------------------------------------------------------- graphs


def _graph(model: Json, topology: Json, arrays: dict[str, Array]) -> Contents:
    """A graph model; its constants lie in the manifest."""
    library = topology.get("library")
    if isinstance(library, dict) and library.get("function"):
        raise FormatError("calls functions of its own: convert the model with them written out")
    nodes = by_name(map(_node, topology["node"]))

    def constant(node: GraphDefNode) -> Array:
        if node.name not in arrays:
            raise FormatError(f"{shown(node.name)} is missing from the weightsManifest: the model is incomplete")
        return arrays[node.name]

    wanted = _outputs(model) or ends(nodes)
    if not wanted:
        raise FormatError("a graph without an output that follows from an input: no network")
    flat = flatten(nodes, wanted, functions={}, constant=constant, variable=constant)
    shapes = {name: _signed(model).get(name, shape) for name, shape in flat.inputs.items()}
    converter = model.get("convertedBy")
    producer = f"TensorFlow.js graph model, {converter}" if _is_word(converter) else "TensorFlow.js graph model"
    return Contents("tfjs-graph", flat.arrays, Structure(producer, flat.operations, shapes, flat.outputs))


def _node(node: Any) -> GraphDefNode:
    match node:
        case {"name": str(name), "op": str(op)}:
            inputs, attrs = node.get("input", []), node.get("attr", {})
            if isinstance(inputs, list) and all(isinstance(each, str) for each in inputs) and isinstance(attrs, dict):
                found = {key: _attribute(value, "list") for key, value in attrs.items() if not key.startswith("_")}
                return GraphDefNode(name, op, tuple(inputs), found)
    raise FormatError("its graph has a node without a name or an operation: damaged")


def _attribute(value: Any, several: str = "") -> Any:
    """An AttrValue as JSON has it: 64-bit integers are texts, bytes are base64, types are names; or a list of them."""
    if not isinstance(value, dict) or len(value) > 1:
        raise FormatError("its graph has an attribute that is no single value: damaged")
    for kind, inner in value.items():
        match kind:
            case "i":
                return _integer(inner)
            case "s":
                return _word(inner)
            case "f" if _is_number(inner):
                return float(inner)
            case "b" | "type":
                return inner
            case "shape":
                return _shape(inner)
            case "list" if several and isinstance(inner, dict):
                return tuple(_attribute({key: each}) for key, listed in inner.items() for each in _listed(listed))
    return None  # a tensor, whose numbers lie in the manifest, or what no operation of refnet's reads


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError("its graph has an attribute that is no list: damaged")
    return value


def _integer(value: Any) -> int:
    if type(value) is int and abs(value) < 2**63:
        return value
    if isinstance(value, str) and len(value) < 21 and value.removeprefix("-").isdecimal() and value.isascii():
        return int(value)
    raise FormatError("its graph has an attribute that is no whole number: damaged")


def _word(value: Any) -> str:
    try:
        return base64.b64decode(value[:2000], validate=True).decode("utf-8")
    except (TypeError, ValueError):
        raise FormatError("its graph has a word that is no base64: damaged") from None


def _shape(value: Any) -> tuple[int | None, ...] | None:
    if not isinstance(value, dict) or value.get("unknownRank"):
        return None
    sides = [_integer(side.get("size", 0)) for side in _listed(value.get("dim", [])) if isinstance(side, dict)]
    return tuple(side if side >= 0 else None for side in sides)


def _signed(model: Json) -> dict[str, tuple[int | None, ...]]:
    """The shapes that the signature gives to the inputs."""
    found = {}
    for info in _infos(model, "inputs"):
        shape = _shape(info.get("tensorShape"))
        if shape:
            found[str(info.get("name")).partition(":")[0]] = shape
    return found


def _outputs(model: Json) -> tuple[str, ...]:
    return tuple(str(info.get("name")) for info in _infos(model, "outputs"))


def _infos(model: Json, side: str) -> list[Json]:
    defined = model.get("userDefinedMetadata")
    signature = model.get("signature") or (defined.get("signature") if isinstance(defined, dict) else None)
    entries = signature.get(side) if isinstance(signature, dict) else None
    return [info for info in entries.values() if isinstance(info, dict)] if isinstance(entries, dict) else []
