"""How images are prepared for a network that a file tells: what it rescales itself says which pixels it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, interpret
from refnet.networks.preprocessing import RAW, UNIT, Preprocessing
from refnet.readings import fast

__all__ = ["prepared_for"]

_FAR = 6.0  # no network's pixels are normalised to beyond this: ImageNet's end at 2.6


def prepared_for(graph: Graph, params: Mapping[str, npt.NDArray[Any]]) -> Preprocessing | None:
    """What images must be for a network, or None where nobody has said.

    A network that begins with arithmetic on what it is given rescales pixels, or normalises them: those from 0 to 255
    if that brings these into the range of normalised ones, else those from 0 to 1. Its recipe says how images are
    resized; without such a beginning, all.
    """
    known, last = graph.recipe.preprocessing, SOURCE
    while (node := graph.only_reader(last)) is not None and node.op in ("affine", "batch_norm"):
        last = node.name
    if last == SOURCE:
        return known
    black_and_white = np.zeros((2, graph.recipe.channels, 1, 1))
    black_and_white[1] = 255
    with np.errstate(all="ignore"):
        made = interpret(graph.leading_to(last), fast, params, {SOURCE: black_and_white})
    taken = RAW if np.abs(made).max() <= _FAR else UNIT
    if known is None:
        return taken
    if (known.scale, known.mean, known.std) == (taken.scale, taken.mean, taken.std):
        return known
    origin = f"{'pixels from 0 to 255' if taken is RAW else 'pixels from 0 to 1'}, which the network itself rescales"
    return replace(known, origin=origin, scale=taken.scale, mean=taken.mean, std=taken.std)
