"""Which network is this file? Strict both ways, and nothing guessed."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import pytest

from refnet import FormatError, RequestError, build, load, random_params
from refnet.files.checkpoint import identify
from refnet.files.containers import npz
from refnet.files.identify.notes import rounding_of
from refnet.files.identify.order import keys_in_order
from refnet.files.schemes import entries, schemes_of, unused
from refnet.networks.dialects import MODELS
from refnet.networks.plan import WidthRule
from refnet.networks.rewrite import fold_batch_norm


@lru_cache(2)
def network(name, width, classes, folded):
    """With random weights; never to be written to."""
    graph = build(name, width=width, classes=classes)
    params = random_params(graph)
    return fold_batch_norm(graph, params) if folded else (graph, params)


def vendor_arrays(name, *, width=1.0, classes=10, scheme=None, folded=False):
    """The state dict that the vendor's own module would save, random weights."""
    graph, params = network(name, width, classes, folded)
    arrays = {entry.key: entry.theirs(params[ours]).copy() for ours, entry in entries(graph, scheme).items()}
    return arrays | {key: np.ones(shape, np.float32) for key, shape in unused(graph, scheme).items()}


def saved(folder, arrays, name="weights.npz"):
    npz.write(folder / name, arrays)
    return folder / name


@pytest.mark.parametrize(
    ("model", "width"),
    [
        ("torchvision/mobilenet_v2", 1.0),
        ("torchvision/mobilenet_v2", 0.35),
        ("torchvision/mobilenet_v3_large", 0.75),
        ("torchvision/mobilenet_v3_small", 0.6),
        ("torchvision/mobilenet_v3_large@reduced_tail", 1.0),
        ("torchvision/mnasnet0_5", 1.0),
        ("torchvision/mnasnet1_3", 1.0),
        ("timm/mobilenetv1_100", 1.0),
        ("timm/mobilenetv1_125", 1.0),
        ("timm/mobilenetv2_140", 1.0),
        ("timm/mnasnet_small", 1.0),
        ("timm/semnasnet_075", 1.0),
        ("timm/mobilenetv3_rw", 1.0),
        ("timm/mobilenetv3_small_050", 1.0),
        ("timm/tf_mobilenetv3_large_minimal_100", 1.0),
        ("d-li14/mobilenetv2", 0.1),
        ("d-li14/mobilenetv3_small", 0.75),
        ("kuan-wang/mobilenetv3_large", 1.0),
        ("article/torch_small", 1.0),
    ],
)
def test_model_width_and_classes_are_recognised_from_names_and_shapes(tmp_path, model, width):
    net = load(saved(tmp_path, vendor_arrays(model, width=width, classes=7)))
    recipe = net.graph.recipe
    assert (recipe.model, recipe.width, recipe.classes) == (model, width, 7)
    expected = random_params(net.graph)
    assert all(np.array_equal(array, expected[name]) for name, array in net.params.items())


def test_the_plain_network_wins_over_the_dilated_one(tmp_path):
    path = saved(tmp_path, vendor_arrays("torchvision/mobilenet_v3_small@dilated"))
    assert load(path).graph.recipe.model == "torchvision/mobilenet_v3_small"
    assert load(path, model="torchvision/mobilenet_v3_small@dilated").graph["block9.depthwise"].attrs["dilation"] == (
        2,
        2,
    )


@pytest.mark.parametrize("size", ["large_100", "large_075", "small_100", "small_075"])
def test_timms_twins_compute_differently_so_it_stops_and_names_both(tmp_path, size):
    path = saved(tmp_path, vendor_arrays(f"timm/mobilenetv3_{size}"))
    with pytest.raises(RequestError, match=f"timm/mobilenetv3_{size} and timm/tf_mobilenetv3_{size}.*say which"):
        load(path)
    assert load(path, model=f"timm/tf_mobilenetv3_{size}").graph["stem.bn"].attrs["eps"] == 1e-3


def test_refnets_own_names_fit_many_networks_so_the_model_must_be_said(tmp_path):
    path = saved(tmp_path, vendor_arrays("torchvision/mobilenet_v3_small", scheme="refnet"))
    with pytest.raises(RequestError, match=r"torchvision/mobilenet_v3_small and .* say which"):
        load(path)
    assert load(path, model="keras/MobileNetV3Small").graph.output == "output"


