"""Which of formulas that lie near to each other is said of a file."""

import numpy as np
import pytest
from exporting import checkpoint, network

from refnet.bugs.language.changes import Mistake
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.orders import rounded, truncated
from refnet.verification.agreement import FittingFormula, most_shown
from refnet.verification.sides import pair
from refnet.verification.values import match_arrays

INSIDE, OUTSIDE, RARE = (Mistake(bug, "norm", form, {}) for bug, form in (("in", "1"), ("out", "1"), ("in", "1.1")))


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ([[(INSIDE, 0.3), (OUTSIDE, 0.1)], [(OUTSIDE, 0.1)]], [OUTSIDE, OUTSIDE]),  # it explains more arrays
        ([[(INSIDE, 0.5), (OUTSIDE, 0.1)], [(INSIDE, 0.3), (OUTSIDE, 0.2)]], [OUTSIDE, OUTSIDE]),  # it leaves less
        ([[(INSIDE, 0.12), (RARE, 0.1)], [(INSIDE, 0.1), (RARE, 0.11)]], [INSIDE, INSIDE]),  # no other is clearer
        ([[(INSIDE, 0.1), (OUTSIDE, 0.1)], [(OUTSIDE, 0.1)], [(RARE, 0.1)]], [OUTSIDE, OUTSIDE, RARE]),
    ],
)
def test_the_formula_that_most_arrays_show_is_said_of_all(ways, said):
    given = {k: [FittingFormula(mistake, None, left) for mistake, left in each] for k, each in enumerate(ways)}
    found = most_shown(given)
    assert [found[k].mistake for k in range(len(ways))] == said


def test_a_number_that_is_cut_off_to_either_short_format_is_said_to_be_in_the_one_that_the_others_are_in():
    """Of 1 and a little float16 and bfloat16 both leave 1."""
    graph, params = network("v2")
    few = params | {"stem.bn.gamma": np.full_like(params["stem.bn.gamma"], 1 + 2**-12)}
    cut = {name: (y.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) for name, y in few.items()}
    found = match_arrays(pair(checkpoint(graph, few), checkpoint(graph, cut, "copy")))
    assert {value.mistake.form for value in found if value.fault} == {"bfloat16 truncated"}


SMALL = 2.0**-14  # the smallest normal number of float16


def folded_by(move, kind):
    """What is said of weights that were folded in float32, and brought to float16; the rest is rounded to it."""
    graph, params = network("v2")
    folded, arrays = fold_batch_norm(graph, params)
    held = {name: (move if name.endswith(".w") else rounded)(y, "float16") for name, y in arrays.items()}
    found = match_arrays(pair(checkpoint(graph, params), checkpoint(folded, held, "copy", kind=kind)))
    return {value.kind for value in found if value.name.endswith(".w")}


@pytest.mark.parametrize("least", [0.0, SMALL])
def test_what_is_folded_then_cut_off_is_told_from_a_fold_in_the_short_format_also_where_small_numbers_are_zero(least):
    def move(y, store):
        cut = truncated(y, store)
        return np.where(np.abs(cut) < least, 0, cut)

    assert folded_by(move, "npz") == {"truncated"}


def test_a_writer_that_is_known_to_make_zero_of_small_numbers_may():
    def move(y, store):
        short = rounded(y, store)
        return np.where(np.abs(short) < SMALL, 0, short)

    assert folded_by(move, "ncnn") == {"folded+float16", "float16"}
    assert "flushed" in folded_by(move, "npz")
