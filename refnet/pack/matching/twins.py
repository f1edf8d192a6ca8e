"""A port that folds batch norm and dumps what it has under both names, the convolution's and the batch norm's.

Where batch norm is folded there is no tensor between both. Code that replaces the batch norm by nothing, as PyTorch's
fusion does, hands over the same numbers again, and so does an activation that was fused. Where a bias is an operation
of its own there is one tensor more: the sum before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.network import Network
from refnet.pack.matching.claims import Known
from refnet.pack.matching.likeness import CLEAR, Tables
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = ["before_biases", "biased", "folded_twins", "unbiased"]

_FIRST = 4  # channels that are looked at before all are
_ROUNDED = 8 * FLOATS["float32"].u  # a batch norm rounds six times, a sum with a bias once; and it is stored
_FEWEST = 3  # layers: of fewer, a dump that took a tensor too late is as likely


class _DumpedTensor(Protocol):
    @property
    def array(self) -> npt.NDArray[Any]: ...

    @property
    def layout(self) -> str: ...

    @property
    def how(self) -> str: ...


def folded_twins(graph: Graph, tensors: Mapping[str, _DumpedTensor]) -> tuple[str, ...]:
    """The nodes whose tensor is that of the batch norm, or activation, behind them; () unless all convolutions are so.

    Parameters
    ----------
    tensors : by node

    Examples
    --------
    >>> from refnet import build
    >>> from refnet.pack.matching.match import MatchedTensor
    >>> y = MatchedTensor(lambda: np.ones(3), "y", "nchw", "name")
    >>> names = [f"block{i}.expand{end}" for i in (2, 3, 4) for end in ("", ".bn")]
    >>> folded_twins(build("torchvision/mobilenet_v2"), dict.fromkeys(names, y))
    ('block2.expand', 'block3.expand', 'block4.expand')
    """
    found: list[str] = []
    layers = 0
    for unit in graph.units():
        if unit.norm is None or unit.conv.name not in tensors or unit.norm.name not in tensors:
            continue
        if "unknown" in (tensors[unit.conv.name].layout, tensors[unit.norm.name].layout):
            return ()
        norm = tensors[unit.norm.name].array
        if not np.array_equal(tensors[unit.conv.name].array, norm):
            return ()
        layers += 1
        found.append(unit.conv.name)
        if unit.act is not None and unit.act.name in tensors and np.array_equal(norm, tensors[unit.act.name].array):
            found.append(unit.norm.name)
    return tuple(found) if layers >= _FEWEST else ()


def unbiased(graph: Graph, tensors: Mapping[str, _DumpedTensor], guessed: Set[str]) -> tuple[str, ...]:
    """The nodes under whose names is a sum before its bias is added, where what has the bias is there, too.

    A runtime that folds batch norm, and adds a bias by itself, has such sums: that of a batch norm but for one number
    in each channel. That of a last layer is not what flattens the last layer: of two that are told by their order, the
    first is the sum.

    Parameters
    ----------
    tensors : by node
    guessed : the nodes that may have been given such a sum
    """
    whole = {name: each for name, each in tensors.items() if each.layout != "unknown"}
    found = [
        unit.conv.name
        for unit in graph.units()
        if unit.norm is not None
        and unit.conv.name in whole.keys() & guessed
        and unit.norm.name in whole
        and _is_shifted(whole[unit.conv.name].array, whole[unit.norm.name].array)
    ]
    for node in graph.nodes:
        before = whole.get(node.inputs[0])
        if node.op == "flatten" and node.name in whole.keys() & guessed and before is not None:
            y, flat = before.array, whole[node.name].array
            store = min(y.dtype, flat.dtype, key=lambda dtype: dtype.itemsize)
            if y.size == flat.size and not np.array_equal(y.ravel().astype(store), flat.ravel().astype(store)):
                ordered = {before.how, whole[node.name].how} == {"order"}
                found.append(node.inputs[0] if ordered else node.name)
    return tuple(found)


def biased(
    tables: Tables, network: Network, known: Mapping[str, Known], guessed: Set[str]
) -> Iterator[tuple[str, Known]]:
    """The layers that were given their sum before the bias, each with the tensor that has the bias.

    That is a tensor which is no node's, or that of what flattens the layer.

    Parameters
    ----------
    known : by node, the candidate's tensors
    guessed : the nodes that may have been given such a sum
    """
    flats = [node for node in network.graph.nodes if node.op == "flatten" and node.name in known]
    flat = {node.inputs[0]: known[node.name].source for node in flats}
    taken = {each.source for each in known.values()}
    for node in network.graph.nodes:
        own = known.get(node.name)
        if "b" not in node.params or node.name not in guessed or own is None or not tables.fits(own.source, node.name):
            continue
        free = [name for name in tables.candidate if name not in taken and tables.fits(name, node.name)]
        others = [*([flat[node.name]] if node.name in flat else []), *free]
        found = _with_bias(tables, node.name, own, network.params[f"{node.name}.b"], others) if others else None
        if found is not None:
            taken.add(found.source)
            yield node.name, found


def before_biases(tables: Tables, network: Network, known: Mapping[str, Known], guessed: Set[str]) -> Iterator[str]:
    """The layers that were given their sum before the bias, where only what reads them was made with the bias.

    A port that fuses a layer with its activation has no tensor with the bias alone.

    Parameters
    ----------
    known : by node, the candidate's tensors
    guessed : the nodes that may have been given such a sum
    """
    for unit in network.graph.units():
        node, act = unit.conv, unit.act
        own, read = known.get(node.name), None if act is None else known.get(act.name)
        if own is None or read is None or act is None or unit.norm is not None or node.name not in guessed:
            continue
        if "b" in node.params and tables.fits(own.source, node.name) and act.inputs == (node.name,):
            y = tables.array(own.source, node.name, own.layout).astype(np.float64)
            b = network.params[f"{node.name}.b"].reshape(1, -1, *[1] * (y.ndim - 2))
            t = tables.array(read.source, act.name, read.layout)
            rounded = _rounding(t) * float(np.linalg.norm(y) + np.linalg.norm(b))
            right, wrong = (float(np.linalg.norm(t - getattr(fast, act.op)(z, **act.attrs))) for z in (y + b, y))
            if right <= rounded < wrong:
                yield node.name


def _with_bias(tables: Tables, node: str, own: Known, b: npt.NDArray[Any], others: Sequence[str]) -> Known | None:
    """The first tensor that is a layer's with its bias, if its own lacks that."""
    y = tables.array(own.source, node, own.layout)
    rounded = _rounding(y)
    right = tables.sample(node, y.astype(np.float64) + b.reshape(1, -1, *[1] * (y.ndim - 2)))
    if tables.like(own.source, node, right).distance <= CLEAR * rounded:
        return None  # no bias that could be seen
    likes = {name: tables.like(name, node, right) for name in others}
    return next((Known(name, like.layout) for name, like in likes.items() if like.distance <= rounded), None)


def _rounding(y: npt.NDArray[Any]) -> float:
    """How far rounding may move a sum with a bias, relative to its size, in what it is stored in."""
    return _ROUNDED if y.dtype.kind != "f" else max(_ROUNDED, 4 * float(np.finfo(y.dtype).eps))


def _is_shifted(y: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two tensors differ by one number in each channel, where they vary within it."""
    if y.shape != other.shape or y.ndim != 4 or y[:, 0].size < 2:
        return False
    if y.shape[1] > _FIRST and not _is_shifted(y[:, :_FIRST], other[:, :_FIRST]):
        return False
    rounded = max(_rounding(y), _rounding(other))
    y, other = (each.astype(np.float64) for each in (y, other))
    room = rounded * float(np.linalg.norm(y) + np.linalg.norm(other))
    return _varying(y - other) <= room < _varying(y)


def _varying(y: npt.NDArray[Any]) -> float:
    """How much a tensor varies within its channels, as a norm."""
    return float(np.linalg.norm(y - y.mean(axis=(0, 2, 3), keepdims=True)))
