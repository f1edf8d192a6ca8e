"""What operations ask of the arrays that they are given, and how many places a kernel has."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

__all__ = ["check_axes", "check_vectors", "output_size", "refuse_if"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]


def check_axes(array: Array, name: str, axes: int) -> None:
    """Refuse an array of another rank."""
    refuse_if(array.ndim != axes, f"{name} of shape {array.shape} does not have {axes} axes")


def check_vectors(channels: int, **vectors: Array) -> None:
    """Refuse vectors that are not one number for each channel."""
    for name, vector in vectors.items():
        refuse_if(vector.shape != (channels,), f"{name} of shape {vector.shape} does not fit {channels} channels")


def refuse_if(wrong: bool, sentence: str) -> None:
    """Refuse the arrays of an operation."""
    if wrong:
        raise ValueError(sentence)


def output_size(x: Array, kernel: Pair, stride: Pair, pad: Pad, dilation: Pair) -> Pair:
    """How many places a kernel fits in, by counting them."""
    reach = [(kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]
    P, Q = (len(range(0, x.shape[2 + axis] + sum(pad[axis]) - reach[axis], stride[axis])) for axis in (0, 1))
    return P, Q
