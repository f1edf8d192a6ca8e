"""Bugs of weights: their axes, kernels and channels in another order.

What only arrays can show is `rare`: the odd orders of axes, mirrored kernels, any permutation of channels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment
from refnet.bugs.memory.channel_orders import rule_of
from refnet.bugs.memory.vectors import by_channel, gated, scaled, vectors_met
from refnet.graph import Node
from refnet.ops import CONVOLUTIONS, WINDOWED
from refnet.readings.carried import LAMBDA
from refnet.readings.precision import FLOATS

Array = npt.NDArray[Any]

_AXES = {2: "KC", 3: "CRS", 4: "KCRS"}
_DEPTHWISE, _HWIO = (1, 2, 0), (2, 3, 1, 0)  # the axes of (C, R, S) as R S C, of (K, C, R, S) as R S C K
LAYERS = 3  # of squeeze-and-excite with a layer behind it
# Cosine of two channels of which one is the other. Tuned, on the table in tests/bugs/test_tables.py: of 0.9, 0.99, ...
# the nearest to 1 that keeps 19 of 20 channels of ports in 8 bits.
_LIKE = 0.99
_PRODUCTS = 2**31  # that are worked out to tell which channel is which
# Of the square error of the worst channel: what rounding leaves in the others, of sums of ten thousand terms.
_NOTHING = (LAMBDA * FLOATS["float32"].u) ** 2 * 10_000


def kernel_flip(unit: UnitArrays) -> Iterator[Change]:
    """the kernel turned or mirrored.

    Source: https://github.com/keras-team/keras/issues/3015
    """
    turns: dict[str, Callable[[Array], Array]] = {
        "180": lambda y: y[..., ::-1, ::-1],
        "90": lambda y: np.rot90(y, 1, (-2, -1)),
        "270": lambda y: np.rot90(y, 3, (-2, -1)),
        "left-right": lambda y: y[..., ::-1],
        "top-bottom": lambda y: y[..., ::-1, :],
        "diagonal": lambda y: y[..., ::-1, ::-1].swapaxes(-1, -2),
    }
    for form, move in turns.items() if unit.op in WINDOWED else ():
        yield _relaid(unit, form, move, rare=form != "180")


def kernel_transpose(unit: UnitArrays) -> Iterator[Change]:
    """kernel height and width exchanged.

    Source: https://github.com/huggingface/transformers/issues/18597
    """
    if unit.op in WINDOWED:
        *first, R, S = range(unit["w"].ndim)
        square = unit["w"].shape[R] == unit["w"].shape[S]
        yield from _reread(unit, (*first, S, R), often=("written",) if square else ())


def depthwise_axes(unit: UnitArrays) -> Iterator[Change]:
    """depthwise weights read in the wrong axis order.

    Source: https://github.com/AlexanderLutsenko/nobuco/issues/2
    """
    if unit.op == "depthwise_conv2d":
        yield from _reread(unit, _DEPTHWISE, often=("written", "misread"))


def weights_transpose(unit: UnitArrays) -> Iterator[Change]:
    """inputs and outputs of weights exchanged.

    Source: https://github.com/microsoft/MMdnn/issues/250
    """
    if unit.op == "pointwise_conv2d":
        yield from _reread(unit, (1, 0), often=("written", "misread") if min(unit["w"].shape) > 1 else ())
    elif unit.op in CONVOLUTIONS:
        *first, R, S = range(unit["w"].ndim)
        for axes in list(itertools.permutations((*first, R, S)))[1:]:
            if axes not in ((*first, S, R), _DEPTHWISE):  # which are bugs of their own
                yield from _reread(unit, axes, often=("written",) if axes == _HWIO else ())


def _reread(unit: UnitArrays, axes: tuple[int, ...], *, often: tuple[str, ...]) -> Iterator[Change]:
    """Weights written with their axes in another order and read as if they were not; and the reverse.

    `often` says which of 'written' and 'misread' ports do.
    """
    full, shape = unit["w"].shape, unit.shape("w")
    if unit.slot not in ("", "w") or math.prod(shape) != math.prod(full):
        return
    own, other = _AXES[len(full)], "".join(_AXES[len(full)][axis] for axis in axes)
    ways = {"written": (other, own, _written)}
    if tuple(full[axis] for axis in axes) != full:
        ways["misread"] = own, other, _misread
    for way, (written, read, move) in ways.items():
        facts = {"written": written, "read": read, "shape": full}
        yield _relaid(unit, f"{written}>{read}", partial(move, axes=axes, shape=shape), way not in often, **facts)


def _written(y: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Written with its axes in another order, read as if they were not."""
    return y.transpose(axes).reshape(shape)


