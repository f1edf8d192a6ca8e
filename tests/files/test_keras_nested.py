"""Keras models in the place of layers: written out under their paths, whoever wrote them and however often called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refnet.errors import FormatError
from refnet.files import containers
from refnet.files.containers.json_text import parse_json
from refnet.files.containers.keras_config import every_layer, keras_model, structure
from refnet.files.containers.keras_weights import layer_groups, owners
from refnet.files.containers.structure import Structure

h5py = pytest.importorskip("h5py")

Json = dict[str, Any]


def layer(name: str, calls: Any = (), kind: str = "ReLU", **config: Any) -> Json:
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}


def source(name: str) -> Json:
    return layer(name, [], "InputLayer", batch_shape=[None, 8, 8, 3])


def functional(
    name: str, *layers: Json, inputs: Any = ("x", 0, 0), outputs: Any = ("b", 0, 0), calls: Any = ()
) -> Json:
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Functional", "name": name, "config": config, "inbound_nodes": calls}


def sequential(name: str, *layers: Json, calls: Any = ()) -> Json:
    return {"class_name": "Sequential", "config": {"name": name, "layers": layers}, "inbound_nodes": calls}


def keras2(*names: str, call: int = 0, tensor: int = 0) -> Any:
    return [[[name, call, tensor, {}] for name in names]]


def keras3(*names: str, call: int = 0, tensor: int = 0) -> Any:
    made = [
        {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": [name, call, tensor]}}
        for name in names
    ]
    return [{"args": [made[0] if len(made) == 1 else made], "kwargs": {"mask": None}}]


def structured(model: Json) -> Structure:
    return structure(keras_model(parse_json(json.dumps(model).encode(), "the configuration")), "keras")


def calls(found: Structure) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(operation.name, operation.inputs, operation.outputs) for operation in found.operations]


BLOCK = (source("x"), layer("a", keras2("x")), layer("b", keras2("a")))


def test_models_in_models_are_written_out_under_their_paths() -> None:
    inner = sequential("features", functional("backbone", *BLOCK), layer("pool"))
    found = structured(sequential("whole", inner, sequential("head", layer("dense"))))
    assert list(found.inputs.values()) == [(None, 8, 8, 3)]
    (given,) = found.inputs
    assert calls(found) == [
        ("features/backbone/a", (given,), ("features/backbone/a",)),
        ("features/backbone/b", ("features/backbone/a",), ("features/backbone/b",)),
        ("features/pool", ("features/backbone/b",), ("features/pool",)),
        ("head/dense", ("features/pool",), ("head/dense",)),
    ]
    assert found.outputs == ("head/dense",)


@pytest.mark.parametrize(("call", "first"), [(keras2, 1), (keras2, 0), (keras3, 0)], ids=["2", "2 from 0", "3"])
def test_each_call_of_a_model_has_tensors_of_its_own_and_the_same_layers(call: Any, first: int) -> None:
    block = functional("block", *BLOCK, calls=call("in") + call("block", call=first))
    found = structured(functional("m", source("in"), block, inputs=["in", 0, 0], outputs=["block", first + 1, 0]))
    assert calls(found) == [
        ("block/a", ("in",), ("block/a",)),
        ("block/b", ("block/a",), ("block/b",)),
        ("block/a", ("block/b",), ("block:1/a",)),
        ("block/b", ("block:1/a",), ("block:1/b",)),
    ]
    assert found.outputs == ("block:1/b",)


def test_a_model_takes_its_inputs_in_its_order_and_returns_several_tensors() -> None:
    add = layer("add", keras2("x", "y"), "Add")
    two = functional(
        "two", source("y"), source("x"), add, layer("b", keras2("add")),
        inputs=[["x", 0, 0], ["y", 0, 0]], outputs=[["b", 0, 0], ["add", 0, 0]], calls=keras2("p", "q"),
    )  # fmt: skip
    last = layer("last", keras2("two", call=1, tensor=1))
    found = structured(
        functional("m", source("in"), layer("p", keras2("in")), layer("q", keras2("p")), two, last,
                   inputs=["in", 0, 0], outputs=["last", 0, 0])
    )  # fmt: skip
    made = {name: inputs for name, inputs, _ in calls(found)}
    assert made["two/add"] == ("p", "q")
    assert made["last"] == ("two/add",)


def test_a_layer_of_a_model_may_be_called_as_one_outside() -> None:
    block = functional("block", *BLOCK, calls=keras2("a"))
    found = structured(functional("m", source("x"), layer("a", keras2("x")), block, outputs=["block", 1, 0]))
    assert [name for name, _, _ in calls(found)] == ["a", "block/a", "block/b"]


def test_numbers_before_and_in_lists_are_arguments() -> None:
    constant = [[["_CONSTANT_VALUE", -1, 2, {"y": ["x", 0, 0]}]]]
    vector = [{"args": [keras3("b")[0]["args"][0], {"class_name": "__numpy__", "config": {"value": [1, 2.5]}}]}]
    found = structured(functional("m", source("x"), layer("b", constant[0]), layer("c", vector), outputs=["c", 0, 0]))
    assert [operation.attrs["arguments"] for operation in found.operations] == [(2, None), (None, (1, 2.5))]


@pytest.mark.parametrize("depth", [1, 5, 29])
def test_models_are_read_to_any_depth(tmp_path: Path, depth: int) -> None:
    model = layer("conv", kind="Conv2D", batch_input_shape=[None, 8, 8, 3])
    for level in range(depth):
        model = sequential(f"m{level}", model)
    group = "layers/sequential/" * (depth - 1) + "layers/conv2d"
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(model)
        file.create_dataset(f"model_weights/{group}/vars/0", data=np.ones((1, 1, 3, 2), np.float32))
    contents = containers.read(tmp_path / "m.h5")
    assert contents.structure is not None
    (operation,) = contents.structure.operations
    assert list(contents.arrays) == [f"{operation.name}/kernel"]
    assert operation.name.count("/") == depth - 1


def swollen(depth: int, inner: Json) -> Json:
    """A model that calls a model twice, which calls a model twice, ..."""
    for level in range(depth):
        block = inner | {"inbound_nodes": keras3("x") + keras3("b", call=0), "name": "b"}
        inner = functional(f"m{level}", source("x"), block, outputs=["b", 1, 0])
    return inner


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (swollen(25, functional("b", source("x"), outputs=["x", 0, 0])), "calls more than 20000 layers"),
        (swollen(25, functional("b", *BLOCK)), "calls more than 20000 layers"),
        (
            functional("m", source("x"), functional("b", *BLOCK, calls=keras2("x", "x")), outputs=["b", 1, 0]),
            "calls 'b' on 2 tensors: it takes 1",
        ),
        (
            functional("m", source("x"), functional("b", *BLOCK, calls=keras2("b", call=1)), outputs=["b", 1, 0]),
            "reads its own output",
        ),
        (
            functional(
                "m", source("x"), functional("b", source("x"), outputs=["x", 0, 0], calls=keras2("b", call=1)),
                outputs=["b", 1, 0],
            ),
            "reads its own output",
        ),
        (functional("m", source("x"), layer("n" * 2000, keras2("x"))), "a name of 2000 letters"),
    ],
)  # fmt: skip
def test_models_that_are_not_as_they_should_be_are_refused(model: Json, why: str) -> None:
    with pytest.raises(FormatError, match=why) as error:
        structured(model)
    assert "\n" not in str(error.value)


# -------------------------------------------------------------------------------------------------------------- weights


NESTED = sequential(
    "whole",
    functional("one", source("x"), layer("conv", keras2("x"), "Conv2D"), layer("b", keras2("conv"), "Conv2D")),
    sequential("two", layer("conv", kind="Conv2D"), layer("expanded/conv", kind="DepthwiseConv2D")),
)


@pytest.mark.parametrize(
    ("weight", "path"),
    [
        ("b/kernel:0", "one/b"),
        ("one/conv/kernel", "one/conv"),
        ("whole/two/conv/kernel", "two/conv"),
        ("b_1/kernel:0", "one/b"),
        ("two/expanded/conv/depthwise_kernel:0", "two/expanded/conv"),
        ("expanded/conv/depthwise_kernel:0", "two/expanded/conv"),
        ("conv/kernel:0", None),
        ("other/kernel:0", None),
    ],
)
def test_a_weight_is_found_by_the_end_of_its_name(weight: str, path: str | None) -> None:
    model = keras_model(parse_json(json.dumps(NESTED).encode(), ""))
    assert owners([weight], every_layer(model)).get(weight) == path


def test_layers_of_one_class_are_numbered_in_each_model() -> None:
    model = keras_model(parse_json(json.dumps(NESTED).encode(), ""))
    assert {group: each.path for group, each in layer_groups(model).items()} == {
        "layers/functional": "one",
        "layers/functional/layers/input_layer": "one/x",
        "layers/functional/layers/conv2d": "one/conv",
        "layers/functional/layers/conv2d_1": "one/b",
        "layers/sequential": "two",
        "layers/sequential/layers/conv2d": "two/conv",
        "layers/sequential/layers/depthwise_conv2d": "two/expanded/conv",
    }
