"""The configuration of a Keras model, which is JSON, as a structure: one operation for each call of a layer.

An operation is called by the layer's class and has the layer's configuration as its attributes. Where a layer is called
on numbers too, 'arguments' are among them, as `structure.Operation` says; 'keywords' holds whatever else it is called
with. Keras 2 and 3 spell the same things differently, and both are read. Input layers are the inputs. Nothing is made
of a configuration: a Lambda layer is a name and a text.

A model in the place of a layer, to any depth, is written out wherever it is called: its layers are called by their
path, 'backbone/conv1', and in what they make a second call of the model is told apart: 'backbone:1/conv1'.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Operation, Structure

__all__ = ["KerasLayer", "KerasModel", "every_layer", "keras_model", "structure"]

_MOST_LAYERS = 20_000
_LONGEST = 1000  # letters of a path: each layer has one
_CONSTANT = "_CONSTANT_VALUE"  # what Keras 2 calls the layer that makes a number
_FACTORS = ("", "x", "y", "x1", "x2")  # what numbers are called that arithmetic is done with
_ARRAYS = ("__tensor__", "__numpy__")  # and Keras 3 the class of an array of numbers


class KerasLayer(NamedTuple):
    """A layer of a configuration.

    Attributes
    ----------
    kind : its class
    name : its own
    path : the names of the models that it is in and its own, with slashes between them
    config : its configuration
    calls : what it is called on, in its vendor's words; nothing in a sequential model
    inner : of a model in the place of a layer, that model
    """

    kind: str
    name: str
    path: str
    config: Mapping[str, Any]
    calls: tuple[Any, ...]
    inner: KerasModel | None = None


class KerasModel(NamedTuple):
    """The layers of a model, and the tensors that it is given and returns.

    Attributes
    ----------
    inputs : names of tensors, and their shapes where they are told
    outputs : names of tensors; of a sequential model nothing: what its last layer makes
    """

    layers: tuple[KerasLayer, ...]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    is_sequential: bool


def keras_model(config: Mapping[str, Any]) -> KerasModel:
    """The model that a configuration describes.

    Parameters
    ----------
    config : config.json of a .keras file, or the attribute model_config of an .h5 file, parsed by `json_text`

    Raises
    ------
    FormatError
        if it is no configuration of a functional or sequential model.
    """
    kind, layers = config.get("class_name"), _config_of(config)
    if not _is_model(layers):
        raise FormatError(f"its configuration is of {shown(kind)}: only functional and sequential models list layers")
    return _model(str(kind), layers, "", 0)


def structure(model: KerasModel, producer: str) -> Structure:
    """How the layers of a model are called, models in the place of layers written out.

    Parameters
    ----------
    producer : what wrote the file

    Raises
    ------
    FormatError
        if the calls do not fit each other.
    """
    inlined = _Inlined()
    outputs = inlined.add(model, "")
    operations = [
        operation._replace(inputs=tuple(map(inlined.origin, operation.inputs))) for operation in inlined.operations
    ]
    return Structure(producer, _ordered(operations, model.inputs), model.inputs, tuple(map(inlined.origin, outputs)))


def every_layer(model: KerasModel) -> Iterator[KerasLayer]:
    """The layers of a model and of the models in it, which are among them, in order."""
    for layer in model.layers:
        yield layer
        if layer.inner is not None:
            yield from every_layer(layer.inner)


# ---------------------------------------------------------------------------------------------------- layers and models


def _config_of(layer: Mapping[str, Any]) -> Any:
    """The configuration of a layer; Keras before 2.2 had a sequential model be its list of layers."""
    config = layer.get("config")
    return {"layers": config} if isinstance(config, list) else config


def _is_model(config: Any) -> bool:
    return isinstance(config, dict) and isinstance(config.get("layers"), list) and bool(config["layers"])


def _model(kind: str, config: Mapping[str, Any], path: str, depth: int) -> KerasModel:
    if len(config["layers"]) > _MOST_LAYERS:
        raise FormatError(f"its configuration has more than {_MOST_LAYERS} layers: refused")
    layers = tuple(_layer(layer, path, depth) for layer in config["layers"])
    if kind == "Sequential":
        return _sequential(layers, config)
    inputs = {layer.name: _shape(layer.config) for layer in layers if layer.kind == "InputLayer"}
    if depth and "input_layers" in config:  # in the order in which it is called on them
        named = [_reference(entry) for entry in _references(config["input_layers"])]
        inputs = {name: inputs.get(name, ()) for name in named}
    outputs = tuple(_reference(entry) for entry in _references(config.get("output_layers")))
    return KerasModel(layers, inputs, outputs, is_sequential=False)


def _sequential(layers: tuple[KerasLayer, ...], config: Mapping[str, Any]) -> KerasModel:
    """Each layer reads the one before."""
    first = layers[0]
    if first.kind == "InputLayer":
        return KerasModel(layers[1:], {first.name: _shape(first.config)}, (), is_sequential=True)
    shape = _shape(first.config) or _sizes(config.get("build_input_shape"))
    if not shape and first.inner is not None:
        shape = next(iter(first.inner.inputs.values()), ())
    return KerasModel(layers, {f"{first.name}_input": shape}, (), is_sequential=True)


def _layer(layer: Any, path: str, depth: int) -> KerasLayer:
    """Class, name, configuration and calls of a layer, checked."""
    match layer:
        case {"class_name": str(kind), "config": dict() | list()}:
            config = _config_of(layer)
            name, calls = layer.get("name", config.get("name")), layer.get("inbound_nodes", [])
            if isinstance(name, str) and name and isinstance(calls, list):
                place = f"{path}/{name}" if path else name
                if len(place) > _LONGEST:
                    raise FormatError(f"its configuration has a layer with a name of {len(place)} letters: refused")
                inner = _model(kind, config, place, depth + 1) if _is_model(config) else None
                return KerasLayer(kind, name, place, config, tuple(calls), inner)
    raise FormatError("its configuration has a layer without a class, a name or a configuration: the file is damaged")


class _Inlined:
    """The operations of a model and, of every model in it, which tensor outside its inputs and outputs are."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.same: dict[str, str] = {}
        self.work = 0

    def origin(self, name: str) -> str:
        """The tensor that a name means: what makes it, or the network's input."""
        seen = set()
        while name in self.same:
            if name in seen:
                raise FormatError("its configuration has a model that reads its own output: refused")
            seen.add(name)
            name = self.same[name]
        return name

    def add(self, model: KerasModel, prefix: str) -> list[str]:
        """Add a model whose tensors have a prefix to their names; the names of what it returns."""
        if model.is_sequential:
            (before,) = model.inputs
            for layer in model.layers:
                self.call(layer, [[before, 0, 0]], prefix, 0, 0)
                before = layer.name
            return [prefix + before]
        asked = {reference for layer in model.layers for reference in _read(layer)} | {*model.outputs}
        for layer in model.layers:
            first = _first_call(layer, asked)
            for index, given in enumerate(_given(layer)):
                self.call(layer, given, prefix, index, index + first)
        return [prefix + name for name in model.outputs]

    def call(self, layer: KerasLayer, given: list[Any], prefix: str, index: int, number: int) -> None:
        """Add one call of a layer.

        Parameters
        ----------
        index, number : which of its calls it is, and as which its readers know it
        """
        self.work += 1 + (0 if layer.inner is None else len(layer.inner.layers))
        if self.work > _MOST_LAYERS:
            raise FormatError(f"its configuration calls more than {_MOST_LAYERS} layers: refused")
        operation = _operation(layer, given, prefix, _output(layer.name, number, 0))
        if layer.inner is None:
            self.operations.append(operation)
            return
        inside = f"{prefix}{layer.name}{f':{index}' if index else ''}/"
        if len(operation.inputs) != len(layer.inner.inputs):
            raise FormatError(
                f"its configuration calls {shown(layer.path)} on {len(operation.inputs)} tensors: it takes "
                f"{len(layer.inner.inputs)}"
            )
        self.same |= zip((inside + name for name in layer.inner.inputs), operation.inputs, strict=True)
        for place, made in enumerate(self.add(layer.inner, inside)):
            self.same[prefix + _output(layer.name, number, place)] = made


