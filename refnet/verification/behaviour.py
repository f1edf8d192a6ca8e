"""Both files run on one probe input: each tensor of the copy judged on its own inputs, and the ends compared.

The weights may hold, and the structure too: this is what follows from it, and what a difference in either comes to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.alignment.diff import factors_of_pools
from refnet.errors import RefnetError
from refnet.files.checkpoint import Checkpoint
from refnet.graph import SOURCE
from refnet.judge.measures.spread import spread
from refnet.judge.tensors import Reference, judge_tensors
from refnet.judge.verdicts import FAILING
from refnet.network import Network
from refnet.pack.probe import probe
from refnet.readings.bounds import Precision
from refnet.readings.shapes import shapes
from refnet.verification.sides import Sides
from refnet.verification.structure import folded_norms

__all__ = ["Behaviour", "Remark", "Trace", "behave", "inputs", "traced"]

Array = npt.NDArray[Any]
Trace = dict[str, Array]

_LOGITS = "head.flatten"
_MOST_BYTES, _MOST_TIMES = 200 << 20, 4  # of all tensors of a run: so many bytes, and so many times the weights'


class Remark(NamedTuple):
    """Why something was not done: 'not-run' with the file and what stopped it, 'large', 'size', 'int8' or 'shape'."""

    kind: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Behaviour:
    """What two files make of the same input.

    Attributes
    ----------
    images : how many, and `size` (height, width)
    verdicts : by node that both have; the original's names; empty where nothing can judge them
    end : the tensor that is compared at the end
    agree : for how many of `judged` the most probable class is the same
    judged : images; of a network that gives each pixel a class, pixels
    difference : the largest between the two ends, in units of the largest magnitude of the original's
    spread : how far refnet's own runs of the original lie apart there, in the same units
    remark : why something was not done, None where all was
    """

    images: int = 0
    size: tuple[int, int] = (0, 0)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    end: str = ""
    agree: int = 0
    judged: int = 0
    difference: float = float("nan")
    spread: float = float("nan")
    remark: Remark | None = None

    @property
    def wrong(self) -> list[str]:
        """The nodes that rounding does not explain, in order."""
        return [name for name, verdict in self.verdicts.items() if verdict in FAILING]

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes have each verdict."""
        return dict(Counter(self.verdicts.values()))


def traced(file: Checkpoint, x: Array | Remark) -> Trace | Remark:
    """Every tensor that a file's network makes of an input in float32, or why there are none."""
    if isinstance(x, Remark):
        return x
    try:
        net = Network(file.graph, file.params).astype(np.float32)
        with np.errstate(all="ignore"):
            return net.trace(x)
    except (RefnetError, ValueError, IndexError) as error:
        return Remark("not-run", {"file": file.path, "error": str(error)})


def inputs(file: Checkpoint, images: int = 2) -> Array | Remark:
    """The probe for a file's network: of large images fewer, or why there is none.

    A file of some kilobytes may declare images of any size; all tensors that its network makes of one are held.
    """
    numbers = sum(math.prod(shape) for shape in shapes(file.graph).values())
    most = (_MOST_BYTES + _MOST_TIMES * sum(array.nbytes for array in file.params.values())) // (4 * numbers)
    if not most:
        return Remark("large", {"file": file.path, "size": file.graph.recipe.size, "mib": 4 * numbers >> 20})
    return probe(file.graph, min(images, most))


def behave(
    sides: Sides,
    x: Array | Remark,
    first: Trace | Remark,
    second: Trace | Remark,
    short: str = "",
    moved: Collection[str] = (),
    other: Collection[str] = (),
) -> Behaviour:
    """Compare two runs.

    Parameters
    ----------
    x : the probe, or why there is none
    first, second : what the original and the copy made of it, from `traced`
    short : the format that the copy's weights were rounded to: 'float16', 'bfloat16'; 'int8' for steps that no bound
        of rounding covers, so that only the ends are compared
    moved : biases of the copy that were rounded with a constant added, which no bound on a node knows of: their values
        have been judged, and each node is judged with those that it has
    other : nodes whose tensors the copy holds otherwise, see `rearranged`: those behind them are judged
    """
    if isinstance(x, Remark):
        return Behaviour(remark=x)
    made = Behaviour(len(x), (x.shape[2], x.shape[3]))
    if isinstance(first, Remark):
        return replace(made, remark=first)
    if isinstance(second, Remark):
        return replace(made, remark=second)
    if short == "int8":
        made = replace(made, remark=Remark("int8", {}))
    else:
        made = replace(
            made,
            verdicts=_judged(
                sides, x, first, {name: y for name, y in second.items() if name not in other}, short, moved
            ),
        )
    return _ends(made, sides, x, first, second)


def _ends(made: Behaviour, sides: Sides, x: Array, first: Trace, second: Trace) -> Behaviour:
    """How far apart two runs end: the logits where both have them, else the last tensor of each."""
    end, other = sides.original.graph.output, sides.copy.graph.output
    if _LOGITS in first and _LOGITS in second:
        end = other = _LOGITS
    if first[end].shape != second[other].shape:
        shapes = {"node": end, "copy": second[other].shape, "original": first[end].shape}
        return replace(made, end=end, remark=Remark("shape", shapes))
    y, z = (_by_class(np.asarray(each, np.float64), x) for each in (first[end], second[other]))
    net = Network(sides.original.graph, sides.original.params).astype(np.float32)
    with np.errstate(all="ignore"):
        scale = float(np.abs(y).max()) or 1.0
        apart = float(np.abs(y - z).max()) / scale
        agree = int((y.argmax(axis=1) == z.argmax(axis=1)).sum())
        own = spread(net, x[:1], end) / scale
    return replace(made, end=end, agree=agree, judged=len(y), difference=apart, spread=own)


def _by_class(y: Array, x: Array) -> Array:
    """A row for each image; where a tensor has several channels and the size of the image, for each pixel."""
    if y.ndim == 4 and y.shape[1] > 1 and y.shape[2:] == x.shape[2:]:
        return y.transpose(0, 2, 3, 1).reshape(-1, y.shape[1])
    return y.reshape(len(x), -1)


def _judged(sides: Sides, x: Array, first: Trace, second: Trace, short: str, moved: Collection[str]) -> dict[str, str]:
    """The verdict on each tensor of the copy, given the copy's own inputs to it."""
    graph = sides.original.graph
    renamed = {conv: norm for norm, conv in folded_norms(graph, sides.copy.graph).items()}
    # Batch norms, and factors of means, of the copy alone: the convolution, or the mean, is not ours.
    inner = {*folded_norms(sides.copy.graph, graph), *factors_of_pools(sides.copy.graph, graph)}
    before = {node.inputs[0]: node.name for node in sides.copy.graph.nodes if node.name in inner}
    tensors = {renamed.get(name, name): second[before.get(name, name)] for name in second if name not in inner}
    own = {name: sides.copy.params[name] for name in moved if name in sides.original.params}
    params = {name: np.asarray(array, np.float64) for name, array in {**sides.original.params, **own}.items()}
    reference = Reference(graph, params, {**first, SOURCE: x}.__getitem__, ())  # the copy's own runs are judged alone
    precision = Precision.of(short) if short else None
    with np.errstate(all="ignore"):
        # Both are runs of refnet's own; in a short format constants are rounded too, as a port's inputs may be.
        found = judge_tensors(reference, tensors, precision=precision, explain=False, partial=True, dumped=bool(short))
    return {
        finding.name: finding.judgement.verdict
        for finding in found.findings
        if finding.name != SOURCE and finding.judgement.verdict not in ("inside", "missing")
    }
