"""refnet: the pure NumPy golden reference of the MobileNet family.

Every verb is here. Each is imported from its own room when it is first asked for, so that `import refnet` is quick.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refnet.errors import FormatError, GraphError, RefnetError, RequestError
    from refnet.evaluation.masks import evaluate_masks
    from refnet.evaluation.run import evaluate
    from refnet.exercises import exercise
    from refnet.files.checkpoint import identify
    from refnet.files.fetch import fetch
    from refnet.files.write import convert, write_weights
    from refnet.graph import Graph, Node, Recipe
    from refnet.judge.compare import compare
    from refnet.judge.integers.nodes import compare_integers
    from refnet.network import Network, load
    from refnet.network.quantised import QuantisedNetwork
    from refnet.network.quantising import quantise
    from refnet.networks.build import build, models
    from refnet.networks.random import random_input, random_params
    from refnet.networks.tables import Row, Table
    from refnet.pack.integers import read_integer_pack, write_integer_pack
    from refnet.pack.pack import read_pack, write_pack
    from refnet.pack.probe import probe
    from refnet.runtimes.hooks import hook
    from refnet.search.netadapt import netadapt
    from refnet.verification.verify import verify

__all__ = [
    "FormatError",
    "Graph",
    "GraphError",
    "Network",
    "Node",
    "QuantisedNetwork",
    "Recipe",
    "RefnetError",
    "RequestError",
    "Row",
    "Table",
    "build",
    "compare",
    "compare_integers",
    "convert",
    "evaluate",
    "evaluate_masks",
    "exercise",
    "fetch",
    "hook",
    "identify",
    "load",
    "models",
    "netadapt",
    "probe",
    "quantise",
    "random_input",
    "random_params",
    "read_integer_pack",
    "read_pack",
    "verify",
    "write_integer_pack",
    "write_pack",
    "write_weights",
]

__version__ = "0.1.0"

# The module of each name, as it is imported above.
_ROOMS = {
    "FormatError": "errors",
    "Graph": "graph",
    "GraphError": "errors",
    "Network": "network",
    "Node": "graph",
    "QuantisedNetwork": "network.quantised",
    "Recipe": "graph",
    "RefnetError": "errors",
    "RequestError": "errors",
    "Row": "networks.tables",
    "Table": "networks.tables",
    "build": "networks.build",
    "compare": "judge.compare",
    "compare_integers": "judge.integers.nodes",
    "convert": "files.write",
    "evaluate": "evaluation.run",
    "evaluate_masks": "evaluation.masks",
    "exercise": "exercises",
    "fetch": "files.fetch",
    "hook": "runtimes.hooks",
    "identify": "files.checkpoint",
    "load": "network",
    "models": "networks.build",
    "netadapt": "search.netadapt",
    "probe": "pack.probe",
    "quantise": "network.quantising",
    "random_input": "networks.random",
    "random_params": "networks.random",
    "read_integer_pack": "pack.integers",
    "read_pack": "pack.pack",
    "verify": "verification.verify",
    "write_integer_pack": "pack.integers",
    "write_pack": "pack.pack",
    "write_weights": "files.write",
}

if not TYPE_CHECKING:  # a checker of types would take it that every name is there

    def __getattr__(name):
        if name not in _ROOMS:
            raise AttributeError(f"module 'refnet' has no attribute {name!r}")
        room = importlib.import_module(f"refnet.{_ROOMS[name]}")
        value = globals()[name] = getattr(room, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
