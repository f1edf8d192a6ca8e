"""Tables on which figures of the catalogue stand: what is told from what, and with which chance of error."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.inputs import pitch, solved
from refnet.bugs.language import regions
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.layers import answers, norm_forms
from refnet.bugs.memory import channel_orders, stored, weights
from refnet.bugs.numbers import manners, overflow, precision
from refnet.bugs.sites import styles
from refnet.graph import SOURCE, Graph, Node, Recipe, interpret, walk
from refnet.judge.scorecard import FAMILIES, subject
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.orders import ORDERS, rounded, truncated
from refnet.readings.precision import FLOATS


@pytest.fixture(scope="module")
def tensors():
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
    made = walk(graph, fast, random_params(graph), {SOURCE: probe(graph, 1)})
    return [y.ravel() for _, y in made if y.size >= 64]


def some(y, count, seed=0):
    return np.random.default_rng(seed).choice(y, count, replace=False)


# ------------------------------------------------------------------------------------------- fixed point, short floats


@pytest.mark.parametrize("move", [np.rint, np.floor])
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_fixed_point_is_told_from_64_numbers_with_its_bits(tensors, bits, move):
    fixed = [move(some(y, 64).astype(float) * 2**bits) / 2**bits for y in tensors]
    told = [manners.fraction_bits(y.astype(np.float32)) for y in fixed if np.unique(y).size > 2]
    assert len(told) > 80
    assert set(told) <= {bits, None}
    assert np.mean([each == bits for each in told]) > 0.97


@pytest.mark.parametrize("count", [4, 16, 64])
@pytest.mark.parametrize("store", ["float16", "bfloat16", "tf32"])
def test_no_short_float_is_taken_for_fixed_point(tensors, store, count):
    move = partial(rounded, store=store)
    short = [each(some(y, count)) for y in tensors for each in (move, lambda y: truncated(y, "bfloat16"))]
    assert not any(manners.fraction_bits(y) is not None for y in short)


def test_the_chance_that_is_allowed_is_that_by_which_floats_are_taken_for_it(monkeypatch):
    """Of few numbers that are as likely in each octave; each of the steps may be theirs by accident."""
    monkeypatch.setattr(manners, "_CHANCE", 1e-2)
    rng = np.random.default_rng(0)
    drawn = [rounded(np.exp2(rng.uniform(-5, 1, 3)).astype(np.float32), "bfloat16") for _ in range(4000)]
    taken = np.mean([manners.fraction_bits(y) is not None for y in drawn])
    assert 0 < taken < 1e-2 * manners._BITS


@pytest.mark.parametrize(("move", "manner"), [(np.floor, "cut off"), (np.trunc, "cut off"), (np.rint, "rounded")])
def test_what_is_cut_off_lies_on_the_other_side_of_the_middle(tensors, move, manner):
    """By half a step on average, and by a quarter: of 64 numbers no tensor is as far off as the middle."""
    for y in tensors:
        steps = some(y, 64).astype(float) * 2**10
        steps = steps[steps != np.rint(steps)]
        off = (
            float(np.abs(move(steps) - steps).mean()) if steps.size > 32 else {"cut off": 0.5, "rounded": 0.25}[manner]
        )
        assert (off > precision._HALFWAY) == (manner == "cut off")


def test_sums_in_float16_that_are_whole_steps_of_their_largest_are_still_such_sums():
    """They pass by large numbers, whose steps the small ones at the end still have."""
    rng = np.random.default_rng(0)
    terms = np.concatenate([rng.normal(0, 200, (15, 256)), np.zeros((1, 256))])
    terms[-1] = rng.normal(0, 5, 256) - terms.sum(axis=0)
    y = np.zeros(256, np.float16)
    for row in terms:
        y += row.astype(np.float16)
    assert manners.fraction_bits(y.astype(np.float32)) is not None
    assert precision._is_large(SimpleNamespace(candidate=y.astype(np.float32), result=terms.sum(axis=0)), "float16")
    in_steps = (np.rint(terms.sum(axis=0) * 4096) / 4096).astype(np.float32)
    assert not precision._is_large(SimpleNamespace(candidate=in_steps, result=terms.sum(axis=0)), "float16")


# ---------------------------------------------------------------------------------------------------- order of classes


def shares():
    """Of what is left of an error once numbers are sorted: of right numbers in another order, and of wrong ones."""
    rng = np.random.default_rng(0)
    right, wrong = [], []

    def left(port, own):
        return np.linalg.norm(np.sort(port) - np.sort(own)) / np.linalg.norm(port - own)

    for classes in (5, 10, 100, 1000, 1000, 21843):
        for _ in range(100 if classes < 5000 else 10):
            own, order = rng.normal(size=classes), np.arange(classes)
            one, other = rng.choice(classes, 2, replace=False)
            while abs(own[one] - own[other]) < 0.01:  # so near it is their rounding that shows
                one, other = rng.choice(classes, 2, replace=False)
            order[[one, other]] = other, one  # any other order moves more
            right.append(left(own[order] * (1 + 2e-7 * rng.normal(size=classes)), own))
            wrong.append(left(own + 10 ** rng.uniform(-3, 1) * rng.normal(size=classes), own))
    return np.array(right), np.array(wrong)


def test_right_numbers_in_another_order_leave_less_than_wrong_ones_in_any():
    right, wrong = shares()
    assert right.max() < answers._ALIKE < 10 * answers._ALIKE < wrong.min()
    assert right.max() > answers._ALIKE / 10


@pytest.mark.parametrize(("spread", "told"), [(0.0, True), (1e-3, True), (0.04, False), (0.2, False)])
def test_a_factor_is_one_of_all_numbers_alike(spread, told):
    """What is left of the error of a factor by which classes differ so much is what its numbers are apart by."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
    params, x = random_params(graph), probe(graph, 1)
    whole = cut(Parts(graph), params, graph.output, {SOURCE: x}, judged=False)
    factors = 1 - 0.5 * (1 + spread * np.random.default_rng(0).choice((-1, 1), 10))
    found = list(BUGS["answer-scaled"].changes(replace(whole, candidate=whole.result * factors)))
    assert bool(found) == told


