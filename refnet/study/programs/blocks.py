"""Blocks, in steps that each stand on a line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from refnet.study.programs.curves import hard_sigmoid, relu, relu6
from refnet.study.programs.norms import across
from refnet.study.programs.windows import Pair, look, mix

Array = npt.NDArray[np.float64]
Params = Mapping[str, Array]


def norm(x: Array, params: Params, part: str, eps: float) -> Array:
    """Batch norm with the arrays of a part."""
    gamma, beta = params[part + ".bn.gamma"], params[part + ".bn.beta"]
    mean, var = params[part + ".bn.mean"], params[part + ".bn.var"]
    return across(gamma) * (x - across(mean)) / np.sqrt(across(var) + eps) + across(beta)


def v1_block(x: Array, params: Params, *, stride: Pair, pad: tuple[Pair, Pair], eps: float) -> Array:
    """In six steps."""
    y = look(x, params["depthwise.w"], stride, pad)
    y = norm(y, params, "depthwise", eps)
    y = relu6(y)
    y = mix(y, params["project.w"])
    y = norm(y, params, "project", eps)
    return relu6(y)


def inverted_residual(x: Array, params: Params, *, stride: Pair, pad: tuple[Pair, Pair], eps: float) -> Array:
    """In nine steps, of which three may be left out."""
    y = x
    if "expand.w" in params:
        y = mix(y, params["expand.w"])
        y = norm(y, params, "expand", eps)
        y = relu6(y)
    y = look(y, params["depthwise.w"], stride, pad)
    y = norm(y, params, "depthwise", eps)
    y = relu6(y)
    y = mix(y, params["project.w"])
    y = norm(y, params, "project", eps)
    if stride == (1, 1) and x.shape == y.shape:
        y = x + y
    return y


def inverted_residual_se(x: Array, params: Params, *, stride: Pair, pad: tuple[Pair, Pair], eps: float) -> Array:
    """The same with one step more."""
    y = x
    if "expand.w" in params:
        y = mix(y, params["expand.w"])
        y = norm(y, params, "expand", eps)
        y = relu6(y)
    y = look(y, params["depthwise.w"], stride, pad)
    y = norm(y, params, "depthwise", eps)
    y = relu6(y)
    y = squeeze_excite(y, params["se.reduce.w"], params["se.reduce.b"], params["se.expand.w"], params["se.expand.b"])
    y = mix(y, params["project.w"])
    y = norm(y, params, "project", eps)
    if stride == (1, 1) and x.shape == y.shape:
        y = x + y
    return y


def squeeze_excite(x: Array, reduce_w: Array, reduce_b: Array, expand_w: Array, expand_b: Array) -> Array:
    """Layer by layer."""
    pooled = np.mean(x, axis=(2, 3))
    hidden = pooled @ reduce_w.T + reduce_b
    hidden = relu(hidden)
    gate = hidden @ expand_w.T + expand_b
    gate = hard_sigmoid(gate)
    return x * gate[:, :, None, None]


def squeeze_excite_by_sum(x: Array, reduce_w: Array, reduce_b: Array, expand_w: Array, expand_b: Array) -> Array:
    """With a mean that is a sum over a count."""
    _, _, H, W = x.shape
    pooled = np.sum(x, axis=(2, 3)) / (H * W)
    hidden = relu(pooled @ reduce_w.T + reduce_b)
    gate = hard_sigmoid(hidden @ expand_w.T + expand_b)
    return x * gate[:, :, None, None]
