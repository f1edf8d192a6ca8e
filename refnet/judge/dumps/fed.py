"""The candidate's own input as a tensor to be judged, and the golden tensor that a segment makes."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from refnet.bugs.inputs.pixels import bytes_of, room
from refnet.bugs.language.changes import identity
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE, Graph
from refnet.judge.reference import Reference

__all__ = ["input_segment", "made_by"]

Array = npt.NDArray[Any]

_FED = "input.fed"


def made_by(segment: Segment) -> str:
    """The golden tensor that a segment makes."""
    return SOURCE if segment.end == _FED else segment.end


def input_segment(reference: Reference, x: Array, parts: Parts) -> Segment:
    """The candidate's own input as a tensor to be judged: it should be the golden one, as it is.

    Where it is made of whole pixels, a port that makes it so itself rounds in its own order.
    """
    same, golden = identity(_FED, SOURCE, axes=4), reference.golden(SOURCE)
    own = reference.graph.recipe.preprocessing
    slack = {} if own is None or bytes_of(golden, own) is None else {SOURCE: room(golden, golden, own)}
    return Segment(Graph(reference.graph.recipe, (same,)), {}, {SOURCE: golden}, parts, {}, x, slack=slack)
