"""Of long segments, the tables on which the thresholds of the search were tuned, and still are best.

A row is a mistake in a whole network of which the logits alone are known: at one place, at all, from one on, or two.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property

import numpy as np

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.sites import VISIBLE
from refnet.bugs.systematic import changed_at, changes_by_place, runs_of, scopes
from refnet.graph import SOURCE
from refnet.judge.causes import acceptance, affine, describe, starts, ways
from refnet.judge.measures import yardstick
from refnet.judge.scorecard import FAMILIES, FLOAT32, subject
from refnet.judge.verdicts import root_mean_square as rms
from refnet.readings.orders import ORDERS


class Long:
    """A network as one segment, and what its logits are."""

    def __init__(self, family):
        one = subject(FAMILIES[family], 1)
        given = {SOURCE: one.tensors[SOURCE]}
        self.parts = Parts(one.graph)
        self.segment = cut(self.parts, one.net.params, one.graph.output, given, judged=False)
        self.candidate = one.tensors[one.graph.output]
        self.honest = self.run(self.segment)
        self.exact = run(self.segment)
        judged = replace(self.segment, candidate=self.candidate)
        self.runs = [made() for made in yardstick._runs(judged, FLOAT32)]

    def run(self, segment, rules=ORDERS["fast"]):
        with np.errstate(all="ignore"):
            y = run(segment, np.float32, rules).astype(np.float64)
        return y if y.shape == self.candidate.shape and np.isfinite(y).all() else None

    @cached_property
    def everywhere(self):
        """By bug, what its first form at all places, of which there are more than three, makes of the logits."""
        made = {}
        for bug, form, changes in self.first_forms():
            y = self.run(changed_at(bug, self.segment, form, changes)[1]) if len(changes) > 3 else None
            made |= {bug.id: (y - self.honest).ravel()} if y is not None else {}
        return made

    def first_forms(self):
        """By bug, its first form with the change at each place."""
        for bug in ways.EXACT:
            form, changes = next(iter(changes_by_place(bug, self.segment).items()), ("", {}))
            if changes:
                yield bug, form, changes


@cache
def long(family):
    return Long(family)


def left(long):
    """By mistake that shows, the share of the error that the right way leaves of a port with other sums."""
    spread = yardstick._apart(long.exact, long.runs).rms / 2
    for bug, form, changes in long.first_forms():
        middle = list(changes)[len(changes) // 2]
        for places in (changes, {middle: changes[middle]}):
            changed = changed_at(bug, long.segment, form, places)[1]
            port, made = long.run(changed, ORDERS["lanes"]), long.run(changed)
            if port is not None and made is not None and (error := rms(port - long.honest)) > 20 * VISIBLE * spread:
                yield rms(port - made) / error


def test_a_way_that_is_held_to_the_spread_leaves_next_to_nothing():
    most = max(each for family in ("V1", "V3 Small") for each in left(long(family)))
    assert yardstick.NEAR / 10 < most < yardstick.NEAR


def begun(long):
    """Errors of a mistake from a block on, with its bug."""
    for bug, form, changes in long.first_forms():
        found = list(runs_of(long.parts, tuple(changes)).items())
        for _, nodes in found[:: max(len(found) // 4, 1)] if bug.id in long.everywhere else ():
            y = long.run(changed_at(bug, long.segment, form, {node: changes[node] for node in nodes})[1])
            if y is not None and rms(y - long.honest):
                yield bug.id, (y - long.honest).ravel()


def test_a_part_of_an_error_that_is_looked_at_explains_some_of_it():
    found = [(long(family), *each) for family in ("V1", "V3 Small") for each in begun(long(family))]
    shares = np.array([ways.explained(error, one.everywhere[bug]) for one, bug, error in found])
    assert (shares >= ways.SHARE).mean() >= 7 / 8 > (shares >= 2 * ways.SHARE).mean()


def ranks(long):
    """Of mistakes from a block on: how far the same everywhere moves the logits, and its place among the likeliest."""
    size = {bug: float(np.linalg.norm(effect)) for bug, effect in long.everywhere.items()}
    for own, error in begun(long):
        moved = {bug: each / float(np.linalg.norm(error)) for bug, each in size.items()}
        places = []
        for most in (np.inf, starts._MOST):
            likely = [bug for bug in moved if starts._LEAST <= moved[bug] <= most]
            shares = {bug: ways.explained(error, long.everywhere[bug]) for bug in likely}
            order = sorted(shares, key=lambda bug: -shares[bug])
            places.append(order.index(own) if own in shares else len(long.everywhere))
        yield moved[own], min(places)


def test_a_mistake_from_a_block_on_is_among_the_likeliest_that_are_everywhere():
    moved, place = np.array([each for family in ("V1", "V3 Small") for each in ranks(long(family))]).T
    assert len(moved) > 200
    assert starts._LEAST <= moved.min() < starts._LEAST + 0.1
    assert (moved <= starts._MOST).mean() >= 0.95 > (moved <= starts._MOST / 3).mean()
    assert (place < starts._SOON).mean() >= 7 / 8 > (place < starts._SOON - 10).mean()


def left_by_forms(long):
    """What forms leave of an error: the right one of logits that have it, and the best of the logits of mistakes."""
    own, rng = long.run(long.segment, ORDERS["lanes"]), np.random.default_rng(0)

    def ratio(y):
        return describe._ratio(y, long.exact, rms(y - long.exact))

    def offset(y):
        return describe._offset(0.0, y, long.exact, rms(y - long.exact))

    def permuted(y):
        return describe._permuted(np.ones(own.shape, bool), y, long.exact)

    def left(form, y):
        return min(each.left / each.before for each in form(y.astype(np.float32).astype(np.float64)))

    forms = (ratio, offset, permuted)
    right = [left(ratio, times * own) for times in (1.01, 1.1, 2.0, -1.0)]
    right += [left(offset, own + more * rms(own)) for more in (0.01, 0.1, 1.0)]
    right += [left(permuted, rng.permutation(own.ravel()).reshape(own.shape)) for _ in range(3)]
    made = [y for bug, effect in long.everywhere.items() for y in (long.honest + effect.reshape(own.shape),)]
    wrong = [min(left(form, y) for form in forms) for y in made if rms(y - long.exact) > 1e-4 * rms(long.exact)]
    return right, wrong


def test_a_form_of_an_error_leaves_less_of_it_than_it_does_of_mistakes():
    right, wrong = (
        np.concatenate(each) for each in zip(*map(left_by_forms, map(long, ("V1", "V3 Small"))), strict=True)
    )
    assert len(wrong) > 50
    assert describe._FORM / 10 < right.max() < describe._FORM < wrong.min()


def begun_beside(long):
    """Of all mistakes from a block on: where the same one at all places comes among all that are, by what they explain.

    And what the better of both neighbouring blocks explains of the error.
    """
    rng, kinds = np.random.default_rng(0), []
    for bug in (bug for bug in ways.EXACT if bug.group not in ways._ENDS):
        for form, changes in changes_by_place(bug, long.segment).items():
            for nodes in scopes(long.parts, tuple(changes)).values():
                done, changed = changed_at(bug, long.segment, form, {node: changes[node] for node in nodes})
                made = long.run(changed) if done else None
                kinds += [(bug, form, nodes, changes, (made - long.honest).ravel())] if made is not None else []
    for bug, form, nodes, changes, _ in kinds:
        found = [of for scope, of in runs_of(long.parts, nodes).items() if scope.kind == "from"]
        place = int(rng.integers(max(len(found), 1)))
        near = found[max(place - 1, 0) : place + 2]
        made = [long.run(changed_at(bug, long.segment, form, {node: changes[node] for node in of})[1]) for of in near]
        if len(found) > 1 and all(y is not None for y in made):
            own, *others = ((made[each] - long.honest).ravel() for each in _first(min(place, 1), len(made)))
            order = sorted(kinds, key=lambda kind: -ways.explained(own, kind[-1]))
            same = {
                each for each, kind in enumerate(order) if kind[:2] == (bug, form) and set(found[place]) <= {*kind[2]}
            }
            yield min(same), max(ways.explained(own, each) for each in others)


def _first(index, count):
    return [index, *(each for each in range(count) if each != index)]


def test_the_right_mistake_from_a_block_on_is_among_those_looked_at_soon_and_its_neighbours_explain_some_of_the_error():
    rank, near = np.array([*begun_beside(long("V2"))]).T
    assert len(rank) > 300
    assert (rank < starts.MANY).mean() >= 0.7 > (rank < starts.MANY / 2).mean()
    assert (near >= starts._NEXT).mean() >= 11 / 12 > (near >= starts._NEXT + 0.1).mean()


def planes(long, count):
    """The share of the error of two mistakes that their effects explain together."""
    rng = np.random.default_rng(0)
    kinds = list(long.first_forms())
    while count:
        drawn = [kinds[index] for index in rng.choice(len(kinds), 2, replace=False)]
        (_, _, one), (other, kind, two) = drawn
        places = [list(changes)[rng.integers(len(changes))] for changes in (one, two)]
        changed = long.segment.changed(one[places[0]])
        second = changes_by_place(other, changed).get(kind, {}).get(places[1])
        both = None if second is None else long.run(changed.changed(second))
        made = [long.run(long.segment.changed(c[p])) for c, p in zip((one, two), places, strict=True)]
        if both is None or any(y is None for y in made):
            continue
        A = np.stack([(y - long.honest).ravel() for y in made], axis=1)
        if np.abs(A).max(axis=0).min() > 1e-4 * np.abs(long.honest).max():
            error = (both - long.honest).ravel()
            fitted, *_ = np.linalg.lstsq(A, error, rcond=None)
            yield 1 - float(((error - A @ fitted) ** 2).sum() / (error @ error))
            count -= 1


def test_two_effects_that_are_run_as_a_pair_explain_four_tenths_of_the_error():
    shares = np.array([share for family in ("V1", "V3 Small") for share in planes(long(family), 100)])
    assert (shares >= acceptance._PLANE).mean() >= 0.95 > (shares >= acceptance._PLANE + 0.1).mean()


def left_by_scalings(long):
    """What the right scaling of the input leaves of the error of the logits of a port with other sums."""
    rng, x = np.random.default_rng(0), long.segment.given[SOURCE].astype(np.float64)
    for _ in range(12):
        scaled = rng.uniform(0.5, 2) * x + 0.4 * x.std() * rng.normal()
        segment = replace(long.segment, given={SOURCE: scaled.astype(np.float32)})
        port = long.run(segment, ORDERS["lanes"])
        yield rms(port - long.run(segment)) / rms(port - long.honest)


def test_a_scaling_of_the_input_that_fits_leaves_next_to_nothing():
    families = ("V1", "V2", "V3 Small", "MnasNet A1")
    shares = np.array([each for family in families for each in left_by_scalings(long(family))])
    assert (shares < affine._FITS).mean() >= 0.95 > (shares < affine._FITS / 10).mean()
