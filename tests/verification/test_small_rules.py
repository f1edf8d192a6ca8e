"""Small rules of verification, each by numbers that are reckoned by hand, or by what a user sees of it."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from exporting import checkpoint, network, put

from refnet import Network, random_input, write_pack
from refnet.bugs.language.changes import Mistake
from refnet.bugs.systematic import Scope
from refnet.networks.resize import resize
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.shapes import shapes
from refnet.report.words import where
from refnet.verification import array_findings, behaviour, quantisation, training
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.behaviour import Behaviour, Remark, inputs
from refnet.verification.patterns import Tails, common
from refnet.verification.roundings import Rounding, roundings
from refnet.verification.sides import Sides, pair, read_side
from refnet.verification.structure import structure_differences
from refnet.verification.verify import Verified, verify

# ----------------------------------------------------------------------------------------------------------- behaviour


def test_images_too_large_for_a_file_of_few_weights_are_not_run_and_their_size_is_told():
    graph = resize(network("v2")[0], (8000, 6000))
    mib = int(sum(math.prod(shape) for shape in shapes(graph).values()) * 4 / 2**20)
    found = inputs(checkpoint(graph, {"stem.conv.w": np.zeros(3, np.float32)}))
    assert found == Remark("large", {"file": "file", "size": (8000, 6000), "mib": mib})


def test_of_large_images_fewer_are_run():
    """200 MiB and four times the weights hold one image whose tensors are 150 MiB, and no second one."""
    small = network("v2")[0]
    each = sum(math.prod(shape) for shape in shapes(small).values()) * 4 / math.prod(small.recipe.size)
    side = int(math.sqrt(150 * 2**20 / each)) // 32 * 32
    assert len(inputs(checkpoint(resize(small, (side, side)), {}))) == 1


@pytest.mark.parametrize(
    ("first", "second", "end", "difference"),
    [
        (("head.flatten", "output"), ("head.flatten", "last"), "head.flatten", 0.5),
        (("head.flatten", "output"), ("last",), "output", 0.25),
        (("output",), ("head.flatten", "last"), "output", 0.25),
    ],
)
def test_logits_are_compared_where_both_have_them_and_else_the_last_tensors(
    first, second, end, difference, monkeypatch
):
    monkeypatch.setattr(behaviour, "spread", lambda net, x, end: 0.0)
    monkeypatch.setattr(behaviour, "Network", lambda *_: SimpleNamespace(astype=lambda dtype: None))
    tensors = {"head.flatten": [[2.0, 4.0]], "output": [[2.0, 8.0]], "last": [[4.0, 8.0]]}
    one = {name: np.array(tensors[name]) for name in first}
    other = {name: np.array(tensors[name]) + 2 * (name == "head.flatten") for name in second}
    files = (SimpleNamespace(graph=SimpleNamespace(output=name), params={}) for name in ("output", "last"))
    sides = SimpleNamespace(**dict(zip(("original", "copy"), files, strict=True)))
    found = behaviour._ends(Behaviour(), sides, np.zeros((1, 1)), one, other)
    assert (found.end, found.difference, found.agree) == (end, difference, 1)


def test_where_a_run_breaks_down_is_told_of_either_of_two_files():
    graph, params = network("v2")
    bad = {**params, "block3.expand.bn.var": put(params["block3.expand.bn.var"], 2, -2)}
    files = checkpoint(graph, params), checkpoint(graph, bad, "copy")
    found = [each for each in verify(*files).health if each.kind == "not-finite"]
    assert [(each.file, each.name) for each in found] == [("copy", "block3.expand.bn")]


# --------------------------------------------------------------------------------------------------------------- sides


def test_a_pack_says_in_what_its_arrays_are_stored(tmp_path):
    graph, params = network("v2")
    write_pack(Network(graph, params), random_input(graph, batch=1), tmp_path / "pack", origin={})
    file = read_side(tmp_path / "pack")
    assert set(file.stored) == set(params)
    assert set(file.stored.values()) == {"float32"}


def test_two_files_that_are_sure_of_what_they_are_leave_nothing_to_choose():
    graph, params = network("v2")
    assert pair(checkpoint(graph, params, models=("a",)), checkpoint(graph, params, models=("b",))).choices == ()


@pytest.mark.parametrize("first", [True, False])
def test_a_bias_of_zeros_is_no_difference_of_structure_and_any_other_is(first):
    graph, params = network("v2")
    conv = graph["stem.conv"]
    biased = graph.replaced("stem.conv", replace(conv, params={**conv.params, "b": (conv.params["w"][0],)}))
    for bias, known in ((0.0, 0), (1.0, 1)):
        full = {**params, "stem.conv.b": np.full(conv.params["w"][0], bias, np.float32)}
        two = [checkpoint(graph, params), checkpoint(biased, full)]
        assert len(structure_differences(*(two if first else two[::-1]))) == known


def test_a_files_own_names_go_with_its_nodes_that_are_called_after_the_firsts():
    """Two networks of their own; what a file calls 'theirs' is the second's 'other.conv', the first's 'stem.conv'."""
    graph, params = network("v2")
    other = graph.renamed({"stem.conv": "other.conv"})
    arrays = {name.replace("stem.conv.", "other.conv."): array for name, array in params.items()}
    own = checkpoint(graph, params).standing._replace(kind="own")
    second = checkpoint(other, arrays, "copy", standing=own, names={"theirs": "other.conv"})
    made = pair(checkpoint(graph, params, standing=own), second).copy
    assert made.names == {"theirs": "stem.conv"}
    assert made.keys["stem.conv.w"] == "other.conv.w"


def test_a_pack_says_whether_batch_norm_is_folded(tmp_path):
    net = Network(*network("v2"))
    for name, one in (("plain", net), ("folded", net.fold())):
        write_pack(one, random_input(one.graph, batch=1), tmp_path / name, origin={})
        assert read_side(tmp_path / name).folded is (name == "folded")


def test_a_layer_that_one_file_lacks_is_neither_folded_nor_worked_out():
    graph, params = network("v2")
    two = pair(checkpoint(graph, params), checkpoint(graph, params, "copy"))
    lacking = replace(two, second={})
    assert not any(ask("stem.conv") for ask in (lacking.folded, lacking.unfolded, lacking.worked_out))


def test_a_batch_norm_is_worked_out_where_the_files_hold_other_arrays_of_it_and_one_holds_no_variance():
    """All four slots are known of both; one file has them all, others a factor and an addend, or no gamma."""
    slots = ("gamma", "beta", "mean", "var")
    node = SimpleNamespace(name="n", attrs={"eps": 0.0})
    unit = SimpleNamespace(norm=node, tensors=dict.fromkeys(slots), names={slot: f"n.{slot}" for slot in slots})
    whole, short, unscaled = (
        SimpleNamespace(keys=dict.fromkeys(f"n.{slot}" for slot in held), graph={"n": node})
        for held in (slots, slots[:2], slots[1:])
    )
    conv = SimpleNamespace(**{**vars(unit), "norm": None})
    for files, units, worked_out in (
        ((whole, short), (unit, unit), True),
        ((short, whole), (unit, unit), True),
        ((whole, whole), (unit, unit), False),
        ((whole, unscaled), (unit, unit), False),
        ((whole, short), (conv, unit), False),
    ):
        assert Sides(*files, *({"n": each} for each in units)).worked_out("n") is worked_out


# ------------------------------------------------------------------------------------------------------------ training


class Unit(dict):
    """Arrays of a unit, by slot."""

    op, names = "conv2d", {"w": "a.w"}

    def __init__(self, op="conv2d", norm=None, **arrays):
        super().__init__(arrays)
        self.op, self.norm = op, norm


# Of 16 filters of 8 channels of 3 x 3 points: 72 inputs of an output, 144 outputs of an input.
DRAWN = {
    "fixed 0.01": ("normal", 0.01),
    "fixed 0.02": ("normal", 0.02),
    "He, outputs": ("normal", math.sqrt(2 / 144)),
    "He, inputs": ("normal", math.sqrt(2 / 72)),
    "LeCun": ("normal", math.sqrt(1 / 72)),
    "PyTorch": ("uniform", 1 / math.sqrt(72)),
    "Glorot": ("uniform", math.sqrt(6 / (72 + 144))),
    "He, uniform": ("uniform", math.sqrt(6 / 72)),
    "LeCun, uniform": ("uniform", math.sqrt(3 / 72)),
}


def weights(how, size, shape=(16, 8, 3, 3)):
    """Evenly spaced quantiles of a distribution, in no order: as drawn as can be."""
    from scipy.special import ndtri

    count = math.prod(shape)
    places = (np.arange(count) + 0.5) / count
    w = ndtri(places) / ndtri(places).std() if how == "normal" else 2 * places - 1
    return size * np.random.default_rng(0).permutation(w).reshape(shape)


@pytest.mark.parametrize("which", DRAWN)
def test_weights_are_as_an_initialiser_draws_them(which):
    how, size = DRAWN[which]
    assert training._initialiser(Unit(w=weights(how, size)))


@pytest.mark.parametrize(
    ("op", "shape", "spread"),
    [
        ("depthwise_conv2d", (64, 3, 3), math.sqrt(2 / 9)),
        ("pointwise_conv2d", (32, 24), math.sqrt(2 / 32)),
    ],
)
def test_of_what_else_is_drawn_the_outputs_are_counted_as_pytorch_does(op, shape, spread):
    assert training._initialiser(Unit(op, w=weights("normal", spread, shape)))


@pytest.mark.parametrize(
    "w",
    [
        weights("normal", 0.001),  # far less than any
        weights("normal", 0.9),
        weights("uniform", 0.9),
        weights("uniform", 0.02 * math.sqrt(3)),  # the spread of one, the form of the other
        np.sign(weights("uniform", 1.0)) * np.abs(weights("uniform", 1.0)) ** 1.5 / math.sqrt(72),  # the edge alone
        weights("normal", 0.02) + 0.01,
        np.where(np.arange(1152).reshape(16, 8, 3, 3), weights("normal", 0.02), np.nan),
    ],
    ids=["small", "large", "wide", "flat", "heavy", "moved", "nan"],
)
def test_other_weights_are_not(w):
    assert not training._initialiser(Unit(w=w))


@pytest.mark.parametrize(
    ("size", "told"), [(0.0, False), (0.9e-3, True), (1.1e-3, False), (1.9e-3, False), (990.0, False), (1010.0, True)]
)
def test_weights_a_thousand_times_too_large_or_small_are_told(size, told):
    """Of 4 inputs each: weights of half a size have it as a whole."""
    file = SimpleNamespace(path="file", keys={})
    found = list(training._scales(file, [Unit(w=np.full((3, 4), size / 2))]))
    assert [each.value for each in found] == pytest.approx([size] * told)
    assert not list(training._scales(file, [Unit(norm="bn", w=np.full((3, 4), size / 2))]))


def test_a_finding_of_training_names_the_array_as_its_file_does():
    file = SimpleNamespace(path="file", keys={"a.w": "theirs.weight"})
    (found,) = training._scales(file, [Unit(w=np.full((3, 4), 1e4))])
    assert (found.name, found.key, found.count) == ("a.w", "theirs.weight", 12)


# -------------------------------------------------------------------------------------------------------------- values


def lone(copy, wanted):
    pairing = SimpleNamespace(copy=copy, wanted=wanted)
    return array_findings.array_finding(pairing, "a.b", None, 0.0, None)


def test_an_array_that_the_original_lacks_is_a_fault_unless_it_is_a_bias_of_zeros():
    found = lone(np.array([0.0, 1.0]), array_findings.NOTHING)
    assert (found.kind, found.fault, found.mistake.form) == ("extra", True, "not-in-original")
    found = lone(np.zeros(2), array_findings.NOTHING)
    assert (found.kind, found.fault, found.mistake.form) == (array_findings.EQUAL, False, "bias-of-zeros")


def test_an_array_that_the_copy_lacks_is_a_fault_unless_it_is_a_bias_of_zeros():
    found = lone(array_findings.NOTHING.value, array_findings.Expected.exactly(np.ones(2)))
    assert (found.kind, found.fault, found.mistake.form) == ("lost", True, "not-in-copy")
    found = lone(array_findings.NOTHING.value, array_findings.Expected.exactly(np.zeros(2)))
    assert (found.kind, found.fault, found.mistake.form) == (array_findings.EQUAL, False, "bias-left-out")


def test_what_nothing_explains_says_where_it_is_farthest_off_and_by_how_much(monkeypatch):
    """The second of two numbers is off by 3 units in the last place of float32 at 1."""
    monkeypatch.setattr(array_findings, "KINDS", {})
    monkeypatch.setattr(array_findings, "_backward", lambda *_: ())
    exact = array_findings.Expected.exactly(np.array([1.0, 1]))
    pairing = array_findings.Pairing(exact, np.array([1.0, 1 + 3 * 2.0**-23]), SimpleNamespace(slot="b"), None)
    found = array_findings.array_finding(pairing, "a.b", None, 0.0, None)
    assert (found.kind, found.fault, found.ulps, found.at) == ("stale", True, 3, (1,))


def test_a_rounding_by_steps_is_asked_of_the_whole_tensor_and_not_of_a_few_elements():
    """Steps of a shape that a sample has not."""
    copy = np.arange(400.0).reshape(20, 20)
    fault = SimpleNamespace(made=array_findings.Expected.exactly(copy))
    steps = Rounding(("int8",), "grid", {}, lambda made: made._replace(slack=made.slack + np.ones((20, 20))))
    pairing = array_findings.Pairing(array_findings.Expected.exactly(copy + 9), copy, None, None, roundings=(steps,))
    assert list(array_findings._fits(pairing, [fault])) == [(fault, steps)]


def test_integers_of_a_bias_that_was_larger_by_a_constant_lie_within_half_a_step_of_it():
    plain, moved = roundings(np.zeros(2), steps=np.array([0.5, 0.25]), constant=3.0)
    assert (plain.form, moved.form, moved.facts) == ("integers", "moved", {"constant": 3.0, "store": "int8"})
    slack = moved.widen(array_findings.Expected.exactly(np.zeros(2))).slack
    assert slack == pytest.approx([0.25, 0.125], abs=1e-5)
    assert (slack > [0.25, 0.125]).all()  # by what float32 leaves of six


# ------------------------------------------------------------------------------------------------------------ patterns


def test_two_files_have_a_pattern_and_one_alone_has_none():
    graph, params = network("v2")
    file = checkpoint(graph, params)
    found = tuple(faults("stem.bn.mean", "stem.bn.var", "head.bn.var"))
    two = Verified(file, pair(file, file), (), found, Behaviour(), (), ())
    assert two.pattern.kind == "statistics"
    assert replace(two, sides=None).pattern is None


def faults(*names, kind="stale"):
    return [ArrayFinding(name, kind, True) for name in names]


@pytest.mark.parametrize(
    ("found", "pattern"),
    [
        (faults("stem.bn.mean", "stem.bn.var"), None),  # two are few
        (faults("stem.bn.mean", "stem.bn.var", "other.var"), None),  # a tensor that the original does not have
        (faults("stem.bn.mean", "stem.bn.var", "head.bn.var"), ("statistics", 3, 2, "stale")),
        (faults("stem.bn.mean", "stem.bn.gamma", "head.bn.var"), ("norms", 3, 2, "stale")),
        (faults("stem.conv.w", "head.conv.w", "head.logits.w"), ("one", 3, 3, "stale")),
        (faults("stem.conv.w", "head.conv.w") + faults("head.logits.w", kind="scaled"), None),
    ],
)
def test_what_three_faults_have_in_common_is_told(found, pattern):
    graph = network("v2")[0]
    made = common(graph, [ArrayFinding("stem.conv.w", array_findings.EQUAL), *found])
    assert (made and (made.kind, made.arrays, made.layers, made.fault)) == pattern


def test_one_mistake_in_arrays_of_several_shapes_is_the_same_one():
    def transposed(*shape):
        facts = {"written": "CSR", "read": "CRS", "shape": shape}
        return ArrayFinding("stem.conv.w", "transposed", True, mistake=Mistake("kernel-transpose", "", "", facts))

    assert common(network("v2")[0], [transposed(8, 3, 3), transposed(9, 5, 5), transposed(16, 3, 3)]).same


def test_a_pattern_says_of_how_many_nodes():
    graph = network("v2")[0]
    norms = sum(node.op == "batch_norm" for node in graph.nodes)
    weights = sum("w" in node.params for node in graph.nodes)
    assert common(graph, faults("stem.bn.mean", "stem.bn.var", "head.bn.var")).of == norms
    assert common(graph, faults("stem.bn.mean", "stem.bn.beta", "head.bn.var")).of == norms
    assert common(graph, faults("stem.conv.w", "head.conv.w", "head.logits.w")).of == weights


def test_a_grid_of_eight_bits_about_a_zero_point_is_one_of_integers_and_one_of_four_is_not():
    w = np.random.default_rng(6).uniform(-0.3, 0.9, (20, 30))
    for bits, found in ((8, True), (4, False)):
        step = np.ptp(w) / (2**bits - 1)
        on_it = np.rint((w - w.min()) / step) * step - np.rint(-w.min() / step) * step
        grids = [each for each in roundings(on_it) if each.form == "grid"]
        assert any(dict(each.facts)["per"] == "tensor" for each in grids) is found


def test_a_pattern_says_at_which_nodes_it_is():
    graph = network("v2")[0]
    depthwise = [f"{node.name}.w" for node in graph.nodes if node.op == "depthwise_conv2d"]
    assert common(graph, faults(*depthwise)).scope == Scope("layers", "depthwise_conv2d")
    points = [f"{node.name}.w" for node in graph.nodes if node.op == "pointwise_conv2d"]
    assert points[-1] == "head.logits.w"
    assert common(graph, faults(*points)).scope == Scope("layers", "pointwise_conv2d")
    assert common(graph, faults(*points[:-1])).scope == Scope("layers", "pointwise_conv2d")
    weights = [f"{node.name}.w" for node in graph.nodes if "w" in node.params]
    assert common(graph, faults(*weights)).scope is None
    assert common(graph, faults(*weights[7:])).scope == Scope("from", weights[7].removesuffix(".w"))
    assert common(graph, faults(*weights[:7])).scope == Scope("until", weights[6].removesuffix(".w"))
    assert common(graph, faults(weights[1], weights[4], weights[8])).scope is None


def test_a_pattern_of_folds_says_that_layers_without_batch_norm_are_not_meant():
    graph, params = network("v3-small")
    folded = {unit.conv.name for unit in graph.units() if unit.norm is not None and unit.conv.op == "pointwise_conv2d"}
    found = [replace(fault, needs=("folded",)) for fault in faults(*(f"{name}.b" for name in folded), kind="eps")]
    assert common(graph, found, fold_batch_norm(graph, params)[0]).scope == Scope("normed", "pointwise_conv2d")
    assert where(Scope("normed", "pointwise_conv2d")) == "in all 1 x 1 convolutions with batch norm"


def test_arrays_of_zeros_alone_are_one_pattern_whatever_each_is_called():
    graph = network("v2")[0]
    kinds = {"head.conv.w": "zeroed", "head.bn.gamma": "zeroed", "head.bn.beta": "lost", "head.bn.mean": "damaged"}
    found = [ArrayFinding(name, kind, True, empty=True) for name, kind in kinds.items()]
    assert (common(graph, found).kind, common(graph, found).fault) == ("empty", "")
    assert common(graph, [*found[:3], replace(found[3], empty=False)]) is None


def cut_at(of, first, bug="weights-pruned", **more):
    facts = {"side": "output", "first_of": first, "last_of": of - 1, "of": of, **more}
    return ArrayFinding("stem.conv.w", "pruned", True, mistake=Mistake(bug, "stem.conv", "run", facts))


@pytest.mark.parametrize(
    ("ends", "tails"),
    [
        (((24, 16), (56, 48), (88, 80)), ("output", 16, 8, True)),
        (((24, 16), (36, 32), (19, 16)), ("output", 16, 0, True)),
        (((30, 20), (55, 45), (70, 60)), ("output", 0, 10, True)),  # as many in each, but no group of so many
        (((24, 16), (56, 32), (88, 80)), None),
    ],
)
def test_last_channels_that_are_empty_in_several_arrays_are_told_by_the_group_behind_which_they_lie(ends, tails):
    found = common(network("v2")[0], [cut_at(*each) for each in ends])
    assert found.tails == (tails and Tails(*tails))


def test_last_channels_that_hold_other_numbers_in_one_of_the_arrays_are_not_said_to_be_empty():
    found = [cut_at(24, 16), cut_at(56, 48), cut_at(130, 128, "weights-damaged", empty=False)]
    assert not common(network("v2")[0], found).tails.empty


# ------------------------------------------------------------------------------------------------------------ integers


@pytest.mark.parametrize("sign", [1, -1])
def test_the_scale_of_a_bias_is_read_off_what_is_large_of_either_sign(sign):
    """Biases of 60 and 80 steps, stored four times as large; one of 2 steps tells nothing and is as it should be."""
    node, to = SimpleNamespace(name="a"), SimpleNamespace(single=lambda: (1.0, 0))
    steps = sign * np.array([60.0, 80, 2])
    (found,) = quantisation._bias(node, np.array([4.0, 4, 1]) * steps, steps / 2, np.full(3, 0.5), to)
    assert (found.kind, found.amount, found.affected, found.of) == ("bias-scale", 4, 2, 3)


def test_photographs_in_another_range_are_brought_into_the_inputs():
    """Integers that stand for -1 to 1.54, and photographs from 0 to 255."""
    q = SimpleNamespace(scale=0.01, low=-128, high=126, single=lambda: (0.01, -28))
    net = SimpleNamespace(graph=SimpleNamespace(nodes=()), quantised={"input": q})
    fed, (found,) = quantisation._fed(net, np.array([0.0, 51, 255]))
    assert fed == pytest.approx([-1, -1 + 0.2 * 2.54, 1.54])
    assert (found.kind, found.fails) == ("input-range", False)
    same, nothing = quantisation._fed(net, np.array([-1.0, 0, 1.5]))
    assert (same.tolist(), nothing) == ([-1.0, 0, 1.5], [])
