"""The time that a search may take: what it keeps, when it ends, and what it counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import build, random_input, random_params
from refnet.bugs.language.changes import Change
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE
from refnet.judge.causes import budget as budgets
from refnet.judge.causes import replays
from refnet.judge.causes.budget import OverBudgetError, Search, SearchBudget


def test_a_budget_tells_how_much_was_looked_at_of_how_much_there_is():
    told = []
    budget = SearchBudget(tell=lambda looked, ways: told.append((looked, ways)))
    budget.expect(2)
    budget.passed()
    budget.expect(1)
    budget.passed(3)
    assert told == [(0, 2), (1, 2), (1, 3), (4, 4)]
    assert budget.search == Search(4, 4, float("inf"), "all")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = [0.0]
    monkeypatch.setattr(budgets.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("passed", "ends"), [(2.0, 7.0), (6.0, 8.0), (9.5, 10.0), (11.0, 11.5)])
def test_a_budget_keeps_the_time_of_what_follows_or_half_of_the_rest(passed, ends, clock):
    """Of which there is a tenth of the budget in any case, for the likeliest."""
    budget = SearchBudget(10, spent=passed)
    budget.keep(3)
    over = []
    for each in (ends - 1e-6, ends + 1e-6):
        clock[0], budget.ended = each - passed, "all"
        budget._asked = np.inf
        over.append(budget.over)
    assert over == [False, True]


@pytest.mark.parametrize(("seconds", "over"), [(1.0, False), (3.0, True)])
def test_a_step_that_would_pass_the_end_is_not_begun(seconds, over, clock):
    budget = SearchBudget(10)
    clock[0] = 8.0
    assert budget._is_over(seconds) == over


@pytest.mark.parametrize(("said", "over"), [(0.0, True), (2.0, False)])
def test_a_step_may_take_longer_than_was_said_by_as_much_as_another_one_did(said, over, clock):
    """Two steps took two seconds each."""
    budget = SearchBudget(10)
    for clock[0] in (0.0, 2.0):
        budget.check(said)
    clock[0] = 4.0
    budget.check()
    clock[0] = 8.5
    budget._asked = np.inf
    assert budget.over == over


def test_a_machine_that_stands_still_once_says_nothing_of_the_next_step(clock):
    budget = SearchBudget(10)
    for clock[0] in (0.0, 4.0, 4.1, 9.0):
        budget._asked = np.inf if clock[0] == 9.0 else budget._asked
        budget.check()
    assert budget.search.finished


def test_what_passed_before_a_search_is_no_step_of_it(clock):
    budget = SearchBudget(10)
    budget.check()
    clock[0] = 6.0
    budget.keep(0)
    clock[0] = 7.0
    assert not budget.over


def test_what_follows_a_search_may_use_what_was_kept_but_for_writing(clock):
    budget = SearchBudget(10)
    budget.keep(3, 1)
    clock[0] = 8.0
    assert (budget.over, budget.has(0.9), budget.has(1.1)) == (True, True, False)
    assert SearchBudget().has(1e9)


def test_how_long_a_node_takes_is_known_from_the_unchanged_one(monkeypatch):
    """A clock goes on by one with every look; of a map of four times the points a node takes four times as long."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=32, classes=10)
    segment = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: random_input(graph, 1)}, judged=False)
    ticks, said, budget = iter(range(10**6)), [], SearchBudget()
    monkeypatch.setattr(replays.time, "monotonic", lambda: float(next(ticks)))
    runs = replays.Replays(segment, budget, np.float32)
    budget.check = said.append
    for stride in ((2, 2), (1, 1)):
        attrs = {**graph["stem.conv"].attrs, "stride": stride, "pad": ((1, 1), (1, 1))}
        stem = replace(graph["stem.conv"], attrs=attrs)
        runs.run(segment.changed(Change("stem.conv", nodes={"stem.conv": (stem,)})))
    once, larger = said[: len(said) // 2], said[len(said) // 2 :]
    assert once[0] > 0
    np.testing.assert_allclose(larger[1:5], 4 * np.array(once[1:5]), rtol=0.02)


def test_a_budget_ends_at_its_time():
    budget = SearchBudget(1e-9)
    with pytest.raises(OverBudgetError):
        budget.check()
    assert budget.search.ended == "time"
    SearchBudget().check()
