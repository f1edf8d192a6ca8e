"""refnet: the pure NumPy golden reference of the MobileNet family."""

from refnet.errors import FormatError, GraphError, RefnetError, RequestError
from refnet.graph import Graph, Node, Recipe
from refnet.network import Network, load
from refnet.networks.build import build, models
from refnet.networks.random import random_input, random_params

__all__ = [
    "FormatError",
    "Graph",
    "GraphError",
    "Network",
    "Node",
    "Recipe",
    "RefnetError",
    "RequestError",
    "build",
    "load",
    "models",
    "random_input",
    "random_params",
]

__version__ = "0.1.0"