# ------------------------------------------------------------------------------------------------- numbers of a layer


@cache
def honest(family):
    return subject(FAMILIES[family], 1)


def layers(family, ends=("norm",)):
    """Segments of a convolution and its batch norm, with the activation behind it or without, by their units."""
    one = honest(family)
    for unit in [each for each in one.graph.units() if each.norm is not None][::2]:
        for end in {unit.norm.name if each == "norm" else unit.output for each in ends}:
            start = unit.conv.inputs[0]
            yield cut(Parts(one.graph), one.net.params, end, {start: one.tensors[start]}, judged=False)


def in_float16(y):
    return y.astype(np.float16).astype(np.float32)


def in_8_bits(y):
    step = np.ptp(y) / 255
    return (np.rint(y / step) * step).astype(np.float32)


def left_by_orders(stored):
    """Of what channels are moved by, how far that is from it which an order moves them by: of right ones, of wrong."""
    right, wrong = [], []
    for segment in (each for family in ("V3 Small", "V2") for each in layers(family)):
        (unit,) = segment.units
        for change in BUGS["bn-order"].changes(segment):
            port = stored(run(segment.changed(change), np.float32, ORDERS["lanes"]))
            mean, moved = channel_orders._channels_moved(replace(segment, candidate=port), unit.norm)
            for other in BUGS["bn-order"].changes(segment):
                ((name, vector),) = other.params.items()
                away = channel_orders._away(unit, name.rpartition(".")[2], vector, mean, moved)
                (right if other.form == change.form else wrong).append(away)
    return np.array(right), np.array(wrong)


def test_the_right_order_of_a_vector_moves_channels_as_the_port_does():
    same, (right, wrong), (of_integers, _) = channel_orders._SAME, left_by_orders(in_float16), left_by_orders(in_8_bits)
    assert len(right) > 200
    assert right.max() < same < wrong.min() < 10 * same
    assert (of_integers < same).mean() > 0.8 > (of_integers < same / 10).mean()


def test_one_factor_of_variances_is_known_to_a_thousandth():
    """What a port in float16 shows of it."""
    off = []
    for segment in (each for family in ("V3 Small", "V2") for each in layers(family, ("norm", "act"))):
        (unit,) = segment.units
        for times in (0.5, 1.0, 999.982):
            change = norm_forms._with(unit, "", {"var": unit["var"] * times})
            port = in_float16(run(segment.changed(change), np.float32, ORDERS["lanes"]))
            if (found := norm_forms._factors(replace(segment, candidate=port), unit)) is not None:
                off.append(abs(found[1] / times - 1))
    assert len(off) > 100
    assert np.mean(np.array(off) < norm_forms._ALIKE) >= 0.95 > np.mean(np.array(off) < norm_forms._ALIKE / 10)


# ------------------------------------------------------------------------------------------------- the input, the stem


