"""The runtimes that can be measured, and the process in which each of them waits for its turn.

A peer is a process of its own: threads of one runtime that spin for work would otherwise slow the next. It reads
requests from standard input, one JSON document a line, and answers each with one line.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bench import onnx_peer, torch_peer
from refnet.errors import RequestError
from refnet.graph import Graph
from refnet.network import Network, load
from refnet.networks.build import build
from refnet.networks.random import random_input, random_params
from refnet.session import Session
from refnet.shares import cores

__all__ = ["PEERS", "VARIABLES", "Peer", "missing_package", "timed_network"]

Array = npt.NDArray[Any]


class Peer(NamedTuple):
    """A runtime: the packages that it takes, and what makes it from (graph, params, threads).

    Without a number of threads refnet takes those that pay, and another runtime all.
    """

    packages: tuple[str, ...]
    make: Callable[[Graph, Mapping[str, Array], Any], Callable[[Array], Callable[[], Array]]]


def _refnet(graph: Graph, params: Mapping[str, Array], threads: int | None) -> Callable[[Array], Callable[[], Array]]:
    session = Session(graph, params, threads=threads, copy=False)

    def prepare(x: Array) -> Callable[[], Array]:
        if len(x) > 1:
            session.start_workers()
        return lambda: session(x)

    return prepare


# What a peer's process has in its environment besides.
VARIABLES: Mapping[str, Mapping[str, str]] = {"refnet-avx2": {"OPENBLAS_CORETYPE": "Haswell"}}

PEERS: Mapping[str, Peer] = {
    "refnet": Peer((), _refnet),
    "refnet-avx2": Peer((), _refnet),
    "torch": Peer(("torch",), torch_peer.runner),
    "torch-channels-last": Peer(("torch",), partial(torch_peer.runner, channels_last=True)),
    "onnxruntime": Peer(("onnx", "onnxruntime"), onnx_peer.runtime),
    "onnx-reference": Peer(("onnx",), onnx_peer.reference),
}


def timed_network(
    model: str, width: float, size: tuple[int, int] | None
) -> tuple[Graph, Mapping[str, npt.NDArray[np.float32]]]:
    """What is timed: a known network with random weights, or the one in a file, up to its first output; in float32.

    Parameters
    ----------
    model : its name, or the path of a file
    width, size : of the known network; a file has its own width

    Raises
    ------
    FormatError, RequestError
        as `build` and `load` do; for a network of integers.
    """
    if not Path(model).exists():
        graph = build(model, width=width, size=size)
        return graph, random_params(graph)
    net = load(model, size=size)
    if not isinstance(net, Network):
        raise RequestError(f"{model}: a network of integers; bench times networks of floats")
    graph, arrays = net.graph.leading_to(net.graph.output), net.astype(np.float32).params
    return graph, {name: arrays[name] for name in graph.params()}


def missing_package(name: str) -> str | None:
    """The first package that a peer lacks here."""
    return next((package for package in PEERS[name].packages if importlib.util.find_spec(package) is None), None)


def _peak() -> int:
    """The most memory that this process has taken, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def _serve(name: str) -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    run: Callable[[], Array] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "model" in request:
            graph, params = timed_network(request["model"], request["width"], request["size"])
            x = random_input(graph, request["batch"])
            started = time.perf_counter()
            threads = request["threads"] or (cores() if PEERS[name].packages else None)
            run = PEERS[name].make(graph, params, threads)(x)
            y = run()
            first = time.perf_counter() - started
            while time.perf_counter() - started < request["warm"]:
                run()
            answer = {"first": first, "peak": _peak(), "output": np.asarray(y).tolist()}
        else:
            assert run is not None
            run()  # the other peers have emptied the caches
            answer = {"seconds": [_timed(run) for _ in range(request["runs"])]}
        print(json.dumps(answer), file=answers)


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    _serve(sys.argv[1])
