"""Changed segments that are run side by side: what they have in common is run once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Change
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.systematic import KnownRuns, Scope, changed_at, changes_by_place, runs_of
from refnet.graph import SOURCE
from refnet.judge.causes import replays
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.ways import Ways
from refnet.judge.scorecard import FAMILIES, subject


@pytest.fixture(scope="module")
def segment():
    small = subject(FAMILIES["V2"], 1)
    given = {SOURCE: small.tensors[SOURCE]}
    whole = cut(Parts(small.graph), small.net.params, small.graph.output, given, judged=False)
    return replace(whole, candidate=whole.result.astype(np.float32) + np.float32(0.1))


def counted(segment):
    """Runs of a segment, and the steps that they take."""
    steps, budget = [], SearchBudget()
    budget.check = steps.append
    runs = replays.Replays(segment, budget, np.float32)
    steps.clear()
    return runs, steps


def begun(segment, bug, form, kind, dtype=np.float32):
    """The segment with a mistake from each block on, or up to each, of arrays that are made once."""
    changes = {
        node: change.made(np.dtype(dtype)) for node, change in changes_by_place(BUGS[bug], segment)[form].items()
    }
    some = (nodes for scope, nodes in runs_of(segment.parts, tuple(changes)).items() if scope.kind == kind)
    return [changed_at(BUGS[bug], segment, form, {node: changes[node] for node in nodes})[1] for nodes in some]


@pytest.mark.parametrize("kind", ["from", "until"])
@pytest.mark.parametrize(("bug", "form"), [("bn-eps", "0.001"), ("shortcut-missing", ""), ("weights-fp16", "float16")])
def test_several_are_what_each_is_alone(segment, bug, form, kind):
    changed = begun(segment, bug, form, kind)
    runs, _ = counted(segment)
    for y, each in zip(runs.several(changed), changed, strict=True):
        np.testing.assert_allclose(y, run(each, np.float32), rtol=1e-4, atol=1e-5)


def test_what_several_have_in_common_is_run_once(segment):
    changed = begun(segment, "bn-eps", "0.001", "until")
    runs, steps = counted(segment)
    for each in changed:
        runs.run(each)
    alone = len(steps)
    steps.clear()
    runs.several(changed)
    # Each node as it should be and as it is changed; more where the maps are too large to be run as one.
    assert len(steps) < 3 * len(segment.graph.nodes) < alone


def _stretched(y):
    return y.reshape(7, -1)


@pytest.mark.parametrize("how", [{"params": {"block3.depthwise.bn.gamma": np.ones(5)}}, {"view": _stretched}])
def test_one_that_nothing_runs_on_does_not_stop_the_others(segment, how):
    eps = next(iter(BUGS["bn-eps"].changes(segment)))
    odd = Change(eps.node, **how)
    runs, _ = counted(segment)
    failed, y = runs.several([segment.changed(odd), segment.changed(eps)])
    assert isinstance(failed, ValueError)
    np.testing.assert_allclose(y, run(segment.changed(eps), np.float32), rtol=1e-4, atol=1e-5)


def test_what_follows_from_maps_up_to_a_block_is_told_by_a_longer_run(segment):
    bug, asked = BUGS["bn-image-stats"], []
    counting = replace(bug, function=lambda segment: asked.append(1) or bug.function(segment))
    form, changes = next(iter(changes_by_place(bug, segment).items()))
    walked, nodes = KnownRuns({}), tuple(changes)
    changed_at(counting, segment, form, changes, np.float32, walked)
    asked.clear()
    shorter = {node: changes[node] for node in nodes[:5]}
    done, changed = changed_at(counting, segment, form, shorter, np.float32, walked)
    assert not asked
    assert [change.node for change in done] == [*shorter]
    again = changed_at(bug, segment, form, shorter, np.float32)[1]
    np.testing.assert_array_equal(run(changed, np.float32), run(again, np.float32))


def test_a_run_from_a_block_on_begins_there(segment):
    bug = BUGS["bn-image-stats"]
    form, changes = next(iter(changes_by_place(bug, segment).items()))
    later = {node: changes[node] for node in tuple(changes)[-3:]}
    honest = replays.Replays(segment, SearchBudget(), np.float64).values
    one, other = (
        changed_at(bug, segment, form, later, np.float64, walked)[1]
        for walked in (KnownRuns({**honest}), KnownRuns({}))
    )
    np.testing.assert_allclose(one.result, other.result, rtol=1e-12)


def test_the_same_places_are_run_once(segment):
    ways = Ways(segment, SearchBudget(), long=True)
    changes = ways.placed(BUGS["bn-eps"])["0.001"]
    nodes = tuple(changes)[3:]
    (way,) = ways.at_scopes(BUGS["bn-eps"], "0.001", changes, {Scope("from", nodes[0]): nodes})
    (again,) = ways.at_scopes(BUGS["bn-eps"], "0.001", changes, {Scope("from", nodes[0]): nodes})
    assert again is way
    assert sum(each is way for each in ways.looked) == 1
