"""Ports of integer networks: exact, or by which wrong rule."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest
from integer_files import INTEGERS, write_vww
from some_integers import int8_network, quantising_network, uint8_network

import refnet
from refnet.bugs.integers.catalogue import INTEGER_BUGS
from refnet.bugs.integers.inputs import guesses
from refnet.bugs.integers.node import IntegerNode
from refnet.cli import main
from refnet.errors import RequestError
from refnet.judge.integers.nodes import compare_integers
from refnet.pack.integers import read_integer_pack, write_integer_pack
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.quantised import run_node
from refnet.report.integers import integer_document, integer_sentence, integer_table

MAKERS = {
    "int8": int8_network,
    "uint8": uint8_network,
    "onnxruntime": lambda: uint8_network("onnxruntime", "int8", 0),
    "real": quantising_network,
}
# Rules that change one element of some hundred thousand, or one table of some hundred, or large biases: none here.
RARE = {"multiplier-of-double", "multiplier-of-float32", "curve-in-fixed-point", "bias-of-16-bits"}


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    made = {}
    for name, maker in MAKERS.items():
        net, x = maker()
        write_integer_pack(net, x, folder / name)
        made[name] = read_integer_pack(folder / name)
    return made


def port(pack, wrong=None, rule=None):
    """What a port makes that does one node, or every node, by a wrong rule; and the nodes that this changes."""
    net, changed = pack.net, []
    made = {"input": net.given(pack.tensor("input"))}
    for node in net.graph.nodes:
        inputs = [made[name] for name in node.inputs]
        q = net.quantised[node.name]
        y = run_node(node, inputs, net.params, q, net.kernels)
        if rule is not None and wrong in (None, node.name):
            held = {slot: net.params[f"{node.name}.{slot}"] for slot in node.params}
            other = rule(IntegerNode(node, tuple(inputs), held, q, net.kernels))
            if other is not None and not np.array_equal(other, y.values):
                changed.append(node.name)
                y = QuantisedTensor(other, q)
        made[node.name] = y
    return {name: getattr(y, "values", y) for name, y in made.items()}, changed


def test_a_port_that_does_everything_right_is_exact(packs):
    for pack in packs.values():
        found = compare_integers(pack, port(pack)[0])
        assert found.holds
        assert {finding.verdict for finding in found.findings} == {"exact"}


@pytest.fixture(scope="module")
def shown(packs):
    """By rule, each node at which it shows, with what is found there; made once for all tests."""

    @cache
    def of_rule(name):
        found = []
        for pack in packs.values():
            for node in pack.net.graph.nodes:
                tensors, changed = port(pack, node.name, INTEGER_BUGS[name])
                if changed:
                    found.append((node.name, compare_integers(pack, tensors)))
        return found

    return of_rule


@pytest.mark.parametrize("name", INTEGER_BUGS)
def test_an_injected_rule_is_named_at_every_place_where_it_shows(shown, name):
    for node, found in shown(name):
        assert found.wrong() == [node]
        (finding,) = [each for each in found.findings if each.verdict == "wrong"]
        fits = {cause.rule: cause for cause in finding.causes if not cause.left}
        assert name in fits
        assert fits[name].changes == finding.different
        others = [cause for cause in finding.causes[1:] if not cause.left]
        assert all(cause.on_noise is not None for cause in others)
    assert bool(shown(name)) is not (name in RARE)


def test_most_rules_are_named_alone(shown):
    alone = set()
    for name in INTEGER_BUGS:
        for _, found in shown(name):
            (finding,) = [each for each in found.findings if each.verdict == "wrong"]
            if [cause.rule for cause in finding.causes] == [name]:
                alone.add(name)
    assert len(alone) >= 20


@pytest.mark.parametrize("name", ["single-rounding", "bias-left-out", "rounding-truncated", "cast-with-zero-point"])
def test_a_rule_that_is_everywhere_is_said_once(packs, name):
    tensors, changed = port(packs["int8"], None, INTEGER_BUGS[name])
    found = compare_integers(packs["int8"], tensors)
    assert found.wrong() == changed
    assert name in found.everywhere


def test_a_port_without_inner_tensors_is_judged_from_what_it_has(packs):
    pack = packs["int8"]
    tensors, _ = port(pack, "point", INTEGER_BUGS["bias-left-out"])
    found = compare_integers(pack, {name: tensors[name] for name in ("input", "stem", "point", "output")})
    verdicts = {each.node: each.verdict for each in found.findings}
    assert verdicts["depth"] == verdicts["pool"] == "inside"
    assert (verdicts["stem"], verdicts["point"], verdicts["output"]) == ("exact", "wrong", "exact")


def test_channels_last_and_other_names_are_matched(packs):
    pack = packs["int8"]
    tensors, _ = port(pack)
    last = {f"t{i}": np.moveaxis(y, 1, -1) if y.ndim == 4 else y for i, y in enumerate(tensors.values())}
    assert compare_integers(pack, last).holds


def test_integers_of_another_type_or_shape_are_said_to_be_so(packs):
    pack = packs["int8"]
    tensors, _ = port(pack)
    tensors["pool"] = tensors["pool"].astype(np.int16) + 256
    tensors["depth"] = tensors["depth"][:, :, :2]
    verdicts = {each.node: each.verdict for each in compare_integers(pack, tensors).findings}
    assert (verdicts["pool"], verdicts["depth"], verdicts["point"]) == ("dtype", "shape", "exact")


def test_integers_in_longer_arrays_are_the_same_integers(packs):
    pack = packs["int8"]
    tensors, _ = port(pack)
    assert compare_integers(pack, {name: y.astype(np.int64) for name, y in tensors.items()}).holds
    assert compare_integers(pack, {name: y.astype(np.float32) for name, y in tensors.items()}).holds


def test_real_numbers_that_integers_stand_for_are_judged_as_those_integers(packs):
    pack = packs["int8"]
    tensors, changed = port(pack, "sum", INTEGER_BUGS["integers-added-as-they-are"])
    real = {f"t{i}": pack_real(pack, name, y) for i, (name, y) in enumerate(tensors.items())}
    found = compare_integers(pack, real)
    assert (found.wrong(), found.everywhere[0]) == (changed, "integers-added-as-they-are")
    real["t2"] = real["t2"] + np.float32(0.3 * pack.net.quantised["depth"].scale)  # between two integers
    assert {each.node: each.verdict for each in compare_integers(pack, real).findings}["depth"] == "dtype"


def pack_real(pack, name, integers):
    """The real numbers that a tensor's integers stand for, in float32."""
    scale, zero = pack.net.quantised[name].single()
    return (integers.astype(np.float32) - np.float32(zero)) * scale


