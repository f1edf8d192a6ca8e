"""The one catalogue of bugs, collected from the modules of these rooms in a stated order, which decides ties.

A bug is one function; its name is its id, the first line of its docstring its sentence, a line `Source:` says where it
was seen. `compare` replays it on a port's own inputs, `verify` matches it against the arrays of a file, the scorecard
injects it, exercises grade with it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import get_args, get_type_hints

from refnet.bugs.files import damage, few_values, refolds, scales, stored_weights
from refnet.bugs.inputs import colour_spaces, decoding, pictures, pipelines, pitch, preprocessing, raster, solved, steps
from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change, Mistake
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers import (
    activations,
    answers,
    batch_statistics,
    blocks,
    curves,
    decoder,
    dropout,
    ends,
    fixed,
    fold_signs,
    folds,
    head,
    joins,
    kernels,
    knobs,
    narrower,
    norm_forms,
    norms,
    padding,
    pools,
    roots,
    sampling,
    shaping,
    shared,
)
from refnet.bugs.memory import (
    buffers,
    channel_orders,
    flat_reads,
    in_place,
    leftovers,
    loaded,
    result_orders,
    stored,
    vectors,
    weights,
    zero_points,
)
from refnet.bugs.numbers import digits, overflow, precision
from refnet.bugs.readers import formulas, pad_rules, rules, slips

__all__ = ["BUGS", "BY_NUMBERS", "LATE", "REPLAYED", "SHARED", "Bug", "bug_of"]

_INPUTS = (preprocessing, raster, decoding, colour_spaces, pitch, pictures, pipelines, solved)
_LAYERS = (padding, weights, sampling, shaping, norms, activations, blocks, head, dropout, decoder)
_PORTS = (*_LAYERS, *_INPUTS, ends, stored, zero_points, overflow, precision, leftovers)
_FILES = (damage, stored_weights, scales, few_values, refolds)
_ODD = (
    vectors,
    joins,
    pools,
    norm_forms,
    roots,
    batch_statistics,
    kernels,
    curves,
    in_place,
    buffers,
    flat_reads,
    channel_orders,
    knobs,
    answers,
    folds,
    fold_signs,
    fixed,
    digits,
    loaded,
    narrower,
    result_orders,
    steps,
)
_READERS = (slips, formulas, pad_rules, rules)
_COSTLY = ("sum-overwritten", "channels-summed")  # they take long on the maps of a network


@dataclass(frozen=True)
class Bug:
    """One bug that networks have.

    Attributes
    ----------
    id : short, 'pad-same'
    sentence : what is wrong
    link : where it was seen, or ''
    function : from a segment, from the arrays of a unit, or from either, to changes; none where the bug cannot be there
    group : the module that it is of; those of 'precision' explain small errors of any kind, so that such a cause is
        accepted only where no other fits
    takes : what the function takes, `Segment` or `UnitArrays` or both; `Ruled` for slips in rules
    rare : whether it is asked for its rare changes, and for no others
    """

    id: str
    sentence: str
    link: str
    function: Callable[..., Iterator[Change]]
    group: str
    takes: tuple[type, ...]
    rare: bool = False

    def changes(self, segment: Segment, *, joint: bool = False) -> Iterator[Change]:
        """The other ways in which a port may run a segment; those that are made only beside others where asked for."""
        if Segment in self.takes:
            yield from (change for change in self.function(segment) if joint or change.alone)
        elif UnitArrays in self.takes:
            yield from (change for unit in segment.units for change in self.function(unit) if change.rare == self.rare)

    def of_arrays(self, unit: UnitArrays) -> Iterator[Change]:
        """The other ways in which a file may hold the arrays of a unit."""
        if UnitArrays in self.takes:
            yield from self.function(unit)


@cache
def _collected(module: ModuleType) -> tuple[Bug, ...]:
    """The bugs of a module, in the order in which they stand there: its public functions that return changes."""
    return tuple(_bugs(module))


def _bugs(module: ModuleType) -> Iterator[Bug]:
    for name, function in vars(module).items():
        if name.startswith("_") or not inspect.isfunction(function) or function.__module__ != module.__name__:
            continue
        takes, *_, returns = get_type_hints(function).values()
        if returns != Iterator[Change]:
            continue
        text = inspect.getdoc(function) or ""
        source = re.search(r"^Source: (\S+)$", text, re.MULTILINE)
        yield Bug(
            id=name.replace("_", "-"),
            sentence=text.partition("\n")[0].removesuffix("."),
            link=source[1] if source else "",
            function=function,
            group=module.__name__.rpartition(".")[2],
            takes=get_args(takes) or (takes,),
        )


BUGS: Mapping[str, Bug] = {
    bug.id: bug for module in (*_PORTS, shared, *_ODD, *_FILES, *_READERS) for bug in _collected(module)
}
REPLAYED = tuple(bug for module in _PORTS for bug in _collected(module))
# The places of these follow from the numbers of an image: of all others from layers, params and sizes alone.
BY_NUMBERS = frozenset(bug.id for module in (*_INPUTS, overflow) for bug in _collected(module))
SHARED = _collected(shared)  # made at all of their places, and nowhere alone

# What explains few ports: replayed where nothing else fits.
_RARE = {bug.id: replace(bug, rare=True) for bug in REPLAYED if bug.takes == (UnitArrays,)}
_SLIPS = tuple(bug for module in (*_ODD, slips, formulas) for bug in _collected(module) if bug.id not in _COSTLY)
LATE = (*_RARE.values(), *_SLIPS)


def bug_of(mistake: Mistake, segment: Segment) -> Bug:
    """The bug that has a form of a mistake: the one itself, or its rare changes."""
    own = BUGS[mistake.bug]
    if mistake.bug not in _RARE or any(change.form == mistake.form for change in own.changes(segment)):
        return own
    return _RARE[mistake.bug]