# -------------------------------------------------------------------------------------------------------------- calls


def _first_call(layer: KerasLayer, asked: Collection[str]) -> int:
    """The number that readers of a layer know its first call by.

    Keras 2 counts as the first call of a model the one by which it was made, unless that never happened.
    """
    if layer.inner is None or any(isinstance(call, dict) for call in layer.calls):
        return 0
    made = range(max(len(layer.inner.outputs), 1))
    return int(not any(_output(layer.name, 0, place) in asked for place in made))


def _read(layer: KerasLayer) -> Iterator[str]:
    """The tensors that the calls of a layer read."""
    for given in _given(layer):
        for entry in given:
            yield from _tensors(entry[1] if isinstance(entry, tuple) else entry)


def _given(layer: KerasLayer) -> Iterator[list[Any]]:
    """What a layer is called on each time; an input layer never is."""
    for call in () if layer.kind == "InputLayer" else layer.calls:
        if isinstance(call, dict):  # Keras 3: {"args": [...], "kwargs": {...}}
            yield [*_list(call.get("args", [])), *_items(call.get("kwargs", {}))]
        else:  # Keras 2: [[layer, call, tensor, {keyword: value}], ...]
            yield [part for entry in _references(call) for part in (entry, *_items(entry[3] if entry[3:] else {}))]


def _operation(layer: KerasLayer, given: list[Any], prefix: str, output: str) -> Operation:
    """An operation on what a layer is given: tensors, in lists or not, numbers, pairs (keyword, value)."""
    inputs: list[str] = []
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for entry in given:
        keyword, value = entry if isinstance(entry, tuple) else ("", entry)
        found, numbers = _tensors(value), _numbers(value)
        if found:
            inputs += [prefix + name for name in found]
            arguments += [None] * len(found)
        elif numbers is not None and keyword in _FACTORS:
            arguments.append(numbers)
        elif value is not None:
            keywords[keyword] = value
    attrs = {} if layer.inner is not None else dict(layer.config)
    if any(argument is not None for argument in arguments):
        attrs["arguments"] = arguments
    if keywords:
        attrs["keywords"] = keywords
    return Operation(layer.kind, tuple(inputs), (prefix + output,), _plain(attrs), layer.path)


def _numbers(value: Any) -> Any:
    """A number, or lists of numbers, that a layer is called on; None if it is neither."""
    if _is_constant(value):
        value = value[2]
    if isinstance(value, dict) and value.get("class_name") in _ARRAYS and isinstance(value.get("config"), dict):
        value = value["config"].get("value")
    if isinstance(value, list):
        return value if value and all(_numbers(inner) is not None for inner in value) else None
    return value if type(value) in (int, float) else None


def _is_constant(value: Any) -> bool:
    return isinstance(value, list) and 3 <= len(value) <= 4 and value[0] == _CONSTANT


def _tensors(value: Any) -> list[str]:
    """The tensors that an argument is, or that a list holds, in order."""
    if _is_constant(value):
        return []
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
