"""Bugs of precision: they explain small errors of any kind, and so are accepted only where no other fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment, limit_of
from refnet.bugs.numbers.manners import ENDS, fraction_bits, is_rounded, manner_of
from refnet.graph import Node
from refnet.judge.verdicts import root_mean_square
from refnet.ops import CONVOLUTIONS
from refnet.readings.carried import gamma
from refnet.readings.orders import half_away, rounded, truncated
from refnet.readings.precision import BYTE_STEPS, FLOATS, Precision

Array = npt.NDArray[Any]

_TINY = FLOATS["float32"].subnormal
# Of a step, by which numbers that are cut off are off on average, and by which those that are rounded are: the middle.
_HALFWAY = (1 / 2 + 1 / 4) / 2
# Of a step, so near to a tie float32 may round either way: a range, its step, a quotient of up to 256 steps and a zero
# point round six times.
_TIE = gamma(6, FLOATS["float32"].u) * 256
# Of a number, how far float32 leaves what a bias, a batch norm or a division makes of it: four roundings.
_DIVIDED = 4 * FLOATS["float32"].u
_ONCE = (*CONVOLUTIONS, "add")  # what rounds once where sums are kept in float32


def weights_fp16(unit: UnitArrays) -> Iterator[Change]:
    """weights rounded to float16 or bfloat16.

    Weights, and only they; to the nearest, or toward zero. A bias of a convolution may be left as it is. What is cut
    off may have become zero below the normal numbers, as short programs have it.
    """
    for store in ("float16", "bfloat16"):
        for node in unit.unit.nodes:
            names = {slot: name for slot, name in unit.names.items() if slot in node.params and slot in unit}
            every = {"": names} | ({" alone": {"w": names["w"]}} if {"w", "b"} <= names.keys() else {})
            for form, move in ((store, rounded), (f"{store} truncated", truncated)) if names else ():
                for whose, held in every.items():
                    make = _cut_off if move is truncated else _to_nearest
                    params = Deferred(held.values(), partial(make, unit, held, store))
                    yield Change(node.name, form + whose, {"store": store}, kind=form, params=params)


def each_moved(
    unit: UnitArrays, names: Mapping[str, str], move: Callable[[Array], Array]
) -> Mapping[str, Array | Expected]:
    """Some arrays of a layer, by name, with their numbers moved; `names` has them by slot."""
    made = {name: shortened(unit.tensors[slot], move) for slot, name in names.items()}
    return {name: each if each.slack.any() else each.value for name, each in made.items()}


def _to_nearest(unit: UnitArrays, names: Mapping[str, str], store: str) -> Mapping[str, Array | Expected]:
    """Some arrays of a layer rounded to a short format; of bfloat16 a number on a tie may go to either side."""
    made = {**each_moved(unit, names, partial(rounded, store=store))}
    for slot, name in names.items() if store in _TIES else ():
        each = Expected.of(made[name])
        off = 2 * np.abs(half_away(unit[slot], store) - each.value)  # twice, so that sums may round beside it
        if off.any():
            made[name] = each._replace(slack=np.maximum(each.slack, off))
    return made


def _cut_off(unit: UnitArrays, names: Mapping[str, str], store: str) -> Mapping[str, Array | Expected]:
    """Some arrays of a layer cut off to a short format; a number that is no normal one may be zero in the file."""
    made = {**each_moved(unit, names, partial(truncated, store=store))}
    for slot, name in names.items():
        seen, each = unit.seen.get(slot), Expected.of(made[name])
        if seen is not None and seen.shape == each.value.shape:
            gone = (seen == 0) & (np.abs(unit[slot]) < FLOATS["float16"].normal)
            made[name] = each._replace(slack=np.maximum(each.slack, np.where(gone, np.abs(each.value), 0.0)))
    return made


def weights_int8(unit: UnitArrays) -> Iterator[Change]:
    """weights quantised to 8 bits.

    Symmetrically, with a step for the tensor or for each channel.

    Source: https://github.com/Edgecortix-Inc/pytorch_quantization/issues/5
    """
    if unit.op in CONVOLUTIONS:
        w = {"w": unit.names["w"]}
        for per in ("tensor", "channel"):
            params = Deferred(w.values(), partial(each_moved, unit, w, partial(_on_grid, per=per)))
            yield Change(unit.name, per, {"per": per, "bits": 8}, params=params)


def _on_grid(w: Array, per: str) -> Array:
    return in_steps(w, grid_steps(w, per, 127))


def in_steps(w: Array, step: Array) -> Array:
    """The nearest whole steps."""
    made: Array = np.rint(w / step) * step
    return made


def grid_steps(w: Array, per: str, levels: float | Array) -> Array:
    """The steps of a symmetric grid with so many levels between zero and the largest weight, to meet w's shape."""
    size = np.abs(w)
    largest = size.max(axis=tuple(range(1, w.ndim)), keepdims=True) if per == "channel" else size.max(keepdims=True)
    step: Array = np.maximum(largest / levels, _TINY)
    return step