def stems(families):
    for family in families:
        one = honest(family)
        unit, given = one.graph.units()[0], {SOURCE: one.tensors[SOURCE]}
        for end in (unit.conv.name, unit.output):
            yield cut(Parts(one.graph), one.net.params, end, given, judged=False)


def test_a_fit_of_the_colours_knows_its_numbers_from_integers_of_8_bits(monkeypatch):
    rng, guessed, known, within = np.random.default_rng(0), solved._GUESSED, [], []
    monkeypatch.setattr(solved, "_GUESSED", np.inf)
    for segment in stems(("V3 Small", "V2", "V1")):
        x = segment.given[SOURCE].astype(float)
        for matrix in (np.diag(rng.uniform(0.5, 2, 3)), rng.normal(size=(3, 3)), np.diag(rng.uniform(0.5, 2, 3))):
            map_ = solved.ColourMap(matrix, rng.normal(size=3) / 2)
            port = in_8_bits(run(replace(segment, given={SOURCE: map_.of(x)}), np.float32, ORDERS["lanes"]))
            found = solved._solve(replace(segment, candidate=port))
            largest = max(float(np.abs(each).max()) for each in found.map)
            known.append(max(float(each.max()) for each in found.off) / largest)
            within.append(found.allows(map_))
    assert all(within)
    known = np.array(known)
    assert (known < guessed).mean() >= 0.95 > (known < guessed / 2).mean()


def left_by_lengths(monkeypatch):
    """What is left of the error in the first rows by the length of rows that leaves least: where that is the port's."""
    monkeypatch.setattr(pitch, "_NEAR", np.inf)
    right, wrong = [], []

    def left(segment, black):
        x, t = segment.given[SOURCE], segment.candidate[0, :, : pitch._SEEN].astype(float)
        (gap,) = pitch._solved(segment, black=black)
        beginning = pitch._beginnings(segment, np.array([gap]), x.shape[3], black=black)
        (y,) = pitch._made(segment, beginning)
        return gap, np.linalg.norm(y - t) / np.linalg.norm(t - segment.result[0, :, : pitch._SEEN])

    for segment in stems(("V1", "V2")):
        for gap in (1, 5, -2):
            for black in (True, False):
                x = pitch._pitched(segment, 3 * gap, black=black)
                port = in_8_bits(run(replace(segment, given={SOURCE: x}), np.float32))
                found, share = left(replace(segment, candidate=port), black)
                assert found == gap
                right.append(share)
        for bug in ("bn-eps", "pad-same", "kernel-flip", "input-channels", "weights-int8", "act-missing"):
            for change in list(BUGS[bug].changes(segment))[:2] if bug in BUGS else ():
                port = run(segment.changed(change), np.float32)
                if port.shape == segment.result.shape and np.ptp(port - segment.result) > 1e-3:
                    wrong.append(left(replace(segment, candidate=port), True)[1])
    return np.array(right), np.array(wrong)


def test_rows_of_the_right_length_leave_less_of_the_error_than_any_other_mistake(monkeypatch):
    near = pitch._NEAR
    right, wrong = left_by_lengths(monkeypatch)
    assert len(wrong) > 10
    assert near / 10 < right.max() < near < wrong.min()


# -------------------------------------------------------------------------------------------- sums beyond their format


POOL = {"kernel": (7, 7), "stride": (1, 1), "pad": ((0, 0), (0, 0))}


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (Node("sums", "avg_pool2d", ("input",), {}, POOL), (64, 7, 7)),
        (Node("sums", "avg_pool2d", ("input",), {}, {**POOL, "kernel": (14, 14)}), (64, 14, 14)),
        (Node("sums", "pointwise_conv2d", ("input",), {"w": (64, 96)}), (96, 8, 8)),
        (Node("sums", "hard_swish", ("input",)), (256, 4, 4)),
    ],
)
@pytest.mark.parametrize("order", ["sequential", "pairwise"])
def test_rounding_takes_no_sum_beyond_its_format_from_farther_away(node, shape, order):
    """Positive terms, in float16, whose sums lie around the largest number: those that are on the wrong side of it."""
    rng, largest = np.random.default_rng(0), FLOATS["float16"].largest
    x = rng.random((8, *shape))
    params = {"sums.w": rng.random((64, 96)).astype(np.float16)} if node.params else {}
    graph = Graph(Recipe("", 1.0, shape[1:], 64, shape[0]), (node,))
    x *= largest  # far above where a hard swish bends
    sums = next(overflow._sums(node, x, interpret(graph, fast, params, {SOURCE: x})))[1]
    x = (x * largest / np.median(sums)).astype(np.float16)
    exact = interpret(graph, fast, params, {SOURCE: x.astype(np.float64)})
    ((_, sums), *_) = overflow._sums(node, x.astype(np.float64), exact)
    with np.errstate(all="ignore"):
        beyond = ~np.isfinite(interpret(graph, ORDERS[order], params, {SOURCE: x}))
    wrong = beyond != (sums > largest)
    assert beyond.any()
    assert not beyond.all()
    assert np.abs(sums[wrong] / largest - 1).max(initial=0) < overflow._near(graph, "float16")


