"""Which of formulas that lie near to each other is said of a file."""

import numpy as np
import pytest
from exporting import checkpoint, network

from refnet.bugs.language.changes import Mistake
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
