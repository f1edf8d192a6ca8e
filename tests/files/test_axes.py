"""Arrays under nobody's names whose filters have other axes than any vendor's: told by the shapes of all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from refnet import Graph, Node, build, random_params
from refnet.files.checkpoint import identify
from refnet.files.identify.axes import Filters, fitting_entries, likeliest_entries
from refnet.files.write import write_weights
from refnet.networks.rewrite import fold_batch_norm
from refnet.verification.verify import verify

Array = npt.NDArray[Any]

_WORDS = {"w": "kernel", "b": "bias", "gamma": "scale", "beta": "shift", "mean": "avg", "var": "variance"}
_NUMBERED = dict.fromkeys(_WORDS, "arr")


def bare(array: Array) -> Array:
    return array.reshape([length for length in array.shape if length > 1])


def torch(node: Node, w: Array) -> Array:
    match node.op:
        case "depthwise_conv2d":
            return w[:, None]
        case "pointwise_conv2d":
            return w[:, :, None, None]
    return w


def tensorflow(node: Node, w: Array) -> Array:
    match node.op:
        case "depthwise_conv2d":
            return w.transpose(1, 2, 0)[..., None]
        case "pointwise_conv2d":
            return w.T[None, None]
    return w.transpose(2, 3, 1, 0)


def tflite(node: Node, w: Array) -> Array:
    match node.op:
        case "depthwise_conv2d":
            return w.transpose(1, 2, 0)[None]
        case "pointwise_conv2d":
            return w[:, None, None]
    return w.transpose(0, 2, 3, 1)


FORMS: dict[str, Callable[[Node, Array], Array]] = {
    "PyTorch's without axes of one": lambda node, w: bare(torch(node, w)),
    "PyTorch's with one more in front": lambda node, w: bare(torch(node, w))[None],
    "PyTorch's, and matrices turned": lambda node, w: w.T if w.ndim == 2 else torch(node, w),
    "PyTorch's, and the classifier turned": lambda node, w: w.T if "logits" in node.name else bare(torch(node, w)),
    "PyTorch's, and the classifier a convolution": lambda node, w: torch(node, w) if "head" in node.name else w,
    "TensorFlow's without axes of one": lambda node, w: bare(tensorflow(node, w)),
    "TensorFlow's, and the classifier turned": lambda node, w: w if "logits" in node.name else tensorflow(node, w),
    "TFLite's": tflite,
    "TFLite's without axes of one": lambda node, w: bare(tflite(node, w)),
    "rows of a matrix": lambda node, w: w.reshape(len(w), -1),
    "pointwise ones in one axis": lambda node, w: w.ravel() if w.ndim == 2 else torch(node, w),
    "all in one axis": lambda node, w: w.ravel(),
}
_UNSURE = {
    "TensorFlow's in one axis": lambda node, w: tensorflow(node, w).ravel(),
    "TFLite's in one axis": lambda node, w: tflite(node, w).ravel(),
    "columns of a matrix": lambda node, w: w.reshape(len(w), -1).T,
}


def saved(path: Path, graph: Graph, params: dict[str, Array], form: Callable[[Node, Array], Array], words: Any) -> Path:
    """A network's arrays in the order of its layers, under nobody's names."""
    made: dict[str, Array] = {}
    for at, node in enumerate(graph.nodes):
        for slot in node.params:
            array = params[f"{node.name}.{slot}"]
            name = f"arr_{len(made)}" if words is _NUMBERED else f"layer{at:03d}_{words[slot]}"
            made[name] = form(node, array) if slot == "w" else array[:, None, None]
    np.savez(path, **made)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("model", "width", "fold", "words"),
    [
        ("timm/mobilenetv1_100", 0.25, False, _WORDS),
        ("torchvision/mobilenet_v2", 0.35, True, _NUMBERED),
        ("torchvision/mnasnet0_5", 1.0, False, _WORDS),
        ("timm/semnasnet_100", 0.5, True, _WORDS),
        ("torchvision/mobilenet_v3_small", 0.35, False, _NUMBERED),
    ],
)
def test_filters_with_other_axes_are_those_of_their_network(tmp_path, model, width, fold, form, words):
    graph = build(model, width=width, classes=10)
    params = random_params(graph)
    if fold:
        graph, params = fold_batch_norm(graph, params)
    found = identify(saved(tmp_path / "port.npz", graph, params, FORMS[form], words))
    assert found.params.keys() == params.keys()
    assert all(np.array_equal(array, params[name]) for name, array in found.params.items())


def small() -> tuple[Graph, dict[str, Array]]:
    graph = build("torchvision/mobilenet_v2", width=0.1, classes=10, size=(32, 32))
    return graph, random_params(graph)


@pytest.mark.parametrize(("form", "count"), [("all in one axis", 53), ("pointwise ones in one axis", 0)])
def test_filters_of_which_no_shape_tells_the_order_of_axes_are_noted(tmp_path, form, count):
    found = identify(saved(tmp_path / "port.npz", *small(), FORMS[form], _WORDS))
    assert sum(note.total for note in found.notes if note.kind == "axes") == count


@pytest.mark.parametrize(("form", "turned"), list(zip(_UNSURE, (False, True, True), strict=True)))
@pytest.mark.parametrize("wrong", [False, True])
def test_the_file_beside_it_tells_the_order_of_axes_that_no_shape_tells(tmp_path, form, turned, wrong):
    graph, params = small()
    own = params | {"block3.expand.w": params["block3.expand.w"] * np.float32(1.5)} if wrong else params
    port = saved(tmp_path / "port.npz", graph, own, _UNSURE[form], _WORDS)
    write_weights(graph, params, tmp_path / "vendor.npz")
    pair = (port, tmp_path / "vendor.npz")
    found = verify(*(pair[::-1] if turned else pair), size=(32, 32))
    assert [(value.name, value.kind) for value in found.faults] == [("block3.expand.w", "scaled")] * wrong
    assert found.holds is not wrong


def test_filters_of_many_kinds_that_fit_several_orders_take_one_look_at_each():
    """Of all orders of forty kinds together there are more than anyone waits for."""
    array, shape = np.ones(12, np.float32), (3, 4)
    kinds = [
        Filters("pointwise_conv2d", [fitting_entries(array, "pointwise_conv2d", shape, f"w{n}")]) for n in range(40)
    ]
    assert all(len(one.fits[0]) == 2 for one in kinds)
    torch, *others = likeliest_entries(kinds)
    assert [entry.key for entry in torch] == [f"w{n}" for n in range(40)]
    assert {entry.axes for entry in torch} == {(0, 1)}
    assert [{entry.axes for entry in each} for each in others] == [{(1, 0)}]
