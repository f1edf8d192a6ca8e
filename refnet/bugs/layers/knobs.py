"""Numbers of a network that ports have otherwise, all at once: each is solved for, and said as people write it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from refnet.bugs.language.changes import Change, Mistake, with_factor
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.joins import side_of, weighted
from refnet.bugs.layers.norms import round_eps
from refnet.bugs.layers.padding import bordered
from refnet.graph import Node
from refnet.ops import WINDOWED

__all__ = ["KNOBS", "Knob", "pool_divisor", "pool_scaled"]

_LOW = -1e30  # no end
_FILLS = (0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)  # of borders, on either side of zero
_SIZES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0)  # of eps


class Knob(NamedTuple):
    """One number that a kind of nodes has.

    Attributes
    ----------
    bug : its id
    ops : the nodes that have it
    start : what it is, of a node
    step : how far apart two are, at least, whose difference shows
    nodes : those in a node's place that have another number
    said : what people write for a number that was solved for: the numbers, with form and facts of each
    grid : from which it is solved for in a long segment; it is none below zero if none of these is
    """

    bug: str
    ops: tuple[str, ...]
    start: Callable[[Node], float]
    step: float
    nodes: Callable[[Node, float], tuple[Node, ...]]
    said: Callable[[Segment, Node, float], Iterator[tuple[float, Mistake]]]
    grid: tuple[float, ...] = ()


def _figures(number: float) -> Iterator[float]:
    if math.isfinite(number):
        yield from dict.fromkeys(float(f"{number:.{figures}g}") for figures in (1, 2, 3))


def _curve(*curve: Any) -> dict[str, Any]:
    return {"form": " ".join(map(str, curve)), "facts": {"curve": curve}}


def _eps(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    for other in round_eps(found):
        facts = {"found": other, "known": node.attrs["eps"]}
        yield other, Mistake("bn-eps", node.name, f"{other:g}", facts)


def _normed(node: Node, eps: float) -> tuple[Node, ...]:
    return (replace(node, attrs={"eps": max(eps, 0.0)}),)


def _below(segment: Segment, node: Node, found: float, high: float = math.inf) -> Iterator[tuple[float, Mistake]]:
    for slope in _figures(found):
        yield slope, Mistake("act-curve", node.name, **_curve("leaky", slope, high))


def _leaky(node: Node, slope: float, high: float = math.inf) -> tuple[Node, ...]:
    if high == math.inf:
        return (replace(node, op="leaky_relu", attrs={"slope": slope}),)
    first = Node(f"{node.name}.leaky", "leaky_relu", node.inputs, {}, {"slope": slope})
    return first, Node(node.name, "clip", (first.name,), {}, {"low": _LOW, "high": high})


def _capped(node: Node, slope: float) -> tuple[Node, ...]:
    return _leaky(node, slope, 6.0)


def _below_capped(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    return _below(segment, node, found, 6.0)


def _ended(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    for high in _figures(found):
        yield high, Mistake("act-curve", node.name, **_curve("clip", 0.0, high))


def _cut(node: Node, high: float) -> tuple[Node, ...]:
    return (replace(node, op="clip", attrs={"low": 0.0, "high": high}),)


def _sloped(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    for slope in _figures(found):
        yield slope, Mistake("act-curve", node.name, **_curve("line", slope, node.attrs["offset"]))


def _steeper(node: Node, slope: float) -> tuple[Node, ...]:
    return (replace(node, attrs={**node.attrs, "slope": slope}),)


_NONE = 1e-6  # of a block's result, what is nothing of it in float32


def _branches(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    for branch in _figures(found) if abs(found) > _NONE else ():  # else the block is left out
        facts = {"shortcut": 1.0, "branch": branch}
        yield branch, Mistake("join-weights", node.name, f"1 {branch:g}", facts, side_of(1.0, branch))


def _branch(node: Node, branch: float) -> tuple[Node, ...]:
    return weighted(node, 1.0, branch).nodes[node.name]


def _shortcuts(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    for shortcut in _figures(found):
        facts = {"shortcut": shortcut, "branch": 1.0}
        yield shortcut, Mistake("join-weights", node.name, f"{shortcut:g} 1", facts, side_of(shortcut, 1.0))


def _shortcut(node: Node, shortcut: float) -> tuple[Node, ...]:
    return weighted(node, shortcut, 1.0).nodes[node.name]


def _pooled(node: Node, factor: float) -> tuple[Node, ...]:
    mean = replace(node, name=f"{node.name}.mean")
    return mean, Node(node.name, "affine", (mean.name,), {}, {"slope": factor, "offset": 0.0})


def _pooled_otherwise(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    yield from _divided(segment, node, found)
    yield from _multiplied(segment, node, found)


def _multiplied(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    """By what a mean is multiplied, where that is no sum divided by another whole number."""
    count = math.prod(node.attrs["kernel"])
    for factor in _figures(found):
        if factor and count / factor != round(count / factor):
            yield factor, Mistake("pool-scaled", node.name, f"{factor:g}", {"factor": factor})


def _divided(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    count = math.prod(node.attrs["kernel"])
    divisor = round(count / found) if found > 0 and math.isfinite(count / found) else 0
    if divisor and divisor != count:
        facts = {"found": divisor, "known": count}
        yield count / divisor, Mistake("pool-divisor", node.name, f"{divisor}", facts, _beside(divisor, count))


def _beside(divisor: int, count: int) -> str:
    """Whether a divisor is one beside the number of points, whatever the map's size; '' where it is not."""
    return {-1: "less", 1: "more"}.get(divisor - count, "")


