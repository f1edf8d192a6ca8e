"""Arrays alone of a network of one's own, beside an export that tells its structure: read as the weights of that."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import FormatError, Graph, Network, Node, Recipe, build
from refnet.files.checkpoint import identify
from refnet.files.schemes import keras
from refnet.files.write import write_weights
from refnet.networks.random import random_params
from refnet.networks.rewrite import fold_batch_norm, fold_graph, unfold_graph
from refnet.verification.verify import verify

EPS = 1e-3
WINDOW = {"stride": (2, 2), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}
SLOTS = {"w": "weight", "b": "bias", "gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}


def own() -> Graph:
    """Three layers with batch norm, the second with a bias beside it, and two linear layers."""

    def norm(name, count):
        vectors = dict.fromkeys(("gamma", "beta", "mean", "var"), (count,))
        return Node(f"{name}.bn", "batch_norm", (name,), vectors, {"eps": EPS})

    nodes = (
        Node("one", "conv2d", ("input",), {"w": (6, 3, 3, 3)}, WINDOW),
        norm("one", 6),
        Node("one.act", "relu", ("one.bn",)),
        Node("two", "depthwise_conv2d", ("one.act",), {"w": (6, 3, 3), "b": (6,)}, WINDOW),
        norm("two", 6),
        Node("two.act", "relu", ("two.bn",)),
        Node("three", "pointwise_conv2d", ("two.act",), {"w": (8, 6)}),
        norm("three", 8),
        Node("pool", "avg_pool2d", ("three.bn",), {}, {"kernel": (2, 2), "stride": (1, 1), "pad": ((0, 0), (0, 0))}),
        Node("four", "pointwise_conv2d", ("pool",), {"w": (7, 8), "b": (7,)}),
        Node("four.act", "relu", ("four",)),
        Node("five", "pointwise_conv2d", ("four.act",), {"w": (4, 7), "b": (4,)}),
        Node("flat", "flatten", ("five",)),
    )
    return Graph(Recipe("", 1.0, (8, 8), 4), nodes)


@pytest.fixture
def files(tmp_path):
    """A state dict under names of its own, and an export that tells its structure, folded."""
    graph = own()
    params = random_params(graph)
    made = {}
    for name, array in params.items():
        node, slot = name.rsplit(".", 1)
        shape = (*array.shape, 1, 1) if node == "three" and slot == "w" else array.shape
        shape = (6, 1, 3, 3) if node == "two" and slot == "w" else shape
        made[f"net.{node.replace('.bn', 'n')}.{SLOTS[slot]}"] = array.reshape(shape)
    np.savez(tmp_path / "state.npz", **made)
    write_weights(graph, params, tmp_path / "export.npz", fold=True)
    return made, tmp_path / "state.npz", tmp_path / "export.npz"


def test_a_state_dict_of_nobodys_network_is_read_as_that_of_the_file_beside_it(files):
    _, state, export = files
    with pytest.raises(FormatError):
        identify(state)
    for pair in ((state, export), (export, state)):
        found = verify(*pair)
        assert found.holds
        assert (found.sides.original.path, found.needs) == (str(state), ("folded",))
        assert {norm.attrs["eps"] for norm in found.sides.original.graph.nodes if norm.op == "batch_norm"} == {EPS}


def test_what_is_wrong_with_it_is_said_of_its_array_alone(files):
    made, state, export = files
    np.savez(state, **{**made, "net.three.weight": made["net.three.weight"] * np.float32(1.5)})
    found = verify(state, export)
    assert [(value.name, value.kind) for value in found.faults] == [("three.w", "scaled")]


def test_arrays_of_another_network_stay_refused_beside_it(files):
    made, state, export = files
    np.savez(state, **{**made, "net.three.weight": np.ones((9, 6, 1, 1), np.float32)})
    with pytest.raises(FormatError, match="no weight has a name and shape"):
        verify(state, export)


def test_why_the_file_beside_it_is_no_network_is_said_too(files):
    _, state, export = files
    np.savez(export, **{**np.load(export), "one.w": np.ones((5, 3, 3, 3), np.float32)})
    with pytest.raises(FormatError, match=r"no weight has a name and shape.*export\.npz: 'one\.w' has shape"):
        verify(state, export)


def test_an_unfolded_graph_computes_what_the_folded_one_did():
    graph = own()
    params = random_params(graph)
    folded, arrays = fold_batch_norm(graph, params)
    back = unfold_graph(folded, {"one": False, "two": True, "three": False}, EPS)
    assert back.params() == graph.params()
    assert fold_graph(back) == folded
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8))
    y, wanted = (Network(*each).astype(np.float64)(x) for each in ((back, params), (folded, arrays)))
    assert np.allclose(y, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_state_dict_whose_names_are_sorted_is_told_by_what_its_arrays_are_like(files, tmp_path, fold, wrong):
    made, state, export = files
    graph = own()
    write_weights(graph, random_params(graph), export, fold=fold)
    layers = {"one": "z", "onen": "a", "two": "m", "twon": "l", "three": "c", "threen": "b", "four": "x", "five": "k"}
    renamed = {f"net.{layers[name.split('.')[1]]}.{name.split('.')[2]}": array for name, array in made.items()}
    if wrong:
        renamed["net.c.weight"] = renamed["net.c.weight"] * np.float32(1.5)
    np.savez(state, **dict(sorted(renamed.items())))
    found = verify(state, export)
    assert [value.name for value in found.faults] == (["three.w"] if wrong else [])
    assert found.sides is not None
    assert found.holds is not wrong


def test_layers_of_one_shape_that_sorting_exchanged_are_told_by_what_they_are_like(tmp_path):
    """layers.10 stands before layers.2, and no number of the name says where which layer is."""
    window = {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}
    names = [f"n{place}" for place in range(6)]
    nodes = tuple(
        Node(name, "conv2d", (before,), {"w": (3, 3, 3, 3), "b": (3,)}, window)
        for before, name in zip(["input", *names], names, strict=False)
    )
    graph = Graph(Recipe("", 1.0, (8, 8), 3), nodes)
    params = random_params(graph)
    write_weights(graph, params, tmp_path / "export.npz")
    letters = dict(zip(names, "fbeadc", strict=True))
    made = {f"{letters[key.split('.')[0]]}.{SLOTS[key.split('.')[1]]}": array for key, array in params.items()}
    np.savez(tmp_path / "state.npz", **dict(sorted(made.items())))
    assert verify(tmp_path / "state.npz", tmp_path / "export.npz").holds


@pytest.mark.parametrize("channels_last", [False, True])
def test_layers_whose_sorted_names_join_their_words_by_underscores_are_told_by_what_they_are_like(
    files, tmp_path, channels_last
):
    made, _, export = files
    layers = {"one": "conv1", "onen": "norm1", "two": "conv0", "twon": "norm2", "three": "conv2", "threen": "norm0"}
    layers |= {"four": "pred1", "five": "pred0"}
    words = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    joined = {}
    for name, array in made.items():
        _, layer, slot = name.split(".")
        axes = {4: (2, 3, 0, 1) if layer == "two" else (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
        role = "gamma" if layer.endswith("n") and slot == "weight" else words.get(slot, slot)
        joined[f"net_{layers[layer]}_{role}"] = array.transpose(axes) if channels_last else array
    np.savez(tmp_path / "joined.npz", **dict(sorted(joined.items())))
    found = verify(export, tmp_path / "joined.npz")
    assert found.sides is not None
    assert found.holds


@pytest.mark.parametrize(
    "exchanged", [(), ("block8.project", "block10.project"), ("block8.project.bn", "block9.project.bn")]
)
def test_layers_under_automatic_names_that_hold_one_anothers_weights_are_told(tmp_path, exchanged):
    """Keras numbers the layers of each class, in the order in which they are made, and its files sort them by class."""
    graph = build("keras/MobileNet", width=0.25, classes=10)
    params = random_params(graph)
    write_weights(graph, params, tmp_path / "export.npz")
    classes = {"conv2d": "conv2d", "pointwise_conv2d": "conv2d", "depthwise_conv2d": "depthwise_conv2d"}
    classes["batch_norm"] = "batch_normalization"
    made: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in sorted({*classes.values()})}
    of = dict(zip(exchanged, reversed(exchanged), strict=True))
    for node in graph.nodes:
        if node.params:
            held = {keras.SLOTS[slot]: params[f"{of.get(node.name, node.name)}.{slot}"] for slot in node.params}
            made[classes[node.op]].append(held)
    arrays = {
        f"{kind}{f'_{number}' if number else ''}/{slot}": array
        for kind, layers in made.items()
        for number, layer in enumerate(layers)
        for slot, array in layer.items()
    }
    np.savez(tmp_path / "copy.npz", **arrays)
    found = verify(tmp_path / "copy.npz", tmp_path / "export.npz")
    assert {value.name.rpartition(".")[0] for value in found.faults} == {*exchanged}
    assert found.holds == (not exchanged)
