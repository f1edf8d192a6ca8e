"""Which of formulas that lie near to each other is said of a file."""

import pytest

from refnet.bugs.language.changes import Mistake
from refnet.verification.agreement import FittingFormula, most_shown

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
