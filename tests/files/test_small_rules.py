"""The small rules of readers and importers, each by itself: what they take, and what they refuse."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import FormatError, Graph, Node, Recipe, RequestError
from refnet.files import labels, shipped
from refnet.files.containers import atomic, hdf5, keras_config, tensorflow_values
from refnet.files.containers.structure import Contents, Submodule
from refnet.files.graph_text import graph_document, graph_of, graph_text
from refnet.files.identify import head_layers, heads, settings
from refnet.files.identify.prefixes import Prefix, prefixes
from refnet.files.identify.weights import weights_in
from refnet.files.importers import builder, onnx
from refnet.files.importers.operations import image_source
from refnet.files.importers.stored import import_stored
from refnet.files.integers_npz import ABOUT, integers_in, write_integers_npz
from refnet.files.quantised.torch_state import _TorchReader
from refnet.files.schemes import Entry
from refnet.graph import SOURCE
from refnet.networks.preprocessing import TORCHVISION_V1
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

# ------------------------------------------------------------------------------------------------ a child that fails


@pytest.mark.parametrize(
    ("status", "said", "error", "words"),
    [
        (3, "has no weights", FormatError, "has no weights"),
        (4, "", RequestError, "h5py"),
        (-signal.SIGPROF, "", FormatError, "."),
        (-signal.SIGSEGV, "", FormatError, r"library fails \(SIGSEGV\)"),
        (1, "Traceback\nOSError: bad", FormatError, r"library fails \(OSError: bad\)"),
        (1, "", FormatError, r"library fails \(nothing said\)"),
    ],
)
def test_what_becomes_of_the_process_that_reads_hdf5_is_said(status, said, error, words):
    with pytest.raises(error, match=words):
        raise hdf5._failure(status, said)


def test_what_the_process_that_reads_hdf5_says_is_cut_off():
    assert str(hdf5._failure(2, "x" * 1000)).count("x") == 200


# -------------------------------------------------------------------------------------------------- shapes and numbers


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        ((1, 3, 9, 8), (3, 9, 8)),
        ((1, 9, 8, 3), (3, 9, 8)),
        ((None, 9, 8, 1), (1, 9, 8)),
        ((1, 1, 9, 3), (1, 9, 3)),  # either: channels first
        ((1, 9, 8, 16), (9, 8, 16)),  # neither
    ],
)
def test_three_channels_or_one_are_where_an_image_has_its_channels(shape, made):
    contents = SimpleNamespace(structure=SimpleNamespace(inputs={"x": shape}), arrays={})
    assert image_source(contents, None)[1] == made


@pytest.mark.parametrize("shape", [(2,), (2, 2, 1), (0, 2), ()])
def test_an_array_of_another_rank_or_without_elements_is_refused(shape):
    assert builder._rank(np.zeros((2, 1)), 2, "weights").shape == (2, 1)
    with pytest.raises(FormatError, match="weights of shape"):
        builder._rank(np.zeros(shape), 2, "weights")


@pytest.mark.parametrize("shape", [(1,) * 65, (2, -1), (2**31, 2**31), (2**31, 0, 2**31)])
def test_a_shape_that_no_array_has_is_refused(shape):
    with pytest.raises(FormatError, match="'w' has an impossible shape"):
        tensorflow_values.checked_size(shape, "<f4", "w")


def test_a_shape_is_worth_its_elements_bytes():
    assert tensorflow_values.checked_size((2, 3), "<f4", "w") == 24
    assert tensorflow_values.checked_size((), "<f8", "w") == 8
    assert tensorflow_values.checked_size((2**31, 2**30), "|i1", "w") == 2**61


def test_as_many_paddings_as_twice_the_axes_are_asked_for():
    x, op = SimpleNamespace(axes="NCHW"), SimpleNamespace(attrs={"pads": [0] * 6}, outputs=["y"])
    with pytest.raises(FormatError, match="6 paddings for 4 axes"):
        onnx._pad(None, op, x)
    axes = SimpleNamespace(array=np.array([2, 3]))
    with pytest.raises(FormatError, match="6 paddings for 2 axes"):
        onnx._pad(None, op, x, axes=axes)


# --------------------------------------------------------------------------------------------------- names, references


@pytest.mark.parametrize("value", [["conv", 0], ["conv", 0, "1"], [3, 0, 0], "conv", None, ["conv", None, 0]])
def test_a_reference_in_a_keras_configuration_is_a_layer_and_two_numbers(value):
    assert keras_config._reference(["conv", 0, 0, {}]) == "conv"
    assert keras_config._reference(["conv", 1, 0]) == "conv:1:0"
    assert keras_config._reference(["conv", 0, 2]) == "conv:0:2"
    with pytest.raises(FormatError, match="something else than a layer and two numbers"):
        keras_config._reference(value)


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        ({"weight": (5, 4)}, "linear"),
        ({"weight": (5, 4), "bias": (5,)}, "linear"),
        ({"weight": (5, 4, 1, 1)}, "linear"),
        ({"weight": (5, 4, 1)}, None),
        ({"weight": (5, 4, 3, 3)}, None),
        ({"weight": (5, 4), "bias": (4,)}, None),
        ({"weight": (5, 4), "scale": (5,)}, None),
        ({"weight": (5,)}, None),
        ({"bias": (5,)}, None),
        (dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (5,)), "batch_norm"),
        (dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (5, 1)), None),
        ({"weight": (5,), "bias": (5,), "running_mean": (5,), "running_var": (4,)}, None),
    ],
)
def test_a_layer_of_a_head_is_known_by_its_arrays(held, kind):
    found = head_layers._layer("a", held, head_layers._STYLES[0])
    assert (None if found is None else found.op) == kind


@pytest.mark.parametrize(
    ("paths", "shown"),
    [(("head.0", "head.1"), True), (("a.0", "b.1"), False), (("head.0", "head.2"), False), (("a", "b"), False)],
)
def test_nothing_stands_between_layers_that_follow_each_other_in_one_sequence(paths, shown):
    layers = [
        head_layers.HeadLayer("linear", path, {"w": Entry(f"{path}.weight", (5, 5), (0, 1))}, 5, 5, 0) for path in paths
    ]
    part = heads.Part({f"{path}.weight": f"{path}.weight" for path in paths})
    if shown:
        assert heads._shown(layers, part) == ("linear", "linear")
    else:
        with pytest.raises(FormatError, match="is not in the file: say it"):
            heads._shown(layers, part)


@pytest.mark.parametrize(
    ("pads", "symmetric", "made"),
    [
        ((1, 0), True, [("pad", ((1, 1), (0, 0)))]),
        ((1, 0), False, [("pad", ((1, 1), (0, 0)))]),
        ((0, 0), True, [("pad", ((0, 0), (0, 0)))]),
        ((0, 0), False, []),  # it may be padded before it is called
    ],
)
def test_a_convolutions_pads_are_taken_unless_there_are_none_and_its_vendor_pads_before_it(pads, symmetric, made):
    one = (1, 1)
    node = Node("a", "conv2d", (SOURCE,), {"w": (4, 3, 3, 3)}, {"stride": one, "dilation": one, "pad": (one, one)})
    module = Submodule("torch.nn.modules.conv.Conv2d", {"padding": pads})
    assert list(settings._filter(node, "a", module, (3, 8, 8), symmetric)) == [
        ("stride", one),
        ("dilation", one),
        *made,
    ]


def named(prefix, names):
    return {prefix + name: None for name in names}


NAMES = [f"features.{index}.weight" for index in range(40)]


def test_a_prefix_is_what_stands_before_the_names_of_a_vendor():
    assert prefixes(named("net.", NAMES), [NAMES]) == [Prefix("net.", "")]
    assert prefixes(named("", NAMES), [NAMES]) == [Prefix("", "")]
    assert prefixes(named("x", NAMES), [NAMES]) == []  # no part of a name ends there


def test_of_two_prefixes_the_one_with_more_names_is_taken_and_both_where_they_are_alike():
    assert prefixes(named("a.", NAMES) | named("b.", NAMES[:35]), [NAMES]) == [Prefix("a.", "")]
    assert set(prefixes(named("a.", NAMES) | named("b.", NAMES), [NAMES])) == {Prefix("a.", ""), Prefix("b.", "")}


def test_a_prefix_may_stand_in_the_place_of_the_vendors_own():
    found = prefixes(named("backbone.", [name.removeprefix("features.") for name in NAMES]), [NAMES])
    assert found == [Prefix("backbone.", "features.")]


# --------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("name", ["#1", "# a"])
def test_a_line_that_begins_with_a_hash_is_no_name_and_one_that_ends_so_is(name, tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text(f"{labels._FORMAT}\n{name}\nC#\nb\n")
    monkeypatch.setattr(shipped, "path", lambda file: tmp_path / file)
    assert labels._read("names.txt", 2) == ("C#", "b")


# ------------------------------------------------------------------------------------------- a graph beside its arrays

OWN = Graph(Recipe("", 1.0, (4, 5), 2, 1), (Node("a", "pointwise_conv2d", (SOURCE,), {"w": (2, 1), "b": (2,)}),))
ARRAYS = {"a.w": np.ones((2, 1), np.float32), "a.b": np.zeros(2, np.float16)}


def beside(**changed):
    """What a file holds that has the graph, and these arrays; None for none."""
    arrays = {name: array for name, array in (ARRAYS | changed).items() if array is not None}
    return SimpleNamespace(graph=graph_text(OWN), arrays=arrays, dtype=lambda name: str(arrays[name].dtype))


def test_a_graph_is_read_with_its_arrays_in_float32_and_what_they_were_stored_in():
    found = import_stored(beside())
    assert found.graph == OWN
    assert {name: array.dtype for name, array in found.params.items()} == dict.fromkeys(ARRAYS, np.dtype(np.float32))
    assert found.stored == {"a.w": "float32", "a.b": "float16"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"a.b": None}, r"'a.b' is missing, the graph in the file needs \(2,\)"),
        ({"a.w": np.ones((1, 2), np.float32)}, r"'a.w' has shape \(1, 2\), the graph in the file needs \(2, 1\)"),
        ({"a.b": np.zeros(2, np.int8)}, "'a.b' holds int8, not floating-point numbers"),
        ({"b.w": np.zeros(2, np.float32)}, "'b.w' belongs to no node of the graph in the file"),
    ],
)
def test_arrays_that_are_not_those_of_the_graph_beside_them_are_refused(changed, words):
    with pytest.raises(FormatError, match=words):
        import_stored(beside(**changed))


# ------------------------------------------------------------------------------------------------------------- integers


def test_integers_are_written_with_their_scales_and_biases_without(tmp_path):
    step = Quantisation(0.5, -3, None, "int8")
    graph = Graph(Recipe("own", 1.0, (1, 1), 2), (Node("a", "linear", (SOURCE,), {"w": (2, 3), "b": (2,)}),))
    params = {"a.w": QuantisedTensor(np.ones((2, 3), np.int8), step), "a.b": np.array([5, 6], np.int32)}
    write_integers_npz(tmp_path / "a.npz", graph, params, {"a": step}, "tflite")
    with np.load(tmp_path / "a.npz") as file:
        assert set(file) == {ABOUT, "a.w", "a.w.scale", "a.w.zero_point", "a.b"}
        found = integers_in(tmp_path / "a.npz", dict(file))[1]
    assert (found["a.w"].quantisation.scale, found["a.w"].quantisation.zero_point) == (0.5, -3)
    assert found["a.b"].tolist() == [5, 6]


def test_a_hard_swish_of_pytorch_has_the_scale_of_the_module_behind_its_convolution():
    contents = Contents("pth", {}, steps={"quant": (1.0, 0), "features.0.2": (0.5, 3)})
    reader = _TorchReader(contents, SimpleNamespace())
    reader.paths["conv"] = "features.0.0"
    reader._other(Node("act", "hard_swish", ("conv",)))
    assert (reader.nodes, reader.quantised["act"].single()) == ([Node("act", "hard_swish", ("conv",))], (0.5, 3))


# -------------------------------------------------------------------------------------------------------------- outputs


@pytest.mark.parametrize("name", ["there/x.npz", "x.npz/y.npz"])
def test_a_file_is_written_into_a_folder_that_is_there(name, tmp_path):
    (tmp_path / "x.npz").write_text("")
    with pytest.raises(RequestError, match=r"is no folder|is not there|no such|does not exist"):
        atomic.writable(tmp_path / name)


def test_a_folder_that_may_not_be_written_to_is_refused_before_the_work(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(atomic.os, "access", lambda path, how: asked.append((path, how)))
    with pytest.raises(RequestError, match="may not be written to; give another path"):
        atomic.writable(tmp_path / "x.npz")
    assert asked[0][0] == tmp_path
    assert asked[0][1] & os.W_OK


def test_a_lone_integer_beside_weights_counts_something_and_is_no_weight():
    """How many models were averaged, as PyTorch's `AveragedModel` writes it."""
    kept, notes = weights_in(Contents("pth", {"n_averaged": np.array(7), "module.w": np.ones((2, 2), np.float32)}))
    assert list(kept) == ["module.w"]
    assert [(note.kind, note.names) for note in notes] == [("counters", ("n_averaged",))]


@pytest.mark.parametrize("first", [True, False])
def test_a_centre_that_is_cut_before_the_resize_is_told_by_a_graphs_document(first):
    recipe = Recipe("", 1.0, (8, 8), classes=3, preprocessing=replace(TORCHVISION_V1, cut_first=first))
    document = graph_document(Graph(recipe, (Node("act", "relu", (SOURCE,)),)))
    assert document["recipe"]["preprocessing"].get("cut_first") == (first or None)
    assert graph_of(json.loads(json.dumps(document))).recipe == recipe


def test_what_is_cut_first_is_true_or_false():
    recipe = Recipe("", 1.0, (8, 8), classes=3, preprocessing=TORCHVISION_V1)
    document = json.loads(json.dumps(graph_document(Graph(recipe, (Node("act", "relu", (SOURCE,)),)))))
    document["recipe"]["preprocessing"]["cut_first"] = 1
    with pytest.raises(FormatError, match="'cut_first' is neither true nor false"):
        graph_of(document)