def _misread(y: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Read as if its axes had been written in another order."""
    return y.reshape([y.shape[axis] for axis in axes]).transpose(np.argsort(axes)).reshape(shape)


def _relaid(unit: UnitArrays, form: str, move: Callable[[Array], Array], rare: bool, **facts: Any) -> Change:
    """The weights laid out in another way."""
    name = unit.names["w"]
    return Change(
        unit.name, form, facts, params=Deferred([name], lambda: {name: unit.tensors["w"].map(move)}), rare=rare
    )


def vector_axis(segment: Segment) -> Iterator[Change]:
    """a vector along the wrong axis.

    The numbers of batch norm, of a bias alone, or of a gate, one for each channel, run along the width, the height or
    the batch: where a map is as wide, or as high, as it has channels, arrays of (C,) and of (C, 1) meet it so.
    """
    for node in scaled(segment):
        C, H, W = segment.sizes[node.inputs[0]]
        axes = {form: axis for form, points, axis in (("width", W, 3), ("height", H, 2)) if points == C > 1}
        moves = {form: partial(np.swapaxes, axis1=1, axis2=axis) for form, axis in axes.items()}
        yield from gated(segment, node, moves)
    for unit in segment.units:
        node = unit.norm or unit.unit.conv
        shape = segment.sizes.get(node.name, ())
        if len(shape) != 3 or (unit.norm is None and "b" not in node.params):
            continue
        for form, axis, points in (("width", 3, shape[2]), ("height", 2, shape[1]), ("batch", 0, segment.batch)):
            if points == shape[0] > 1:
                along = partial(by_channel, axis=axis)
                if unit.norm is not None:
                    yield vectors_met(unit, node, form, along, along)
                yield vectors_met(unit, node, form if unit.norm is None else f"bias {form}", None, along)


def weights_elsewhere(segment: Segment) -> Iterator[Change]:
    """the weights of another layer.

    Of a layer of the same shapes: of its convolution, of its batch norm, or of both.
    """
    if segment.candidate is not None and len(segment.units) <= LAYERS:  # a longer run holds too many to try all others
        yield from layers_elsewhere(segment)


def layers_elsewhere(segment: Segment, *, same_part: bool = False) -> Iterable[Change]:
    """Layers with the arrays of others of their shapes; of the same layer of other blocks alone, where asked for."""
    every, here = segment.whole.units(), segment.graph.by_name
    for unit in every:
        nodes = [node for node in unit.nodes if node.params and node.name in here]
        own = {"norm" if node.op == "batch_norm" else "conv": node for node in nodes}
        for other in every if own else ():
            theirs = {"conv": other.conv, "norm": other.norm}
            alike = {kind: node for kind, node in own.items() if _is_alike(node, theirs[kind])}
            if alike and not (same_part and not _blocks_apart(segment.parts, unit.conv.name, other.conv.name)):
                yield from _with_arrays(segment, alike, theirs, other.conv.name)


def _with_arrays(
    segment: Segment, own: Mapping[str, Node], theirs: Mapping[str, Node | None], layer: str
) -> Iterator[Change]:
    for kinds in (("conv", "norm"), ("conv",), ("norm",)) if len(own) > 1 else (tuple(own),):
        params = {
            f"{own[kind].name}.{slot}": segment.params[f"{there.name}.{slot}"]
            for kind in kinds
            if (there := theirs[kind]) is not None
            for slot in own[kind].params
        }
        form = f"{layer} {'+'.join(kinds)}"
        kind, more = blocks_away(_blocks_apart(segment.parts, own[kinds[0]].name, layer))
        facts = {"arrays": "+".join(kinds), "layer": layer} | more
        yield Change(own[kinds[0]].name, form, facts, kind=kind, params=params, lone=True)


def blocks_away(blocks: int) -> tuple[str, dict[str, int]]:
    """So many blocks behind, or before, as the kind of a mistake and its facts; nothing of none."""
    return (f"{'behind' if blocks > 0 else 'before'} {abs(blocks)}", {"blocks": abs(blocks)}) if blocks else ("", {})


def _blocks_apart(parts: Parts, name: str, layer: str) -> int:
    """How many blocks lie from a layer to the same one of another block; 0 of other layers."""
    unit, part = parts.unit(name), parts.part_of(layer)
    if unit is None or part not in ("expand", "depthwise", "project", "squeeze"):
        return 0
    return parts.block_of(layer) - parts.block_of(name) if parts.part_of(unit.conv.name) == part else 0


def _is_alike(node: Node, other: Node | None) -> bool:
    return other is not None and node.name != other.name and (node.op, node.params) == (other.op, other.params)


def channel_permute(part: Segment | UnitArrays) -> Iterator[Change]:
    """channels exchanged.

    A port may exchange any two, or the halves of all. In the arrays of a file every order of outputs and inputs shows.

    Source: https://github.com/gmalivenko/pytorch2keras/issues/42
    """
    if isinstance(part, UnitArrays):
        yield from _permuted(part)
        return
    *_, last = (None, *part.nodes(*CONVOLUTIONS))
    for node in part.nodes(*CONVOLUTIONS):
        K = node.params["w"][0]
        orders = [("two", {"one": i, "other": j}, _exchanged(K, i, j)) for i, j in _suspects(part, K)] if K > 1 else []
        if K % 2 == 0:
            orders.append(("halves", {}, np.roll(np.arange(K), K // 2)))
        if node is last and (held := _held(part, K)) is not None:
            moved = np.flatnonzero(held != np.arange(K))
            form, facts = rule_of(held)
            if form == "order":
                form, facts = "held", {"moved": len(moved), "of": K, "one": int(moved[0]), "other": int(held[moved[0]])}
            orders.append((form, facts, held))
        for form, facts, order in orders:
            names = [f"{node.name}.{slot}" for slot in node.params]
            params = Deferred(names, partial(_reordered, part, names, order))
            lone = form != "halves"  # which ones differs from layer to layer
            yield Change(node.name, form, {"side": "output", **facts}, params=params, lone=lone)


def _reordered(segment: Segment, names: Sequence[str], order: Array) -> Mapping[str, Array]:
    return {name: segment.params[name][order] for name in names}


def _suspects(segment: Segment, K: int) -> list[tuple[int, int]]:
    """Which two channels: the two that are furthest off; without a candidate, the first two.

    Where only one is off, the other is one that shows nothing: its inputs are zero throughout.
    """
    if segment.candidate is None or K == 2:
        return [(0, 1)]
    y = segment.result
    if y.shape != segment.candidate.shape or y.ndim < 2 or y.shape[1] != K:
        return []
    error = np.square(segment.candidate - y).reshape(*y.shape[:2], -1).sum(axis=(0, 2))
    first, second = (int(k) for k in np.argsort(-error, kind="stable")[:2])
    if error[second] > _NOTHING * error[first]:
        return [(min(first, second), max(first, second))]
    silent = [k for k in range(K) if k != first and np.ptp(y[:, k]) == 0]
    return [(min(first, k), max(first, k)) for k in silent[:8]]


def _held(segment: Segment, K: int) -> Array | None:
    """Which channel each one that is off is most like, up to a factor and an offset; None where that is none other."""
    if segment.candidate is None or segment.candidate.shape != segment.result.shape:
        return None
    mine, theirs = (
        np.moveaxis(y.astype(np.float64), 1, 0).reshape(y.shape[1], -1) for y in (segment.candidate, segment.result)
    )
    if len(mine) != K or mine.shape[1] <= 2:
        return None
    errors = np.square(mine - theirs).sum(axis=1)
    off = np.flatnonzero(errors > _NOTHING * errors.max())
    one, other = (y - y.mean(axis=1, keepdims=True) for y in (mine[off], theirs))
    with np.errstate(all="ignore"):
        one, other = (y / np.linalg.norm(y, axis=1, keepdims=True) for y in (one, other))
        like = np.abs(np.nan_to_num(one @ other.T))
    order = np.arange(K)
    order[off] = np.where(like.max(axis=1, initial=0) > _LIKE, like.argmax(axis=1), off)
    return order if len(off) > 2 and (order[off] != off).all() else None


def _exchanged(K: int, i: int, j: int) -> Array:
    order = np.arange(K)
    order[[i, j]] = j, i
    return order


def _permuted(unit: UnitArrays) -> Iterator[Change]:
    """The order of outputs, then of inputs, that an array of a file shows."""
    if unit.slot not in unit.seen or unit.shape(unit.slot) != unit[unit.slot].shape:
        return
    for axis, side in enumerate(("output", "input")[: min(unit[unit.slot].ndim, 2)]):
        if axis == 1 and unit.op == "depthwise_conv2d":
            continue
        if (order := _order(unit.seen[unit.slot], unit.tensors[unit.slot], axis)) is not None:
            made = unit.tensors[unit.slot].map(partial(np.take, indices=order, axis=axis))
            form, facts = rule_of(order)
            params = {unit.names[unit.slot]: made}
            yield Change(unit.name, form, {"side": side, **facts}, params=params, rare=True)


def _order(copy: Array, wanted: Expected, axis: int) -> Array | None:
    """Which of the channels that should be there each one is, where all are some; by size of a fixed projection."""
    count = copy.shape[axis]
    mine, theirs = (np.moveaxis(each, axis, 0).reshape(count, -1) for each in (copy, wanted.value))
    slack = np.moveaxis(wanted.slack, axis, 0).reshape(count, -1)
    with np.errstate(invalid="ignore"):
        off = np.flatnonzero((np.abs(mine - theirs) > slack).any(axis=1))
    if len(off) < 2 or not (np.isfinite(mine[off]).all() and np.isfinite(theirs[off]).all()):
        return None
    along = np.random.Generator(np.random.PCG64(2026)).standard_normal(mine.shape[1])
    ranked = off[np.argsort(theirs[off] @ along, kind="stable")]
    order: Array = np.arange(count)
    order[off[np.argsort(mine[off] @ along, kind="stable")]] = ranked
    if (np.abs(mine - theirs[order]) > slack[order]).any():  # rounded besides, channels change places in the ranks
        order = _nearest_channels(mine, theirs)
    return None if np.array_equal(order, np.arange(count)) else order


def _nearest_channels(mine: Array, theirs: Array) -> Array:
    """The channel that each one is nearest to; the order as it is where two are nearest to the same."""
    along = np.arange(len(mine))
    if len(mine) * mine.size > _PRODUCTS:
        return along
    order: Array = ((theirs**2).sum(axis=1) - 2 * (mine @ theirs.T)).argmin(axis=1)
    return order if len(np.unique(order)) == len(order) else along
