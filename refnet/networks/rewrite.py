"""Graph, params -> graph, params: the same function of the input, written with other nodes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import Graph, Node
from refnet.ops import CONVOLUTIONS

__all__ = [
    "fold_batch_norm",
    "fold_graph",
    "fold_terms",
    "folded_arrays",
    "norms",
    "norms_ahead",
    "returning",
    "unfold_graph",
]

Params = Mapping[str, npt.NDArray[Any]]


def fold_batch_norm(
    graph: Graph, params: Params, *, keep: Collection[str] = ()
) -> tuple[Graph, dict[str, npt.NDArray[Any]]]:
    """Work each batch norm into the convolution before it.

    With s = gamma / sqrt(var + eps), per output channel: w' = s w and b' = s (b - mean) + beta. Works for dense,
    depthwise and pointwise convolutions, with and without bias. A batch norm that does not follow a convolution, or
    follows one that something else reads too, stays. Its readers read the convolution instead.

    Parameters
    ----------
    graph, params : a network or a segment of one; params of any float dtype
    keep : convolutions whose own tensor is wanted, so that their batch norm stays

    Returns
    -------
    graph, params : the folded network. The factors are computed in float64 and rounded once to the params' dtype.

    Notes
    -----
    Jacob et al., arXiv 1712.05877, eq. 14.

    Examples
    --------
    >>> folded, _ = fold_batch_norm(graph, params)  # doctest: +SKIP
    """
    return fold_graph(graph, keep), dict(folded_arrays(graph, params, keep))


def folded_arrays(graph: Graph, params: Params, keep: Collection[str] = ()) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The params of what `fold_batch_norm` makes, one by one; what nothing was worked into is as it was given."""
    folded = norms(graph, keep)
    left = {norm.name for norm in folded.values()}
    for node in graph.nodes:
        own = {slot: params[f"{node.name}.{slot}"] for slot in node.params}
        if node.name in folded:
            own = _folded(own, folded[node.name], params)
        if node.name not in left:
            yield from ((f"{node.name}.{slot}", array) for slot, array in own.items())


def fold_terms(graph: Graph, params: Params, keep: Collection[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """How large the terms are that cancel in each folded bias, by channel: abs(s b) + abs(s mean) + abs(beta).

    A fold in float32 rounds in proportion to these, not to the bias; see `fold_batch_norm` for s.
    """
    found = {}
    for conv, norm in norms(graph, keep).items():
        gamma, beta, mean, var = (np.asarray(params[f"{norm.name}.{slot}"], np.float64) for slot in norm.params)
        s = np.abs(gamma) / np.sqrt(var + norm.attrs["eps"])
        found[conv] = s * (np.abs(params.get(f"{conv}.b", 0.0)) + np.abs(mean)) + np.abs(beta)
    return found


def fold_graph(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """The nodes that are left once every batch norm has been folded; see `fold_batch_norm`."""
    folded = norms(graph, keep)
    biased = {
        conv: (replace(graph[conv], params={"w": graph[conv].params["w"], "b": norm.params["beta"]}),)
        for conv, norm in folded.items()
    }
    return graph.rewritten(biased).without({norm.name: conv for conv, norm in folded.items()})


def unfold_graph(graph: Graph, convs: Mapping[str, bool], eps: float) -> Graph:
    """The nodes as they are before batch norm is folded: one behind each of some convolutions.

    Parameters
    ----------
    convs : those that have no batch norm yet are given one; whether they have a bias beside it
    """
    has = norms(graph)
    for conv, biased in convs.items():
        if conv in has:
            continue
        node, vectors = graph[conv], dict.fromkeys(("gamma", "beta", "mean", "var"), graph[conv].params["w"][:1])
        kept = {slot: shape for slot, shape in node.params.items() if slot != "b" or biased}
        graph = graph.inserted(Node(f"{conv}.bn", "batch_norm", (conv,), vectors, {"eps": eps}), after=conv)
        graph = graph.replaced(conv, replace(node, params=kept))
    return graph


def returning(graph: Graph, names: Sequence[str]) -> Graph:
    """The part of a network that makes some of its tensors, and returns them.

    Raises
    ------
    RequestError : there is no such node; names the nearest
    """
    for name in names:
        if name not in graph:
            near = ", ".join(difflib.get_close_matches(name, list(graph.by_name), n=3, cutoff=0.4))
            raise RequestError(f"the network has no node {name!r}{f'; nearest: {near}' if near else ''}")
    if not names or len(set(names)) < len(names):
        raise RequestError("output: name each node that is to be returned once")
    return graph.leading_to(*names)


def norms(graph: Graph, keep: Collection[str] = ()) -> dict[str, Node]:
    """The batch norms that can be folded, by the name of the convolution that each follows; see `fold_batch_norm`."""
    return {unit.conv.name: unit.norm for unit in graph.units(keep) if unit.norm is not None}


def norms_ahead(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The batch norms that converters work into the convolutions which read them, by name, with these.

    They do so with one that follows no convolution, such as the one between a pool and a linear layer. A border of
    zeros is not normalised, so that a convolution which has one cannot take a batch norm in.
    """
    behind = {norm.name for norm in norms(graph).values()}
    found = {}
    for node in graph.nodes:
        readers = graph.readers()[node.name]
        if node.op != "batch_norm" or node.name in behind or node.name in graph.outputs or not readers:
            continue
        if all(each.op in CONVOLUTIONS and not any(map(any, each.attrs.get("pad", ()))) for each in readers):
            found[node.name] = tuple(each.name for each in readers)
    return found


def _folded(own: Params, norm: Node, params: Params) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a convolution with its batch norm worked in."""
    dtype = own["w"].dtype
    gamma, beta, mean, var = (params[f"{norm.name}.{slot}"].astype(np.float64) for slot in norm.params)
    s = gamma / np.sqrt(var + norm.attrs["eps"])
    w = own["w"] * s.reshape(-1, *(1,) * (own["w"].ndim - 1))
    b = s * (own.get("b", 0) - mean) + beta
    return {"w": w.astype(dtype), "b": b.astype(dtype)}
