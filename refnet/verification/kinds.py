"""What goes wrong with weights on their way through exporters: kinds, and the bugs that each is about.

The first kind that fits within rounding names the fault, so particular kinds stand before general ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from refnet.bugs.catalogue import BUGS, Bug
from refnet.bugs.language.arrays import MADE_OF, Expected, UnitArrays
from refnet.bugs.language.changes import Change, Mistake

__all__ = ["EITHER", "KINDS", "Fault", "Kind", "faults"]

# In an array as it lies in the file, in the arrays that were folded into it, or in the integers that are stored for it.
_LIES, _FOLD, _STEPS = "lies", "fold", "steps"


class Kind(NamedTuple):
    """One way in which weights go wrong.

    Attributes
    ----------
    id : short, 'transposed'
    bugs : of the catalogue, by their ids
    stages : where to look for it, 'lies', 'fold' and 'steps'
    forms : of those bugs; () for all
    """

    id: str
    bugs: tuple[str, ...]
    stages: tuple[str, ...] = (_LIES,)
    forms: tuple[str, ...] = ()


class Fault(NamedTuple):
    """What an array would be with something wrong.

    Attributes
    ----------
    mistake : what is wrong
    made : what the array would be
    before : whether it went wrong before batch norm was folded into the array
    """

    mistake: Mistake
    made: Expected
    before: bool


_FORGOTTEN = ("mean", "own", "unwritten", "beta", "var")
_PARTS = ("mean unscaled", "gamma added", "gamma divides", "weights divided", "bias as it was")
_ESTIMATES = tuple(f"{table} {steps}" for table in ("bits", "arm") for steps in range(3))
_ONE_SIDED = tuple(f"{per} {how}" for per in ("tensor", "channel", "integers") for how in ("cut", "down", "up", "half"))
_TRANSPOSED = ("kernel-transpose", "depthwise-axes", "weights-transpose")

_TABLE = (
    # The fold
    Kind("lost", ("bias-missing",)),
    Kind("eps", ("bn-eps", "bn-eps-outside", "bn-eps-inverse", "bn-eps-floor"), (_FOLD,)),
    Kind("gamma-ignored", ("bn-fix-gamma",), (_LIES, _FOLD)),
    Kind("gamma", ("bn-gamma-function",), (_LIES, _FOLD)),
    Kind("mean-forgotten", ("bn-fold-bias",), (_LIES, _FOLD), _FORGOTTEN),
    Kind("fold-bias", ("bn-fold-bias", "bn-beta-scaled", "bn-bias-terms"), (_FOLD,)),
    Kind("var-std", ("bn-var-std",), (_FOLD,)),
    Kind("formula", ("norm-parts", "bn-root-estimated"), (_FOLD,), (*_PARTS, *_ESTIMATES)),
    Kind("fold-again", ("fold-repeated",), (_FOLD,)),
    Kind("fold-misplaced", ("fold-elsewhere",), (_FOLD,)),
    Kind("normalised", ("normalisation-folded",)),
    Kind("not-folded", ("bn-missing",), (_FOLD,)),
    Kind("fold-axis", ("bn-fold-axis",), (_FOLD,)),
    Kind("swapped", ("bn-swapped",), (_LIES, _FOLD)),
    Kind("zeroed", ("weights-zeroed",)),
    # Order
    Kind("classes", ("classes-shift",)),
    Kind("transposed", _TRANSPOSED, (_LIES, _FOLD, _STEPS)),
    Kind("turned", ("kernel-flip",), (_LIES, _FOLD)),
    Kind("permuted", ("channel-permute",), (_LIES, _FOLD, _STEPS)),
    Kind("misplaced", ("weights-misplaced",), (_LIES, _STEPS)),
    Kind("shifted", ("weights-shifted",), (_LIES, _STEPS)),
    Kind("displaced", ("channels-displaced",)),
    Kind("scales", ("scales-moved",)),
    # Numbers
    Kind("misread", ("bytes-misread", "integers-misread")),
    Kind("truncated", ("weights-fp16",), (_LIES, _FOLD), ("float16 truncated", "bfloat16 truncated")),
    Kind("overflow", ("weights-overflow",)),
    Kind("short-first", ("weights-fp16",), (_LIES, _FOLD), ("float16", "bfloat16")),
    Kind("printed", ("weights-printed",)),
    Kind("binarised", ("weights-binarised",)),
    Kind("powers", ("weights-in-powers",)),
    Kind("unnudged", ("integers-unnudged",)),
    Kind("cut-off", ("weights-stepped",), (_LIES,), _ONE_SIDED),
    # Size
    Kind("variance", ("bn-variance-stored", "bn-statistics-scaled"), (_LIES, _FOLD)),
    Kind("sign", ("weights-negated",)),
    Kind("scaled", ("weights-scaled",)),
    Kind("channel-scaled", ("channels-scaled", "inputs-scaled")),
    Kind("offset", ("weights-offset", "weights-affine")),
    Kind("clipped", ("weights-clipped",)),
    Kind("flushed", ("weights-flushed",)),
    Kind("damaged", ("weights-damaged",)),
    Kind("pruned", ("weights-pruned",)),
    Kind("stepped", ("weights-stepped",)),
    Kind("clustered", ("weights-clustered",)),
    Kind("coarse", ("weights-coarse",)),
)

KINDS: Mapping[str, Kind] = {kind.id: kind for kind in _TABLE}

# What may as well have happened to the original, so that the copy is right: told from the array alone.
_EITHER = (
    *("lost", "zeroed", "misread", "truncated", "printed", "overflow", "clipped", "flushed", "pruned", "stepped"),
    *("binarised", "powers", "clustered", "coarse"),
)
EITHER: Mapping[str, Kind] = {name: KINDS[name]._replace(stages=(_LIES,)) for name in _EITHER}


def faults(kind: Kind, lies: UnitArrays, unfolded: UnitArrays | None) -> Iterator[Fault]:
    """What the array that is to be explained would be, had it gone wrong in this way.

    Parameters
    ----------
    lies : the unit as the file should have it, with what it has
    unfolded : the same before batch norm was folded, None where it was not
    """
    slot = lies.slot
    stored = lies.in_steps() if _STEPS in kind.stages else None
    for bug in (BUGS[each] for each in kind.bugs):
        if _LIES in kind.stages:
            for change in _of_kind(kind, bug, lies):
                if lies.names[slot] in change.params:
                    yield Fault(change.of(bug.id), Expected.of(change.params[lies.names[slot]]), False)
        if stored is not None:
            for change in _of_kind(kind, bug, stored):
                if lies.names[slot] in change.params:
                    made, steps = Expected.of(change.params[lies.names[slot]]), lies.steps[lies.names[slot]]
                    yield Fault(change.of(bug.id), Expected(made.value * steps, made.slack * steps), False)
        if _FOLD in kind.stages and unfolded is not None:
            sources = {unfolded.names.get(source) for source in MADE_OF[slot]}
            for change in _of_kind(kind, bug, unfolded):
                if change.nodes or sources & change.params.keys():
                    changed = unfolded.having(change.params, change.nodes)
                    if changed is not None:
                        yield Fault(change.of(bug.id), changed.folded().tensors[slot], True)


def _of_kind(kind: Kind, bug: Bug, unit: UnitArrays) -> Iterator[Change]:
    return (change for change in bug.of_arrays(unit) if not kind.forms or change.form in kind.forms)
