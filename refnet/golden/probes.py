"""Inputs that can reveal bugs, and what an input could have shown.

An honest-looking input hides bugs: a square image hides exchanged axes, one that is zero at the border hides the
padding, one that never drives a gate beyond 3 hides its slope. The probe is made to hide nothing; the detectability
report says, bug by bug and place by place, what an input with given weights could have shown at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.golden.hypotheses import HYPOTHESES, Hypothesis
from refnet.golden.segments import Segment, Variation, cut, limit, ported, run
from refnet.graph import SOURCE, Graph
from refnet.networks.dialects import MODELS
from refnet.readings.bounds import Bound, Precision
from refnet.readings.cost import shapes

__all__ = ["VISIBLE", "Place", "places", "probe", "report", "styles"]

Array = npt.NDArray[Any]

VISIBLE = 4.0  # a bug shows if it moves a tensor by this many times what rounding explains

_ACTIVATIONS = ("relu", "relu6", "hard_swish", "swish")


def probe(graph: Graph, batch: int = 2) -> Array:
    """An input made to reveal bugs, float32.

    The first image: a texture of all frequencies, different in each channel and along each axis, so that no two
    axes, channels or directions can be exchanged unseen; bright and dark patches far beyond +-3; bands in which one
    channel alone is not zero; impulses on the border and in the corners. The second: smooth and dark, with a bright
    quarter, as photographs are. More are drawn like the first. A network that itself rescales pixels is given what it
    rescales to that.

    Returns
    -------
    x : (batch, C, H, W)
    """
    C, H, W = graph.input_shape
    rng = np.random.Generator(np.random.PCG64(2026))
    rows, columns = np.arange(H)[:, None] / H, np.arange(W)[None, :] / W
    x = np.empty((batch, C, H, W))
    for n in range(batch):
        for c in range(C):
            waves = np.sin((5 + 3 * c) * rows + 2 * n) + np.cos((9 + 2 * c) * columns - c) + rows * (1 + c) - columns
            x[n, c] = waves + rng.standard_normal((H, W)) if n != 1 else 0.7 * waves - 1.0
    x[0::2, :, H // 4 : H // 2, W // 8 : W // 3] += 6.0
    x[0::2, :, H // 2 : 3 * H // 4, W // 2 : 3 * W // 4] -= 6.0
    for c in range(C):  # one channel alone, band after band
        band = x[0::2, :, 7 * H // 8 :, c * W // C : (c + 1) * W // C]
        band[:, np.arange(C) != c] = 0
    if batch > 1:
        x[1::2, :, : H // 2, W // 2 :] += 4.0
    for c in range(C):
        x[:, c, 0, c::5] += 3.0 + c
        x[:, c, -1, c::7] -= 4.0 + c
        x[:, c, c::6, 0] -= 3.0 + c
        x[:, c, c::4, -1] += 4.0 + c
    model = MODELS.get(graph.recipe.model)
    if model is not None and model.dialect.rescale is not None:
        x = (x + 1) * 127.5
    return x.astype(np.float32)


class Place(NamedTuple):
    """A bug at a place, as one of the styles of dumping tensors could show it.

    Attributes
    ----------
    hypothesis : what is wrong
    variation : how, and at which node
    segment : the honest segment that it changes
    style : 'all', 'fused' or 'blocks': which tensors the candidate has
    """

    hypothesis: Hypothesis
    variation: Variation
    segment: Segment
    style: str


def styles(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Which tensors a candidate may have: all; those of a runtime that fuses; those between blocks.

    A fused runtime keeps no tensor between a convolution, its batch norm and its activation. Between blocks there are
    the last tensor of each block and the parts of the head after its activation.
    """
    readers = graph.readers()
    fused, last = [], {}
    for node in graph.nodes:
        ops = {reader.op for reader in readers[node.name]}
        joined = len(readers[node.name]) == 1 and ops <= {"batch_norm", *_ACTIVATIONS, "hard_sigmoid", "sigmoid"}
        if not (joined and node.op.endswith(("conv2d", "batch_norm"))):
            fused.append(node.name)
        last[node.name if node.name.startswith(("head.", "output")) else node.name.partition(".")[0]] = node.name
    inner = ("head.conv", "head.bn", "head.act")
    blocks = tuple(name for name in last.values() if name not in inner)
    return {"all": tuple(node.name for node in graph.nodes), "fused": tuple(fused), "blocks": blocks}


def places(
    graph: Graph,
    params: Mapping[str, Array],
    tensors: Mapping[str, Array],
    wanted: Mapping[str, Hypothesis] = HYPOTHESES,
) -> Iterator[Place]:
    """Every bug at every place where it applies, each in the style that shows it best.

    Parameters
    ----------
    tensors : of an honest run, the input's included
    wanted : the hypotheses to look at
    """
    known: set[tuple[str, str, str]] = set()
    sizes = shapes(graph)
    for style, ends in styles(graph).items():
        have = {name: tensors[name] for name in (SOURCE, *ends)}
        for end in ends:
            segment = cut(graph, params, end, have, sizes, judged=False)
            if style != "all" and len(segment.graph) == 1:
                continue  # as in the style before
            for hypothesis in wanted.values():
                for variation in hypothesis.vary(segment):
                    key = hypothesis.id, variation.node, variation.detail
                    if key not in known:
                        known.add(key)
                        yield Place(hypothesis, variation, segment, style)


def visibility(place: Place, honest: Bound) -> float:
    """How far the bug moves its segment's result, in units of the rms that rounding explains."""
    replayed = ported if place.variation.segment.precision is not None else run  # only a run shows what short sums do
    with np.errstate(all="ignore"):
        moved = replayed(place.variation.segment) - honest.y
    if not np.isfinite(moved).all():
        return float("inf")
    size = float(np.sqrt(np.mean(moved**2)))
    if honest.rms > 0:
        return size / honest.rms
    return float("inf") if size else 0.0


def report(graph: Graph, params: Mapping[str, Array], tensors: Mapping[str, Array]) -> list[dict[str, Any]]:
    """For each bug: at how many places it applies, at how many this input shows it, and where not.

    Returns
    -------
    rows : {'id', 'sentence', 'places', 'visible', 'hidden': [node, ...]}; a bug that applies nowhere has no places
    """
    bounds: dict[tuple[str, str], Bound] = {}
    rows = {
        h.id: {"id": h.id, "sentence": h.sentence, "places": 0, "visible": 0, "hidden": []} for h in HYPOTHESES.values()
    }
    for place in places(graph, params, tensors):
        key = place.style, place.segment.end
        if key not in bounds:
            bounds[key] = limit(place.segment, Precision.of("float32"))
        row: dict[str, Any] = rows[place.hypothesis.id]
        row["places"] += 1
        if visibility(place, bounds[key]) > VISIBLE:
            row["visible"] += 1
        else:
            row["hidden"].append(f"{place.variation.node}: {place.variation.detail}")
    return list(rows.values())
