"""A file that says how its arrays are used -> a graph of refnet's, with the file's own names.

Knows vendors' operations and refnet's, and no network: `onnx`, `tflite` and `keras` have one function for each
operation of that vendor, `tidy` then brings the graph into the form that refnet's networks have. What refnet's
operations cannot say is refused, by the name of the operation and its place.
"""

from __future__ import annotations

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents
from refnet.files.foreign import keras, onnx, tflite
from refnet.files.foreign.tidy import tidy
from refnet.files.foreign.types import Foreign

__all__ = ["Foreign", "translate"]

_TRANSLATORS = {"onnx": onnx.translate, "tflite": tflite.translate, "hdf5": keras.translate, "keras": keras.translate}


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
        if the file leaves the size of its images open and `size` is None, or has another size.

    Examples
    --------
    >>> from refnet.files import containers
    >>> foreign = translate(containers.read("mobilenet.onnx"))  # doctest: +SKIP
    """
    if contents.structure is None:
        raise FormatError("the file does not say how its arrays are used")
    return tidy(_TRANSLATORS[contents.kind](contents, size))
