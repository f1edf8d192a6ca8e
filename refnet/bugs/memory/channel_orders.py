"""Orders of channels that follow a rule: reversed, dealt out, interleaved, numbered as text. Tried where nothing fits.

A port that permutes one array of a layer, or all of a layer's but not those of the next, shows only the rule: behind an
activation no channel is like the one that it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.probabilities import as_it_is, lens
from refnet.bugs.language.regions import copies, lines_off
from refnet.bugs.language.segments import Segment
from refnet.bugs.language.shifts import as_text
from refnet.bugs.memory.stored import masks_off
from refnet.graph import Node
from refnet.ops import CONVOLUTIONS

__all__ = [
    "LAYERS_ORDERED",
    "VECTORS",
    "bn_order",
    "channel_rule",
    "lanes_repeated",
    "rule_of",
    "ruled_orders",
    "said_of_order",
    "vector_order",
]

Array = npt.NDArray[Any]

_GROUPS = (2, 3, 4, 8, 16, 32)  # that channels are dealt out to, interleaved from, or turned in
VECTORS = {"b": "biases", "gamma": "gammas", "beta": "betas", "mean": "means", "var": "variances"}
_PLAIN: tuple[list[str], ...] = (
    [],
    ["add"],
    ["flatten"],
    ["softmax"],
    ["flatten", "softmax"],
)  # what leaves to see how channels are moved
LAYERS_ORDERED = 4  # of a segment: a longer run holds too many to try all
_SIMPLE: Mapping[str, Callable[[Array], Array]] = {
    "reversed": lambda channels: channels[::-1],
    "next": lambda channels: np.roll(channels, 1),
    "previous": lambda channels: np.roll(channels, -1),
}  # in which one vector alone may be
# Of what channels are moved by on average: how near that must be to what another order moves them by. Tuned, on the
# table in tests/bugs/test_tables.py: the largest power of ten that no wrong order comes as near as.
_SAME = 0.1


def channel_rule(segment: Segment) -> Iterator[Change]:
    """channels in an order by a rule.

    Those of a convolution, of a batch norm, or of both: in reverse, dealt out to groups or interleaved from them,
    one further, in the order of their numbers as text.
    """
    if segment.candidate is None or segment.candidate.shape != segment.result.shape:
        return
    units = [unit for unit in segment.units if any(node.name in segment.graph for node in unit.unit.nodes)]
    for unit in units if len(units) <= LAYERS_ORDERED else ():
        conv, norm = unit.unit.conv, unit.norm
        nodes = {conv.name, norm.name if norm is not None else ""}
        held = [node for node in segment.graph.nodes if node.name in nodes and node.params]
        for part in _parts(held):
            K = next(iter(part[0].params.values()))[0]
            kinds = "+".join("norm" if node.op == "batch_norm" else "conv" for node in part)
            for order in ruled_orders(K):
                form, facts = rule_of(order)
                names = [f"{node.name}.{slot}" for node in part for slot in node.params]
                params = Deferred(names, partial(_ordered, segment, names, order))
                yield Change(part[0].name, *said_of_order(kinds, form, facts), params=params)


def bn_order(segment: Segment) -> Iterator[Change]:
    """one vector of a layer in another order of channels than the rest.

    In reverse, or each channel's number in the next one's place, or the one's before it.
    """
    for unit in segment.units:
        place = unit.norm or unit.unit.conv
        moved = _channels_moved(segment, place)
        for slot, form in itertools.product(_orderable(unit), _SIMPLE):
            vector = _SIMPLE[form](unit[slot])
            if moved is None or _away(unit, slot, vector, *moved) < _SAME:
                yield Change(place.name, f"{slot} {form}", {}, params={unit.names[slot]: vector})


def vector_order(segment: Segment) -> Iterator[Change]:
    """one vector of a layer in an order by a rule.

    By how many channels it is moved on, what the layer makes at the end of a segment shows, or logits or probabilities.
    """
    for unit in segment.units:
        place = unit.norm or unit.unit.conv
        moved = _channels_moved(segment, place)
        if moved is None:
            continue
        for slot in _orderable(unit):
            for form, facts, vector in _by_rules(unit[slot], _vector_shown(unit, slot, *moved)):
                if _away(unit, slot, vector, *moved) < _SAME:
                    said = said_of_order(VECTORS[slot], form, facts)
                    yield Change(place.name, *said, params={unit.names[slot]: vector})


def lanes_repeated(segment: Segment) -> Iterator[Change]:
    """channels of a convolution's sums that are copies of those beside them.

    A loop over lanes writes one of them twice, before batch norm and activation tell both apart again.
    """
    target, off = segment.candidate, next(masks_off(segment), None)
    conv = next((node for node in segment.graph.nodes if node.op in CONVOLUTIONS), None)
    if target is None or off is None or conv is None or conv.name == segment.end:
        return
    lines, K = lines_off(off, 1), target.shape[1]
    step = int(np.gcd.reduce(np.diff(lines))) if len(lines) > 1 else 1
    if step < 2 or conv.params["w"][0] != K or 2 * len(lines) < len(range(int(lines[0]), K, step)):
        return  # some may be zeros behind an activation
    for by in (1, -1):
        order, facts = copies(np.arange(int(lines[0]) % step, K, step), K, by)
        bare = replace(conv, name=f"{conv.name}.bare")
        params = {f"{bare.name}.{slot}": segment.param(conv, slot) for slot in conv.params}
        chosen = Node(conv.name, "pointwise_conv2d", (bare.name,), {"w": (K, K)})
        params[f"{conv.name}.w"] = np.eye(K)[order]
        form = "before" if by > 0 else "behind"
        yield Change(conv.name, form, facts, nodes={conv.name: (bare, chosen)}, params=params, fed=True)


def said_of_order(arrays: str, rule: str, facts: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
    """The form and the facts of a change by which some arrays are in an order by a rule."""
    return " ".join((arrays, rule, *map(str, facts.values()))), {"arrays": arrays, "by_rule": (rule, *facts.items())}


def _orderable(unit: UnitArrays) -> list[str]:
    """The vectors of a layer that an order shows in; a bias before batch norm is left to that."""
    held = [slot for slot in VECTORS if slot in unit and np.ptp(unit[slot])]
    return [slot for slot in held if slot != "b" or unit.norm is None]


def _channels_moved(segment: Segment, place: Node) -> tuple[Array, Array] | None:
    """By channel, the mean of what a node makes at the end of a segment and of the error; None where neither is plain.

    What is added to a node's result moves it no further. Probabilities are looked at as logits.
    """
    target, nodes = segment.candidate, segment.graph.nodes
    rest = [node.op for node in nodes[[node.name for node in nodes].index(place.name) + 1 :]]
    if target is None or target.ndim not in (2, 4) or target.shape != segment.result.shape or rest not in _PLAIN:
        return None
    seen = lens(segment)  # a softmax hides the mean over classes, which no order moves
    if "softmax" in rest and seen is as_it_is:
        return None
    y = segment.result if not rest else dict(segment.values({place.name}))[place.name]
    return _by_channel(y), _by_channel(seen(target) - seen(segment.result))


def _by_channel(y: Array) -> Array:
    """The mean of each channel, (C,)."""
    made: Array = y.mean(axis=(0, *range(2, y.ndim)))
    return made


def _vector_shown(unit: UnitArrays, slot: str, mean: Array, moved: Array) -> Array:
    """A vector of a layer as the port's numbers show it, if it is the only one that is not the layer's own."""
    own = unit[slot]
    if slot in ("b", "beta"):
        return own + moved
    with np.errstate(all="ignore"):
        if slot == "mean":
            shown = own - moved / unit.factor
        else:
            share = 1 + moved / (mean - unit["beta"])
            shown = own * share if slot == "gamma" else (own + unit.eps) / share**2 - unit.eps
    return np.where(np.isfinite(shown), shown, own)


def _by_rules(own: Array, shown: Array) -> Iterator[tuple[str, dict[str, int], Array]]:
    """A vector in other orders, (C,), with the form and the facts of each: but for those of `bn_order`."""
    plain = np.arange(len(own))
    known = {plain.tobytes(), *(simple(plain).tobytes() for simple in _SIMPLE.values())}
    by = _rolled_by(own, shown)
    rolled = np.roll(plain, by)
    for order in (*ruled_orders(len(own)), rolled):
        if order.tobytes() not in known:
            known.add(order.tobytes())
            form, facts = rule_of(order)
            yield form, facts, own[order]
    for form, step in (("later", by), ("earlier", len(own) - by)):
        freed = plain < step if form == "later" else plain >= len(own) - step
        if 0 < 2 * step <= len(own):
            yield form, {"by": step}, np.where(freed, 0, own[rolled])


def _rolled_by(own: Array, shown: Array) -> int:
    """By how many channels a vector is moved on, as it fits best."""
    waves = np.fft.rfft(shown - shown.mean()) * np.conj(np.fft.rfft(own - own.mean()))
    return int(np.argmax(np.fft.irfft(waves, len(own))))


def _away(unit: UnitArrays, slot: str, vector: Array, mean: Array, moved: Array) -> float:
    """How far that by which another vector moves the mean of each channel is from what the port's moves it by."""
    if slot in ("b", "beta"):
        wanted = vector - unit[slot]
    elif slot == "mean":
        wanted = (unit["mean"] - vector) * unit.factor
    else:
        with np.errstate(all="ignore"):
            own, other = unit[slot], vector
            share = other / own if slot == "gamma" else np.sqrt((own + unit.eps) / (other + unit.eps))
            wanted = (share - 1) * (mean - unit["beta"])
    size = float(np.linalg.norm(moved))
    return float(np.linalg.norm(wanted - moved)) / size if size else math.inf


