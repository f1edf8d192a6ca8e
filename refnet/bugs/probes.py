"""Inputs that can reveal bugs, and what an input could have shown.

An honest-looking input hides bugs: a square image hides exchanged axes, one that is zero at the border hides the
padding, one that never drives a gate beyond 3 hides its slope. The probe is made to hide nothing; the detectability
report says, bug by bug and place by place, what an input with given weights could have shown at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import HYPOTHESES, Hypothesis
from refnet.bugs.segments import Segment, Variation, cut, limit, ported, run
from refnet.files import shipped
from refnet.graph import SOURCE, Graph
from refnet.network import Network
from refnet.networks.dialects import MODELS
from refnet.networks.preprocessing import KERAS
from refnet.readings import fast
from refnet.readings.bounds import Bound, Precision
from refnet.readings.shapes import shapes

__all__ = ["VISIBLE", "Place", "places", "probe", "report", "styles"]

Array = npt.NDArray[Any]

VISIBLE = 4.0  # a bug shows if it moves a tensor by this many times what rounding explains

_ACTIVATIONS = ("relu", "relu6", "hard_swish", "swish")


def probe(graph: Graph, batch: int = 2) -> Array:
    """An input made to reveal bugs, float32.

    The first image: a texture of all frequencies, different in each channel and along each axis, so that no two
    axes, channels or directions can be exchanged unseen; bright and dark patches far beyond +-3; bands in which one
    channel alone is not zero; impulses on the border and in the corners. The second: a photograph, scaled as the
    vendor scales pixels. The third: smooth and dark, with a bright quarter. More are drawn like the first. A network
    that itself rescales pixels is given what it rescales to that.

    Parameters
    ----------
    graph : whose bugs are to show
    batch : how many images

    Returns
    -------
    x : (batch, C, H, W) float32 array

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> x = probe(build("torchvision/mobilenet_v2", size=(48, 64)))
    >>> x.shape, bool(abs(x).max() > 6)
    ((2, 3, 48, 64), True)
    """
    C, H, W = graph.input_shape
    rng = np.random.Generator(np.random.PCG64(2026))
    model = MODELS.get(graph.recipe.model)
    rescaled = model is not None and model.dialect.rescale is not None
    x = np.empty((batch, C, H, W))
    for n in range(batch):
        if n == 1:
            x[n] = _photograph(graph)
        else:
            image = _smooth(C, H, W) if n == 2 else _texture(C, H, W, n, rng)
            for c in range(C):  # impulses on the border
                image[c, 0, c::5] += 3.0 + c
                image[c, -1, c::7] -= 4.0 + c
                image[c, c::6, 0] -= 3.0 + c
                image[c, c::4, -1] += 4.0 + c
            x[n] = (image + 1) * 127.5 if rescaled else image
    return x.astype(np.float32)


def _texture(C: int, H: int, W: int, n: int, rng: np.random.Generator) -> Array:
    x = np.stack([_waves(c, H, W, n) + rng.standard_normal((H, W)) for c in range(C)])
    x[:, H // 4 : H // 2, W // 8 : W // 3] += 6.0
    x[:, H // 2 : 3 * H // 4, W // 2 : 3 * W // 4] -= 6.0
    for c in range(C):  # one channel alone, band after band
        band = x[:, 7 * H // 8 :, c * W // C : (c + 1) * W // C]
        band[np.arange(C) != c] = 0
    return x


def _smooth(C: int, H: int, W: int) -> Array:
    x = np.stack([0.7 * _waves(c, H, W, 2) - 1.0 for c in range(C)])
    x[:, : H // 2, W // 2 :] += 4.0
    return x


def _waves(c: int, H: int, W: int, n: int) -> Array:
    rows, columns = np.arange(H)[:, None] / H, np.arange(W)[None, :] / W
    waves: Array = np.sin((5 + 3 * c) * rows + 2 * n) + np.cos((9 + 2 * c) * columns - c) + rows * (1 + c) - columns
    return waves


def _photograph(graph: Graph) -> Array:
    """The photograph that ships, (C, H, W), scaled as the vendor does; without a vendor, to -1 .. 1."""
    C, H, W = graph.input_shape
    with np.load(shipped.path("photograph.npz"), allow_pickle=False) as archive:
        pixels = archive["pixels"].astype(np.float64).transpose(2, 0, 1)[None]  # (1, 3, h, w)
    if pixels.shape[1] != C:
        pixels = np.repeat(pixels.mean(axis=1, keepdims=True), C, axis=1)
    pixels = fast.resize_bilinear(pixels, size=(H, W), align_corners=False)
    model = MODELS.get(graph.recipe.model)
    pre = KERAS if model is None else model.dialect.preprocessing
    mean, std = np.array(pre.mean).reshape(-1, 1, 1), np.array(pre.std).reshape(-1, 1, 1)
    x: Array = (pixels[0] / pre.scale - mean) / std
    return x


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
    tensors: Iterable[tuple[str, Array]],
    wanted: Mapping[str, Hypothesis] = HYPOTHESES,
) -> Iterator[Place]:
    """Every bug at every place where it applies, each in the style that shows it best.

    Not among them are bugs that change a shape: no input could hide one, and no further layer runs on it.

    Parameters
    ----------
    tensors : name and array of every tensor of an honest run, in order, the input first; each is let go when no later
        segment reads it
    wanted : the hypotheses to look at
    """
    known: set[tuple[str, str, str]] = set()
    sizes, dumped = shapes(graph), styles(graph)
    until = _last_uses(graph, dumped)
    have: dict[str, Array] = {}
    for name, array in tensors:
        have[name] = array
        for style, ends in dumped.items():
            if name not in ends:
                continue
            given = {each: have[each] for each in (SOURCE, *ends) if each in have}
            whole = cut(graph, params, name, given, sizes, judged=False)
            if style != "all" and len(whole.graph) == 1:
                continue  # as in the style before
            for hypothesis in wanted.values():
                for variation in hypothesis.vary(whole):
                    key = hypothesis.id, variation.node, variation.detail
                    if key not in known and variation.shape is None:
                        known.add(key)
                        yield Place(hypothesis, variation, whole, style)
        for each in [each for each in have if until[each] == name]:
            del have[each]


def _last_uses(graph: Graph, dumped: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """By tensor, the last one whose segment starts from it in any style, or may by mistake (a block's own input)."""
    until = {SOURCE: SOURCE, **{node.name: node.name for node in graph.nodes}}
    place = {name: index for index, name in enumerate(until)}

    def used(name: str, end: str) -> None:
        until[name] = max(until[name], end, key=place.__getitem__)

    for ends in dumped.values():
        for end in ends:
            part = graph.leading_to(end, starts={SOURCE, *ends})
            for name in {name for node in part.nodes for name in node.inputs} - {node.name for node in part.nodes}:
                used(name, end)
    for block, nodes in groupby(graph.nodes, lambda node: node.name.partition(".")[0]):
        first, *rest = nodes
        if block.startswith("block"):
            used(first.inputs[0], rest[-1].name if rest else first.name)
    return until


def visibility(place: Place, honest: Bound) -> float:
    """How far the bug moves its segment's result, in units of the rms that rounding explains."""
    moved = _moved(place, honest.y, np.float64)
    if honest.rms > 0:
        return moved / honest.rms
    return float("inf") if moved else 0.0


def _moved(place: Place, honest: Array, dtype: npt.DTypeLike) -> float:
    """The rms by which the bug moves its segment's result; infinite where that is no number any more."""
    other = place.variation.segment
    with np.errstate(all="ignore"):
        y = run(other, dtype) if other.precision is None else ported(other)  # only a run shows what short sums do
        size = float(np.sqrt(np.mean(np.square(y - honest), dtype=np.float64)))
    return size if np.isfinite(size) else float("inf")


def report(net: Network, x: Array) -> list[dict[str, Any]]:
    """For each bug: at how many places it applies, at how many this input shows it, and where not.

    Parameters
    ----------
    net : it is run in float32, one image at a time, and no tensor is kept longer than a segment reads it
    x : (N, C, H, W) float32

    Returns
    -------
    rows : {'id', 'sentence', 'places', 'visible', 'hidden': [node, ...]}; a bug that applies nowhere has no places

    Notes
    -----
    Bugs are replayed in float32, whose own rounding is less than a fifth of what a bug has to show. Short sums are not
    run, which takes as long as all else: they show where their bound is that much wider than float32's.
    """
    rows: dict[str, dict[str, Any]] = {
        h.id: {"id": h.id, "sentence": h.sentence, "places": 0, "visible": 0, "hidden": []} for h in HYPOTHESES.values()
    }
    x = net.checked(x)
    squares: dict[tuple[str, str], list[float]] = {}  # by bug and place: how far it moves, and what rounding explains
    for image in range(len(x)):
        for bug, place, moved, explained in _seen(net, x[image : image + 1]):
            one = squares.setdefault((bug, place), [0.0, 0.0])
            one[0] += moved**2
            one[1] += explained**2
    for (bug, place), (moved, explained) in squares.items():
        rows[bug]["places"] += 1
        if moved > VISIBLE**2 * explained:
            rows[bug]["visible"] += 1
        else:
            rows[bug]["hidden"].append(place)
    return list(rows.values())


def _explained(segment: Segment) -> tuple[Array, float]:
    """An honest result, and the rms that rounding explains; the bounds themselves are let go."""
    made = limit(segment, Precision.of("float32"), dtype=np.float32)
    return made.y, made.rms


def _seen(net: Network, x: Array) -> Iterator[tuple[str, str, float, float]]:
    """Every bug and place, with the rms by which it moves its segment and the rms that rounding explains."""
    float32 = Precision.of("float32")
    steps = chain([(SOURCE, x)], ((node.name, y) for node, y in net.steps(x)))
    for _, found in groupby(places(net.graph, net.params, steps), lambda place: (place.style, place.segment.end)):
        y: Array | None = None
        explained = 0.0
        for place in found:
            if y is None:
                y, explained = _explained(place.segment)
            other = place.variation.segment
            short = other.precision is not None
            moved = limit(other, float32, dtype=np.float32).rms if short else _moved(place, y, np.float32)
            yield place.hypothesis.id, f"{place.variation.node}: {place.variation.detail}", moved, explained
