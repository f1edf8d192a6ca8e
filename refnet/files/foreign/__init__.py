"""A file that says how its arrays are used -> a graph of refnet's, with the file's own names.

Knows vendors' operations and refnet's, and no network: `onnx`, `tflite` and `keras` have one function for each
operation of that vendor, `tidy` then brings the graph into the form that refnet's networks have. What refnet's
operations cannot say is refused, by the name of the operation and its place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.files.containers.structure import Contents
from refnet.graph import Graph

__all__ = ["Foreign", "translate"]


class Foreign(NamedTuple):
    """A file as a network.

    Attributes
    ----------
    graph : nodes named after the file's tensors (made unique, fit to be names); its recipe has model '' and width 1
    params : by 'node.slot', in refnet's layout; float16 widened to float32, integers dequantised in float32
    keys : by 'node.slot', the file's own name of the array
    stored : by 'node.slot', the dtype in the file: 'float32', 'float16', 'int8', ...
    """

    graph: Graph
    params: dict[str, npt.NDArray[Any]]
    keys: dict[str, str]
    stored: dict[str, str]


def translate(contents: Contents, size: tuple[int, int] | None = None) -> Foreign:
    """Write a file's own structure in refnet's operations.

    Parameters
    ----------
    contents : of a file that tells its structure
    size : (height, width) of the images, where the file leaves them open

    Returns
    -------
    foreign : the graph, checked, and its params

    Raises
    ------
    FormatError
        if an operation, or how it is used, cannot be said in refnet's operations: names operation and place.
    RequestError
        if the file leaves the size of its input open and `size` is None.
    """
    raise NotImplementedError