def fp16_storage(segment: Segment) -> Iterator[Change]:
    """values rounded to float16 or bfloat16.

    Where they are stored: to the nearest, toward zero, or up or down at random. Or to tf32, where a tensor has numbers
    that float16, which is as fine, is too small for.

    Source: https://github.com/Tencent/ncnn/issues/2965
    """
    y = segment.candidate
    if y is None:
        for store in ("float16", "bfloat16"):
            yield Change(segment.end, store, {"store": store}, view=partial(rounded, store=store))
        return
    for store in [each for each in ("float16", "bfloat16") if is_rounded(y, each)] or ["tf32"]:
        if store != "tf32" or is_rounded(y, store):
            manner = manner_of(segment, store)
            once = len(segment.graph) == 1 and segment.graph.nodes[0].op in _ONCE
            if (not manner or (manner == "at random" and not once)) and y.dtype != np.float16:
                yield stored_as(segment, store)
            if manner:
                yield stored_as(segment, f"{store} {manner}")


def stored_as(segment: Segment, form: str) -> Change:
    """A form of `fp16_storage`, whatever the tensor shows of it."""
    store, _, manner = form.partition(" ")
    u = FLOATS[store].u * (2 if manner else 1)  # a whole unit, not half of one
    own = Precision.of("float32" if store == "tf32" else store)._replace(u_store=u + FLOATS["float64"].u)
    return Change(segment.end, form, {"store": store}, precision=own)


def fixed_point(segment: Segment) -> Iterator[Change]:
    """values in fixed point.

    Each is stored in steps of a power of two, cut off or rounded; replayed on a port's own inputs alone.
    """
    bits = None if segment.candidate is None else fraction_bits(segment.candidate, sure=False)
    if bits is None or segment.candidate is None or segment.result.shape != segment.candidate.shape:
        return
    step, target = 2.0**-bits, segment.candidate.astype(np.float64)
    ends = float(target.min()), float(target.max())
    whole = np.log2([max(-ends[0] / step, 1), max(ends[1] / step + 1, 1)])
    cut = (whole >= 7) & (whole == np.rint(whole))
    low, high = (end if is_end else far for end, is_end, far in zip(ends, cut, (-np.inf, np.inf), strict=True))
    between = segment.result / step != np.rint(segment.result / step)
    off = (target - segment.result)[between & (target > low) & (target < high)] / step
    manner = "rounded" if off.size and np.abs(off).mean() < _HALFWAY else "cut off"
    facts = {"bits": bits, "manner": manner, "ends_at": high}
    own = Precision.of("float32")._replace(step=step)
    yield Change(segment.end, manner, facts, precision=own, view=partial(np.clip, a_min=low, a_max=high))


def factors_int8(segment: Segment) -> Iterator[Change]:
    """both factors of each product in 8 bits.

    Weights in steps for each channel or for the tensor, and what they multiply by its own range, image by image, as
    dynamic quantisation does; replayed on a port's own inputs alone.
    """
    for unit in segment.units if segment.candidate is not None else ():
        (source,) = unit.unit.conv.inputs
        if unit.op not in CONVOLUTIONS or source not in segment.given:
            continue
        x = segment.given[source].astype(np.float64)
        s = unit.factor if unit.foldable else np.ones(len(unit["w"]))
        s = np.where(s == 0, 1, s).reshape(-1, *(1,) * (unit["w"].ndim - 1))
        for per in ("channel", "tensor"):
            w = _on_grid(unit["w"] * s, per) / s
            for ends in ("symmetric", "asymmetric"):
                facts = {"per": per, "ends": ends}
                given = {source: _in_bytes(x, ends)}
                yield Change(unit.name, f"{per} {ends}", facts, params={unit.names["w"]: w}, given=given)


