"""The rule that gives a candidate its numbers of channels is told once, for all tensors that have others."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.networks.plan import WidthRule
from refnet.report.comparison import comparison_document

SIZE, CLASSES = (33, 47), 7
GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=SIZE, classes=CLASSES)
NET, X = Network(GRAPH, random_params(GRAPH)), probe(GRAPH, 2)
RULE = (
    "{first}: it has {found} channels, not 8: the widths of the network, of which {count} tensors show another "
    "number, are those of "
)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("widths") / "golden"
    write_pack(NET, X, path)
    return path


def port(**built):
    """Every tensor that a port dumps of the network as it builds it, with the pack's weights as far as they go."""
    graph = build("torchvision/mobilenet_v3_small", **{"width": 0.35, "size": SIZE, "classes": CLASSES, **built})
    params = random_params(graph)
    for name, own in params.items():
        part = tuple(slice(0, min(sides)) for sides in zip(own.shape, NET.params[name].shape, strict=True))
        own[part] = NET.params[name][part]
    tensors = Network(graph, params).trace(X)
    return {unit.output: tensors[unit.output] for unit in graph.units()}


def notes(pack, tensors):
    return comparison_document(compare(pack, tensors), pack="", candidate="", precision="")["notes"]


def said(tensors, words):
    honest = NET.trace(X)
    other = [name for name, y in tensors.items() if y.shape != honest[name].shape]
    return RULE.format(first=other[0], found=tensors[other[0]].shape[1], count=len(other)) + words + "."


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (0, "multiplier 0.35 cut off to whole numbers"),
        (WidthRule(4, "up"), "multiplier 0.35 rounded up to multiples of 4"),
        (16, "multiplier 0.35 rounded to multiples of 16"),
    ],
)
def test_widths_by_another_rule_of_which_some_are_wider_are_told_by_that(pack, rule, words):
    tensors = port(divisor=rule)
    assert any(y.shape[1] > NET.trace(X)[name].shape[1] for name, y in tensors.items())
    assert said(tensors, words) in notes(pack, tensors)


def test_widths_of_another_multiplier_are_told_by_that(pack):
    tensors = port(width=0.5)
    assert "multiplier 0.5 rounded as its vendor does" in " ".join(notes(pack, tensors))


def test_channels_may_be_last_where_no_other_number_is_the_references(pack):
    tensors = port(width=0.5)
    last = {name: y.transpose(0, 2, 3, 1) if y.ndim == 4 else y for name, y in tensors.items()}
    assert notes(pack, last) == notes(pack, tensors)


def test_what_is_made_of_such_tensors_is_not_searched_for_mistakes(pack):
    found = compare(pack, port(divisor=0))
    follows = [name for name, own in found.judged.features.items() if own and own[0].kind == "width-follows"]
    assert follows
    assert not any(found.judged.causes.get(name) for name in follows)
    assert found.judged.search.looked < 100


def test_squeezes_may_have_a_rule_of_their_own(pack):
    tensors = port(divisor=0)
    for name in tensors:
        if name.endswith("se.reduce.act"):
            tensors[name] = np.repeat(tensors[name], 2, axis=1)
    assert any("multiplier 0.35 cut off" in each for each in notes(pack, tensors))


def test_squeezes_alone_of_another_number_have_no_rule_for_the_network(pack):
    tensors = port()
    for name in tensors:
        if name.endswith("se.reduce.act"):
            tensors[name] = np.repeat(tensors[name], 2, axis=1) + 1
    found = compare(pack, tensors)
    assert len({name for name in found.wrong() if name.endswith("se.reduce.act")}) > 3
    assert not any(each.kind == "widths" for own in found.judged.features.values() for each in own)


def test_numbers_that_no_rule_gives_are_told_as_such_and_what_they_spoil_is_not_searched_for_mistakes(pack):
    tensors = port(divisor=0)
    last = next(name for name in reversed(tensors) if tensors[name].ndim == 4)
    tensors[last] = np.concatenate([tensors[last], tensors[last][:, :1]], axis=1)
    found = compare(pack, tensors)
    assert not any(each.kind == "widths" for own in found.judged.features.values() for each in own)
    follows = [name for name, own in found.judged.features.items() if own and own[0].kind == "width-follows"]
    assert follows
    assert not any(found.judged.causes.get(name) for name in follows)
