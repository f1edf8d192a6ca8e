"""How many bugs are tried as the first of two: the table on which `acceptance._PAIRED` was tuned, and still is best.

A row is two bugs in one convolution, batch norm and activation, fused by a runtime; each of them would show alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, limit, ported
from refnet.bugs.sites import VISIBLE, Site, styles, visibility
from refnet.graph import SOURCE
from refnet.judge.causes import acceptance, together
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.ways import EXACT, Ways
from refnet.judge.scorecard import FAMILIES, FLOAT32, subject


def units(one, rng, count=7):
    """Segments of a fused convolution, batch norm and activation."""
    ends = styles(one.graph)["fused"]
    have, parts = {name: one.tensors[name] for name in (SOURCE, *ends)}, Parts(one.graph)
    found = [cut(parts, one.net.params, end, have, judged=False) for end in ends]
    found = [segment for segment in found if len(segment.graph) == 3]
    return [found[index] for index in rng.permutation(len(found))[:count]]


def ranks(family, pairs=12):
    """For each two bugs, at what place the first of them is found by how much of the error it leaves."""
    one, rng = subject(FAMILIES[family], 1), np.random.default_rng(4)
    for segment in units(one, rng):
        honest = limit(segment, FLOAT32)
        changes = [(bug, change) for bug in EXACT for change in bug.changes(segment) if change.shape is None]
        shown = [each for each in changes if visibility(Site(each[0].id, each[1], segment, ""), honest) > VISIBLE]
        both = [(a, b) for a in shown for b in shown if a[0].id != b[0].id and a[1].node != b[1].node]
        for index in rng.permutation(len(both))[:pairs]:
            (bug, change), (other, second) = both[index]
            made = segment.changed(change)
            again = next((e for e in other.changes(made) if (e.node, e.form) == (second.node, second.form)), None)
            with np.errstate(all="ignore"):
                y = ported(made.changed(again)) if again is not None else honest.y[:0]
            if y.shape == honest.y.shape and np.isfinite(y).all():
                ways = Ways(replace(segment, candidate=y), SearchBudget(), long=False)
                closer = (way for way in ways.singles(EXACT) if way.residual < ways.before)
                tried = together.varied(closer)
                wanted = {(bug.id, change.form, change.node), (other.id, second.form, second.node)}
                found = [(each.mistake.bug, each.mistake.form, each.mistake.node) in wanted for each in tried]
                yield found.index(True) if any(found) else len(found)


@pytest.fixture(scope="module")
def table():
    return [rank for family in ("V3 Small", "MnasNet A1", "V2") for rank in ranks(family)]


def test_one_of_two_bugs_is_among_those_that_are_tried_first(table):
    assert len(table) > 200
    assert max(table) < acceptance._PAIRED


def test_half_as_many_would_not_do(table):
    assert max(table) >= acceptance._PAIRED // 2
