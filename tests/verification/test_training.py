"""What training leaves, and its absence, by one file alone; what many faults have in common."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from exporting import beginning, checkpoint, network, put, trained

import refnet
from refnet import Network
from refnet.networks.rewrite import fold_batch_norm
from refnet.report.verdict import sentence
from refnet.report.verification import verification_document, verification_text
from refnet.verification.verify import verify

SOME = "v2", "block5.project.bn"  # what is said of all layers is said of a few
shipped = cache(refnet.load)


def edited(of=None, **slots):
    """The params of a network, those of some slots made by a function of the array."""
    graph, params = network("v2") if of is None else of
    return graph, {name: slots.get(name.rpartition(".")[2], lambda y: y)(y) for name, y in params.items()}


def kinds(graph, params):
    return {each.kind: each for each in verify(checkpoint(graph, params)).health}


def drawn(graph, params, seed=0):
    """Weights as PyTorch's MobileNets draw them."""
    rng, made = np.random.default_rng(seed), dict(params)
    for node in graph.nodes:
        for slot, shape in node.params.items():
            outputs = 9 if node.op == "depthwise_conv2d" else shape[0] * (9 if len(shape) == 4 else 1)
            spread = 0.01 if node.name == "head.logits" else np.sqrt(2 / outputs)
            if slot == "w":
                made[f"{node.name}.w"] = (spread * rng.standard_normal(shape)).astype(np.float32)
    return made


def test_statistics_that_were_never_written_fail_a_file():
    graph, params = edited(mean=np.zeros_like, var=np.ones_like)
    found = verify(checkpoint(graph, params))
    (finding,) = [each for each in found.health if each.kind == "untrained-norms"]
    assert finding.fails
    assert finding.count == sum(node.op == "batch_norm" for node in graph.nodes)
    assert not found.holds
    assert "statistics of batch norm were never written" in sentence(found)


def test_one_batch_norm_of_ones_says_nothing():
    graph, params = network("v2")
    one = {
        **params,
        "stem.bn.mean": np.zeros_like(params["stem.bn.mean"]),
        "stem.bn.var": np.ones_like(params["stem.bn.var"]),
    }
    assert "untrained-norms" not in kinds(graph, one)


def test_statistics_that_were_never_written_in_some_norms_fail_a_file():
    graph, params = network("v2")
    late = [name for name in params if name.startswith(("block15.", "block16."))]
    reset = {name: np.zeros_like(params[name]) for name in late if name.endswith(".mean")}
    reset |= {name: np.ones_like(params[name]) for name in late if name.endswith(".var")}
    found = kinds(graph, {**params, **reset})["untrained-norms"]
    assert (found.name, found.count, found.fails) == ("block15.expand.bn.mean", 6, True)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((".depthwise.",), "in 17 of 52 layers, in all depthwise layers: means of 0"),
        (("block3.expand.", "block5.expand."), "in 2 of 52 layers, block3.expand.bn, block5.expand.bn: means of 0"),
    ],
)
def test_which_norms_have_no_statistics_is_said(layers, words):
    graph, params = network("v2")
    some = [name for name in params if any(each in name for each in layers)]
    begin = {"mean": np.zeros_like, "var": np.ones_like}
    reset = {name: begin[slot](params[name]) for name in some if (slot := name.rpartition(".")[2]) in begin}
    assert words in sentence(verify(checkpoint(graph, {**params, **reset})))


def test_which_layers_hold_what_is_no_number_is_said():
    graph, params = network("v2")
    bad = {name: put(y, (0, 0), np.nan) for name, y in params.items() if name.endswith(".project.w")}
    said = sentence(verify(checkpoint(graph, {**params, **bad})))
    assert "block1.project.w of file: not a number, and so in 16 more tensors, in all projections" in said


@pytest.mark.parametrize(("slot", "begun"), [("var", np.ones_like), ("mean", np.zeros_like)])
def test_one_statistic_that_was_never_written_fails_a_file(slot, begun):
    graph, params = edited(**{slot: begun})
    found = kinds(graph, params)
    finding = found["untrained-norms"]
    assert (finding.form, finding.name, finding.fails) == (slot, f"stem.bn.{slot}", True)
    assert "constant" not in found  # which would say the same again
    worked_out = [replace(node, attrs={"eps": 0.0}) if node.op == "batch_norm" else node for node in graph.nodes]
    assert "untrained-norms" not in kinds(replace(graph, nodes=tuple(worked_out)), params)


