"""What a file holds, in its vendor's own words: arrays and, where the file tells, how they are used.

Nothing is interpreted here. An operation is called what the vendor calls it (`Conv`, `CONV_2D`, `DepthwiseConv2D`) and
its attributes are the vendor's too; only parsed, checked and bounded. `files.importers` translates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

__all__ = ["GRAPH", "Contents", "IntegerScale", "Operation", "Structure", "Submodule"]

Array = npt.NDArray[Any]

GRAPH = "__graph__"  # what the text of a graph is called among the arrays that it belongs to: bytes in UTF-8


class Operation(NamedTuple):
    """One operation of a file: what it is called, the tensors that it reads and makes, its attributes.

    Attributes
    ----------
    op : the vendor's name of the operation
    inputs : names of tensors, of arrays too; '' is an optional input that is absent
    outputs : names of the tensors that it makes
    attrs : numbers, strings, arrays, and nested tuples and dicts of them
    name : of the operation itself, where the file names it

    Notes
    -----
    A layer of Keras: `op` is its class_name, `inputs` the layers that it is called on, `outputs` its own name and
    `attrs` its config. Where it is called on numbers too, as in ``x + 3.0``, attrs['arguments'] lists all arguments of
    the call in order, with None in place of each layer: (None, 3.0).
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = {}
    name: str = ""


class IntegerScale(NamedTuple):
    """What integers stand for: scales * (integer - zero_points), one for the tensor or for each index of `axis`."""

    scales: Array
    zero_points: Array
    axis: int


class Structure(NamedTuple):
    """How the arrays of a file are used.

    Attributes
    ----------
    producer : what wrote the file, as far as it says
    operations : in order of execution
    inputs : name and shape of what the network is given, None where any length will do
    outputs : names of the tensors that it returns
    scales : of tensors that hold integers, in the file if not in `Contents.arrays`
    dtypes, shapes : of all tensors, where the file tells: 'int8', (1, 96, 96, 3); None where any length will do
    """

    producer: str
    operations: tuple[Operation, ...]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    scales: Mapping[str, IntegerScale] = {}
    dtypes: Mapping[str, str] = {}
    shapes: Mapping[str, tuple[int | None, ...]] = {}


class Submodule(NamedTuple):
    """What a module of PyTorch is, as a file that holds it whole says.

    Attributes
    ----------
    kind : the module and name of its class: 'torch.nn.modules.conv.Conv2d'
    settings : its plain attributes: stride, eps, inplace
    """

    kind: str
    settings: Mapping[str, Any]


class Contents(NamedTuple):
    """Everything that a file of weights holds.

    Attributes
    ----------
    kind : 'pth', 'npz', 'safetensors', 'hdf5', 'keras', 'onnx', 'tflite', 'tfjs-layers', 'tfjs-graph', 'openvino',
        'ncnn', 'tensorflow' (a frozen graph or a SavedModel) or 'checkpoint' (TensorFlow's)
    arrays : by the file's own names, in its order and dtype (bfloat16 widened to float32), C-contiguous
    structure : how they are used; None where the file does not tell
    submodules : of a PyTorch module saved whole, what each part of it is, by its path; nothing for all other files
    wrappers : the entries of a PyTorch checkpoint that the arrays were found in, the outermost first
    beside : its other entries, which were passed over: 'optimizer', 'epoch'
    stored : the dtype in the file, of arrays that are not as the file has them: floats that integers stand for
    graph : the text of the graph that refnet wrote beside the arrays, '' where there is none
    labels : texts that name classes, in the file's metadata or in a file beside it, by where they are from
    integers : of PyTorch's quantised tensors: the integers that arrays stand for, and what they stand for
    steps : of PyTorch's quantised modules: scale and zero point of what a module makes, by its path
    described : the same with the structure that a file beside it tells, where the file itself tells none
    """

    kind: str
    arrays: dict[str, Array]
    structure: Structure | None = None
    submodules: Mapping[str, Submodule] = {}
    wrappers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    stored: Mapping[str, str] = {}
    graph: str = ""
    labels: Mapping[str, str] = {}
    integers: Mapping[str, tuple[Array, IntegerScale]] = {}
    steps: Mapping[str, tuple[float, int]] = {}
    described: Contents | None = None

    def dtype(self, name: str) -> str:
        """The dtype that the file has an array in."""
        return self.stored.get(name, str(self.arrays[name].dtype))
