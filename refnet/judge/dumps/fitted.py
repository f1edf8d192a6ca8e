"""Tensors that a port has before batch norm, beside a folded pack: what is fitted to them is none of the port's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, limit_of
from refnet.graph import SOURCE
from refnet.judge.reference import Reference

__all__ = ["fitted_slack"]

Array = npt.NDArray[Any]


def fitted_slack(reference: Reference, tensors: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
    """By name, how far what a port went on with may lie from a tensor that was fitted; and by bias, from its layer.

    The line of a channel is the nearest to what its layer makes, and so is as far off, at any point, as rounding may
    move that where it moves it most.

    Parameters
    ----------
    tensors : the port's, by node
    names : of those that were fitted
    """
    if not names:
        return {}
    found, parts = dict[str, Array](), Parts(reference.graph)
    whole = {SOURCE: reference.golden(SOURCE), **tensors}
    for name in names:
        segment = cut(parts, reference.params, name, whole, judged=False)
        if all(np.shape(x)[1:] == parts.sizes[each] for each, x in segment.given.items()):
            room = limit_of(replace(segment, slack=reference.slack), name)
            found[f"{name}.b"] = most = room.max(axis=(0, 2, 3))
            found[name] = np.broadcast_to(most.reshape(-1, 1, 1), room.shape)
    return found
