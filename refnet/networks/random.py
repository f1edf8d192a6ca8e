"""Weights and inputs that are a function of their names: the same bits on every machine, so none need be stored.

For tests and saved outputs, never for training: fan-in scaled, with random batch-norm statistics and biases, so
that every layer matters to the output.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph

__all__ = ["random_input", "random_params"]

_SEED = 2026


def random_params(graph: Graph, dtype: npt.DTypeLike = np.float32) -> dict[str, npt.NDArray[Any]]:
    """An array for every parameter of a graph, drawn from the parameter's name.

    Weights are uniform with standard deviation sqrt(2 / fan_in); biases, batch norm's beta and mean lie within
    0.35 of zero; gamma in [0.6, 1.4), var in [0.5, 1.5).

    Parameters
    ----------
    graph : any graph, folded ones too
    dtype : of the arrays; the values are those of float32 in any case

    Returns
    -------
    params : {'block1.depthwise.w': array, ...}

    Notes
    -----
    ``u = (raw >> 11) / 2**53`` with raw from PCG64 seeded by (2026, crc32 of the name): exact arithmetic and one
    correctly rounded square root.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> random_params(build("torchvision/mobilenet_v2"))["stem.bn.beta"][:2]
    array([0.31988677, 0.05671592], dtype=float32)
    """
    return {
        f"{node.name}.{slot}": _param(f"{node.name}.{slot}", slot, shape).astype(dtype, copy=False)
        for node in graph.nodes
        for slot, shape in node.params.items()
    }


def random_input(graph: Graph, batch: int = 2, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """Images for a graph, uniform in [-2, 2); where the network itself rescales pixels, what it rescales to that.

    Parameters
    ----------
    graph : any graph
    batch : how many images
    dtype : of the array; the values are those of float32 in any case

    Returns
    -------
    x : (batch, C, H, W) array, always the same one

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> random_input(build("torchvision/mobilenet_v2", size=(48, 64)), batch=1).shape
    (1, 3, 48, 64)
    """
    x = graph.unscaled(2 * _signed(SOURCE, (batch, *graph.input_shape)))
    made: npt.NDArray[Any] = x.astype(np.float32).astype(dtype, copy=False)
    return made


def _param(name: str, slot: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    match slot:
        case "w":
            # (K, C, R, S) and (K, C) sum over all but the first axis; so does depthwise (C, R, S).
            values = _signed(name, shape)
            values *= math.sqrt(6 / math.prod(shape[1:]))
        case "gamma":
            values = 0.6 + 0.8 * _uniform(name, shape)
        case "var":
            values = 0.5 + _uniform(name, shape)
        case _:
            values = _signed(name, shape) * 0.35
    return values.astype(np.float32, copy=False)


def _uniform(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), multiples of 2**-53."""
    bits = np.random.PCG64([_SEED, zlib.crc32(name.encode())])
    raw = bits.random_raw(math.prod(shape))
    raw >>= np.uint64(11)
    u: npt.NDArray[np.float64] = raw * np.float64(2.0**-53)
    return u.reshape(shape)


def _signed(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Numbers in [-1, 1)."""
    u = _uniform(name, shape)
    u *= 2
    u -= 1
    return u
