"""A short format of most wrong tensors, their sums or weights: it explains others, which by themselves do not show it.

A tensor of a few different numbers, or of whole numbers, is in steps of any kind; what fits it by chance is none of the
port's mistakes if the store of all others fits it as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.segments import Segment
from refnet.bugs.numbers.manners import is_cut_off, manner_of
from refnet.bugs.numbers.precision import stored_as
from refnet.judge.causes.cause import Cause
from refnet.judge.measures.yardstick import fits, judge_segment
from refnet.ops import CONVOLUTIONS
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded

__all__ = ["cut_off_stores", "is_filed", "is_stored", "of_common_store", "of_common_weights", "stored_alike"]

_STORE, _SUMS = "fp16-storage", ("fp16-accumulate",)  # which leave the same numbers
_SUMMED = (*CONVOLUTIONS, "avg_pool2d")
_MOST = 0.5  # of the wrong tensors, more of which must be stored so
_FILED = ("weights-printed", "weights-fp16", "fold-rounded")  # what a file does to all of its numbers
_SEVERAL = 3  # layers of which a file's numbers are known


def of_common_store(
    found: Mapping[str, list[Cause]], failing: Mapping[str, tuple[Segment, Precision]]
) -> dict[str, list[Cause]]:
    """The same with that store alone for each tensor that it explains.

    Parameters
    ----------
    found : by wrong tensor, its causes, the likeliest first
    failing : by wrong tensor, its segment and what is declared for it
    """
    found = _of_common_sums(found, failing)
    stored = {name: causes[0].mistakes[0].form for name, causes in found.items() if is_stored(causes)}
    if len(stored) <= _MOST * len(failing):
        return dict(found)
    held = {form: _stored_as(form, stored, failing) for form, _ in Counter(stored.values()).most_common()}
    form = max(held, key=lambda each: len(held[each]))  # of tensors that two formats hold, others tell which it is
    if len(held[form]) <= _MOST * len(failing):
        return dict(found)
    kept = {name: [cause for cause in found[name] if cause.ids in ((_STORE,), _SUMS)] for name in held[form]}
    return {**found, **{name: kept[name] if cause is None else [cause] for name, cause in held[form].items()}}


def _stored_as(
    form: str, stored: Mapping[str, str], failing: Mapping[str, tuple[Segment, Precision]]
) -> dict[str, Cause | None]:
    """The tensors that a store explains, and its cause; None where that is their own."""
    held: dict[str, Cause | None] = {name: None for name, own in stored.items() if own == form}
    for name, (segment, precision) in failing.items():
        y, change = segment.candidate, stored_as(segment, form)
        if name in held or y is None or not np.array_equal(rounded(y, change.facts["store"]), y):
            continue
        changed = segment.changed(change)
        if fits(changed, precision):
            held[name] = Cause((change.of(_STORE),), judge_segment(changed, precision))
    return held


def of_common_weights(
    found: Mapping[str, list[Cause]], failing: Mapping[str, tuple[Segment, Precision]]
) -> dict[str, list[Cause]]:
    """The same with the format of several layers' weights for each tensor that it explains, the most frequent first.

    Where the tensor is off by little more than rounding leaves much else explains it: another eps, a fast algorithm.
    """
    told = {name: causes[0].mistakes[0] for name, causes in found.items() if is_filed(causes)}
    forms = Counter((_format(mistake), mistake.bug, mistake.form) for mistake in told.values())
    counts = Counter(map(_format, told.values()))
    made = dict(found)
    for (format_, bug, form), _ in forms.most_common():
        for name, own in failing.items() if counts[format_] >= _SEVERAL else ():
            if name not in told and (cause := _weights(bug, form, *own)) is not None:
                made[name], told[name] = [cause], cause.mistakes[0]
    return made


def _format(mistake: Mistake) -> tuple[tuple[str, Any], ...]:
    """The numbers of what format a mistake is about, folded or not."""
    return tuple((key, value) for key, value in mistake.facts.items() if key != "what")


def _weights(bug: str, form: str, segment: Segment, precision: Precision) -> Cause | None:
    """That a layer's weights are in a format, where that fits."""
    for change in BUGS[bug].changes(segment):
        if change.form == form and fits(changed := segment.changed(change), precision):
            return Cause((change.of(bug),), judge_segment(changed, precision))
    return None


def _of_common_sums(
    found: Mapping[str, list[Cause]], failing: Mapping[str, tuple[Segment, Precision]]
) -> dict[str, list[Cause]]:
    """The same with sums in a format wherever these fit, if many tensors show these alone.

    Of few terms a sum may be off by no more than what is stored.
    """
    made = dict(found)
    for store in ("float16", "bfloat16"):
        own = {name: [cause for cause in causes if _is_in(cause, store)] for name, causes in found.items()}
        own = {name: some for name, some in own.items() if some and any(failing[name][0].nodes(*_SUMMED))}
        alone = [name for name, some in own.items() if {cause.ids for cause in some} == {_SUMS}]
        if len(alone) > _MOST * (len(own) - len(alone)):
            made |= {name: sums for name in own if (sums := [*_sums(*failing[name], store)])}
    return made


def _sums(segment: Segment, precision: Precision, store: str) -> Iterator[Cause]:
    """That sums are kept in a format, where that fits."""
    bug = BUGS[_SUMS[0]]
    for change in bug.changes(segment):
        changed = segment.changed(change)
        if change.facts["store"] == store and fits(changed, precision):
            yield Cause((change.of(bug.id),), judge_segment(changed, precision))


def _is_in(cause: Cause, store: str) -> bool:
    """Whether a cause is that values or sums are kept in a format."""
    return cause.ids in ((_STORE,), _SUMS) and cause.mistakes[0].facts["store"] == store


def cut_off_stores(right: Mapping[str, Segment], precision: Callable[[str], Precision]) -> dict[str, Cause]:
    """Right tensors in a declared short format that are cut off to it: a store rounds to the nearest.

    Parameters
    ----------
    right : by tensor, its segment
    precision : of a tensor, as declared
    """
    found = {}
    for name, segment in right.items():
        own = precision(name)
        store = next((each for each in ("float16", "bfloat16") if own.u_store == Precision.of(each).u_store), "")
        if store and is_cut_off(segment, store, own):
            change = stored_as(segment, f"{store} truncated")
            found[name] = Cause((change.of(_STORE),), judge_segment(segment.changed(change), own))
    return found


def stored_alike(found: Mapping[str, list[Cause]], right: Mapping[str, Segment]) -> dict[str, Mistake]:
    """The right tensors that are stored as most wrong ones are, cut off or rounded at random.

    What is declared may have room for that.
    """
    stores = [causes[0].mistakes[0] for causes in found.values() if is_stored(causes)]
    if not stores:
        return {}
    ((form, _),) = Counter(mistake.form for mistake in stores).most_common(1)
    store, _, manner = form.partition(" ")
    if not manner:
        return {}
    first = next(mistake for mistake in stores if mistake.form == form)
    return {name: first._replace(node=name) for name, own in right.items() if manner_of(own, store) == manner}


def is_stored(causes: Sequence[Cause]) -> bool:
    """Whether the first cause is such a store: then a tensor is no worse dumped than computed."""
    return bool(causes) and causes[0].ids == (_STORE,)


def is_filed(causes: Sequence[Cause]) -> bool:
    """Whether the first cause is what a file does to all of its numbers, which no dump of a tensor does."""
    return bool(causes) and causes[0].ids[0] in _FILED