INPUTS = {
    "input-channels-reversed": lambda x: x[:, ::-1],
    "input-of-other-bytes": lambda x: x ^ np.int8(-128),
    "input-moved": lambda x: np.clip(x.astype(int) + 90, -128, 127),
    "input-laid-out-otherwise": lambda x: x.transpose(0, 2, 3, 1).reshape(x.shape),
    "input-scaled": lambda x: np.rint(0.5 * x + 3),
    "input-scaled-by-channel": lambda x: np.rint(np.float64([0.5, 0.6, 0.4]).reshape(3, 1, 1) * x + 3),
    "input-rounded-otherwise": lambda x: np.maximum(x - (x % 3 == 0), -128),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_port_that_was_given_another_input_is_wrong_there_alone(packs, name):
    pack = packs["int8"]
    other = INPUTS[name](pack.tensor("input")).astype(np.int8)
    tensors = {"input": other, **pack.net.trace(other)}
    found = compare_integers(pack, tensors)
    assert found.wrong() == ["input"]
    assert [cause.rule for cause in found.findings[0].causes] == [name]


@pytest.mark.parametrize("name", ["input-channels-reversed", "input-of-other-bytes"])
def test_another_input_that_is_not_dumped_is_told_by_the_end_alone(packs, name):
    pack = packs["int8"]
    made = pack.net.trace(INPUTS[name](pack.tensor("input")).astype(np.int8))
    end = list(made)[-1]
    (found,) = compare_integers(pack, {end: made[end]}, partial=True).findings[-1:]
    assert [(cause.rule, cause.left) for cause in found.causes] == [(name, 0)]


@pytest.mark.parametrize("name", ["input-channels-reversed", "input-of-other-bytes", "input-laid-out-otherwise"])
def test_another_input_that_is_not_dumped_is_told_by_the_first_layer(packs, name):
    pack = packs["int8"]
    tensors = pack.net.trace(INPUTS[name](pack.tensor("input")).astype(np.int8))
    found = {each.node: each for each in compare_integers(pack, tensors).findings}
    assert found["stem"].verdict == "wrong"
    assert name in [cause.rule for cause in found["stem"].causes]
    assert found["depth"].verdict == "exact"


@pytest.mark.parametrize(
    ("q", "right", "other"),
    [
        (Quantisation(1 / 128, 0, None, "int8"), (-1, 1), (0, 1)),
        (Quantisation(1 / 255, -128, None, "int8"), (0, 1), (-1, 1)),
        (Quantisation(1 / 128, 128, None, "uint8"), (-1, 1), (0, 255)),
    ],
)
def test_pixels_in_another_range_are_guessed_from_those_in_the_right_one(q, right, other):
    def integers(low, high):
        real = low + np.arange(256.0).reshape(1, 1, 16, 16) / 255 * (high - low)
        return np.rint(real / q.single()[0] + q.single()[1]).clip(q.low, q.high).astype(q.dtype)

    made = [x for rule, x in guesses(integers(*right), q) if rule == "input-scaled"]
    assert any(np.array_equal(x, integers(*other)) for x in made)


def test_a_missing_end_is_accepted_where_that_is_asked_for(packs):
    pack = packs["int8"]
    tensors, _ = port(pack)
    for name in [node.name for node in pack.net.graph.nodes][-3:]:
        del tensors[name]
    assert compare_integers(pack, tensors).wrong() == ["output"]
    assert compare_integers(pack, tensors, partial=True).holds


@pytest.mark.parametrize("without", [("output",), ("flat", "output")])
def test_a_port_that_ends_before_the_softmax_holds_with_a_word(packs, without):
    tensors, _ = port(packs["int8"])
    found = compare_integers(packs["int8"], {name: y for name, y in tensors.items() if name not in without})
    assert found.holds
    document = integer_document(found, pack="pack", candidate="port")
    assert "output: the port ends before this softmax" in integer_table(document, verbose=False)


def test_a_candidate_of_nothing_known_is_refused(packs):
    with pytest.raises(RequestError, match="nothing in the candidate is any tensor"):
        compare_integers(packs["int8"], {"a": np.zeros((1, 2), np.int8)})


def test_a_tensor_without_elements_has_another_shape(packs):
    tensors, _ = port(packs["int8"])
    found = compare_integers(packs["int8"], {**tensors, "sum": np.zeros(0, np.float32)})
    assert {each.node: each.verdict for each in found.findings}["sum"] == "shape"


def test_other_kernels_are_named_on_a_network(tmp_path):
    path, golden = write_vww(tmp_path)
    net = refnet.load(path)
    write_integer_pack(net, np.moveaxis(golden["input0"], -1, 1), tmp_path / "pack")
    found = compare_integers(tmp_path / "pack", net.under("xnnpack"))
    assert len(found.wrong()) > 10
    assert "kernels:xnnpack" in found.everywhere


def test_a_bug_of_a_port_of_other_kernels_is_told_beside_them(tmp_path):
    net = refnet.load()
    x = refnet.probe(net.graph)
    write_integer_pack(refnet.quantise(net, [x]), x, tmp_path / "pack")
    pack = read_integer_pack(tmp_path / "pack")
    other = replace(pack, net=pack.net.under("cmsis_nn_single"))
    tensors, changed = port(other, rule=INTEGER_BUGS["bias-left-out"], wrong="block3.project")
    found = compare_integers(pack, tensors)
    assert (found.kernels, found.instead, found.holds) == ("cmsis_nn_single", "tflite", False)
    assert found.wrong() == changed == ["block3.project"]
    assert found.everywhere == ("bias-left-out",)


def test_every_rule_has_a_sentence():
    for name in INTEGER_BUGS:
        assert integer_sentence(name).endswith(".")
    assert integer_sentence("kernels:xnnpack") == "These are the integers of the kernels xnnpack."


def test_compare_says_on_the_command_line_which_rule_it_is(packs, tmp_path, capsys):
    pack = packs["int8"]
    tensors, _ = port(pack, "swish", INTEGER_BUGS["hard-swish-rounded"])
    np.savez(tmp_path / "port.npz", **tensors)
    assert main(["compare", str(pack.path), str(tmp_path / "port.npz")]) == 1
    said = capsys.readouterr().out
    assert "hard-swish-rounded" in said
    assert "The last product of hard swish is rounded, not cut off toward zero." in said
    assert main(["compare", str(pack.path), str(tmp_path / "port.npz"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "differs"
    assert [each["rule"] for each in document["everywhere"]] == ["hard-swish-rounded"]


def test_a_comparison_of_integers_is_written_as_test_cases_and_as_a_page(packs, tmp_path, capsys):
    pack = packs["int8"]
    tensors, _ = port(pack, "swish", INTEGER_BUGS["hard-swish-rounded"])
    np.savez(tmp_path / "port.npz", **tensors)
    files = ["--junit", str(tmp_path / "cases.xml"), "--report", str(tmp_path / "page.html")]
    assert main(["compare", str(pack.path), str(tmp_path / "port.npz"), *files]) == 1
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "cases.xml").iter("testcase")}
    assert set(cases) == {node.name for node in pack.net.graph.nodes}
    failures = {name: case.find("failure") for name, case in cases.items() if case.find("failure") is not None}
    assert list(failures) == ["swish"]
    assert "hard-swish-rounded" in failures["swish"].get("message")
    page = (tmp_path / "page.html").read_text()
    assert "The last product of hard swish is rounded, not cut off toward zero." in page
    assert 'id="tensor-swish"' in page
    assert page.count('class="v-exact"') == len(cases)  # a cell for each that is, and the legend
    assert "<script" not in page


def test_a_file_of_integers_is_a_candidate(tmp_path, capsys):
    path, golden = write_vww(tmp_path)
    np.save(tmp_path / "x.npy", np.moveaxis(golden["input0"], -1, 1))
    pack = str(tmp_path / "pack")
    assert main(["golden", str(path), "--input", str(tmp_path / "x.npy"), "-o", pack]) == 0
    assert main(["compare", pack, str(path), "--kernels", "tflite"]) == 0
    assert "31 exact" in capsys.readouterr().out
    assert main(["compare", pack, str(path), "--kernels", "xnnpack_of_nobody"]) == 2
    assert main(["compare", pack, str(path), "--kernels", "tflite_2_12", "--precision", "float16"]) == 2


def test_a_name_that_is_a_node_s_and_another_tensor_s_in_the_file_is_the_node_s(tmp_path):
    net = refnet.load(INTEGERS / "v3_small_qoperator.onnx")
    x = refnet.random_input(net.graph, batch=1).astype(np.float32)
    write_integer_pack(net, x, tmp_path / "pack")
    found = compare_integers(tmp_path / "pack", net.trace)
    assert {each.verdict for each in found.findings} == {"exact"}
    assert net.keys["stem.conv.own"] == "stem.conv"
    theirs = {net.keys[name]: y for name, y in net.trace(x).items()}
    assert compare_integers(tmp_path / "pack", theirs).holds


def test_a_rule_at_some_nodes_alone_is_not_said_to_be_everywhere(packs):
    pack = packs["int8"]
    tensors, changed = port(pack, "depth", INTEGER_BUGS["input-zero-point-left-out"])
    found = compare_integers(pack, tensors)
    assert (changed, found.everywhere[0], found.whole) == (["depth"], "input-zero-point-left-out", False)
    words = integer_table(integer_document(found, pack="", candidate=""), verbose=False)
    assert "in all wrong   input-zero-point-left-out" in words


def test_a_port_that_is_wrong_throughout_is_matched_by_order(packs):
    pack = packs["int8"]
    tensors, changed = port(pack, None, INTEGER_BUGS["bias-in-steps-of-output"])
    numbered = {f"{i}": y for i, y in enumerate(tensors.values())}
    found = compare_integers(pack, numbered)
    assert found.wrong() == changed
    assert found.everywhere == ("bias-in-steps-of-output",)
    assert not found.unmatched


def test_tensors_without_names_that_are_not_all_there_are_no_error(packs):
    pack = packs["int8"]
    tensors, _ = port(pack, None, INTEGER_BUGS["bias-in-steps-of-output"])
    some = {f"{i}": y for i, y in enumerate(tensors.values()) if i % 7}
    assert not compare_integers(pack, some).holds


def test_tensors_in_no_order_are_matched_by_what_nodes_make_of_them(packs):
    pack = packs["int8"]
    tensors, changed = port(pack, "sum", INTEGER_BUGS["zero-points-left-out"])
    kept = [name for name in tensors if name not in ("depth", "window", "wide")]
    mixed = {f"b{i}": tensors[name] for i, name in enumerate(np.random.default_rng(1).permutation(kept))}
    found = compare_integers(pack, mixed)
    assert (found.wrong(), found.unmatched) == (changed, ())
    assert found.everywhere[0] == "zero-points-left-out"


@pytest.mark.parametrize(
    ("name", "where", "at"),
    [
        ("six-left-out", None, "everywhere"),
        ("kernel-turned", "depthwise_conv2d", "depthwise_conv2d"),
    ],
)
def test_a_rule_inside_what_is_not_dumped_is_told_with_its_place(packs, name, where, at):
    pack = packs["int8"]
    node = next((node.name for node in pack.net.graph.nodes if where in (node.op, node.name)), None)
    tensors, _ = port(pack, node, INTEGER_BUGS[name])
    found = compare_integers(pack, {key: tensors[key] for key in ("input", "swish")}, partial=True)
    (finding,) = [each for each in found.findings if each.verdict == "wrong"]
    causes = {(cause.rule, cause.at) for cause in finding.causes if not cause.left}
    assert (name, at) in causes
    document = integer_document(found, pack="pack", candidate="port")
    assert f"{name} {'' if where is None else 'in all of '}{at}" in integer_table(document, verbose=False)


@pytest.mark.parametrize("end", ["output", "flat"])
def test_a_lone_end_under_any_name_is_judged(packs, end):
    pack = packs["int8"]
    tensors, _ = port(pack, None, INTEGER_BUGS["bias-left-out"])
    found = compare_integers(pack, {"input": tensors["input"], "y": tensors[end]}, partial=True)
    assert found.wrong() == [end]


def test_integers_on_which_kernels_abort_are_wrong_and_no_error(packs):
    pack = packs["int8"]
    tensors, _ = port(pack)
    tensors["flat"] = np.full_like(tensors["flat"], 127)
    fine = {**pack.net.quantised, "flat": Quantisation(1e-5, 4, None, "int8")}
    wide = replace(pack, net=replace(pack.net, quantised=fine))
    found = compare_integers(wide, {name: y for name, y in tensors.items() if name != "output"}, partial=True)
    assert "flat" in found.wrong()
