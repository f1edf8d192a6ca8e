"""Bugs of buffers and lanes: kept from one image to the next, tails left out.

Tried where nothing else fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, Deferred, stood_for, with_factor
from refnet.bugs.language.probabilities import as_it_is, lens
from refnet.bugs.language.regions import lines_off
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.ends import gives_classes
from refnet.bugs.layers.padding import windowed
from refnet.bugs.layers.shared import without_outputs
from refnet.bugs.memory.stored import masks_off
from refnet.graph import Node
from refnet.ops import CONVOLUTIONS

Array = npt.NDArray[Any]

_LANES = (4, 8, 16, 32, 64)
# What a loop over channels makes, and the arrays of which it reads nothing where it leaves some out.
_LOOPS = {"sums": ("w",), "biases too": ("w", "b"), "norms too": ("w", "b", "gamma", "beta")}


def image_kept(segment: Segment) -> Iterator[Change]:
    """what one image made used for another one.

    The tensor, the gate that it is scaled by or the shortcut that is added to it is that of the first image, or of the
    one before; or all of them are in reverse order.
    """
    if segment.batch < 2:
        return
    orders = {"first": np.zeros(segment.batch, int), "before": np.maximum(np.arange(segment.batch) - 1, 0)}
    orders["reversed"] = np.arange(segment.batch)[::-1]
    for form, order in orders.items():
        yield Change(segment.end, form, view=lambda y, order=order: y[order], lone=True)  # type: ignore[misc]
    for node in segment.nodes("scale"):
        if segment.asks(node):
            found = dict(segment.values({*node.inputs}))
            x, gate = (found[name] for name in node.inputs)
            for form, order in orders.items():
                yield Change(node.name, f"gate {form}", **stood_for(node, x * gate[order], 2), fed=True)
    for node, entry in _shortcuts(segment):
        found = dict(segment.values({*node.inputs}))
        (made,) = (y for name, y in found.items() if name != entry)
        for form, order in orders.items():
            y, size = made + found[entry][order], np.abs(made) + np.abs(found[entry][order])
            yield Change(node.name, f"shortcut {form}", **stood_for(node, y, 2, size), fed=True)


def _shortcuts(segment: Segment) -> Iterator[tuple[Node, str]]:
    """Sums of two tensors, with the one that is a block's entry."""
    entries = {block.add.name: block.entry for block in segment.parts.blocks if block.add is not None}
    for node in segment.nodes("add"):
        if segment.asks(node) and node.name in entries and len({*node.inputs}) > 1:
            yield node, entries[node.name]


def channels_left(segment: Segment) -> Iterator[Change]:
    """the last input channels left out of a sum.

    A loop in steps of so many lanes has no tail.
    """
    for node in segment.nodes("conv2d", "pointwise_conv2d"):
        w = segment.param(node, "w")
        for lanes in _LANES:
            kept = w.shape[1] // lanes * lanes
            if 0 < kept < w.shape[1]:
                mask = (np.arange(w.shape[1]) < kept).reshape(1, -1, *(1,) * (w.ndim - 2))
                yield Change(node.name, f"{lanes}", {"lanes": lanes}, params={f"{node.name}.w": w * mask})


def classes_left(segment: Segment) -> Iterator[Change]:
    """the first or the last classes left out.

    A loop over them begins too late or ends too soon: they have their bias alone, or logits of 0. Of logits themselves
    `never_written` says the latter.
    """
    node = segment.graph.by_name.get(segment.parts.classifier)
    off = next(masks_off(segment), None) if node is not None and gives_classes(segment) else None
    if node is None or off is None or not off.any() or len(segment.param(node, "w")) != off.shape[1]:
        return
    classes, of = lines_off(off, 1), off.shape[1]
    kept = np.ones(of, bool)
    kept[classes[0] : classes[-1] + 1] = False
    if not kept.any() or kept[0] == kept[-1]:
        return
    facts = {"which": "first" if kept[-1] else "last", "count": int(of - kept.sum()), "of": of}
    w = {f"{node.name}.w": segment.param(node, "w") * kept.reshape(-1, *(1,) * (len(node.params["w"]) - 1))}
    if "b" in node.params:
        yield Change(node.name, "weights", facts, params=w, lone=True)
    if lens(segment) is not as_it_is:
        b = {f"{node.name}.b": segment.param(node, "b") * kept} if "b" in node.params else {}
        yield Change(node.name, "all", facts, params={**w, **b}, lone=True)


