"""A graph of integers, run node by node by a table of rules.

The nodes of such a graph are operations as a runtime has them: `graph.Node`, whose op is a rule of `loops` or `fast`.
What flows are `QuantisedTensor` where a node's tensor is quantised, and float32 elsewhere: before a `quantize`, behind
a `dequantize`, and throughout dynamic-range files, whose convolutions read integer weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from refnet.errors import RefnetError, RequestError
from refnet.graph import Graph, Node
from refnet.readings import fast as floats
from refnet.readings.integer import fast
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = ["DEFAULT_KERNELS", "rules_of", "run_integers", "run_node", "slots"]

DEFAULT_KERNELS = "tflite"

# Whose arithmetic of float maps and integer weights goes with other kernels; TensorFlow Lite's with all others.
_DYNAMIC = {"onnxruntime": "onnxruntime_dynamic", "onnxruntime_avx2": "onnxruntime_dynamic"}
_HYBRID = "tflite_hybrid"
_OF_INTEGERS = ("act", "asymmetric_inputs", "dropped")  # options that rules of floats do without
_BARE = ("arg_max", "dequantize")  # which read integers and make a tensor without a scale
_SLOTS = dict.fromkeys(("conv2d", "depthwise_conv2d", "pointwise_conv2d", "fully_connected"), ("w", "b"))


def slots(node: Node) -> tuple[str, ...]:
    """The parameters that a node's rule takes, in order; it may go without a bias."""
    return _SLOTS.get(node.op, tuple(node.params))


def rules_of(kernels: str, execution: ModuleType = fast) -> Any:
    """A table of rules by name.

    Raises
    ------
    RequestError
        for a name that is none.
    """
    if kernels not in execution.KERNELS:
        raise RequestError(f"no kernels are called {kernels!r}; they are {', '.join(execution.KERNELS)}")
    return execution.KERNELS[kernels]


def run_integers(
    graph: Graph,
    params: Mapping[str, Any],
    quantised: Mapping[str, Quantisation],
    given: Mapping[str, Any],
    kernels: str = DEFAULT_KERNELS,
    execution: ModuleType = fast,
) -> Iterator[tuple[Node, Any]]:
    """Yield each node and the tensor that it makes, in order, keeping no more than is still needed.

    Parameters
    ----------
    quantised : by node, what the integers of its tensor stand for; none of a tensor of floats
    given : tensors by name, {'input': x}; a node that is given is not run
    kernels : a name in `KERNELS`
    execution : `integer.fast` or `integer.loops`

    Raises
    ------
    RequestError
        naming the node: its kernels have no such rule, or refuse what it reads.
    """
    values = dict(given)
    left = [node for node in graph.nodes if node.name not in given]
    last_reader = {name: node.name for node in left for name in node.inputs}
    for node in left:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = run_node(node, inputs, params, quantised.get(node.name), kernels, execution)
        yield node, values[node.name]
        for name in {*node.inputs, node.name}:
            if last_reader.get(name, node.name) == node.name:
                values.pop(name, None)


def run_node(
    node: Node,
    inputs: list[Any],
    params: Mapping[str, Any],
    to: Quantisation | None,
    kernels: str = DEFAULT_KERNELS,
    execution: ModuleType = fast,
    **options: Any,
) -> Any:
    """What one node makes of its inputs.

    Raises
    ------
    RequestError
        as `run_integers`.
    """
    held = [params.get(f"{node.name}.{slot}") for slot in slots(node)]
    try:
        if to is None and not (node.op in _BARE and isinstance(inputs[0], QuantisedTensor)):
            return _float(node, inputs, held, kernels, execution)
        rule = _rule(node.op, kernels, execution)
        return rule(*inputs, *held, **node.attrs, **({} if to is None else {"to": to}), **options)
    except RefnetError as error:
        raise RequestError(f"{node.name}: {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise RequestError(f"{node.name}: {node.op} does not run on what it is given ({error})") from error


def _rule(op: str, kernels: str, execution: ModuleType) -> Any:
    rule = getattr(rules_of(kernels, execution), op, None)
    if rule is None and op in ("quantize", "dequantize", "requantize", "flatten", "pad"):
        rule = getattr(rules_of(DEFAULT_KERNELS, execution), op)
    if rule is None:
        raise RequestError(f"the kernels {kernels} have no {op}")
    return rule


def _float(node: Node, inputs: list[Any], held: list[Any], kernels: str, execution: ModuleType) -> Any:
    """A node of floats: with integer weights that of dynamic-range files, else the float reading's."""
    if held and isinstance(held[0], QuantisedTensor) and node.op in _SLOTS:
        return getattr(rules_of(_DYNAMIC.get(kernels, _HYBRID), execution), node.op)(*inputs, *held, **node.attrs)
    attrs = {key: value for key, value in node.attrs.items() if key not in _OF_INTEGERS}
    act = node.attrs.get("act", "")
    made = _FLOATS.get(node.op, getattr(floats, node.op, None))
    if node.op == "hard_swish" and kernels not in _DYNAMIC:
        made = _hard_swish
    if made is None or act not in ("", "relu", "relu6"):
        raise RequestError(f"floats have no {node.op} {act}".rstrip())
    y = made(*inputs, *held, **attrs)
    return getattr(floats, act)(y) if act else y


def _mean(x: Any, *, axes: tuple[int, int]) -> Any:
    return floats.avg_pool2d(x, kernel=x.shape[2:], stride=(1, 1), pad=((0, 0), (0, 0)))


def _softmax(x: Any, *, beta: float) -> Any:
    return floats.softmax(x * np.float32(beta))


def _hard_swish(x: Any) -> Any:
    """As TensorFlow Lite's reference kernel rounds it: one product, then one division."""
    return x * np.clip(x + np.float32(3), np.float32(0), np.float32(6)) / np.float32(6)


def _part(x: Any, *, begin: Sequence[int], end: Sequence[int], step: Sequence[int]) -> Any:
    return np.ascontiguousarray(x[(slice(None), *map(slice, begin, end, step))])


def _resize(x: Any, *, size: tuple[int, int], align_corners: bool, half_pixel: bool) -> Any:
    if align_corners == half_pixel:
        raise RequestError("resize_bilinear of floats by neither or both of corners and centres")
    return floats.resize_bilinear(x, size=size, align_corners=align_corners)


# Where the float reading has another name or other arguments than a runtime's kernel.
_FLOATS: Mapping[str, Any] = {
    "fully_connected": floats.pointwise_conv2d,
    "mean": _mean,
    "softmax": _softmax,
    "resize_bilinear": _resize,
    "sub": np.subtract,
    "div": np.divide,
    "add": np.add,
    "scale": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "arg_max": lambda x, *, dtype: x.argmax(axis=1, keepdims=True).astype(dtype),
    "reduce_max": lambda x, *, axes: x.max(axis=axes, keepdims=True),
    "strided_slice": _part,
    "tile": lambda x, *, times: np.tile(x, (1, *times)),
    "concatenation": lambda *xs: np.concatenate(xs, axis=1),
}
