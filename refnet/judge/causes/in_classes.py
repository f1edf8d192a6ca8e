"""A mistake of the layer that gives the classes, made in some of them alone: tails of loops over classes leave such.

Behind a softmax all probabilities are off then, and behind many nodes no bound tells which numbers are right. The
logits tell: those of the other classes are as they should be, up to the number that a softmax hides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import LATE
from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import PART, Change
from refnet.bugs.language.probabilities import as_it_is, lens
from refnet.bugs.language.regions import lines_off
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.ends import gives_classes
from refnet.bugs.memory.stored import masks_off
from refnet.judge.causes.feature import Feature
from refnet.judge.causes.parts_off import part_off
from refnet.judge.causes.ways import EXACT, Way, Ways
from refnet.judge.measures.yardstick import NEAR
from refnet.judge.verdicts import root_mean_square

__all__ = ["class_offsets", "in_classes"]

Array = npt.NDArray[Any]
_IMAGES = 2  # of one any error looks so
_Some = tuple[str, dict[str, Any], npt.NDArray[np.intp]]  # which classes: the kind of part, what is said of it, and all


def in_classes(ways: Ways) -> Iterator[Way]:
    """The mistakes that change a classifier's arrays, in the classes that are off alone; none where all are off.

    Of a short segment that shows logits as they are `in_part` tells the same.
    """
    segment = ways.segment
    node = segment.graph.by_name.get(segment.parts.classifier)
    if node is None or not gives_classes(segment) or not (ways.long or lens(segment) is not as_it_is):
        return
    some = next(filter(None, map(_classes, masks_off(segment))), None)
    if some is None:
        return
    kind, facts, classes = some
    there = segment.asked([node.name])
    for bug in (*EXACT, *LATE):
        for change in bug.changes(there):
            if change.node == node.name and not change.lone and _is_of_arrays(change, segment):
                params = {name: _mixed(segment.params[name], made, classes) for name, made in change.params.items()}
                is_all = all(
                    np.array_equal(params[name], Expected.of(made).value) for name, made in change.params.items()
                )
                part = {} if is_all else {PART: (kind, tuple(facts.items()))}  # an order may leave some where they are
                mistake = replace(change, facts={**change.facts, **part}).of(bug.id)
                yield from ways.made(mistake, None, segment.changed(replace(change, params=params)))


def class_offsets(segment: Segment) -> Feature | None:
    """One number for each class by which it is off in all images: another bias of the layer that gives the classes.

    What errs before that layer moves a class in one image otherwise than in another.
    """
    if segment.candidate is None or not gives_classes(segment) or segment.candidate.shape != segment.result.shape:
        return None
    ends = segment.candidate, segment.result
    y, z = (lens(segment)(np.asarray(each, np.float64)).reshape(segment.batch, -1) for each in ends)
    error = y - z
    if len(z) < _IMAGES or not np.isfinite(error).all():
        return None
    offsets = error.mean(axis=0)
    left, varied = (root_mean_square(each - each.mean(axis=0)) for each in (error, z))
    least, most = float(offsets.min()), float(offsets.max())
    if not left < NEAR * min(root_mean_square(error), varied) or most - least < NEAR * root_mean_square(offsets):
        return None  # one number in all classes is no bias of theirs
    return Feature("class-offsets", {"node": segment.parts.classifier, "least": least, "most": most})


def _classes(off: npt.NDArray[np.bool_]) -> _Some | None:
    """The classes that are off, if some are right: a few, some at a step, or a run."""
    channels, of = lines_off(off, 1), off.shape[1]
    if not 0 < len(channels) < of:
        return None
    part, first, last = part_off(off), int(channels[0]), int(channels[-1])
    at_end = (first == 0) != (last == of - 1)
    if part is not None and part.kind in ("channels", "channel-step") and not (at_end and last - first < len(channels)):
        return part.kind, dict(part.facts), channels
    run = np.arange(first, last + 1)
    return ("channel-run", {"first": first, "last": last, "of": of}, run) if len(run) < of else None


def _is_of_arrays(change: Change, segment: Segment) -> bool:
    """Whether a change is one of a node's arrays, as large as they are, and of nothing else."""
    others = (change.nodes, change.given, change.view, change.precision, change.shape)
    return not any(others) and all(
        name.rpartition(".")[0] == change.node and Expected.of(made).value.shape == segment.params[name].shape
        for name, made in change.params.items()
    )


def _mixed(own: Array, made: Array | Expected, classes: npt.NDArray[np.intp]) -> Array:
    """A classifier's array, changed in some classes."""
    mixed = own.astype(np.float64)
    mixed[classes] = Expected.of(made).value[classes]
    return mixed