def stepped(params, momentum, steps):
    """The statistics after some steps of training from 0 and 1, where those of each batch are the trained ones."""
    begin, made = {"mean": np.float32(0), "var": np.float32(1)}, dict(params)
    for name in params:
        if (slot := name.rpartition(".")[2]) in begin:
            held = np.full_like(params[name], begin[slot])
            for _ in range(steps):
                held = np.float32(momentum) * held + np.float32(1 - momentum) * params[name]
            made[name] = held
    return made


@pytest.mark.parametrize("momentum", [0.9, 0.99, 0.997, 0.999])
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_statistics_that_were_written_in_few_steps_fail_a_trained_network(momentum, steps):
    net = shipped()
    found = kinds(net.graph, stepped(net.params, momentum, steps))["untrained-norms"]
    assert (found.form, found.fails, found.name) == ("steps", True, "stem.bn.var")
    assert found.value == pytest.approx(momentum**steps, rel=1e-3)  # 20 steps of 0.997 are nearly 6 of 0.99
    assert found.steps <= steps


def test_how_many_steps_wrote_the_statistics_is_said():
    net = shipped()
    for steps, words in ((1, "below 0.99, as after 1 step of momentum 0.99"), (2, "after 2 steps of momentum 0.99")):
        assert words in sentence(verify(checkpoint(net.graph, stepped(net.params, 0.99, steps))))


@pytest.mark.parametrize("seed", range(8))
def test_variances_that_were_drawn_are_no_fault_wherever_the_least_of_them_lies(seed):
    """Beyond some spread one of the many floors lies just below it by chance."""
    rng = np.random.default_rng(seed)
    graph, params = edited(var=lambda y: np.exp(0.5 * rng.standard_normal(y.shape)).astype(np.float32))
    assert "untrained-norms" not in kinds(graph, params)


@pytest.mark.parametrize("steps", [200, 1000])
def test_statistics_that_were_written_in_many_steps_are_no_fault(steps):
    net = shipped()
    assert "untrained-norms" not in kinds(net.graph, stepped(net.params, 0.9, steps))


@pytest.mark.parametrize("least", [0.5, 0.9])
def test_variances_that_are_drawn_evenly_above_a_floor_are_no_fault(least):
    rng = np.random.default_rng(0)
    graph, params = edited(var=lambda y: rng.uniform(least, 2 - least, y.shape).astype(np.float32))
    assert "untrained-norms" not in kinds(graph, trained(params))


def test_statistics_of_few_steps_fail_no_network_whose_weights_are_as_drawn():
    graph, params = network("v2")
    rng = np.random.default_rng(0)
    batch = {n: rng.lognormal(0, 2, y.shape).astype(np.float32) for n, y in params.items() if n.endswith(".var")}
    found = kinds(graph, drawn(graph, stepped({**params, **batch}, 0.9, 3)))["untrained-norms"]
    assert (found.form, found.fails) == ("steps", False)


@pytest.mark.parametrize("slots", [("mean", "var"), ("mean",), ("var",)])
@pytest.mark.parametrize("fold", [False, True])
def test_statistics_that_a_copy_has_as_they_begin_are_one_sentence(slots, fold):
    graph, params = beginning(*SOME)
    begin = {"mean": np.zeros_like, "var": np.ones_like}
    copy = graph, edited((graph, params), **{slot: begin[slot] for slot in slots})[1]
    copy = fold_batch_norm(*copy) if fold else copy
    found = verify(checkpoint(graph, params), checkpoint(*copy, "copy"))
    wanted = "unwritten" if len(slots) > 1 else slots[0]
    assert {(value.kind, value.mistake.form) for value in found.faults} == {("mean-forgotten", wanted)}
    assert found.pattern.same


def test_all_that_is_read_behind_an_array_with_a_number_too_few_is_one_sentence():
    graph, params = beginning(*SOME)
    blob = np.concatenate([*(trained(params)[name].ravel() for name in params), np.zeros(1, np.float32)])
    sizes = np.cumsum([0, *(array.size for array in params.values())])
    first = list(params).index("block3.depthwise.w")
    copy = {
        name: blob[at + (i >= first) :][: array.size].reshape(array.shape)
        for i, (at, (name, array)) in enumerate(zip(sizes, params.items(), strict=False))
    }
    found = verify(checkpoint(graph, trained(params)), checkpoint(graph, copy, "copy"))
    assert {value.kind for value in found.faults} == {"shifted"}
    assert ", from block3.depthwise on: each number is the one that lies 1 further on" in sentence(found)