def _swish_divisors(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    """By what a hard swish divides; or what it multiplies by in place of a sixth, in a few figures."""
    if found > 0:
        for divisor in dict.fromkeys((*(1 / each for each in _figures(found / 6)), *_figures(6 / found))):
            if divisor not in (1.0, 6.0):
                yield 6 / divisor, Mistake("hswish-divisor", node.name, f"{divisor:g}", {"found": divisor})


def _filled(node: Node, value: float) -> tuple[Node, ...]:
    return bordered(node, node.attrs["pad"], "constant", value)


def _fillings(segment: Segment, node: Node, found: float) -> Iterator[tuple[float, Mistake]]:
    """What a border is filled with: an integer of the map's own, or a number, in a few figures or in all."""
    if not math.isfinite(found):
        return
    if (grid := segment.grids.get(node.inputs[0])) is not None:
        if steps := round(found / grid.step):
            yield steps * grid.step, Mistake("pad-value", node.name, "integer", {"aside": steps})
        return
    for value in dict.fromkeys((*_figures(found), found)):
        form = f"{value:g}" if abs(value) == 1 else "number"  # as the catalogue has it
        yield value, Mistake("pad-value", node.name, form, {"filling": value})


KNOBS = (
    Knob("bn-eps", ("batch_norm",), lambda node: float(node.attrs["eps"]), 1e-5, _normed, _eps, _SIZES),
    Knob("act-curve", ("relu", "relu6"), lambda _: 0.0, 1e-2, _leaky, _below),
    Knob("act-curve", ("relu6",), lambda _: 0.0, 1e-2, _capped, _below_capped),
    Knob("act-curve", ("relu6",), lambda _: 6.0, 1e-1, _cut, _ended),
    Knob("act-curve", ("hard_sigmoid",), lambda node: float(node.attrs["slope"]), 1e-2, _steeper, _sloped),
    Knob("hswish-divisor", ("hard_swish",), lambda _: 1.0, 1e-2, with_factor, _swish_divisors),
    Knob("join-weights", ("add",), lambda _: 1.0, 1e-2, _branch, _branches),
    Knob("join-weights", ("add",), lambda _: 1.0, 1e-2, _shortcut, _shortcuts),
    Knob("pool-divisor", ("avg_pool2d",), lambda _: 1.0, 1e-2, _pooled, _pooled_otherwise),
    Knob("pad-value", WINDOWED, lambda _: 0.0, 1e-2, _filled, _fillings, (*_FILLS, *(-each for each in _FILLS))),
)


def pool_divisor(segment: Segment) -> Iterator[Change]:
    """a sum over a map divided by another number than that of its points.

    That of a map of 7 x 7 points, or of a square one; or what the port's numbers show.
    """
    for node in segment.nodes("avg_pool2d"):
        if not segment.parts.pools_all(node.name):
            continue
        rows, columns = node.attrs["kernel"]
        ways = {"49": 49, "height": rows * rows, "width": columns * columns, "1": 1, **_shown(segment, node)}
        seen = {rows * columns}
        for form, found in ways.items():
            if found not in seen:
                seen.add(found)
                facts = {"found": found, "known": rows * columns}
                nodes = {node.name: _pooled(node, rows * columns / found)}
                yield Change(node.name, form, facts, kind=_beside(found, rows * columns), nodes=nodes)


def pool_scaled(segment: Segment) -> Iterator[Change]:
    """a mean over a map multiplied by a number, as the port's numbers show."""
    for node in segment.nodes("avg_pool2d"):
        for factor, mistake in _multiplied(segment, node, _ratio(segment, node)):
            yield Change(node.name, mistake.form, mistake.facts, nodes={node.name: _pooled(node, factor)})


def _shown(segment: Segment, node: Node) -> Mapping[str, int]:
    """The divisor that a pool at a segment's end shows."""
    found = _divided(segment, node, _ratio(segment, node))
    return {mistake.form: mistake.facts["found"] for _, mistake in found}


def _ratio(segment: Segment, node: Node) -> float:
    """How many times as large as it should be a pool at a segment's end is; 0 where it is none."""
    t = segment.candidate
    if t is None or segment.end != node.name or t.shape != segment.result.shape:
        return 0.0
    product, square = float((t * segment.result).sum()), float((segment.result**2).sum())
    return product / square if square else 0.0
