"""Networks to verify, and an exporter of the tests' own that folds in float32, right or wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

import refnet
from refnet.alignment.differences import Standing
from refnet.files.checkpoint import Checkpoint
from refnet.graph import Graph
from refnet.networks.rewrite import fold_batch_norm

Params = dict[str, np.ndarray]
Fold = Callable[..., tuple[np.ndarray, np.ndarray]]

FAMILIES = {
    "v1": ("keras/MobileNet", 0.25),
    "v2": ("torchvision/mobilenet_v2", 0.35),
    "v3-small": ("torchvision/mobilenet_v3_small", 0.35),
    "v3-large": ("timm/tf_mobilenetv3_large_075", 1.0),
    "mnasnet": ("timm/semnasnet_050", 1.0),
    "article": ("article/torch_small", 0.5),
}


@cache
def network(family: str) -> tuple[Graph, Params]:
    """A narrow network of a family for small images, with random weights; never to be written to."""
    name, width = FAMILIES[family]
    graph = refnet.build(name, width=width, size=(48, 40), classes=10)
    return graph, refnet.random_params(graph)


@cache
def beginning(family: str, end: str) -> tuple[Graph, Params]:
    """The same network up to one of its nodes, and no weights behind it."""
    graph, params = network(family)
    graph = graph.leading_to(end)
    return graph, {f"{node.name}.{slot}": params[f"{node.name}.{slot}"] for node in graph.nodes for slot in node.params}


def trained(params: Params) -> Params:
    """Weights with the heavy tails that training leaves."""
    return {n: (np.sign(y) * np.abs(y) ** 1.5 if n.endswith(".w") else y).astype(np.float32) for n, y in params.items()}


def checkpoint(graph: Graph, params: Params, path: str = "file", **fields: object) -> Checkpoint:
    """What `identify` would say of a file of these weights under refnet's names."""
    made = Checkpoint(
        path=path,
        kind="npz",
        scheme="refnet",
        standing=Standing("known", graph.recipe.model, graph.recipe.width),
        graph=graph,
        params=params,
        stored={name: str(array.dtype) for name, array in params.items()},
        keys={name: name for name in params},
        models=(graph.recipe.model,),
        folded=all(node.op != "batch_norm" for node in graph.nodes),
    )
    return replace(made, **fields)


def put(w: np.ndarray, index, value: float) -> np.ndarray:
    """The array with one element, or a slice, replaced."""
    w = w.copy()
    w[index] = value
    return w


def textbook(w, b, gamma, beta, mean, var, eps):
    """The fold as exporters do it, in float32 throughout."""
    s = gamma / np.sqrt(var + np.float32(eps))
    return w * s.reshape(-1, *(1,) * (w.ndim - 1)), (b - mean) * s + beta


def reciprocal(w, b, gamma, beta, mean, var, eps):
    """The same by the reciprocal root, and with the bias multiplied out."""
    s = np.float32(1) / np.sqrt(var + np.float32(eps)) * gamma
    return s.reshape(-1, *(1,) * (w.ndim - 1)) * w, beta + b * s - mean * s


def exported(graph: Graph, params: Params, fold: Fold = textbook, only: dict[str, Fold] | None = None) -> Checkpoint:
    """A folded copy; `only` folds some layers in another way."""
    folded, _ = fold_batch_norm(graph, params)
    norms = {node.inputs[0]: node for node in graph.nodes if node.op == "batch_norm"}
    made = {}
    for node in folded.nodes:
        own = {slot: params.get(f"{node.name}.{slot}") for slot in node.params}
        if node.name in norms:
            norm = norms[node.name]
            arrays = [params[f"{norm.name}.{slot}"] for slot in ("gamma", "beta", "mean", "var")]
            b = own["b"] if own["b"] is not None else np.zeros(len(own["w"]), np.float32)
            how = (only or {}).get(node.name, fold)
            w, b = how(own["w"], b, *arrays, norm.attrs["eps"])
            own = {"w": w.astype(np.float32), "b": b.astype(np.float32)}
        made |= {f"{node.name}.{slot}": np.ascontiguousarray(array) for slot, array in own.items()}
    return checkpoint(folded, made, "export")