@pytest.mark.parametrize("by", [3, 16])
def test_vectors_too_short_to_tell_are_read_from_as_far_on_as_the_rest_of_the_file(by):
    graph, params = network("v2")
    params = trained(params)
    blob = np.concatenate([*(array.ravel() for array in params.values())])
    sizes = np.cumsum([0, *(array.size for array in params.values())])
    blob = np.concatenate([blob[by:], blob[:by]])
    copy = {
        name: blob[at:][: array.size].reshape(array.shape)
        for at, (name, array) in zip(sizes, params.items(), strict=False)
    }
    found = verify(checkpoint(graph, params), checkpoint(graph, copy, "copy"))
    assert {value.kind for value in found.faults} == {"shifted"}
    assert f"each number is the one that lies {by} further on" in sentence(found)


def test_arrays_that_a_training_step_left_near_are_retrained_with_the_others():
    graph, params = beginning(*SOME)
    rng = np.random.default_rng(1)
    later = {name: (y * (1 + 0.003 * rng.standard_normal(y.shape))).astype(np.float32) for name, y in params.items()}
    found = verify(checkpoint(graph, params), checkpoint(graph, later, "copy"))
    assert {value.kind for value in found.faults} == {"retrained"}
    assert found.pattern is not None
    assert found.pattern.kind == "one"


def test_of_two_files_the_pruned_one_is_the_copy():
    graph, params = beginning(*SOME)
    pruned = {n: np.where(np.abs(y) < np.median(np.abs(y)), 0, y) if y.ndim == 2 else y for n, y in params.items()}
    found = verify(checkpoint(graph, pruned), checkpoint(graph, params, "copy"))
    assert {value.kind for value in found.faults} == {"pruned"}


def test_which_channels_are_empty_is_told_where_they_are_a_run():
    graph, params = network("v2")
    empty = {
        n: np.where(np.arange(len(y))[:, None] < 16, y, 0) if n == "block8.project.w" else y for n, y in params.items()
    }
    (wrong,) = verify(checkpoint(graph, params), checkpoint(graph, empty, "copy")).faults
    of = len(params["block8.project.w"])
    assert (wrong.kind, wrong.mistake.facts) == (
        "pruned",
        {"side": "output", "first_of": 16, "last_of": of - 1, "of": of},
    )


def test_batch_norms_that_were_folded_and_left_as_ones_are_no_fault():
    graph, params = edited(mean=np.zeros_like, var=np.ones_like, gamma=np.ones_like)
    assert "untrained-norms" not in kinds(graph, trained(params))


def test_a_network_as_it_was_drawn_is_told():
    graph, params = edited(mean=np.zeros_like, var=np.ones_like, gamma=np.ones_like, beta=np.zeros_like)
    found = kinds(graph, drawn(graph, params))
    assert "untrained" in found
    assert not found["untrained"].fails
    assert "untrained-norms" not in found


def begun(graph, params, beginnings):
    """The arrays of layers whose names begin so, as initialisers leave them."""
    plain = {
        "gamma": np.ones_like,
        "beta": np.zeros_like,
        "mean": np.zeros_like,
        "var": np.ones_like,
        "b": np.zeros_like,
    }
    fresh = drawn(graph, params, 3)
    held = {name: name.rpartition(".")[2] for name in params if name.startswith(beginnings)}
    return {name: fresh[name] if slot == "w" else plain[slot](params[name]) for name, slot in held.items()}


@pytest.mark.parametrize("fold", [False, True])
def test_layers_as_they_were_drawn_fail_a_file_of_trained_ones(fold):
    graph, params = network("v2")
    params = trained(params)
    params |= begun(graph, params, ("block15.", "block16.", "block17.", "head.conv", "head.bn"))
    if fold:
        graph, params = fold_batch_norm(graph, params)
    found = verify(checkpoint(graph, params))
    (finding,) = [each for each in found.health if each.kind == "untrained-part"]
    assert (finding.name, finding.count, finding.other, finding.fails) == ("block15.expand.w", 10, "head.conv", True)
    assert "10 layers, up to head.conv, were never trained" in sentence(found)


def test_gates_whose_biases_are_zero_fail_nothing():
    graph, params = network("v3-small")
    params = {**trained(params), **begun(graph, params, tuple(f"block{i}.se" for i in range(12)))}
    assert not {"untrained-part", "untrained"} & {*kinds(*fold_batch_norm(graph, params))}


def test_a_folded_network_as_it_was_drawn_is_told_and_fails_nothing():
    graph, params = network("v2")
    found = kinds(*fold_batch_norm(graph, begun(graph, params, ("",))))
    assert not found["untrained"].fails
    assert "untrained-part" not in found


