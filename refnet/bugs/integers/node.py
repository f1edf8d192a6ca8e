"""A node on a port's own integers, and its arithmetic in parts that can be done wrong one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RefnetError
from refnet.graph import Node
from refnet.readings.integer.derived import SUMMED, exact_sums
from refnet.readings.integer.fast.tflite_ranges import activation_range
from refnet.readings.integer.fixedpoint import mbqm, mbqm64, mbqm_half_up, mbqm_single, multiplier, round_away
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.quantised import run_node

__all__ = ["Array", "IntegerNode", "Rescaling", "Rounding", "half_even", "toward_zero"]

Array = npt.NDArray[Any]
Rounding = Callable[[Any, Any, Any], Any]

_TORCH = ("fbgemm", "fbgemm_avx2", "x86_vnni", "qnnpack")
_FLOATS = ("xnnpack", "onnxruntime", "onnxruntime_avx2", "fbgemm", "fbgemm_avx2", "x86_vnni", "qnnpack")


@dataclass(frozen=True)
class Rescaling:
    """How sums become integers of the output.

    Attributes
    ----------
    ratios : (K,) float64, s_x * s_w / s_y of each filter
    rounding : of a sum with a multiplier; None where sums are multiplied in `real` numbers instead
    real : 'float32', nearest and ties to even, or 'float64', ties away from zero
    """

    ratios: Array
    rounding: Rounding | None = mbqm
    real: str = "float32"

    def __call__(self, total: Array) -> Array:
        """Of sums (N, K, P, Q) the steps of the output, zero point and clip not yet applied."""
        ratios = self.ratios.reshape(-1, *(1,) * (total.ndim - 2))
        if self.rounding is not None:
            m, e = multiplier(ratios)
            return np.asarray(self.rounding(total.astype(np.int64), m, e))
        if self.real == "float32":
            return np.rint(total.astype(np.float32) * ratios.astype(np.float32)).astype(np.int64)
        return np.asarray(round_away(total.astype(np.float64) * ratios).astype(np.int64))


@dataclass(frozen=True, eq=False)
class IntegerNode:
    """One node with what it reads.

    Attributes
    ----------
    node : of a graph of integers
    inputs : the tensors that it reads, a port's own
    params : by slot, `QuantisedTensor` or arrays
    to : what its integers stand for
    kernels : whose arithmetic the reference is
    port : the integers that a port has, by which a rule chooses among programs that are its own; None for the first
    """

    node: Node
    inputs: tuple[QuantisedTensor, ...]
    params: Mapping[str, Any]
    to: Quantisation
    kernels: str
    port: Array | None = None

    @property
    def of_integers(self) -> bool:
        """Whether all that it reads are integers; a quantisation reads floats."""
        return all(isinstance(x, QuantisedTensor) for x in self.inputs)

    @property
    def sums(self) -> bool:
        """Whether it adds up products of integer weights and integer biases; PyTorch's biases are real numbers."""
        integers = self.kernels not in _TORCH and self.of_integers and isinstance(self.params.get("w"), QuantisedTensor)
        return integers and self.node.op in SUMMED

    @property
    def act(self) -> str:
        """The activation that is fused with it."""
        return str(self.node.attrs.get("act", ""))

    @cached_property
    def reference(self) -> Array:
        """The integers that it makes."""
        return self.under(self.kernels)

    def under(self, kernels: str, **options: Any) -> Array:
        """The integers that it makes under other kernels, or with options of its rule."""
        held = {f"{self.node.name}.{slot}": value for slot, value in self.params.items()}
        made = run_node(self.node, list(self.inputs), held, self.to, kernels, **options)
        return np.asarray(made.values)

    def changed(self, **attrs: Any) -> IntegerNode:
        """The node with other attributes."""
        return replace(self, node=replace(self.node, attrs={**self.node.attrs, **attrs}))

    def rounded(self, rounding: Rounding) -> Array | None:
        """The integers with another rounding of multipliers; None where its rule has no such choice."""
        if self.sums:
            return self.finished(Rescaling(self.rescaling.ratios, rounding)(self.totals()))
        try:
            return self.under(self.kernels, rounding=rounding)
        except (RefnetError, TypeError):
            return None

    # ------------------------------------------------------------------------------------- convolutions, step by step

    @property
    def x(self) -> QuantisedTensor:
        """The first tensor that it reads."""
        return self.inputs[0]

    @property
    def w(self) -> QuantisedTensor:
        """Its weights."""
        return self.params["w"]  # type: ignore[no-any-return]

    def totals(
        self, x: QuantisedTensor | None = None, w: QuantisedTensor | None = None, *, biased: bool = True
    ) -> Array:
        """The sums, int64, of other integers or weights than its own, or without its bias."""
        if x is None and w is None and biased:
            return self._totals
        b = self.params.get("b") if biased else None
        total = exact_sums(self.node.op, self.node.attrs, x or self.x, w or self.w, b, self.kernels)
        return total.astype(np.int64)

    def of_input_zero(self, zero: int) -> Array | None:
        """The integers as if the input had another zero point than the border of its map."""
        own = self.x.quantisation
        if zero == own.single()[1]:
            return None
        ones = QuantisedTensor(np.ones_like(self.x.values), Quantisation(own.scale, 0, None, own.dtype))
        over = self.totals(ones, biased=False) * (own.single()[1] - zero)
        return self.finished(self.rescaling(self.totals() + over))

    @cached_property
    def _totals(self) -> Array:
        return self.totals(self.x)

    @cached_property
    def rescaling(self) -> Rescaling:
        """How its kernels rescale."""
        s_x, s_y, s_w = self.x.quantisation.single()[0], self.to.single()[0], self.w.quantisation.scale.reshape(-1)
        wide = s_w.astype(np.float64) * np.float64(s_x) / np.float64(s_y)
        short = (s_w * s_x).astype(np.float64) / np.float64(s_y)
        if self.kernels in _FLOATS:
            return Rescaling((s_w * s_x / s_y).astype(np.float64), None)
        if self.node.op == "fully_connected":
            if self.kernels == "tflite":
                return Rescaling(wide, None, "float64")
            return Rescaling(short if self.w.quantisation.axis is None else wide, self._rounding)
        if self.x.values.dtype == np.int16:
            return Rescaling(wide, mbqm64)
        return Rescaling(short if self.x.values.dtype == np.uint8 else wide, self._rounding)

    @property
    def _rounding(self) -> Rounding:
        return {"tflite_optimised": mbqm_half_up, "cmsis_nn_single": mbqm_single}.get(self.kernels, mbqm)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest integer of its output."""
        return activation_range(self.to, self.act)

    def finished(self, steps: Array, *, zero: int | None = None, limits: tuple[int, int] | None = None) -> Array:
        """Steps of the output as its integers: the zero point added, then clipped."""
        zero = self.to.single()[1] if zero is None else zero
        return np.asarray(np.clip(steps + zero, *(limits or self.limits)).astype(self.to.dtype))


def half_even(x: Any, m: Any, e: Any) -> Any:
    """x * m * 2^(e - 31) to the nearest whole number, ties to even."""
    shift = 31 - e
    low = (x * m) >> shift
    rest = (x * m) & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return low + ((rest > half) | ((rest == half) & ((low & 1) == 1)))


def toward_zero(x: Any, m: Any, e: Any) -> Any:
    """x * m * 2^(e - 31) without what is behind the point."""
    product = x * m
    return np.sign(product) * (np.abs(product) >> (31 - e))