def _in_bytes(x: Array, ends: str) -> Expected:
    """Each image in 255 steps of its own range; a number that is all but on a tie may be a step off."""
    axes = tuple(range(1, x.ndim))
    if ends == "symmetric":
        step = np.maximum(np.abs(x).max(axis=axes, keepdims=True) / 127, _TINY)
        zero = np.zeros_like(step)
    else:
        low = np.minimum(x.min(axis=axes, keepdims=True), 0)
        step = np.maximum((x.max(axis=axes, keepdims=True) - low) / BYTE_STEPS, _TINY)
        zero = np.rint(-128 - low / step)
    q = x / step + zero
    tie = np.abs(np.abs(q - np.rint(q)) - 0.5) < _TIE
    return Expected((np.rint(q).clip(-128, 127) - zero) * step, np.where(tie, step, 0.0))


_FACTORS: Mapping[str, Callable[[Array], Array]] = {
    "tf32": partial(rounded, store="tf32"),
    "tf32 truncated": partial(truncated, store="tf32"),
    "bfloat16": partial(rounded, store="bfloat16"),
    "bfloat16 truncated": partial(truncated, store="bfloat16"),
}
_TIES = ("tf32", "bfloat16")  # of which graphics processors and short programs round half away from zero
_READ: Mapping[str, Callable[[Array], Array]] = {
    "float16": partial(rounded, store="float16"),  # of which tf32 is the same where no number is too small for it
    "float16 truncated": partial(truncated, store="float16"),
    **_FACTORS,
}


def factors_tf32(segment: Segment) -> Iterator[Change]:
    """factors rounded to tf32 before they are multiplied.

    Or to bfloat16; or cut off to one of them, as matrix units cut off what is not converted first. Sums are kept in
    float32. Or what is read alone is so, or in float16, and weights are as they were; or a gate, or what it scales.
    Replayed on a port's own inputs alone, and on what joins, gates and activations make of them.
    """
    for node in segment.nodes(*CONVOLUTIONS, "avg_pool2d") if segment.candidate is not None else ():
        (source,) = node.inputs
        x = _read(segment, source)
        if x is None:
            continue
        nodes: dict[str, tuple[Node, ...]] = {} if source in segment.given else {source: ()}
        for form, move in _FACTORS.items() if node.op in CONVOLUTIONS else ():
            facts, w = {"store": form.partition(" ")[0]}, segment.param(node, "w").astype(np.float64)
            for each in (move, *_on_ties(form, move, w, x.value)):
                given, params = {source: shortened(x, each)}, {f"{node.name}.w": each(w)}
                yield Change(node.name, form, facts, nodes=nodes, params=params, given=given)
        yield from _read_short(node, {source: x}, nodes)
    for node in segment.nodes("scale") if segment.candidate is not None else ():
        held = {name: x for name in node.inputs if name in segment.given and (x := _read(segment, name))}
        for some in dict.fromkeys([tuple(held), *((name,) for name in held)]):
            yield from _read_short(node, {name: held[name] for name in some}, {})


def _read_short(node: Node, held: Mapping[str, Expected], nodes: dict[str, tuple[Node, ...]]) -> Iterator[Change]:
    """Some of what a node reads in each of the formats that make other numbers of it."""
    for form, move in _READ.items():
        read = {name: shortened(x, move) for name, x in held.items()}
        if not all(np.array_equal(read[name].value, x.value) for name, x in held.items()):
            facts = {"store": form.partition(" ")[0]}
            yield Change(node.name, f"read {form}", facts, nodes=nodes, given=read)