@pytest.mark.parametrize("fold", [False, True])
def test_of_two_networks_as_they_were_drawn_the_one_without_statistics_was_never_loaded(fold):
    graph, params = network("v2")
    params = drawn(graph, params)
    copy = graph, begun(graph, params, ("",))
    found = verify(checkpoint(graph, params), checkpoint(*(fold_batch_norm(*copy) if fold else copy), "copy"))
    assert {value.kind for value in found.faults} == {"unloaded"}
    assert sentence(found).endswith("never loaded, as at initialisation")


@pytest.mark.parametrize("channels", [1, 336])
def test_depthwise_filters_are_drawn_as_frameworks_count_what_is_behind_them(channels):
    """timm counts a channel by itself, PyTorch all of them."""
    graph, params = network("v2")
    shape = params["block17.depthwise.w"].shape
    w = np.sqrt(2 / (9 * channels)) * np.random.default_rng(2).standard_normal(shape)
    rest = {**begun(graph, params, ("block17.",)), "block17.depthwise.w": w.astype(np.float32)}
    assert (shape[0], kinds(graph, {**trained(params), **rest})["untrained-part"].count) == (336, 3)


def test_a_head_as_it_was_drawn_is_told_beside_trained_weights():
    graph, params = network("v2")
    head = {name: y for name, y in drawn(graph, params).items() if name == "head.logits.w"}
    assert "untrained-head" in kinds(graph, {**trained(params), **head})
    assert "untrained-head" not in kinds(graph, trained(params))


def test_a_head_drawn_as_he_draws_uniformly_is_told_beside_trained_weights():
    graph, params = network("v2")  # whose own weights are such draws
    assert "untrained-head" in kinds(graph, {**trained(params), "head.logits.w": params["head.logits.w"]})


@pytest.mark.parametrize("factor", [1e5, 1e-5])
def test_a_scale_that_no_training_leaves_is_told(factor):
    graph, params = network("v2")
    found = kinds(graph, {**params, "head.logits.w": params["head.logits.w"] * np.float32(factor)})
    assert found["scale"].name == "head.logits.w"


def test_integers_that_no_scale_was_multiplied_to_are_told():
    graph, params = network("v2")
    w = params["block3.expand.w"]
    found = kinds(graph, {**params, "block3.expand.w": np.rint(w / np.abs(w).max() * 127).astype(np.float32)})
    assert (found["whole-numbers"].name, found["whole-numbers"].fails) == ("block3.expand.w", True)
    assert "whole-numbers" not in kinds(graph, {**params, "block3.expand.w": np.sign(w)})  # of few values, and meant


def test_an_array_that_holds_another_layers_numbers_fails_a_file():
    graph, params = network("v2")
    both = {f"block3.depthwise.bn.{slot}": params[f"block3.expand.bn.{slot}"] for slot in ("mean", "var")}
    found = verify(checkpoint(graph, {**trained(params), **both}))
    repeated = [(each.name, each.other, each.fails) for each in found.health if each.kind == "repeated"]
    assert repeated == [(name, name.replace("depthwise", "expand"), True) for name in both]
    assert "block3.depthwise.bn.mean" in sentence(found)
    assert "the numbers of block3.expand.bn.mean, bit for bit" in sentence(found)


def test_layers_that_were_drawn_alike_fail_nothing():
    graph, params = network("v2")
    alike = drawn(graph, params)
    alike["block3.depthwise.w"] = alike["block2.depthwise.w"]
    found = kinds(graph, alike)
    assert found["repeated"].other == "block2.depthwise.w"
    assert not found["repeated"].fails


# Patterns


def apart(**slots):
    graph, params = beginning(*SOME)
    return verify(checkpoint(graph, params), checkpoint(*edited((graph, params), **slots), "copy"))


def test_only_gammas_and_betas_differ_is_one_sentence():
    rng = np.random.default_rng(0)
    found = apart(**dict.fromkeys(("gamma", "beta"), lambda y: (y + rng.normal(0, 0.02, y.shape)).astype(np.float32)))
    assert "only gammas and betas of batch norms differ, and no statistics" in sentence(found)


def test_only_the_running_statistics_differ_is_one_sentence():
    rng = np.random.default_rng(0)

    def moved(y):
        return (y * rng.uniform(1.05, 1.2, y.shape)).astype(np.float32)

    found = apart(mean=moved, var=moved)
    assert found.pattern.kind == "statistics"
    assert found.pattern.layers == found.pattern.of
    assert "only the running statistics differ, in" in sentence(found)
    assert verification_document(found)["pattern"]["kind"] == "statistics"
    assert verification_text(found).count(".bn.mean") <= 2  # not a line for each


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("beta", "mean", "betas and the running means are exchanged, in 34 of 34 batch norms"),
        ("mean", "var", "the running means and the running variances are exchanged, in 34 of 34 batch norms"),
    ],
)
def test_arrays_of_batch_norm_that_are_exchanged_everywhere_are_one_sentence(one, other, words):
    graph, params = network("v3-small")
    norms = [node.name for node in graph.nodes if node.op == "batch_norm"]
    moved = {f"{name}.{slot}": params[f"{name}.{of}"] for name in norms for slot, of in ((one, other), (other, one))}
    found = verify(checkpoint(graph, params), checkpoint(graph, {**params, **moved}, "copy"))
    assert words in sentence(found)


