"""Why a port is wrong: causes that fit, ties, pairs, and what can be said where nothing fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data.ports.exam import PORTS, marks

from refnet import Network, build, probe, random_params
from refnet.bugs.catalogue import BUGS, REPLAYED
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.sites import sites
from refnet.graph import SOURCE
from refnet.judge.causes.describe import describe
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.scorecard import FAMILIES, false_alarms, inject, pairs, subject, tally, trials
from refnet.judge.tensors import judge_tensors
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded
from refnet.report.comparison import cause_sentence
from refnet.report.mistakes.bugs import of_port
from refnet.report.mistakes.features import feature_sentence

FLOAT32 = Precision.of("float32")


@pytest.fixture(scope="module")
def small():
    return subject(FAMILIES["V3 Small"])


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port["file"].removesuffix(".npz"))
def test_a_port_written_apart_from_the_catalogue_is_located_and_named(port):
    """The exam: wrong ports in PyTorch and C, by a hand that had not seen the table."""
    for mark in marks(port):
        assert not mark.innocent, "an innocent layer is accused"
        assert mark.located, f"{mark.bug} is not located"
        assert mark.named, f"{mark.bug} is not named"


SAMPLED = ("V1", "V2", "MnasNet A1", "V3 Small, SAME", "d-li14", "LR-ASPP")
_ONLY = ("decoder",)  # rooms of bugs of segmentation, which other families cannot have


@pytest.mark.parametrize("family", SAMPLED)
def test_a_sample_of_the_scorecard(family):
    """Every bug once, in one of the families; `refnet scorecard` does more."""
    share, of = SAMPLED.index(family), len(SAMPLED)
    bugs = tuple(bug.id for i, bug in enumerate(REPLAYED) if i % of == share or bug.group in _ONLY)
    rows = list(trials(subject(FAMILIES[family]), sample=1, seed=7, bugs=bugs))
    counts = tally(rows)
    missed = [row for row in rows if row.visible and not row.located]
    assert not missed
    assert counts["named"] + counts["tied"] >= 0.9 * counts["visible"]


def test_two_bugs_in_different_layers_are_both_located(small):
    assert all(located for located, _ in pairs(small, 8))


@pytest.mark.parametrize("family", ["V2", "V3 minimalistic", "LR-ASPP"])
def test_honest_runs_raise_no_alarm(family):
    assert not any(false_alarms(subject(FAMILIES[family])).values())


def place(small, bug, node, words=""):
    found = sites(small.graph, small.net.params, small.tensors.items(), [BUGS[bug]])
    return next(site for site in found if site.change.node == node and words in of_port(site.mistake))


def causes(small, *bugs):
    candidate = inject(small, *bugs)
    found = judge_tensors(small.reference, candidate, precision=FLOAT32, partial=True)
    return found, found.causes[bugs[0].segment.end]


def test_causes_that_this_input_cannot_tell_apart_are_all_listed(small):
    """TF SAME at stride 2 on an even map is sampling from pixel 1 on."""
    _, found = causes(small, place(small, "pad-same", "block2.depthwise"))
    assert {cause.ids[0] for cause in found} == {"pad-same", "stride-phase"}


def test_a_cause_says_what_and_instead_of_what(small):
    _, found = causes(small, place(small, "bn-eps", "block3.expand.bn", "1e-05"))
    assert cause_sentence(found[0]) == "eps is 1e-05 instead of 0.001"
    assert found[0].nodes == ("block3.expand.bn",)


def test_two_bugs_in_one_segment_are_found_as_a_pair(small):
    """A fused convolution, batch norm and activation with two mistakes."""
    have = {SOURCE: small.tensors[SOURCE], **{n: small.tensors[n] for n in ("block3.expand.act", "block2.project.bn")}}
    honest = cut(Parts(small.graph), small.net.params, "block3.expand.act", have, judged=False)
    first = honest.changed(next(BUGS["bn-fix-gamma"].changes(honest)))
    second = first.changed(next(BUGS["act-missing"].changes(first)))
    candidate = {**have, "block3.expand.act": run(second, np.float32)}
    segment = cut(Parts(small.graph), small.net.params, "block3.expand.act", candidate)
    found = diagnose(segment, FLOAT32)
    assert [set(cause.ids) for cause in found] == [{"bn-fix-gamma", "act-missing"}]  # once, in whichever order


def framed(y):
    """One in the outermost row and column, zero inside."""
    frame = np.ones_like(y)
    frame[:, :, 1:-1, 1:-1] = 0
    return frame


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda y: y * np.float32(1.25), "it is 1.25 times the reference throughout"),
        (lambda y: y * np.linspace(0.5, 2, y.shape[1])[:, None, None], "every channel is scaled, by 0.5 to 2"),
        (lambda y: (y + 1) * np.linspace(0.5, 2, y.shape[1])[:, None, None], "a slope and an offset"),
        (lambda y: np.where(np.arange(y.shape[1])[:, None, None] == 3, y + 1, y), "only channel 3 of"),
        (lambda y: np.where(np.isin(np.arange(y.shape[1]), (1, 4))[:, None, None], y + 1, y), "only channels 1, 4 of"),
        (lambda y: np.roll(y, (1, -1), axis=(2, 3)), "shifted by (1, -1)"),
        (lambda y: np.sort(y, axis=3), "in another order"),
        (lambda y: y + framed(y), "only the border is off"),
        (lambda y: y.clip(-0.5, y.max() / 2), "below -0.5 is cut off"),
    ],
    ids=["ratio", "factors", "channels", "channel", "two channels", "shift", "order", "border", "cut off"],
)
def test_where_nothing_fits_it_says_what_can_be_seen(small, spoil, words):
    name = "block1.depthwise"
    candidate = {**small.tensors, name: spoil(small.tensors[name]).astype(np.float32)}
    segment = cut(Parts(small.graph), small.net.params, name, candidate)
    assert any(words in feature_sentence(feature) for feature in describe(segment, FLOAT32))


@pytest.mark.parametrize(("off", "there"), [(0.0, True), (1e-4, False)])
def test_a_form_leaves_no_more_than_rounding(small, off, there):
    name = "block1.depthwise"
    y = small.tensors[name]
    spoilt = y * np.float32(1.25) + np.float32(off) * np.sin(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    segment = cut(Parts(small.graph), small.net.params, name, {**small.tensors, name: spoilt})
    assert ("ratio" in [feature.kind for feature in describe(segment, FLOAT32)]) == there


def test_an_honest_tensor_has_no_feature(small):
    for name in ("stem.conv", "block1.depthwise", "block2.expand.act", "head.flatten"):
        segment = cut(Parts(small.graph), small.net.params, name, small.tensors)
        assert describe(segment, FLOAT32) == ()


def test_noise_has_no_cause(small):
    name = "block3.expand"
    noise = np.random.default_rng(0).standard_normal(small.tensors[name].shape).astype(np.float32)
    candidate = {**small.tensors, name: small.tensors[name] + noise}
    segment = cut(Parts(small.graph), small.net.params, name, candidate)
    assert diagnose(segment, FLOAT32) == []


def test_a_bug_of_precision_is_named_only_where_no_other_fits(small):
    found, named = causes(small, place(small, "weights-fp16", "block3.project", "float16"))
    assert found.wrong() == ["block3.project"]
    assert named[0].ids == ("weights-fp16",)


def test_sums_in_float16_leave_float16_values_so_both_causes_are_listed(small):
    _, named = causes(small, place(small, "fp16-accumulate", "block3.depthwise"))
    assert [cause.ids[0] for cause in named] == ["fp16-storage", "fp16-accumulate"]


def test_causes_are_listed_with_the_smallest_residual_first(small):
    """In bfloat16 weights of 8 bits look like weights in float16 too, and like a store in float16."""
    site = place(small, "weights-int8", "block1.se.reduce")
    y = rounded(run(site.changed, np.float32), "bfloat16")
    found = diagnose(replace(site.segment, candidate=y), Precision.of("bfloat16"))
    assert found[0].ids == ("weights-int8",)
    sizes = [cause.judgement.rms for cause in found]
    assert len(sizes) > 2
    assert sizes == sorted(sizes)


def test_values_rounded_to_bfloat16_are_no_sums_in_float16(small):
    _, named = causes(small, place(small, "fp16-storage", "block3.expand", "bfloat16"))
    assert [cause.ids[0] for cause in named] == ["fp16-storage"]


def test_every_bug_of_ports_has_a_sentence_and_a_place_in_some_family():
    applied = set()
    for family in ("V1", "V3 Small", "V3 Small, SAME", "d-li14", "LR-ASPP", "LR-ASPP, paper"):
        one = subject(FAMILIES[family], 1 if family == "LR-ASPP, paper" else 2)
        applied |= {site.bug for site in sites(one.graph, one.net.params, one.tensors.items())}
    elsewhere = {
        "lraspp-order",
        "flatten-order",
        "se-width",
        "input-resample",
        "input-placed",
        "factors-tf32",
        "factors-int8",
        "fixed-point",
        "weights-elsewhere",
    }
    elsewhere |= {
        "dilation-alone",
        "pad-amount",
        "pool-fixed",
        "resize-size",
        "stride-moved",
        "stride-changed",
        "stride-dilated",
        "sum-overflow",
    }  # of shapes and formats
    elsewhere |= {"input-bytes", "input-space", "input-decoded", "input-pipeline"}  # of whole pixels and of pictures
    elsewhere |= {
        "never-written",
        "zero-point",
        "left-over",
        "dropout-left-on",
        "dropout-unseen",
    }  # that a port's own tensor alone shows; and of integers
    elsewhere |= {"store-rounding", "store-scale", "store-wraps", "store-lowest", "table-entry", "act-zero-point"}
    assert {bug.id for bug in REPLAYED} - applied <= elsewhere
    assert all(bug.sentence and (not bug.link or bug.link.startswith("https://")) for bug in BUGS.values())


def test_an_activation_that_only_rounds_what_a_relu_keeps_is_named():
    """Hard swish is the ReLU itself beyond 3 and below -3: a port's own multiplication and division show it alone."""
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=(32, 32), classes=10)
    act = "block1.se.reduce.act"
    x = np.float32([300.7, -20.3, 41.9, -5.1, 77.3, 12.7, -8.8, 901.1]).reshape(1, 8, 1, 1)
    tensors = {act.removesuffix(".act"): x, act: x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)}
    assert (tensors[act] != np.maximum(x, 0)).any()
    segment = cut(Parts(graph), random_params(graph), act, tensors)
    assert {cause.ids for cause in diagnose(segment, FLOAT32)} >= {("act-swap",)}


def test_what_an_activation_has_cut_off_throughout_is_no_memory_that_was_never_written():
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(32, 32), classes=5)
    net, name = Network(graph, random_params(graph)), "block2.expand.act"
    tensors = {SOURCE: probe(graph, 1), **net.trace(probe(graph, 1))}
    ends = np.where(np.arange(tensors[name].shape[1]) % 2, np.float32(6), np.float32(0))[:, None, None]
    segment = cut(Parts(graph), net.params, name, tensors | {name: np.broadcast_to(ends, tensors[name].shape)})
    assert not diagnose(segment, FLOAT32)
    assert [feature.kind for feature in describe(segment, FLOAT32)] == ["limits"]