def test_counters_of_batch_norm_are_no_weights(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    arrays["features.0.1.num_batches_tracked"] = np.array(5)
    assert load(saved(tmp_path, arrays)).graph.recipe.width == 0.1


def test_size_is_the_callers(tmp_path):
    path = saved(tmp_path, vendor_arrays("torchvision/mobilenet_v2", width=0.1))
    assert load(path, size=(96, 64)).graph.input_shape == (3, 96, 64)


def test_float64_stays_and_float16_becomes_float32(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    for stored, computed in ((np.float64, np.float64), (np.float16, np.float32)):
        path = saved(tmp_path, {key: array.astype(stored) for key, array in arrays.items()})
        assert load(path).dtype == computed


def test_a_missing_weight_is_named(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2")
    del arrays["features.3.conv.1.1.running_var"]
    with pytest.raises(
        FormatError, match=r"weights.npz: 'features.3.conv.1.1.running_var' is missing, which torchvision/"
    ):
        load(saved(tmp_path, arrays))


def test_a_weight_left_over_is_named(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2") | {"aux.weight": np.ones(3, np.float32)}
    with pytest.raises(FormatError, match=r"'aux.weight' is left over: torchvision/mobilenet_v2 has no such weight"):
        load(saved(tmp_path, arrays))


@pytest.mark.parametrize("model", ["torchvision/mobilenet_v3_small", "timm/semnasnet_050", "keras/MobileNetV3Small"])
def test_axes_of_length_one_may_be_there_or_not(tmp_path, model):
    """Squeeze-and-excite as linear layers or as convolutions: the same numbers in the same order."""
    arrays = vendor_arrays(model)
    bare = {key: y.reshape([n for n in y.shape if n > 1] or [1]) for key, y in arrays.items()}
    found = identify(saved(tmp_path, bare))
    drawn = random_params(found.graph)
    assert all(np.array_equal(y, drawn[name]) for name, y in found.params.items())
    (note,) = (note for note in found.notes if note.kind == "reshaped")
    assert note.total == sum(bare[key].shape != y.shape for key, y in arrays.items())


def test_linear_layers_of_gates_are_not_put_at_the_end_with_the_classifier():
    arrays = dict.fromkeys(
        (
            "net.classifier.0.weight",
            "net.features.2.fc.0.weight",
            "net.features.10.weight",
            "net.features.2.conv.weight",
        ),
        np.zeros(1),
    )
    *_, counted, by_part, _ = keys_in_order(arrays)
    assert counted[0] == by_part[-1] == "net.classifier.0.weight"
    assert by_part[:-1] == counted[1:]


@pytest.mark.parametrize("divisor", [0, 1, 4, 16, WidthRule(8, "plain"), WidthRule(8, "up"), WidthRule(4, "plain")])
@pytest.mark.parametrize(
    "model", ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "timm/mobilenetv1_100"]
)
def test_widths_that_are_rounded_otherwise_are_solved_for(tmp_path, model, divisor):
    graph = build(model, width=0.55 if isinstance(divisor, int) else 0.35, classes=10, divisor=divisor)
    params = random_params(graph)
    arrays = {entry.key: entry.theirs(params[ours]) for ours, entry in entries(graph).items()}
    found = identify(saved(tmp_path, arrays))
    assert found.graph.nodes == graph.nodes
    assert all(np.array_equal(y, params[name]) for name, y in found.params.items())
    assert found.standing.kind == "almost"
    (note,) = (note for note in found.notes if note.kind == "divisor")
    made = build(model, width=float(note.names[0]), classes=10, divisor=rounding_of(note))
    assert made.nodes == graph.nodes  # the first of those that give the same channels


_ROLES = {"w": "weight", "b": "bias", "gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
_PADDLE = {"w": "w_0", "b": "b_0", "gamma": "w_0", "beta": "b_0", "mean": "w_1", "var": "w_2"}
_DARKNET = {"w": "weights", "b": "biases", "gamma": "scales", "beta": "biases", "mean": "rolling_mean"}
_SLIM = {"w": "kernel:0", "b": "bias:0", "mean": "moving_mean:0", "var": "moving_variance:0"}
_LETTERS = {"w": "taps", "b": "h", "gamma": "g", "beta": "h", "mean": "mu", "var": "vv"}
_NUMBERED = dict.fromkeys(("w", "b", "gamma", "beta", "mean", "var"), "arr")  # as numpy.savez has what it is given


@pytest.mark.parametrize(
    ("model", "width", "ends"),
    [
        ("torchvision/mobilenet_v3_small", 0.35, _ROLES),
        ("torchvision/mnasnet0_5", 1.0, _PADDLE),
        ("timm/semnasnet_100", 0.5, _DARKNET),
        ("keras/MobileNetV2", 0.35, _SLIM),
        ("marvis/mobilenet_v1", 0.25, _LETTERS),
        ("torchvision/mobilenet_v3_small", 0.5, _NUMBERED),
    ],
)
@pytest.mark.parametrize("written", ["in the order of the file", "sorted by name", "linear weights transposed"])
def test_names_that_are_nobodys_are_told_by_order_and_shape(tmp_path, model, width, ends, written):
    graph = build(model, width=width, classes=10)
    params, arrays = random_params(graph), {}
    for at, (ours, entry) in enumerate(entries(graph).items()):
        slot, y = ours.rpartition(".")[2], entry.theirs(params[ours])
        arrays[f"my.layer{at}.{ends.get(slot, slot)}"] = y.T if "linear" in written and y.ndim == 2 else y
    if "sorted" in written:
        arrays = dict(sorted(arrays.items()))
    found = identify(saved(tmp_path, arrays))
    assert all(np.array_equal(y, params[name]) for name, y in found.params.items())
    assert found.params.keys() == params.keys()
    assert [note.total for note in found.notes if note.kind == "order"] == [len(arrays)]


def test_arrays_in_another_order_are_nobodys_still(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v3_small")
    renamed = {f"a{at}.{key.rpartition('.')[2]}": y for at, (key, y) in enumerate(reversed(arrays.items()))}
    with pytest.raises(FormatError, match="no weight has a name and shape of a network that refnet knows"):
        load(saved(tmp_path, renamed))


def test_a_weight_of_another_shape_is_named_with_both_shapes(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2")
    arrays["features.3.conv.1.0.weight"] = np.ones((144, 1, 5, 5), np.float32)
    with pytest.raises(
        FormatError, match=r"'features.3.conv.1.0.weight' has shape \(144, 1, 5, 5\), .* \(144, 1, 3, 3\)"
    ):
        load(saved(tmp_path, arrays))


def test_dead_weights_of_the_article_must_have_their_shape_too(tmp_path):
    arrays = vendor_arrays("article/torch_small")
    arrays["stack.1.semodule.1.bias"] = np.ones(5, np.float32)
    with pytest.raises(FormatError, match=r"'stack.1.semodule.1.bias' has shape \(5,\)"):
        load(saved(tmp_path, arrays))


def test_a_checkpoint_of_another_model_than_said_is_refused(tmp_path):
    path = saved(tmp_path, vendor_arrays("torchvision/mobilenet_v2"))
    with pytest.raises(FormatError, match="torchvision/mobilenet_v3_small"):
        load(path, model="torchvision/mobilenet_v3_small")


def test_another_width_than_said_is_refused(tmp_path):
    path = saved(tmp_path, vendor_arrays("torchvision/mobilenet_v2"))
    with pytest.raises(FormatError, match=r"compared at width 0.5"):
        load(path, width=0.5)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = saved(tmp_path, {"layer1.0.conv1.weight": np.ones((64, 64, 3, 3), np.float32)})
    with pytest.raises(FormatError, match="no weight has a name and shape of a network that refnet knows"):
        load(path)


def test_arrays_of_a_network_that_is_nearly_one_are_refused_with_the_first_filter_that_is_another(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v3_small")
    own = {f"a{at}.{key.rpartition('.')[2]}": y for at, (key, y) in enumerate(arrays.items())}
    (key, hidden) = next((key, y) for key, y in own.items() if y.shape == (1024, 576))
    more = np.zeros((1280, 576), np.float32)
    (last,) = [name for name, y in own.items() if y.ndim == 2 and y.shape[1] == len(hidden)]
    changed = {**own, key: more, last: np.zeros((len(own[last]), len(more)), np.float32)}
    words = f"53 of 54 filters are in order those of torchvision/mobilenet_v3_small x1, but '{key}'"
    with pytest.raises(FormatError, match=re.escape(words)):
        load(saved(tmp_path, changed))


SEGMENTER = "torchvision/lraspp_mobilenet_v3_large"


def listed(without: str = "") -> dict[str, np.ndarray]:
    """A segmenter's arrays under numbers, as PyTorch's module lists them; without one of refnet's."""
    graph = build(SEGMENTER, width=0.25, classes=4)
    params = random_params(graph)
    end = ("head.reduce", "head.reduce.bn", "head.squeeze", "head.low", "head.high")
    layers = sorted(graph.nodes, key=lambda node: end.index(node.name) if node.name in end else -1)
    names = [f"{node.name}.{slot}" for node in layers for slot in node.params]
    return {str(at): params[name] for at, name in enumerate(name for name in names if name != without)}


def test_a_segmenter_is_known_by_the_order_in_which_its_module_lists_its_layers(tmp_path):
    found = identify(saved(tmp_path, listed()))
    params = random_params(build(SEGMENTER, width=0.25, classes=4))
    assert found.graph.recipe.model == SEGMENTER
    assert all(np.array_equal(found.params[name], params[name]) for name in params)


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ("head.low.b", "nothing is head.low.b, 4 numbers"),
        (
            "block6.project.bn.mean",
            "nothing is block6.project.bn.gamma, 16 numbers, or another array of block6.project.bn",
        ),
        ("block5.se.reduce.b", "nothing is block5.se.reduce.b"),
    ],
)
def test_of_arrays_under_numbers_the_vector_that_is_missing_is_told(tmp_path, without, words):
    with pytest.raises(
        FormatError, match=re.escape(f"filters are in order those of {SEGMENTER} x0.25, but before ")
    ) as told:
        identify(saved(tmp_path, listed(without)))
    assert words in str(told.value)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(tmp_path, broken):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    arrays["features.0.0.weight"].flat[3] = broken
    with pytest.raises(FormatError, match=r"features.0.0.weight holds NaN or infinity"):
        load(saved(tmp_path, arrays))


def test_a_negative_variance_is_named(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    arrays["features.0.1.running_var"][0] = -1
    with pytest.raises(FormatError, match=r"features.0.1.running_var holds a negative variance"):
        load(saved(tmp_path, arrays))


def test_integers_are_no_weights(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    arrays["features.0.0.weight"] = arrays["features.0.0.weight"].astype(np.int8)
    with pytest.raises(FormatError, match=r"features.0.0.weight holds int8"):
        load(saved(tmp_path, arrays))


def test_an_unknown_model_is_refused_before_the_weights_are_compared(tmp_path):
    path = saved(tmp_path, vendor_arrays("torchvision/mobilenet_v2", width=0.1))
    with pytest.raises(RequestError, match="no model is called 'mobilenet'"):
        load(path, model="mobilenet")


# ------------------------------------------------------------------------------------------------------------- identify


# Refnet's own names are those of a table, whatever width a model's name stands for.
KNOWN = [(m, s) for m in MODELS if "@" not in m for s in schemes_of(m) if s != "refnet" or MODELS[m].width == 1.0]
# Each scheme, of the first network that has it in each family.
OF_FAMILY = [(MODELS[model].table, scheme) for model, scheme in KNOWN]
FOLDED = [pair for at, pair in enumerate(KNOWN) if OF_FAMILY[at] not in OF_FAMILY[:at]]


@pytest.mark.parametrize(("model", "scheme"), FOLDED)
def test_folded_weights_are_recognised_in_every_scheme(tmp_path, model, scheme):
    width = 0.35 if MODELS[model].width == 1.0 else 1.0
    path = saved(tmp_path, vendor_arrays(model, width=width, scheme=scheme, folded=True))
    found = identify(path, model=model)
    graph, params = network(model, width, 10, True)
    alike = {"slim-average-trained": "slim-average"}  # they differ in statistics, which a folded network has not
    assert (found.scheme, found.folded, found.graph) == (alike.get(scheme, scheme), True, graph)
    assert all(np.array_equal(array, params[name]) for name, array in found.params.items())
    assert identify(path).folded


def test_folded_weights_are_strict_both_ways_too(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", folded=True)
    bias = arrays.pop("features.4.conv.2.bias")
    with pytest.raises(FormatError, match=r"'features.4.conv.2.bias' is missing, which torchvision/mobilenet_v2 needs"):
        load(saved(tmp_path, arrays))
    arrays |= {"features.4.conv.2.bias": bias, "features.4.conv.3.running_var": np.ones(32, np.float32)}
    with pytest.raises(FormatError, match=r"'features.4.conv.3.running_var' is left over"):
        load(saved(tmp_path, arrays))


def test_what_a_file_is(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v3_small", width=0.35)
    arrays["features.0.0.weight"] = arrays["features.0.0.weight"].astype(np.float16)
    found = identify(saved(tmp_path, arrays))
    assert (str(found), found.kind, found.scheme) == ("torchvision/mobilenet_v3_small x0.35", "npz", "torchvision")
    assert (found.models, found.apart, found.folded, found.differences) == (
        ("torchvision/mobilenet_v3_small",),
        (),
        False,
        (),
    )
    assert found.keys["stem.bn.var"] == "features.0.1.running_var"
    assert list(found.keys) == list(found.stored) == list(found.params) == list(found.graph.params())
    assert {name for name, dtype in found.stored.items() if dtype == "float16"} == {"stem.conv.w"}
    stem = found.params["stem.conv.w"]
    assert stem.dtype == np.float32
    assert np.array_equal(stem, arrays["features.0.0.weight"].astype(np.float32))


def test_one_array_in_float64_makes_all_params_float64(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    arrays["features.0.0.weight"] = arrays["features.0.0.weight"].astype(np.float64)
    found = identify(saved(tmp_path, arrays))
    assert {array.dtype for array in found.params.values()} == {np.dtype(np.float64)}
    assert sorted(set(found.stored.values())) == ["float32", "float64"]


def test_identify_names_networks_that_names_cannot_tell_apart_and_in_what_they_differ(tmp_path):
    path = saved(tmp_path, vendor_arrays("timm/mobilenetv3_small_075"))
    found = identify(path)
    assert found.models == ("timm/mobilenetv3_small_075", "timm/tf_mobilenetv3_small_075")
    assert found.apart == ("pad", "eps")
    assert found.graph == build("timm/mobilenetv3_small_075", classes=10)
    with pytest.raises(RequestError, match=r"compute differently \(pad, eps\); say which with model="):
        load(path)


def test_what_folding_has_taken_away_no_longer_tells_networks_apart(tmp_path):
    assert identify(saved(tmp_path, vendor_arrays("timm/mobilenetv3_small_075", folded=True))).apart == ("pad",)


def test_refnets_own_names_leave_every_vendor_of_the_table_open(tmp_path):
    found = identify(saved(tmp_path, vendor_arrays("keras/MobileNetV2", width=0.5, scheme="refnet")))
    assert found.models == ("torchvision/mobilenet_v2", "keras/MobileNetV2", "paper/mobilenet_v2")
    assert set(found.apart) == {"pad", "eps", "output"}


def test_values_are_judged_when_a_network_is_read_not_when_it_is_identified(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    arrays["features.0.0.weight"].flat[3] = np.nan
    assert np.isnan(identify(saved(tmp_path, arrays)).params["stem.conv.w"]).sum() == 1


def test_weights_of_another_network_than_said_are_called_what_they_are(tmp_path):
    path = saved(tmp_path, vendor_arrays("torchvision/mobilenet_v3_small"))
    with pytest.raises(
        FormatError, match=r"holds torchvision/mobilenet_v3_small x1, not timm/mobilenetv3_small_100: no weight"
    ):
        load(path, model="timm/mobilenetv3_small_100")
    with pytest.raises(FormatError, match=r"holds torchvision/mobilenet_v3_small x1, not width 0.5: "):
        load(path, width=0.5)


# ------------------------------------------------------------------------------------------------ files with structure

EXPORT = "v3_small-old20-unfolded.onnx"


@pytest.fixture
def almost(exports, tmp_path):
    """torchvision's V3-Small x0.1 as PyTorch exports it, but for one stride."""
    import onnx

    model = onnx.load(str(exports / EXPORT))
    depthwise = [node for node in model.graph.node if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    (stride,) = (a for a in depthwise[0].attribute if a.name == "strides")
    stride.ints[:] = [2, 1]
    onnx.save(model, str(tmp_path / "almost.onnx"))
    return tmp_path / "almost.onnx"


def test_a_known_networks_file_with_structure_reads_as_its_names_would(exports):
    found, named = identify(exports / EXPORT), identify(exports / "v3_small.pth", size=(33, 49))
    assert (found.scheme, found.differences, found.models) == ("structure", (), named.models)
    assert found.graph == named.graph
    assert all(np.array_equal(array, named.params[name]) for name, array in found.params.items())
    assert found.keys["block1.se.reduce.w"] == named.keys["block1.se.reduce.w"]


def test_an_almost_known_network_is_refused_where_it_must_be_known(almost):
    with pytest.raises(FormatError) as refusal:
        load(almost, strict=True)
    assert str(refusal.value) == (
        f"{almost}: is almost torchvision/mobilenet_v3_small x0.1, but block1.depthwise has stride (2, 1), not (2, 2); "
        "it is taken as it is without strict="
    )


def test_a_file_is_the_model_that_was_asked_for_or_refused(almost):
    with pytest.raises(FormatError, match=r"with \d differences, first: block1.depthwise has stride .* without model="):
        load(almost, model="torchvision/mobilenet_v3_small@dilated")
    with pytest.raises(FormatError, match=r"is no keras/MobileNet: only \d+% of the convolutions are the same"):
        identify(almost, model="keras/MobileNet")


def test_an_almost_known_network_runs_as_it_is(almost):
    assert identify(almost).standing.kind == "almost"
    net = load(almost)
    assert net.graph["block1.depthwise"].attrs["stride"] == (2, 1)
    x = np.random.default_rng(0).standard_normal((2, *net.graph.input_shape)).astype(np.float32)
    traced = net.trace(x)
    assert traced["block1.depthwise"].shape[2:] == (9, 25)
    folded = net.astype(np.float64).fold()
    assert np.allclose(folded(x.astype(np.float64)), traced[net.graph.output], atol=1e-4 * abs(net(x)).max())


def test_an_almost_known_network_keeps_its_stride_at_another_size(almost):
    net = load(almost, size=(64, 96))
    assert net.graph.recipe.size == (64, 96)
    assert net.graph == load(almost).at((64, 96)).graph
    assert net.trace(np.zeros((1, 3, 64, 96), np.float32))["block1.depthwise"].shape[2:] == (16, 48)


def test_what_training_keeps_beside_the_weights_is_left_out(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    watched = {f"features.0.0.weight_fake_quant.{word}": np.zeros(4, np.int32) for word in ("scale", "zero_point")}
    found = identify(saved(tmp_path, {f"module.{key}": y for key, y in (arrays | watched).items()}))
    assert found.standing.kind == "known"
    assert ("training", 2) in [(note.kind, note.total) for note in found.notes]


@pytest.mark.parametrize("averaged", ["all", "trained"])
def test_slots_of_optimizers_and_running_averages_are_no_other_network(tmp_path, averaged):
    scheme = {"all": "slim-average", "trained": "slim-average-trained"}[averaged]
    arrays = vendor_arrays("paper/mobilenet_v1", width=0.25, scheme=scheme)
    arrays |= {f"{key}/RMSProp": y for key, y in arrays.items()} | {"global_step": np.array(7)}
    found = identify(saved(tmp_path, arrays))
    assert (found.standing.kind, found.scheme) == ("known", scheme)


def test_the_words_of_another_framework_for_the_arrays_of_a_layer(tmp_path):
    arrays = vendor_arrays("torchvision/mnasnet0_5")
    words = {"running_mean": "_mean", "running_var": "_variance"}
    other = {}
    for key, y in arrays.items():
        layer, _, word = key.rpartition(".")
        other[f"{layer}.{words.get(word, word)}"] = y.T if y.ndim == 2 else y
    found, plain = identify(saved(tmp_path, other)), identify(saved(tmp_path, arrays, "plain.npz"))
    assert found.standing == plain.standing
    assert all(np.array_equal(found.params[name], y) for name, y in plain.params.items())


def test_names_that_sorting_puts_before_the_features_are_of_the_end(tmp_path):
    arrays = vendor_arrays("torchvision/mobilenet_v2", width=0.1)
    renamed = {f"body{i:03d}_{key.rpartition('.')[2]}": y for i, (key, y) in enumerate(arrays.items())}
    head = list(renamed)[-2:]
    sorted_ = {f"a_head.{key.rpartition('_')[2]}": renamed.pop(key) for key in head} | renamed
    assert "torchvision/mobilenet_v2" in identify(saved(tmp_path, sorted_)).models