# ---------------------------------------------------------------------------------------------- channels, lines, parts


def likeness():
    """The cosine of each channel of a layer to itself in 8 bits, and to the one that is most like it."""
    own, other = [], []
    for family in ("V2", "V3 Small"):
        one = honest(family)
        for node in one.graph.nodes:
            y = one.tensors[node.name].astype(float)
            if node.op not in (*CONVOLUTIONS, "batch_norm") or y[0, 0].size < 9:
                continue
            rows, stored = (np.moveaxis(each, 1, 0).reshape(y.shape[1], -1) for each in (y, in_8_bits(y)))
            rows, stored = (each - each.mean(axis=1, keepdims=True) for each in (rows, stored.astype(float)))
            kept = np.ptp(rows, axis=1) > 0
            rows, stored = (each[kept] / np.linalg.norm(each[kept], axis=1, keepdims=True) for each in (rows, stored))
            own.append(np.nan_to_num((rows * stored).sum(axis=1)))
            other.append((np.abs(rows @ rows.T) - np.eye(len(rows))).max(axis=1))
    return np.concatenate(own), np.concatenate(other)


@pytest.mark.filterwarnings("ignore:invalid value")  # of a channel that 8 bits leave nothing of
def test_a_channel_is_told_from_others_by_its_cosine():
    own, other = likeness()
    assert (own > weights._LIKE).mean() >= 0.95 > (own > 1 - (1 - weights._LIKE) / 10).mean()
    assert (other < weights._LIKE).mean() >= 0.95 > (other < 1 - 10 * (1 - weights._LIKE)).mean()


def parts_of_zeros():
    """Of the last lines of tensors that are left at zero: how many of the lines are off, and how much of the part."""
    runs, parts = [], []
    for family in ("V1", "V2", "V3 Small", "MnasNet A1"):
        one = honest(family)
        maps = [one.tensors[node.name] for node in one.graph.nodes if one.tensors[node.name].ndim == 4]
        for y, axis, share in itertools.product(maps, (1, 2, 3), (2, 4, 8)):
            part = np.moveaxis(y, axis, 0)[-(y.shape[axis] // share) :] != 0
            lines = regions.lines_off(part, 0)
            if len(lines) > 3:
                runs.append(len(lines) / (lines[-1] + 1 - lines[0]))
                parts.append(part.mean())
    return np.array(runs), np.array(parts)


def test_most_lines_of_a_part_that_is_never_written_show_it():
    runs, parts = parts_of_zeros()
    assert len(runs) > 500
    assert (runs > regions.RUN).mean() >= 0.9 > (runs > regions.RUN + 0.25).mean()
    assert (parts > regions.FILLED).mean() >= 6 / 7 > (parts > regions.FILLED + 0.1).mean()


def rounding_of(store, order):
    """The largest error of tensors of a runtime that fuses: by the size of its channel, and by that of the tensor."""
    for family in ("V1", "V2", "V3 Small", "MnasNet A1"):
        one = honest(family)
        ends = styles(one.graph)["fused"]
        have = {name: one.tensors[name] for name in (SOURCE, *ends)}
        for end in ends[::2]:
            segment = cut(Parts(one.graph), one.net.params, end, have, judged=False)
            y = segment.result
            if y.ndim == 4:
                made = run(segment, np.float32, ORDERS[order])
                error = np.abs((made if store == "float32" else rounded(made, store)) - y)
                size = np.sqrt(np.square(y).mean())
                yield (error / (np.sqrt(np.square(y).mean(axis=(0, 2, 3), keepdims=True)) + 1e-4 * size)).max()
                yield error.max() / size


def test_what_is_off_by_so_much_is_seldom_rounding():
    single = np.array(list(rounding_of("float32", "sequential"))[::2])
    short = np.array(list(rounding_of("bfloat16", "fast"))[1::2])
    assert (single < stored._NEAR).mean() >= 0.95 > (single < stored._NEAR / 10).mean()
    assert (short < stored._FAR).mean() >= 6 / 7 > (short < stored._FAR / 2).mean()
