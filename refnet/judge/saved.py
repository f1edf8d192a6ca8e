"""The vendors' saved outputs that ship with refnet, and how a network of refnet compares with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files import shipped
from refnet.graph import SOURCE, Graph
from refnet.judge.measures.spread import spread
from refnet.judge.measures.sure import sure_verdict
from refnet.judge.verdicts import Judgement, judge
from refnet.network import Network
from refnet.networks.build import build, find
from refnet.networks.random import random_input, random_params
from refnet.readings.bounds import Precision, bound
from refnet.readings.orders import ORDERS
from refnet.threads import on_one_thread

__all__ = ["AGREEMENT", "Checked", "Saved", "check_saved", "end_of", "judge_nodes", "saved"]

Array = npt.NDArray[Any]

AGREEMENT = 1e-11  # of the largest logit: what float64 runs of one network are asked to agree to

_FORMAT = "refnet outputs 1"
_FILES = ("torchvision", "timm", "keras", "others", "segmentation")
_STEP = 9  # of a map every ninth row and column is saved
_LOGITS = "head.flatten"


class Saved(NamedTuple):
    """Logits of one configuration from the vendor's own module, on weights that are a function of their names.

    (N, classes) of a classifier; of a segmentation network (N, classes, H, W) of every ninth row and column.
    """

    model: str
    width: float
    size: tuple[int, int]
    logits64: Array
    logits32: Array


class Checked(NamedTuple):
    """One configuration run on this machine, beside the vendor's saved outputs.

    Attributes
    ----------
    error64 : largest difference of the float64 logits, relative to the largest logit
    error32, vendor32 : refnet's and the vendor's float32 logits against refnet's float64 ones, relative likewise
    asked64 : what error64 was held to
    verdict : 'agrees'; 'differs' where the float64 logits do; or the name of the first node whose float32 tensor
        rounding does not explain
    """

    model: str
    width: float
    size: tuple[int, int]
    error64: float
    error32: float
    vendor32: float
    asked64: float
    verdict: str


def saved(model: str | None = None) -> Iterator[Saved]:
    """Every saved configuration, or those of one model, in a fixed order.

    Raises
    ------
    RequestError
        if nothing is saved for the model.
    """
    found = False
    for file in _FILES:
        arrays = _read(file)
        for key in arrays:
            name, width, size, what = key.split("|") if "|" in key else ("", "", "", "")
            if what == "logits64" and model in (None, name):
                height, _, across = size.partition("x")
                stem = key.removesuffix(what)
                found = True
                yield Saved(name, float(width), (int(height), int(across)), arrays[key], arrays[f"{stem}logits32"])
    if not found:
        find(str(model))
        raise RequestError(f"no outputs are saved for {model}; see refnet check --list")


@cache
def _read(file: str) -> dict[str, Array]:
    path = shipped.path(f"outputs_{file}.npz")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    if json.loads(str(arrays["meta"]))["format"] != _FORMAT:
        raise FormatError(f"{path}: is not of the format {_FORMAT!r}; install refnet again")
    return arrays


@on_one_thread
def check_saved(case: Saved) -> Checked:
    """Run one saved configuration in float64 and float32 and compare.

    The float64 logits are compared with the vendor's: to 1e-11 of the largest or, where float64 itself leaves more
    open, to the spread of refnet's own float64 runs. Through a whole network float32 errors have no bound that says
    anything, so there every node is judged by itself, on its own inputs.
    """
    graph = build(case.model, width=case.width, size=case.size)
    net = Network(graph, random_params(graph))
    x = random_input(graph, 2)[: len(case.logits64)]
    end, shown = end_of(graph)
    steps = net.astype(np.float64).steps(x.astype(np.float64))
    logits64 = next(y for node, y in steps if node.name == end)[shown]
    tensors = {SOURCE: x, **net.trace(x)}
    largest = float(np.abs(case.logits64).max())

    def distance(one: Array, other: Array) -> float:
        return float(np.abs(one.astype(np.float64) - other).max()) / largest

    error64 = distance(logits64, case.logits64)
    asked = AGREEMENT
    if error64 > AGREEMENT:  # a network that amplifies rounding that far does so among refnet's own runs too
        others = {name: rules for name, rules in ORDERS.items() if name != "fast"}  # that one is being checked
        asked = max(asked, spread(net.astype(np.float64), x.astype(np.float64), end, others) / largest)
    judged = judge_nodes(graph, net.params, tensors, True)
    wrong = next((name for name, judgement in judged if not judgement.holds), None)
    verdict = "differs" if error64 > asked else wrong or "agrees"
    errors = error64, distance(tensors[end][shown], logits64), distance(case.logits32, logits64)
    return Checked(case.model, case.width, case.size, *errors, asked, verdict)


def end_of(graph: Graph) -> tuple[str, tuple[slice, ...]]:
    """The node whose numbers are saved, and which of them."""
    if _LOGITS in graph:
        return _LOGITS, ()
    return graph.output, (slice(None), slice(None), slice(None, None, _STEP), slice(None, None, _STEP))


def judge_nodes(
    graph: Graph, params: Mapping[str, Array], tensors: Mapping[str, Array], doubtful: bool = False
) -> Iterator[tuple[str, Judgement]]:
    """Judge every node's tensor on the tensors that it was made from.

    Parameters
    ----------
    tensors : of every node and the input, all in one precision, float32 or float64
    doubtful : leave out what lies so far within its bound that half of the time is enough to say so
    """
    precision = Precision.of(str(tensors[SOURCE].dtype))
    for node in graph.nodes:
        one, y = Graph(graph.recipe, (node,)), tensors[node.name]
        given = {name: tensors[name] for name in node.inputs}
        if not (doubtful and sure_verdict(one, params, given, y)):
            yield node.name, judge(y, bound(one, params, given, precision))
