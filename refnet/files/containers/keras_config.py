"""The configuration of a Keras model, which is JSON, as a structure: one operation for each layer.

An operation is called by the layer's class and has the layer's configuration as its attributes. Where a layer is called
on numbers too, 'arguments' are among them, as `structure.Operation` says; 'keywords' holds whatever else it is called
with. Keras 2 and 3 spell the same things differently, and both are read. Input layers are the inputs. Nothing is made
of a configuration: a Lambda layer is a name and a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Operation, Structure

__all__ = ["parse", "structure"]

_MOST_LAYERS = 20_000


def structure(text: str, producer: str) -> Structure:
    """The structure that a configuration describes.

    Parameters
    ----------
    text : config.json of a .keras file, or the attribute model_config of an .h5 file
    producer : what wrote the file

    Raises
    ------
    FormatError
        if it is no configuration of a functional or sequential model.
    """
    model = parse(text, "the model's configuration")
    kind, config = model.get("class_name"), model.get("config")
    if isinstance(config, list):  # Keras before 2.2 had a sequential model be its list of layers
        config = {"layers": config}
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(layers, list) or not layers or len(layers) > _MOST_LAYERS:
        raise FormatError(f"its configuration is of {shown(kind)}: only functional and sequential models list layers")
    parsed = [_layer(layer) for layer in layers]
    if kind == "Sequential":
        return _sequential(parsed, config, producer)
    outputs = tuple(_reference(entry) for entry in _references(config.get("output_layers")))
    operations = [operation for layer in parsed for operation in _calls(layer)]
    inputs = {layer["name"]: _shape(layer["config"]) for layer in parsed if layer["class_name"] == "InputLayer"}
    return Structure(producer, _ordered(operations, inputs), inputs, outputs)


def parse(text: str, what: str) -> dict[str, Any]:
    """A JSON object of plain data.

    Raises
    ------
    FormatError : it is none
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is no JSON ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(found, dict):
        raise FormatError(f"{what} is no JSON object")
    return found


def _layer(layer: Any) -> dict[str, Any]:
    """Class, name, configuration and calls of a layer, checked."""
    match layer:
        case {"class_name": str(kind), "config": dict(config)}:
            name = layer.get("name", config.get("name"))
            calls = layer.get("inbound_nodes", [])
            if isinstance(name, str) and name and isinstance(calls, list):
                return {"class_name": kind, "name": name, "config": config, "calls": calls}
    raise FormatError("its configuration has a layer without a class, a name or a configuration: the file is damaged")


def _sequential(layers: list[dict[str, Any]], config: Mapping[str, Any], producer: str) -> Structure:
    """Each layer reads the one before."""
    first = layers[0]
    if first["class_name"] == "InputLayer":
        layers = layers[1:]
        source, shape = first["name"], _shape(first["config"])
    else:
        source = f"{first['name']}_input"
        shape = _shape(first["config"]) or _sizes(config.get("build_input_shape"))
    operations = []
    before = source
    for layer in layers:
        operations.append(_operation(layer, [[before, 0, 0]], layer["name"]))
        before = layer["name"]
    return Structure(producer, _ordered(operations, {source: shape}), {source: shape}, (before,))


def _calls(layer: dict[str, Any]) -> list[Operation]:
    """One operation for each time that a layer is called; an input layer never is."""
    if layer["class_name"] == "InputLayer":
        return []
    operations = []
    for index, call in enumerate(layer["calls"]):
        if isinstance(call, dict):  # Keras 3: {"args": [...], "kwargs": {...}}
            given = [*_list(call.get("args", [])), *_items(call.get("kwargs", {}))]
        else:  # Keras 2: [[layer, call, tensor, {keyword: value}], ...]
            given = [part for entry in _references(call) for part in (entry, *_items(entry[3] if entry[3:] else {}))]
        operations.append(_operation(layer, given, _output(layer["name"], index, 0)))
    return operations


def _operation(layer: dict[str, Any], given: list[Any], output: str) -> Operation:
    """An operation on what a layer is given: tensors, in lists or not, numbers, pairs (keyword, value)."""
    inputs: list[str] = []
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for entry in given:
        keyword, value = entry if isinstance(entry, tuple) else ("", entry)
        found = _tensors(value)
        if found:
            inputs += found
            arguments += [None] * len(found)
        elif type(value) in (int, float):
            arguments.append(value)
        elif value is not None:
            keywords[keyword] = value
    attrs = dict(layer["config"])
    if any(argument is not None for argument in arguments):
        attrs["arguments"] = arguments
    if keywords:
        attrs["keywords"] = keywords
    return Operation(layer["class_name"], tuple(inputs), (output,), _plain(attrs), layer["name"])


def _tensors(value: Any) -> list[str]:
    """The tensors that an argument is, or that a list holds, in order."""
    if _is_reference(value):
        return [_reference(value)]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        return [_reference(config.get("keras_history") if isinstance(config, dict) else None)]
    return [name for inner in value for name in _tensors(inner)] if isinstance(value, list) else []


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError("its configuration calls a layer with something else than a list of arguments")
    return value


def _items(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        raise FormatError("its configuration calls a layer with something else than names and values")
    return list(value.items())


def _references(value: Any) -> list[Any]:
    """Keras' lists of references, of which one alone may stand without the list around it."""
    if _is_reference(value):
        return [value]
    if isinstance(value, list) and value and all(isinstance(entry, list) for entry in value):
        return value
    raise FormatError("its configuration does not say which tensors a layer reads or the model returns")


def _is_reference(value: Any) -> bool:
    return isinstance(value, list) and 3 <= len(value) <= 4 and isinstance(value[0], str)


def _reference(value: Any) -> str:
    """The tensor that [layer, call, tensor] means."""
    match value:
        case [str(name), int(call), int(tensor), *_]:
            return _output(name, call, tensor)
    raise FormatError("its configuration refers to a tensor by something else than a layer and two numbers")


def _output(layer: str, call: int, tensor: int) -> str:
    return layer if call == tensor == 0 else f"{layer}:{call}:{tensor}"


def _shape(config: Mapping[str, Any]) -> tuple[int | None, ...]:
    return _sizes(config.get("batch_shape", config.get("batch_input_shape")))


def _sizes(value: Any) -> tuple[int | None, ...]:
    sizes = value if isinstance(value, list) else []
    if not all(size is None or (type(size) is int and 0 < size < 2**31) for size in sizes):
        raise FormatError("its configuration has an impossible shape of the input")
    return tuple(sizes)


def _ordered(operations: list[Operation], inputs: Mapping[str, Any]) -> tuple[Operation, ...]:
    """In order of execution, which the configuration's own order is, except in odd files."""
    made = {operation.outputs[0]: operation for operation in operations}
    if len(made) < len(operations) or made.keys() & inputs.keys():
        raise FormatError("its configuration has two layers of one name: refused")
    seen = set(inputs)
    for operation in operations:
        if not seen.issuperset(operation.inputs):
            break
        seen.update(operation.outputs)
    else:
        return tuple(operations)
    if missing := {name for operation in operations for name in operation.inputs} - made.keys() - inputs.keys():
        raise FormatError(f"its configuration refers to {shown(min(missing))}, which no layer makes")
    try:
        order = TopologicalSorter({name: operation.inputs for name, operation in made.items()}).static_order()
        return tuple(made[name] for name in order if name in made)
    except CycleError:
        raise FormatError("its configuration has a layer that reads its own output: refused") from None


def _plain(value: Any) -> Any:
    """The same with tuples for lists."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return tuple(_plain(inner) for inner in value) if isinstance(value, list) else value