@pytest.mark.parametrize(("one", "other"), [("beta", "mean"), ("gamma", "beta")])
def test_arrays_of_batch_norm_that_were_exchanged_before_a_fold_are_told_in_the_fold(one, other):
    graph, params = network("v3-small")
    norms = [node.name for node in graph.nodes if node.op == "batch_norm"]
    moved = {f"{name}.{slot}": params[f"{name}.{of}"] for name in norms for slot, of in ((one, other), (other, one))}
    net = Network(graph, {**params, **moved}).fold()
    found = verify(checkpoint(graph, params), checkpoint(net.graph, net.params, "copy"))
    assert f"{one} and {other} are exchanged in the fold" in sentence(found)


def test_other_weights_too_are_another_pattern_or_none():
    found = apart(mean=lambda y: y + np.float32(0.1), w=lambda y: y * np.float32(2))
    assert found.pattern is None


def test_one_fault_everywhere_is_one_sentence():
    found = apart(w=lambda y: y * np.float32(255))
    assert (found.pattern.kind, found.pattern.fault) == ("one", "scaled")
    assert "have one fault: it is 255 times what it should be" in sentence(found)


def test_gammas_and_betas_as_they_begin_beside_trained_statistics_are_told():
    graph, params = edited(gamma=np.ones_like, beta=np.zeros_like)
    file = checkpoint(graph, params)
    finding = kinds(graph, params)["untrained-affine"]
    norms = sum(node.op == "batch_norm" for node in graph.nodes)
    assert (finding.count, finding.value, finding.fails) == (norms, norms, False)
    assert sentence(verify(file)).startswith("healthy, but gamma is 1, beta 0")


def test_one_batch_norm_with_gamma_and_beta_as_they_begin_says_nothing():
    graph, params = network("v2")
    plain = {"stem.bn.gamma": np.ones_like, "stem.bn.beta": np.zeros_like}
    assert "untrained-affine" not in kinds(graph, {name: plain.get(name, lambda y: y)(y) for name, y in params.items()})


@pytest.mark.parametrize(("last", "told"), [(5, False), (6, True)])
def test_three_channels_with_one_filter_are_told_and_two_are_not(last, told):
    graph, params = network("v2")
    w = params["block3.depthwise.w"].copy()
    w[4 : last + 1] = w[4]
    found = kinds(graph, {**params, "block3.depthwise.w": w})
    assert ("equal-channels" in found) is told
    if told:
        assert (found["equal-channels"].count, found["equal-channels"].first) == (3, (4,))


def test_a_weight_beside_which_sums_overflow_fails_a_file():
    graph, params = network("v2")
    w = params["block3.expand.w"].copy()
    w[0, 0] = 3e38
    found = kinds(
        graph, {**params, "block3.expand.w": w, "block2.project.bn.beta": params["block2.project.bn.beta"] + 9}
    )
    assert found["absurd"].fails
    assert found["not-finite"].name == "block3.expand"


@pytest.mark.parametrize("trained_on", [False, True])
def test_layers_that_were_never_loaded_are_told_from_ones_that_were_trained_on(trained_on):
    graph, params = network("v2")
    params = trained(params)
    begun = drawn(graph, params)
    rest = {
        name: np.zeros_like(params[name])
        if name.endswith(".b")
        else trained(begun)[name]
        if trained_on
        else begun[name]
        for name in params
        if name.startswith(("block16.", "head."))
    }
    found = verify(checkpoint(graph, params), checkpoint(graph, {**params, **rest}, "copy"))
    kinds_found = {value.kind for value in found.faults if value.name.endswith(".w")}
    assert kinds_found == {"stale" if trained_on else "unloaded"}
    assert trained_on or "never loaded" in sentence(found)


def test_layers_that_both_files_have_as_drawn_are_not_called_so():
    graph, params = network("v2")
    names = [name for name in params if name.startswith("head.")]
    first, second = drawn(graph, params), drawn(graph, params, 1)
    found = verify(
        checkpoint(graph, first), checkpoint(graph, {**first, **{name: second[name] for name in names}}, "copy")
    )
    assert {value.kind for value in found.faults} == {"stale"}
