"""Bugs of precision: they explain small errors of any kind, and so are accepted only where no other fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.arrays import UnitArrays
from refnet.bugs.changes import Change, Deferred
from refnet.bugs.segments import Segment
from refnet.judge.verdicts import root_mean_square
from refnet.ops import CONVOLUTIONS
from refnet.readings.orders import factor, rounded, truncated
from refnet.readings.precision import FLOATS, Precision

Array = npt.NDArray[Any]

_TINY = FLOATS["float32"].subnormal


def weights_fp16(unit: UnitArrays) -> Iterator[Change]:
    """weights rounded to float16 or bfloat16.

    Weights, and only they; to the nearest, or toward zero.
    """
    for store in ("float16", "bfloat16"):
        for node in unit.unit.nodes:
            names = {slot: name for slot, name in unit.names.items() if slot in node.params and slot in unit}
            for form, move in ((store, rounded), (f"{store} truncated", truncated)) if names else ():
                params = Deferred(names.values(), partial(_moved, unit, names, partial(move, store=store)))
                yield Change(node.name, form, {"store": store}, params=params)


def _moved(unit: UnitArrays, names: Mapping[str, str], move: Callable[[Array], Array]) -> Mapping[str, Array]:
    return {name: move(unit[slot]) for slot, name in names.items()}


def weights_int8(unit: UnitArrays) -> Iterator[Change]:
    """weights quantised to 8 bits.

    Symmetrically, with a step for the tensor or for each channel.

    Source: https://github.com/Edgecortix-Inc/pytorch_quantization/issues/5
    """
    if unit.op in CONVOLUTIONS:
        for per in ("tensor", "channel"):
            w = {"w": unit.names["w"]}
            params = Deferred(w.values(), partial(_moved, unit, w, partial(_on_grid, per=per)))
            yield Change(unit.name, per, {"per": per}, params=params)


def _on_grid(w: Array, per: str) -> Array:
    step = grid_steps(w, per, 127)
    made: Array = np.rint(w / step) * step
    return made


def grid_steps(w: Array, per: str, levels: float) -> Array:
    """The steps of a symmetric grid with so many levels between zero and the largest weight, to meet w's shape."""
    size = np.abs(w)
    largest = size.max(axis=tuple(range(1, w.ndim)), keepdims=True) if per == "channel" else size.max(keepdims=True)
    step: Array = np.maximum(largest / levels, _TINY)
    return step


def fp16_storage(segment: Segment) -> Iterator[Change]:
    """values rounded to float16 or bfloat16.

    Where they are stored.

    Source: https://github.com/Tencent/ncnn/issues/2965
    """
    for store in ("float16", "bfloat16"):
        facts = {"store": store}
        if segment.candidate is None:
            yield Change(segment.end, store, facts, view=partial(rounded, store=store))
        elif _is_rounded(segment.candidate, store):
            yield Change(segment.end, store, facts, precision=Precision.of(store))


def _is_rounded(y: Array, store: str) -> bool:
    """Whether a tensor holds nothing finer than a format can; one such number alone is no evidence."""
    return y.size > 1 and y.dtype != np.float16 and bool(np.array_equal(rounded(y, store), y))


def factors_tf32(segment: Segment) -> Iterator[Change]:
    """factors rounded to tf32 before they are multiplied.

    Or to bfloat16; sums are kept in float32. Replayed on a port's own inputs alone.
    """
    for node in segment.nodes(*CONVOLUTIONS) if segment.candidate is not None else ():
        (source,) = node.inputs
        if source in segment.given:
            x, w = segment.given[source].astype(np.float64), segment.param(node, "w").astype(np.float64)
            for form, move in (("tf32", factor), ("bfloat16", partial(rounded, store="bfloat16"))):
                yield Change(
                    node.name, form, {"store": form}, params={f"{node.name}.w": move(w)}, given={source: move(x)}
                )


def fp16_accumulate(segment: Segment) -> Iterator[Change]:
    """sums kept in float16.

    Source: https://github.com/google-ai-edge/LiteRT/issues/9249
    """
    if any(segment.nodes(*CONVOLUTIONS, "avg_pool2d")) and _is_large(segment):
        yield Change(segment.end, precision=Precision.of("float32", "float16"))


def _is_large(segment: Segment) -> bool:
    """Whether an error is as large as sums in float16 leave it: a sixteenth of a unit roundoff at least."""
    if segment.candidate is None or segment.candidate.shape != segment.result.shape:
        return segment.candidate is None
    error = segment.candidate.astype(np.float64) - segment.result
    size = root_mean_square(segment.result)
    return root_mean_square(error) > FLOATS["float16"].u / 16 * size
