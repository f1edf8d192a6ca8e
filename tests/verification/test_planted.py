"""Faults planted in copies of networks: each is found, at the right tensor, with the right kind, and nothing else is.

`PLAIN` edits arrays of a copy with its batch norm; `FOLDED` folds one layer wrongly; `EDITED` edits arrays of a folded
copy; `GRAPHS` edits the graph. The exporter is the tests' own, in float32.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import checkpoint, exported, network, put, textbook

from refnet.graph import Graph
from refnet.report.differences import line
from refnet.report.differences import words as texts
from refnet.report.mistakes.arrays import detail
from refnet.verification.sides import pair
from refnet.verification.structure import structure_differences
from refnet.verification.values import match_arrays
from refnet.verification.verify import verify

# (family, tensor, what it becomes, kind, words)
PLAIN = {
    "pointwise transposed": ("v2", "block2.expand.w", lambda w: w.T.reshape(w.shape), "transposed", "axes CK"),
    "pointwise read as its transpose": (
        "v1",
        "block2.project.w",
        lambda w: w.reshape(w.shape[::-1]).T,
        "transposed",
        "KC are read as CK",
    ),
    "square pointwise transposed": ("v1", "block5.project.w", lambda w: w.T, "transposed", "CK"),
    "depthwise RSC read as CRS": (
        "v3-small",
        "block4.depthwise.w",
        lambda w: w.transpose(1, 2, 0).reshape(w.shape),
        "transposed",
        "axes RSC",
    ),
    "depthwise kernel transposed": ("v2", "block3.depthwise.w", lambda w: w.swapaxes(1, 2), "transposed", "axes CSR"),
    "HWIO read as OIHW": (
        "v2",
        "stem.conv.w",
        lambda w: w.transpose(2, 3, 1, 0).reshape(w.shape),
        "transposed",
        "axes RSCK",
    ),
    "kernel flipped": ("v2", "block5.depthwise.w", lambda w: w[:, ::-1, ::-1], "turned", "180"),
    "kernel rotated": ("mnasnet", "block6.depthwise.w", lambda w: np.rot90(w, 1, (1, 2)), "turned", "90"),
    "kernel mirrored": ("v1", "block2.depthwise.w", lambda w: w[:, :, ::-1], "turned", "left to right"),
    "two channels exchanged": (
        "v3-small",
        "block2.project.w",
        lambda w: w[[0, 1, 2, 5, 4, 3, *range(6, len(w))]],
        "permuted",
        "channels 3 and 5",
    ),
    "two input channels exchanged": (
        "v3-small",
        "block3.project.w",
        lambda w: w[:, [1, 0, *range(2, w.shape[1])]],
        "permuted",
        "input channels 0 and 1",
    ),
    "halves exchanged": ("v2", "block4.expand.w", lambda w: np.roll(w, len(w) // 2, axis=0), "permuted", "halves"),
    "colours reversed": ("v2", "stem.conv.w", lambda w: w[:, ::-1], "permuted", "input channels are in reverse"),
    "channels shuffled": (
        "mnasnet",
        "block4.expand.w",
        lambda w: w.reshape(4, -1, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape),
        "permuted",
        "shuffled in 4 groups",
    ),
    "channels dealt out": (
        "mnasnet",
        "block4.expand.w",
        lambda w: w.reshape(-1, 4, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape),
        "permuted",
        "dealt out in turn to 4 groups",
    ),
    "channels in text order": (
        "v2",
        "block4.expand.w",
        lambda w: w[sorted(range(len(w)), key=str)],
        "permuted",
        "in the order of their numbers as text: 0, 1, 10",
    ),
    "channels taken for text order": (
        "v2",
        "block4.expand.bn.beta",
        lambda b: b[np.argsort(sorted(range(len(b)), key=str))],
        "permuted",
        "are taken for ones in the order of their numbers as text",
    ),
    "channels reversed by four": (
        "v1",
        "block4.project.w",
        lambda w: w.reshape(-1, 4, *w.shape[1:])[:, ::-1].reshape(w.shape),
        "permuted",
        "in reverse order within every 4",
    ),
    "groups of channels reversed": (
        "v1",
        "block4.project.w",
        lambda w: w.reshape(-1, 8, *w.shape[1:])[::-1].reshape(w.shape),
        "permuted",
        "in groups of 8, and the groups in reverse order",
    ),
    "bytes of the other order": ("v2", "block8.expand.w", lambda w: w.byteswap(), "misread", "in the opposite order"),
    "float16 read as bfloat16": (
        "v2",
        "block8.expand.w",
        lambda w: (w.astype(np.float16).view(np.uint16).astype(np.uint32) << 16).view(np.float32),
        "misread",
        "what was stored as float16 is read as bfloat16",
    ),
    "read from the second number on": (
        "v2",
        "block8.project.w",
        lambda w: np.append(w.ravel()[1:], np.float32(3)).reshape(w.shape),
        "shifted",
        "lies 1 further on",
    ),
    "read with a header of TensorFlow's layout": (
        "v1",
        "block8.depthwise.w",
        lambda w: (
            np.append(noise(w[:5, 0, 0], 1), w.transpose(1, 2, 0).ravel()[:-5])
            .reshape(*w.shape[1:], -1)
            .transpose(2, 0, 1)
        ),
        "shifted",
        "lies 5 before it",
    ),
    "four bits by channel": (
        "v1",
        "block4.project.w",
        lambda w: np.rint(w / (step := np.abs(w).max(axis=1, keepdims=True) / np.float32(7))) * step,
        "stepped",
        "rounded to 4 bits, with a step for each channel",
    ),
    "a bias of eight bits": (
        "v2",
        "head.logits.b",
        lambda b: np.rint(b / (step := np.abs(b).max() / np.float32(127))) * step,
        "stepped",
        "rounded to 8 bits, with one step for all",
    ),
    "a bias of multiples of 1/64": (
        "v2",
        "head.logits.b",
        lambda b: np.rint(b * 64) / np.float32(64),
        "stepped",
        "with one step for all",
    ),
    "three bits from the smallest on": (
        "v1",
        "block4.project.w",
        lambda w: np.rint((w - w.min()) / (step := np.ptp(w) / np.float32(7))) * step + w.min(),
        "stepped",
        "rounded to 3 bits, with one step for all",
    ),
    "eight bits down, by channel": (
        "v1",
        "block4.project.w",
        lambda w: np.floor(w / (step := np.abs(w).max(axis=1, keepdims=True) / np.float32(127))) * step,
        "stepped",
        "rounded down to 8 bits, with a step for each channel",
    ),
    "five bits up": (
        "v1",
        "block4.project.w",
        lambda w: np.ceil(w / (step := np.abs(w).max() / np.float32(15))) * step,
        "stepped",
        "rounded up to 5 bits, with one step for all",
    ),
    "five bits toward zero": (
        "v1",
        "block4.project.w",
        lambda w: np.trunc(w / (step := np.abs(w).max() / np.float32(15))) * step,
        "stepped",
        "cut off toward zero to 5 bits, with one step for all",
    ),
    "the last channels of another training": (
        "v2",
        "block8.project.w",
        lambda w: np.concatenate([w[:15], noise(w[15:], 0.3)]),
        "damaged",
        "only channels 15 to 23 of 24 are off",
    ),
    "every fourth input gone": (
        "v2",
        "block8.project.w",
        lambda w: np.where(np.arange(w.shape[1]) % 10 == 3, np.float32(0), w),
        "damaged",
        "only every 10th of 144 input channels is off, from 3 on and all zero",
    ),
    "the end of an array not read": (
        "v2",
        "block8.project.w",
        lambda w: np.where(np.arange(w.size).reshape(w.shape) < w.size * 0.9 + 5, w, noise(w, 0.3)),
        "damaged",
        "only the last 340 of 3456 elements are off, in the order of memory",
    ),
    "float8": (
        "v1",
        "block4.project.w",
        lambda w: np.rint(w / (step := np.exp2(np.maximum(np.floor(np.log2(np.abs(w))), -6) - 3))) * step,
        "stepped",
        "rounded to float8, e4m3",
    ),
    "deviations for variances": (
        "v1",
        "block4.project.bn.var",
        np.sqrt,
        "variance",
        "in place of the variance stands its root",
    ),
    "inverse deviations for variances": (
        "v1",
        "block4.project.bn.var",
        lambda v: (1 / np.sqrt(v.astype(np.float64) + network("v1")[0]["block4.project.bn"].attrs["eps"])).astype(
            v.dtype
        ),
        "variance",
        "stands 1 over the root of it and eps",
    ),
    "variances on the way from one": (
        "v1",
        "block4.project.bn.var",
        lambda v: np.float32(1) + np.float32(0.25) * (v - np.float32(1)),
        "offset",
        "it is 1/4 times what it should be, and 0.75 is added",
    ),
    "deviations of the colours in the stem": (
        "v2",
        "stem.conv.w",
        lambda w: w / np.float32([0.2, 0.25, 0.5])[:, None, None],
        "channel-scaled",
        "the input channels are scaled, by 5, 4, 2",
    ),
    "inputs equalised": (
        "v1",
        "block4.project.w",
        lambda w: w * np.linspace(0.5, 2, w.shape[1], dtype=np.float32),
        "channel-scaled",
        "every input channel is scaled, by 0.5 to 2",
    ),
    "variances exchanged": (
        "v2",
        "block2.expand.bn.var",
        lambda v: v[[1, 0, *range(2, len(v))]],
        "permuted",
        "channels 0 and 1",
    ),
    "scaled by 255": ("v3-large", "stem.conv.w", lambda w: w * np.float32(255), "scaled", "255 times"),
    "scaled by 1/255": ("v1", "stem.conv.w", lambda w: w / np.float32(255), "scaled", "1/255 times"),
    "one channel scaled": (
        "v2",
        "block6.project.w",
        lambda w: w * np.where(np.arange(len(w)) == 2, np.float32(3), np.float32(1))[:, None],
        "channel-scaled",
        "channel 2 of",
    ),
    "sign": ("v2", "block7.project.w", np.negative, "sign", "every sign"),
    "one channel's sign": (
        "v2",
        "block7.project.w",
        lambda w: w * np.where(np.arange(len(w)) == 4, -1, 1).astype(np.float32)[:, None],
        "sign",
        "channel 4",
    ),
    "offset": ("v3-small", "block5.se.expand.b", lambda b: b + np.float32(3), "offset", "3 is added"),
    "clipped": ("v3-small", "head.hidden.w", lambda w: w.clip(-0.05, 0.05), "clipped", "cut off at -0.05"),
    "NaN": ("v2", "block8.expand.w", lambda w: put(w, (3, 1), np.nan), "damaged", "at [3, 1], not finite"),
    "one element": ("v2", "block8.expand.w", lambda w: put(w, (2, 1), 0.25), "damaged", "at [2, 1]"),
    "a channel pruned": ("v2", "block8.project.w", lambda w: put(w, 5, 0), "damaged", "channel 5 of 24 is off and all"),
    "smallest pruned": (
        "v2",
        "block8.project.w",
        lambda w: np.where(np.abs(w) < np.median(np.abs(w)), np.float32(0), w),
        "pruned",
        "the smallest 50 %",
    ),
    "two of four pruned": (
        "v2",
        "block8.project.w",
        lambda w: np.where(np.arange(w.size).reshape(w.shape) % 4 < 2, np.float32(0), w),
        "pruned",
        "2 of every 4 weights are left",
    ),
    "half of the channels pruned": (
        "v2",
        "block8.project.w",
        lambda w: np.where(np.arange(len(w))[:, None] % 2, w, np.float32(0)),
        "pruned",
        "50 % of its elements are pruned to 0, in whole channels",
    ),
    "bias lost": ("v3-large", "head.logits.b", np.zeros_like, "lost", ""),
    "squeeze bias lost": ("v3-small", "block4.se.reduce.b", np.zeros_like, "lost", ""),
    "stale": ("v2", "block9.depthwise.w", lambda w: w + noise(w, 1e-2), "stale", "another training step"),
    "fresh": ("v2", "block9.depthwise.w", lambda w: noise(w, 0.3), "stale", "unrelated"),
    "gamma forgotten": ("v1", "block7.depthwise.bn.gamma", np.ones_like, "gamma-ignored", ""),
    "mean forgotten": ("v1", "block7.depthwise.bn.mean", np.zeros_like, "mean-forgotten", ""),
    "variance reset": ("v1", "block7.depthwise.bn.var", np.ones_like, "mean-forgotten", "taken as 1"),
    "weights zero": ("v2", "block10.expand.w", np.zeros_like, "zeroed", ""),
    "classes rolled": ("v2", "head.logits.b", lambda b: np.roll(b, 1), "classes", "rolled by one"),
    "cut to bfloat16": (
        "v2",
        "block11.project.w",
        lambda w: (w.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
        "truncated",
        "cut off to bfloat16, toward zero",
    ),
    "beyond bits": ("v2", "block11.project.w", lambda w: w * (1 + noise(w, 2e-4)), "coarse", "bits"),
}


def eps_of(family: str, name: str) -> float:
    return network(family)[0][name].attrs["eps"]


def noise(w: np.ndarray, size: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (size * rng.uniform(-1, 1, w.shape)).astype(np.float32)


def faults(original, copy) -> dict[str, tuple[str, str]]:
    return {value.name: (value.kind, detail(value)) for value in match_arrays(pair(original, copy)) if value.fault}


@pytest.mark.parametrize("fault", PLAIN)
def test_an_edited_array_is_named(fault):
    family, tensor, edit, kind, words = PLAIN[fault]
    graph, params = network(family)
    edited = {**params, tensor: np.ascontiguousarray(edit(params[tensor]))}
    found = faults(checkpoint(graph, params), checkpoint(graph, edited, "copy"))
    assert list(found) == [tensor]
    assert found[tensor][0] == kind
    assert words in found[tensor][1]


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        (np.zeros_like, "zeroed", "of the original: all its elements are zero"),
        (lambda w: w.byteswap(), "misread", "of the original: the bytes of every number"),
        (lambda w: np.rint(w / (step := np.abs(w).max() / np.float32(7))) * step, "stepped", "of the original: it is"),
    ],
)
def test_what_happened_to_the_original_is_said_of_it(edit, kind, words):
    graph, params = network("v2")
    name = "block8.project.w"
    found = faults(checkpoint(graph, {**params, name: edit(params[name])}), checkpoint(graph, params, "copy"))
    assert list(found) == [name]
    assert found[name][0] == kind
    assert found[name][1].startswith(words)


def other_eps(eps):
    return lambda w, b, gamma, beta, mean, var, _: textbook(w, b, gamma, beta, mean, var, eps)


def wrong_axis(w, b, gamma, beta, mean, var, eps):
    s = gamma / np.sqrt(var + np.float32(eps))
    return w * np.resize(s, w.size).reshape(w.shape), beta - mean * s


# (family, layer, how it is folded, {slot: kind}, words)
FOLDED = {
    "1e-3 for 1e-5": ("v2", "block3.project", other_eps(1e-3), {"w": "eps", "b": "eps"}, "eps 0.001 instead of 1e-05"),
    "1e-5 for 1e-3": ("v1", "block3.project", other_eps(1e-5), {"w": "eps", "b": "eps"}, "eps 1e-05 instead of 0.001"),
    "no eps": ("v3-large", "block5.expand", other_eps(0.0), {"w": "eps", "b": "eps"}, "eps 0 instead"),
    "an eps of its own": ("v2", "block3.project", other_eps(0.0037), {"w": "eps", "b": "eps"}, "eps 0.0037"),
    "gamma ignored": (
        "v3-small",
        "block6.depthwise",
        lambda w, b, gamma, *rest: textbook(w, b, np.ones_like(gamma), *rest),
        {"w": "gamma-ignored", "b": "gamma-ignored"},
        "gamma is taken as 1",
    ),
    "mean forgotten": (
        "mnasnet",
        "block2.depthwise",
        lambda w, b, gamma, beta, mean, *rest: textbook(w, b, gamma, beta, 0 * mean, *rest),
        {"b": "mean-forgotten"},
        "the mean is forgotten",
    ),
    "own bias forgotten": (
        "article",
        "block2.expand",
        lambda w, b, *rest: textbook(w, 0 * b, *rest),
        {"b": "mean-forgotten"},
        "own bias is forgotten",
    ),
    "own bias unscaled": (
        "article",
        "block3.expand",
        lambda w, b, *rest: (textbook(w, b, *rest)[0], textbook(w, 0 * b, *rest)[1] + b),
        {"b": "fold-bias"},
        "unscaled",
    ),
    "beta forgotten": (
        "v1",
        "block6.project",
        lambda w, b, gamma, beta, *rest: textbook(w, b, gamma, 0 * beta, *rest),
        {"b": "mean-forgotten"},
        "beta is forgotten",
    ),
    "mean added": (
        "v2",
        "block6.project",
        lambda w, b, gamma, beta, mean, *rest: textbook(w, b, gamma, beta, -mean, *rest),
        {"b": "fold-bias"},
        "added",
    ),
    "mean and beta exchanged": (
        "v3-large",
        "block6.project",
        lambda w, b, gamma, beta, mean, *rest: textbook(w, b, gamma, mean, beta, *rest),
        {"b": "swapped"},
        "beta and mean are exchanged",
    ),
    "gamma and var exchanged": (
        "v3-large",
        "block6.project",
        lambda w, b, gamma, beta, mean, var, eps: textbook(w, b, var, beta, mean, gamma, eps),
        {"w": "swapped", "b": "swapped"},
        "gamma and var are exchanged",
    ),
    "no root": (
        "v2",
        "block6.depthwise",
        lambda w, b, gamma, beta, mean, var, eps: textbook(w, b, gamma, beta, mean, (var + eps) ** 2, 0),
        {"w": "var-std", "b": "var-std"},
        "instead of its root",
    ),
    "not folded": (
        "mnasnet",
        "block6.depthwise",
        lambda w, b, *rest: (w, b),
        {"w": "not-folded", "b": "lost"},
        "",
    ),
    "wrong axis": ("v2", "block6.depthwise", wrong_axis, {"w": "fold-axis"}, "wrong axis"),
    "transposed before": (
        "v1",
        "block5.project",
        lambda w, *rest: textbook(w.T, *rest),
        {"w": "transposed"},
        "before batch norm was folded",
    ),
    "channels exchanged before": (
        "v1",
        "block5.project",
        lambda w, *rest: textbook(w[[1, 0, *range(2, len(w))]], *rest),
        {"w": "permuted"},
        "channels 0 and 1 are exchanged, before",
    ),
    "folded in float16": (
        "v2",
        "block4.project",
        lambda *a: textbook(*(np.float16(each) for each in a[:-1]), a[-1]),
        {"w": "coarse"},
        "bits",
    ),
}


@pytest.mark.parametrize("fault", FOLDED)
def test_a_wrong_fold_is_named(fault):
    family, layer, fold, kinds, words = FOLDED[fault]
    graph, params = network(family)
    found = faults(checkpoint(graph, params), exported(graph, params, only={layer: fold}))
    assert {name: kind for name, (kind, _) in found.items() if kind != "coarse" or "b" not in name.split(".")} == {
        f"{layer}.{slot}": kind for slot, kind in kinds.items()
    }
    assert words in next(iter(found.values()))[1]


# (family, tensor, what it becomes, kind, words)
EDITED = {
    "transposed": ("v1", "block5.project.w", lambda w: w.T, "transposed", "CK"),
    "turned": ("v3-small", "block3.depthwise.w", lambda w: w[:, ::-1, ::-1], "turned", "180"),
    "permuted": ("v2", "block12.project.w", lambda w: w[::-1], "permuted", "reverse"),
    "bias permuted": ("v2", "block12.project.b", lambda b: np.roll(b, 2), "permuted", "rolled by 2"),
    "bias lost": ("v2", "block12.project.b", np.zeros_like, "lost", ""),
    "scaled": ("v3-large", "stem.conv.w", lambda w: w / np.float32(127.5), "scaled", "1/127.5"),
    "stale": ("mnasnet", "block9.project.w", lambda w: w + noise(w, 3e-2), "stale", "step"),
    "infinite": ("mnasnet", "block9.project.b", lambda b: put(b, 3, np.inf), "damaged", "[3], not finite"),
}


@pytest.mark.parametrize("fault", EDITED)
def test_an_edited_array_of_a_folded_copy_is_named(fault):
    family, tensor, edit, kind, words = EDITED[fault]
    graph, params = network(family)
    copy = exported(graph, params)
    copy = replace(copy, params={**copy.params, tensor: np.ascontiguousarray(edit(copy.params[tensor]))})
    found = faults(checkpoint(graph, params), copy)
    assert list(found) == [tensor]
    assert found[tensor][0] == kind
    assert words in found[tensor][1]


# (family, two layers)
EXCHANGED = {
    "two projections": ("v2", "block9.project", "block10.project"),
    "two depthwise": ("v1", "block8.depthwise", "block9.depthwise"),
    "two squeezes": ("v3-small", "block5.se.reduce", "block6.se.reduce"),
}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("fault", EXCHANGED)
def test_exchanged_layers_are_told_by_each_others_names(fault, folded):
    family, one, other = EXCHANGED[fault]
    graph, params = network(family)
    copy = exported(graph, params) if folded else checkpoint(graph, dict(params), "copy")
    moved = dict(copy.params)
    for name in copy.params:
        for mine, theirs in ((one, other), (other, one)):
            if name.startswith(f"{mine}."):
                moved[name] = copy.params[theirs + name.removeprefix(mine)]
    found = faults(checkpoint(graph, params), replace(copy, params=moved))
    assert found
    for name, (kind, words) in found.items():
        mine, theirs = (one, other) if name.startswith(f"{one}.") else (other, one)
        assert kind == "misplaced", name
        assert theirs in words


def test_squeeze_and_excite_exchanged_within_a_block_is_told():
    graph, params = network("v3-small")
    names = ("block6.se.reduce.w", "block6.se.expand.w")
    moved = {**params, names[0]: params[names[1]].T.copy(), names[1]: params[names[0]].T.copy()}
    found = faults(checkpoint(graph, params), checkpoint(graph, moved, "copy"))
    assert {name: kind for name, (kind, _) in found.items()} == dict.fromkeys(names, "misplaced")


def test_other_training_is_told_once_and_for_all():
    graph, params = network("v2")
    other = {name: array + noise(array, 0.05) for name, array in params.items()}
    found = faults(checkpoint(graph, params), checkpoint(graph, other, "copy"))
    assert {kind for kind, _ in found.values()} == {"retrained"}


def edited(graph: Graph, name: str, **fields) -> Graph:
    attrs = {**graph[name].attrs, **fields.pop("attrs", {})}
    return Graph(
        graph.recipe,
        tuple(replace(node, attrs=attrs, **fields) if node.name == name else node for node in graph.nodes),
    )


# (family, node, other fields, kind, words)
GRAPHS = {
    "stride": ("v2", "block4.depthwise", {"attrs": {"stride": (1, 1)}}, "attribute", "stride (1, 1), not (2, 2)"),
    "pad": ("v3-large", "block2.depthwise", {"attrs": {"pad": ((1, 1), (1, 1))}}, "attribute", "pad ((1, 1), (1, 1))"),
    "dilation": ("v2", "block14.depthwise", {"attrs": {"dilation": (2, 2)}}, "attribute", "dilation (2, 2)"),
    "activation": ("v2", "block3.expand.act", {"op": "relu"}, "operation", "relu, not relu6"),
    "slope": ("v3-small", "block5.se.gate", {"attrs": {"slope": 0.2}}, "attribute", "slope 0.2"),
    "gate": ("v3-small", "block5.se.gate", {"op": "sigmoid", "attrs": {}}, "operation", "sigmoid"),
    "eps": ("v2", "block3.expand.bn", {"attrs": {"eps": 1e-3}}, "attribute", "eps 0.001, not 1e-05"),
    "reads": ("v2", "block6.add", {"inputs": ("block6.project.bn", "block4.project.bn")}, "attribute", "has inputs"),
}


@pytest.mark.parametrize("fault", GRAPHS)
def test_an_edited_graph_is_named(fault):
    family, node, fields, kind, words = GRAPHS[fault]
    graph, params = network(family)
    if fields.get("attrs") == {}:
        other = Graph(graph.recipe, tuple(replace(n, **fields) if n.name == node else n for n in graph.nodes))
    else:
        other = edited(graph, node, **fields)
    (found,) = structure_differences(checkpoint(graph, params), checkpoint(other, params, "copy"))
    assert found.needs == "structure"
    assert (found.node, texts(found).kind) == (node, kind)
    assert words in line(found)


def test_a_node_more_and_a_node_less_are_named():
    graph, params = network("v2")
    shortcut = graph["block3.add"]
    without = Graph(
        graph.recipe,
        tuple(
            replace(node, inputs=tuple(shortcut.inputs[1] if name == shortcut.name else name for name in node.inputs))
            for node in graph.nodes
            if node is not shortcut
        ),
    )
    there = structure_differences(checkpoint(graph, params), checkpoint(without, params, "copy"))
    assert ("block3.add", "missing") in [(change.node, change.key) for change in there]
    back = structure_differences(checkpoint(without, params), checkpoint(graph, params, "copy"))
    assert ("block3.add", "extra") in [(change.node, change.key) for change in back]


@pytest.mark.parametrize("fault", ["stride", "pad", "activation", "slope", "reads"])
def test_an_edited_graph_computes_something_else_at_that_node(fault):
    family, node, fields, _, _ = GRAPHS[fault]
    graph, params = network(family)
    found = verify(checkpoint(graph, params), checkpoint(edited(graph, node, **fields), params, "copy"))
    assert not found.holds
    assert found.behaviour.wrong[0] == node


def test_how_many_faults_there_are():
    assert len(PLAIN) + len(FOLDED) + len(EDITED) + 2 * len(EXCHANGED) + len(GRAPHS) >= 70
