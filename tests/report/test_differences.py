"""Differences in words."""

from __future__ import annotations

import pytest

from refnet.alignment.differences import Difference
from refnet.report.differences import grouped, line, matters, words

STRIDE, FILTER = "has stride (1, 1), not (2, 2)", "has kernel (5, 5), not (3, 3)"
EXTRA = "is extra: max_pool2d kernel (2, 2)"
POOL = {"op": "max_pool2d", "kernel": (2, 2)}

# (difference, kind, known, found, sentence)
WORDS = [
    (
        Difference("a", "stride", (2, 2), (2, 1)),
        "attribute",
        "stride (2, 2)",
        "stride (2, 1)",
        "has stride (2, 1), not (2, 2)",
    ),
    (Difference("a", "eps", 1e-3, 1e-5), "attribute", "eps 0.001", "eps 1e-05", "has eps 1e-05, not 0.001"),
    (Difference("a", "op", {"op": "relu6"}, {"op": "relu"}), "operation", "relu6", "relu", "is relu, not relu6"),
    (
        Difference("a", "extra", None, POOL),
        "extra",
        "",
        "max_pool2d kernel (2, 2)",
        "is extra: max_pool2d kernel (2, 2)",
    ),
    (
        Difference("a", "missing", {"op": "pointwise_conv2d", "channels": 7}),
        "missing",
        "pointwise_conv2d with 7 channels",
        "",
        "is missing: pointwise_conv2d with 7 channels",
    ),
    (Difference("a", "bias", True, False), "missing", "bias", "", "has no bias"),
    (Difference("a", "bias", False, True), "extra", "", "bias", "has a bias"),
    (Difference("a", "channels", 3, 4), "shape", "3 channels", "4 channels", "has 4 channels, not 3"),
    (
        Difference("a", "filter", (3, 3), (5, 5)),
        "shape",
        "kernel (3, 3)",
        "kernel (5, 5)",
        "has kernel (5, 5), not (3, 3)",
    ),
    (Difference("a", "inputs", ("b",), ("c",)), "attribute", "input b", "input c", "has input c, not b"),
    (
        Difference("a", "inputs", ("b", "d"), ("c", "d")),
        "attribute",
        "input b and d",
        "input c and d",
        "has inputs c and d, not b and d",
    ),
    (Difference("output", "returns", ("b",), ("c", "d")), "attribute", "b", "c and d", "is c and d, not b"),
]


@pytest.mark.parametrize(("difference", "kind", "known", "found", "sentence"), WORDS)
def test_a_difference_has_three_texts_and_a_sentence(difference, kind, known, found, sentence):
    assert words(difference) == (kind, known, found)
    assert line(difference) == f"{difference.node} {sentence}"


def test_numbers_that_six_digits_do_not_tell_apart_have_all_of_theirs():
    assert line(Difference("a", "slope", 1 / 6, 0.1666671)) == "a has slope 0.1666671, not 0.16666666666666666"


def test_nodes_that_differ_alike_are_one_line():
    found = [Difference(name, "stride", (2, 2), (1, 1)) for name in "abc"]
    assert grouped(found) == ["has stride (1, 1), not (2, 2): a, b, c"]
    assert grouped(found, most=2) == ["has stride (1, 1), not (2, 2): a, b and 1 more"]
    assert grouped(found[:1]) == ["a has stride (1, 1), not (2, 2)"]


def test_what_one_side_lacks_is_a_matter_by_its_name_or_where_there_are_several_by_what_it_is():
    rescale = Difference("stem.rescale", "extra", None, {"op": "affine", "slope": 2.0, "offset": -1.0})
    pools = [Difference(name, "missing", POOL) for name in ("a.pool", "b.pool")]
    assert matters([rescale, rescale, *pools]) == ("stem.rescale", "max_pool2d")
    assert matters([WORDS[2][0], WORDS[9][0], WORDS[11][0]]) == ("relu for relu6", "input", "output")
