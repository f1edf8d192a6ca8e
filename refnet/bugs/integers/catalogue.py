"""What ports of integer kernels get wrong: one function a rule, its docstring the sentence.

A function takes an `IntegerNode`, a node on a port's own integers, and returns the integers that the wrong rule makes
of them, None where the rule does not concern the node. `INTEGER_BUGS` holds them all, sums first. Rules of other
runtimes are no bugs: `other_kernels` names those that a node may come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refnet.bugs.integers import curves, inputs, pairs, roundings, steps, stored, sums
from refnet.bugs.integers.node import Array, IntegerNode
from refnet.errors import RefnetError

__all__ = ["INPUT_BUGS", "INTEGER_BUGS", "OF_ARRAYS", "OF_FLOATS", "IntegerBug", "kernels_beside", "other_kernels"]

IntegerBug = Callable[[IntegerNode], Array | None]
InputBug = Callable[[Array, Array], Array | None]  # of what the network is given, and what a port has

INTEGER_BUGS: Mapping[str, IntegerBug] = {
    name.replace("_", "-"): getattr(module, name)
    for module in (sums, roundings, steps, pairs, curves, stored)
    for name in module.__all__
}
INPUT_BUGS: Mapping[str, InputBug] = {name.replace("_", "-"): getattr(inputs, name) for name in inputs.__all__}
OF_FLOATS = tuple(name.replace("_", "-") for name in roundings.__all__)  # rules of nodes that read floats, too
OF_ARRAYS = tuple(name.replace("_", "-") for name in stored.__all__)  # tried where no rule of arithmetic fits
_SAME_FORMAT = {
    "tflite": (
        "tflite",
        "tflite_2_19",
        "tflite_2_12",
        "tflite_optimised",
        "xnnpack",
        "tflite_micro",
        "cmsis_nn_single",
    ),
    "onnxruntime": ("onnxruntime", "onnxruntime_avx2"),
    "torch": ("fbgemm", "fbgemm_avx2", "x86_vnni", "qnnpack"),
}


def kernels_beside(kernels: str) -> tuple[str, ...]:
    """The other kernels of the same format."""
    mine = next((each for each in _SAME_FORMAT.values() if kernels in each), _SAME_FORMAT["tflite"])
    return tuple(name for name in mine if name != kernels)


def other_kernels(node: IntegerNode) -> dict[str, Array]:
    """By the name of kernels of the same format, what they make of a node where it is something else."""
    found: dict[str, Array] = {}
    for kernels in kernels_beside(node.kernels):
        try:
            y = node.under(kernels)
        except RefnetError:
            continue
        if not np.array_equal(y, node.reference):
            found[kernels] = y
    return found