def _on_ties(form: str, move: Callable[[Array], Array], *factors: Array) -> Iterator[Callable[[Array], Array]]:
    """The same rounding with ties away from zero, where some factor is on a tie of which that makes another number."""
    if form in _TIES:
        away = partial(half_away, store=form)
        if not all(np.array_equal(move(y), away(y)) for y in factors):
            yield away


def _read(segment: Segment, source: str) -> Expected | None:
    """What a layer reads: as a port has it, or as it made it of that without other sums, and how far that is off."""
    if source in segment.given:
        return Expected.exactly(segment.given[source].astype(np.float64))
    own = segment.graph.leading_to(source, starts=set(segment.given)).nodes
    readers = [node.name for node in segment.graph.nodes if source in node.inputs]
    if len(readers) > 1 or any(node.op in (*CONVOLUTIONS, "avg_pool2d") for node in own):
        return None
    return next((Expected(y, limit_of(segment, source)) for _, y in segment.values({source})), None)


def shortened(x: Expected, move: Callable[[Array], Array]) -> Expected:
    """The same in a short format; a number so near to a tie as it may be off may go to the other side."""
    made = move(x.value)
    if not x.slack.any():
        return Expected.exactly(made)
    return Expected(made, np.maximum(*(np.abs(move(x.value + sign * x.slack) - made) for sign in (-1, 1))))


def fp16_accumulate(segment: Segment) -> Iterator[Change]:
    """sums kept in float16 or bfloat16.

    As the tensor shows: the last of the numbers that its sums go through is in the format that holds each of them.

    Source: https://github.com/google-ai-edge/LiteRT/issues/9249
    """
    if any(segment.nodes(*CONVOLUTIONS, "avg_pool2d")):
        stores = ("bfloat16", "float16") if segment.candidate is not None else ("float16",)
        if (store := next((each for each in stores if _is_kept(segment, each)), "")) and _is_large(segment, store):
            form = "" if store == "float16" else store
            yield Change(segment.end, form, {"store": store}, precision=Precision.of("float32", store))


def _is_kept(segment: Segment, store: str) -> bool:
    """Whether the numbers of a tensor, or the sums that it is made of, are numbers of a format.

    Those before a bias, a batch norm or what cuts off; of a pool, before it is divided.
    """
    if segment.candidate is None or segment.candidate.shape != segment.result.shape:
        return segment.candidate is None
    y = segment.candidate.astype(np.float64)
    slack, between = _DIVIDED * np.abs(y), ~np.isin(y, ENDS)
    for node in reversed(segment.graph.nodes):
        own = y[between]
        if np.unique(own).size > 1 and (np.abs(rounded(own, store) - own) <= slack[between]).all():
            return True
        params = {slot: _by_channel(segment.param(node, slot), y) for slot in node.params if slot != "w"}
        if node.op == "batch_norm":
            factor = params["gamma"] / np.sqrt(params["var"] + node.attrs["eps"])
            with np.errstate(all="ignore"):
                slack = (slack + _DIVIDED * np.abs(params["beta"])) / np.abs(factor) + _DIVIDED * np.abs(params["mean"])
                y = (y - params["beta"]) / factor + params["mean"]
            between = between & np.isfinite(y) & (slack < FLOATS[store].u * np.abs(y))
        elif node.op in CONVOLUTIONS or node.op == "avg_pool2d":
            y = y * math.prod(node.attrs["kernel"]) if node.op == "avg_pool2d" else y - params.get("b", 0.0)
            own, most = y[between], slack[between] + _DIVIDED * np.abs(y[between])
            return bool(np.unique(own).size > 1 and (np.abs(rounded(own, store) - own) <= most).all())
        elif node.op not in ("relu", "relu6"):
            return False
    return False


def _by_channel(vector: Array, y: Array) -> Array:
    """A layer's own numbers, to meet its tensor."""
    return vector.astype(np.float64).reshape(-1, *(1,) * (y.ndim - 2))


def _is_large(segment: Segment, store: str) -> bool:
    """Whether an error is as large as sums in a format leave it: a sixteenth of its unit roundoff at least."""
    if segment.candidate is None:
        return True
    error = segment.candidate.astype(np.float64) - segment.result
    size = root_mean_square(segment.result)
    return root_mean_square(error) > FLOATS[store].u / 16 * size
