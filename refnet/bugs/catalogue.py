"""The one catalogue of bugs, collected from the modules of this room in a stated order, which decides ties.

A bug is one function; its name is its id, the first line of its docstring its sentence, a line `Source:` says where it
was seen. `compare` replays it on a port's own inputs, `verify` matches it against the arrays of a file, the scorecard
injects it, exercises grade with it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import get_args, get_type_hints

from refnet.bugs import (
    activations,
    blocks,
    damage,
    decoder,
    ends,
    formulas,
    head,
    inputs,
    leftovers,
    norms,
    overflow,
    pad_rules,
    padding,
    pictures,
    precision,
    rules,
    sampling,
    shaping,
    slips,
    solved,
    stored,
    weights,
)
from refnet.bugs.arrays import UnitArrays
from refnet.bugs.changes import Change
from refnet.bugs.segments import Segment

__all__ = ["BUGS", "REPLAYED", "Bug"]

_INPUTS = (inputs, pictures, solved)
_LAYERS = (padding, weights, sampling, shaping, norms, activations, blocks, head, decoder)
_PORTS = (*_LAYERS, *_INPUTS, ends, stored, overflow, precision, leftovers)
_FILES = (damage,)
_READERS = (slips, formulas, pad_rules, rules)


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
    """

    id: str
    sentence: str
    link: str
    function: Callable[..., Iterator[Change]]
    group: str
    takes: tuple[type, ...]

    def changes(self, segment: Segment) -> Iterator[Change]:
        """The other ways in which a port may run a segment."""
        if Segment in self.takes:
            yield from self.function(segment)
        elif UnitArrays in self.takes:
            yield from (change for unit in segment.units for change in self.function(unit) if not change.rare)

    def of_arrays(self, unit: UnitArrays) -> Iterator[Change]:
        """The other ways in which a file may hold the arrays of a unit."""
        if UnitArrays in self.takes:
            yield from self.function(unit)


def _collected(module: ModuleType) -> Iterator[Bug]:
    """The bugs of a module, in the order in which they stand there: its public functions that return changes."""
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


BUGS: Mapping[str, Bug] = {bug.id: bug for module in (*_PORTS, *_FILES, *_READERS) for bug in _collected(module)}
REPLAYED = tuple(bug for module in _PORTS for bug in _collected(module))
