"""Folds that lose the sign of gamma, of which only the folded arrays are known: in which channels, the port shows.

Weights have the opposite sign there, or are zero, and the bias is another one, which is solved for. Behind a linear
layer too: of few channels that are off its error is made of their columns of weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.graph import Graph, Node, interpret
from refnet.ops import ACTIVATIONS, CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = ["fold_sign"]

Array = npt.NDArray[Any]

_LAYERS = 6  # of a segment: a longer one has too many channels that may be off
_RANK, _SPAN = 1e-3, 1e-2  # relative: what rounding leaves of a direction, and of a column outside what errors span
_OFF = 1e-3  # of the largest error of a channel, what counts as off
_LEFT = 1e-2  # of an error, what a bias that fits may leave
_GRID, _STEPS = np.linspace(-4, 4, 65), 8  # deviations where biases are tried first; steps of solving for them
# By what the weights of a channel with a negative gamma are multiplied; dead channels fit both.
_FACTORS = {"clipped": 0.0, "absolute": -1.0}


class _Behind(NamedTuple):
    """What follows a convolution by channel, and the linear layer that reads it, if there is one before the end."""

    chain: tuple[Node, ...]
    linear: Node | None


def fold_sign(segment: Segment) -> Iterator[Change]:
    """a fold that loses the sign of gamma.

    It takes the absolute value, as in-place activated batch norm does, or zero where gamma is negative.

    Source: https://github.com/mapillary/inplace_abn
    """
    t = segment.candidate
    if t is None or t.ndim != 4 or t.shape != segment.result.shape:
        return
    convs = [node for node in segment.nodes(*CONVOLUTIONS) if node.name in segment.parts.folded and segment.asks(node)]
    error = (t - segment.result).transpose(1, 0, 2, 3).reshape(t.shape[1], -1)
    for conv in convs if len(convs) <= _LAYERS else ():
        behind = _behind(segment, conv)
        if behind is not None and (found := _channels_off(segment, behind.linear, error)) is not None:
            yield from _changes(segment, conv, behind.chain, *found)


def _changes(segment: Segment, conv: Node, chain: tuple[Node, ...], off: Array, moved: Array) -> Iterator[Change]:
    """The weights of channels that are off times a factor, with biases that make what the port has of them."""
    w, b = (segment.param(conv, slot).astype(np.float64) for slot in ("w", "b"))
    z = dict(segment.values({conv.name}))[conv.name][:, off]
    for form, factor in _FACTORS.items():
        biases = _solved(segment, chain, off, factor * (z - b[off].reshape(1, -1, 1, 1)), z, moved)
        if biases is not None:
            weights, bias = w.copy(), b.copy()
            weights[off] *= factor
            bias[off] = biases
            params = {
                name: Expected(array, np.broadcast_to(segment.slack.get(name, 0.0), array.shape))
                for name, array in ((f"{conv.name}.w", weights), (f"{conv.name}.b", bias))
            }
            facts = {"channels": tuple(map(int, off)), "of": len(b)}
            yield Change(conv.name, form, facts, params=params, lone=True)
            return


def _behind(segment: Segment, conv: Node) -> _Behind | None:
    """What follows a convolution, if each channel goes its own way up to a linear layer at the end, or to the end."""
    nodes = segment.graph.nodes
    rest, chain = [*nodes[nodes.index(conv) + 1 :]], list[Node]()
    source, linear = conv.name, None
    for node in rest:
        if node.inputs == (source,) and node.op in ("depthwise_conv2d", *ACTIVATIONS) and linear is None:
            chain.append(node)
        elif node.inputs == (source,) and node.op == "pointwise_conv2d" and linear is None:
            linear = node
        elif node is not rest[-1] or node.op != "add" or source not in node.inputs or {*node.inputs} == {source}:
            return None
        source = node.name
    return _Behind(tuple(chain), linear)


def _channels_off(segment: Segment, linear: Node | None, error: Array) -> tuple[Array, Array] | None:
    """Which channels are off, and by what: at the end, or of what a linear layer reads; None where that is not told."""
    if linear is None:
        size = np.linalg.norm(error, axis=1)
        off = np.flatnonzero(size > _OFF * size.max())
        return (off, error[off]) if 0 < off.size < len(error) else None
    w = segment.param(linear, "w").astype(np.float64)
    values, axes = np.linalg.eigh(error @ error.T)
    own = axes[:, np.sqrt(np.maximum(values, 0)) > _RANK * np.sqrt(values[-1])]
    if own.shape[1] == len(error):
        return None
    with np.errstate(invalid="ignore"):
        columns = w / np.linalg.norm(w, axis=0)
    off = np.flatnonzero(np.linalg.norm(columns - own @ (own.T @ columns), axis=0) < _SPAN)
    if not 0 < off.size == own.shape[1]:
        return None
    moved, *_ = np.linalg.lstsq(w[:, off], error, rcond=None)
    return off, moved


def _solved(segment: Segment, chain: tuple[Node, ...], off: Array, bare: Array, z: Array, moved: Array) -> Array | None:
    """Biases of sums without one, for which the chain makes what it made of others, moved by so much; None for none."""
    honest = _made(segment, chain, off, z)
    wanted = honest + moved.reshape(len(off), len(z), *honest.shape[2:]).swapaxes(0, 1)
    if np.abs(wanted).max() <= _OFF * np.abs(honest).max():  # zeros, which mistakes of many kinds make
        return None

    def left(biases: Array) -> Array:
        return wanted - _made(segment, chain, off, bare + biases.reshape(1, -1, 1, 1))

    spread = z.std(axis=(0, 2, 3)) + np.abs(z.mean(axis=(0, 2, 3)))
    tried = _GRID[:, None] * spread
    sizes, last = np.array([_size(left(each)) for each in tried]), len(_GRID) - 1
    first, behind = sizes.argmin(axis=0), last - sizes[::-1].argmin(axis=0)  # all between are alike where it is flat
    places = (np.maximum(first - 1, 0), first, np.minimum(behind + 1, last))
    found = [tried[place, np.arange(len(off))] for place in places]
    step = FLOATS["float16"].u * spread
    for _ in range(_STEPS):
        found = [each + _further(left(each), left(each + step), step) for each in found]
    nearest = np.argmin([_size(left(each)) for each in found], axis=0)
    biases: Array = np.array(found)[nearest, np.arange(len(off))]
    return biases if np.linalg.norm(left(biases)) < _LEFT * np.linalg.norm(moved) else None


def _size(maps: Array) -> Array:
    """The sum of squares of each channel."""
    made: Array = np.einsum("nchw,nchw->c", maps, maps)
    return made


def _further(rest: Array, there: Array, step: Array) -> Array:
    """By channel, how far to go where one step leaves less of a rest; nowhere where that changes nothing."""
    slope = (rest - there) / step.reshape(1, -1, 1, 1)
    with np.errstate(all="ignore"):
        made = np.einsum("nchw,nchw->c", slope, rest) / _size(slope)
    return np.where(np.isfinite(made), made, 0.0)


def _made(segment: Segment, chain: tuple[Node, ...], off: Array, z: Array) -> Array:
    """What a chain makes of some channels."""
    if not chain:
        return z
    nodes, params = list[Node](), dict[str, Array]()
    for node in chain:
        own = {slot: segment.param(node, slot).astype(np.float64)[off] for slot in node.params}
        nodes.append(replace(node, params={slot: array.shape for slot, array in own.items()}))
        params |= {f"{node.name}.{slot}": array for slot, array in own.items()}
    made: Array = interpret(Graph(segment.graph.recipe, tuple(nodes)), fast, params, {chain[0].inputs[0]: z})
    return made