def outputs_unmade(segment: Segment) -> Iterator[Change]:
    """a run of channels that a convolution never makes.

    A loop over tiles of them begins too late or ends too soon. What follows reads 0 there, or the bias alone; or batch
    norm is part of that loop.
    """
    off = next(masks_off(segment), None)
    if off is None:
        return
    of, (first, end) = off.shape[1], _run(lines_off(off, 1), off.shape[1])
    facts = {"start": first, "last": end - 1, "of": of}
    for unit in segment.units:
        if "w" in unit and 1 < end - first < len(unit["w"]) == of and not unit.classifies:
            for form, slots in _LOOPS.items():
                names = {slot: unit.names[slot] for slot in slots if slot in unit}
                if slots[-1] in names:
                    params = Deferred(names.values(), partial(without_outputs, unit, names, slice(first, end)))
                    yield Change(unit.name, form, facts, params=params, lone=True)


def _run(lines: npt.NDArray[np.intp], of: int) -> tuple[int, int]:
    """The first line and the end of the run in which those that are off outnumber the others most."""
    more = np.full(of + 1, -1)
    more[0], more[lines + 1] = 0, 1
    sums = np.cumsum(more)
    end = int(np.argmax(sums - np.minimum.accumulate(sums)))
    return int(np.argmin(sums[: end + 1])), end


def pad_clamped(segment: Segment) -> Iterator[Change]:
    """coordinates kept inside the map at some of its sides.

    There the padding is of the outermost points, at the other sides of zeros.
    """
    for node in windowed(segment):
        (top, bottom), (left, right) = node.attrs["pad"]
        ways = {
            "after": ((0, bottom), (0, right)),
            "before": ((top, 0), (left, 0)),
            "rows": ((top, bottom), (0, 0)),
            "columns": ((0, 0), (left, right)),
        }
        if max(top, left, bottom, right) > 1:
            near = [[min(side, 1) for side in sides] for sides in node.attrs["pad"]]
            ways["inner"] = ((near[0][0], near[0][1]), (near[1][0], near[1][1]))
            ways["inner before"], ways["inner after"] = (
                ((near[0][0] * first, near[0][1] * last), (near[1][0] * first, near[1][1] * last))
                for first, last in ((1, 0), (0, 1))
            )
        for form, clamped in ways.items():
            rest = ((top - clamped[0][0], bottom - clamped[0][1]), (left - clamped[1][0], right - clamped[1][1]))
            if any(map(any, clamped)) and any(map(any, rest)):
                attrs = {"pad": clamped, "mode": "edge", "value": 0.0}
                border = Node(f"{node.name}.border", "pad", node.inputs, {}, attrs)
                inner = replace(node, inputs=(border.name,), attrs={**node.attrs, "pad": rest})
                yield Change(node.name, form, nodes={node.name: (border, inner)})


def channels_rolled(segment: Segment) -> Iterator[Change]:
    """channels of a result that lie some places on, the last ones first.

    A ring buffer that is read from where it was not begun; by how much, the port's numbers show.
    """
    t = segment.candidate
    if t is None or t.ndim != 4 or t.shape[1] < 2 or t.shape != segment.result.shape:
        return
    mine, theirs = (np.fft.rfft(y.astype(np.float64), axis=1) for y in (segment.result, t))
    likeness = np.fft.irfft((theirs * mine.conj()).sum(axis=(0, 2, 3)), t.shape[1])
    by = int(likeness.argmax())
    if by:
        view = partial(np.roll, shift=by, axis=1)
        yield Change(segment.end, "rolled", {"by": by, "of": t.shape[1]}, view=view, lone=True)


_SHIFTS = (2.0, 0.5, 4.0, 0.25)


def result_shifted(segment: Segment) -> Iterator[Change]:
    """a layer's result times a power of two, before its activation.

    Integers are brought to the scale of the next layer by a factor and a shift; one bit more or fewer is lost easily.
    """
    for node in segment.nodes(*CONVOLUTIONS):
        unit = segment.parts.unit(node.name)
        last = node if unit is None or unit.norm is None else unit.norm
        own = segment.graph.by_name.get(last.name)
        if own is None:
            continue
        for factor in _SHIFTS:
            yield Change(own.name, f"{factor:g}", {"factor": factor}, nodes={own.name: with_factor(own, factor)})
