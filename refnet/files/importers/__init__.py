"""A file that says how its arrays are used -> a graph of refnet's, with the file's own names.

Knows vendors' operations and refnet's, and no network: one module for each vendor has one function for each of its
operations, `canonicalise` then brings the graph into the form that refnet's networks have. What refnet's operations
cannot say is refused, by the name of the operation and its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents
from refnet.files.importers.canonical import canonicalise
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.onnx_real import cut_at_six, real_operations
from refnet.files.importers.stored import import_stored

__all__ = ["ImportedGraph", "import_graph", "in_real_numbers", "readings_of"]

# Of each kind of file the module that reads it, which is imported when there is such a file.
_IMPORTERS = {
    "onnx": "onnx",
    "tflite": "tflite",
    "hdf5": "keras",
    "keras": "keras",
    "ncnn": "ncnn",
    "openvino": "openvino",
    "tfjs-layers": "keras",
    "tfjs-graph": "tensorflow",
    "tensorflow": "tensorflow",
}


def import_graph(contents: Contents, size: tuple[int, int] | None = None) -> ImportedGraph:
    """Write a file's own structure in refnet's operations.

    Parameters
    ----------
    contents : of a file that tells its structure
    size : (height, width) of the images, where the file leaves them open

    Returns
    -------
    imported : the graph, checked, and its params

    Raises
    ------
    FormatError
        if an operation, or how it is used, cannot be said in refnet's operations: names operation and place.
    RequestError
        if the file leaves the size of its images open and `size` is None, or has another size.

    Examples
    --------
    >>> from refnet.files import containers
    >>> imported = import_graph(containers.read("mobilenet.onnx"))  # doctest: +SKIP
    """
    if contents.graph:
        return import_stored(contents)
    if contents.structure is None:
        raise FormatError("the file does not say how its arrays are used")
    vendor = _IMPORTERS[contents.kind]
    module = import_module(f"{__name__}.{vendor}")
    made: Callable[[Contents, tuple[int, int] | None], ImportedGraph] = getattr(module, f"import_{vendor}")
    return canonicalise(made(contents, size))


def readings_of(contents: Contents) -> Iterator[Contents]:
    """A file whose operations are on real numbers, as all that these may be: ranges of integers may hide a relu6."""
    real = in_real_numbers(contents)
    yield real
    if contents.kind == "onnx" and (other := cut_at_six(real)) is not None:
        yield other


def in_real_numbers(contents: Contents) -> Contents:
    """A file whose operations are on real numbers: those of ONNX on integers are made such, others are so in the file.

    The scales of its structure are then those of all integers, by the keys that `import_graph` gives arrays.
    """
    return real_operations(contents) if contents.kind == "onnx" and contents.structure is not None else contents