def _parts(nodes: list[Node]) -> Iterator[tuple[Node, ...]]:
    """Each node alone, then all of a layer."""
    known = [node for node in nodes if node.op in (*CONVOLUTIONS, "batch_norm")]
    yield from ((node,) for node in known)
    if len(known) > 1:
        yield tuple(known)


def _ordered(segment: Segment, names: list[str], order: Array) -> Mapping[str, Array]:
    return {name: segment.params[name][order] for name in names}


def ruled_orders(count: int) -> Iterator[Array]:
    """The orders of so many channels, each once; not the one that they have."""
    plain = np.arange(count)
    orders = [*(simple(plain) for simple in _SIMPLE.values()), *(each for _, *both in as_text(count) for each in both)]
    for groups in (each for each in _GROUPS if count % each == 0 and count > each):
        orders += [plain.reshape(groups, -1).T.ravel(), plain.reshape(-1, groups).T.ravel()]
        orders += [plain.reshape(-1, groups)[:, ::-1].ravel(), plain.reshape(-1, groups)[::-1].ravel()]
        orders.append(np.roll(plain, count // groups))
    seen = {plain.tobytes()}
    for order in orders:
        if order.tobytes() not in seen:
            seen.add(order.tobytes())
            yield np.ascontiguousarray(order)


def rule_of(order: Array) -> tuple[str, dict[str, int]]:
    """What a permutation is: a form and its facts."""
    count, moved = len(order), np.flatnonzero(order != np.arange(len(order)))
    if count > 2 and np.array_equal(order, np.arange(count)[::-1]):
        return "reverse", {}
    if len(moved) == 2:
        return "two", {"one": int(moved[0]), "other": int(moved[1])}
    if count % 2 == 0 and np.array_equal(order, np.roll(np.arange(count), count // 2)):
        return "halves", {}
    first, second = int(order[0]), int(order[1])  # tell the only roll and the only shuffle that it can be
    if np.array_equal(order, (np.arange(count) + first) % count):
        return "rolled", {"by": -first if 2 * first < count else count - first}
    if second and count % second == 0 and np.array_equal(order, np.arange(count).reshape(-1, second).T.ravel()):
        groups = count // second
        return ("shuffled", {"groups": groups}) if groups <= second else ("dealt", {"groups": second})
    for form, text, back in as_text(count):
        if np.array_equal(order, text):
            return form, {}
        if np.array_equal(order, back):
            return f"{form} undone", {}
    for form, size, axis in (("turned", first + 1, 1), ("groups turned", count - first, 0)):
        if count % size == 0 and np.array_equal(order, np.flip(np.arange(count).reshape(-1, size), axis).ravel()):
            return form, {"size": size}
    return "order", {"moved": len(moved), "of": count, "start": int(moved[0])}
