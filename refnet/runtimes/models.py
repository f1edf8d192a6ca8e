"""A candidate that is a model: an .onnx or .tflite file, run by its own runtime where that is installed.

A runtime may fuse a convolution with its batch norm and activation, and asking for a tensor in between would stop it.
So only the ends of segments are asked for: tensors that something else than an elementwise operation on the same
tensor reads. Weights, and tensors that only move numbers about (reshape, transpose), are left out.

The runtime runs in a process of its own, since one that is given a damaged file may crash: TensorFlow's interpreter
does so with most of them. Otherwise it is given the file as it is: run no model that you would not run otherwise.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet import child
from refnet.errors import FormatError, RefnetError, RequestError
from refnet.files.containers.structure import Operation

__all__ = ["Ran", "is_model", "run_and_save", "run_model", "segment_ends"]

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]  # None: any length

_SUMS = ("conv", "conv2d", "depthwiseconv2d", "gemm", "matmul", "fullyconnected")  # what an activation is fused with
# fmt: off
_MOVES = {
    "reshape", "flatten", "squeeze", "unsqueeze", "expanddims", "transpose", "identity", "dropout", "shape", "slice",
    "stridedslice", "gather", "concat", "concatenation", "pack", "pad", "constant", "constantofshape",
}
_ELEMENTWISE = {
    "add", "sub", "mul", "div", "min", "minimum", "max", "maximum", "neg", "exp", "clip", "relu", "relu6", "relu0to1",
    "relun1to1", "sigmoid", "logistic", "hardsigmoid", "hardswish", "swish", "silu", "batchnormalization", "cast",
    "quantizelinear", "dequantizelinear", "quantize", "dequantize",
}
# fmt: on


class Ran(NamedTuple):
    """What a model made: its tensors by its own names; scale and zero point of those that hold integers.

    The input is among them where the model was fed other numbers than x, because it takes integers or float16.
    `weights` is 'int8' where every convolution's are, symmetric, the largest of each filter 127 steps.
    """

    tensors: dict[str, Array]
    scales: dict[str, tuple[float, int]]
    weights: str = ""


def is_model(path: str | Path) -> bool:
    """Whether a path is that of a file which a runtime can run, by its ending."""
    return Path(path).suffix in _RUNTIMES and not Path(path).is_dir()


def run_model(path: str | Path, x: Array) -> Ran:
    """Run a model and return the tensors at the ends of its segments.

    Parameters
    ----------
    path : of an .onnx or .tflite file
    x : (N, C, H, W) array; the model is given it as (N, H, W, C) if that is what its input's shape says, and N / B
        times B images if it takes only B at once

    Returns
    -------
    Ran : tensors as the model lays them out

    Raises
    ------
    RequestError
        if the runtime is not installed, with the pip command; if the model does not take x.
    FormatError
        if the file is damaged, if the runtime refuses it or crashes.
    FileNotFoundError
        if there is no such file.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(8)
    if not start:
        raise FormatError(f"{path}: is empty")
    if path.suffix == ".tflite" and start[4:] != b"TFL3":
        raise FormatError(f"{path}: is no TFLite model: it does not say TFL3 at the start")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "x.npy"), x)
        command = "import sys; from refnet.runtimes.models import run_and_save; run_and_save(*sys.argv[1:])"
        ran = subprocess.run(
            child.python("-c", command, str(path), folder),
            env=child.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if ran.returncode:
            raise FormatError(f"{path}: damaged, or too much for its runtime, which {_end(ran)}")
        return _collected(Path(folder))


def run_and_save(path: str, folder: str) -> None:
    """What the other process does: run the model on folder/x.npy; leave its tensors there, or why there are none."""
    made: dict[str, Any] = {}
    try:
        ran = _RUNTIMES[Path(path).suffix](Path(path), np.load(Path(folder, "x.npy")))
        made = {"names": list(ran.tensors), "scales": ran.scales, "weights": ran.weights}
        np.savez(Path(folder, "made.npz"), *ran.tensors.values())
    except RefnetError as error:
        made = {"error": type(error).__name__, "reason": str(error)}
    Path(folder, "made.json").write_text(json.dumps(made))


def _collected(folder: Path) -> Ran:
    """What `run_and_save` left."""
    made = json.loads((folder / "made.json").read_text())
    if "error" in made:
        raise {"FormatError": FormatError, "RequestError": RequestError}[made["error"]](made["reason"])
    with np.load(folder / "made.npz", allow_pickle=False) as archive:
        tensors = {name: archive[f"arr_{index}"] for index, name in enumerate(made["names"])}
    scales = {name: (scale, zero_point) for name, (scale, zero_point) in made["scales"].items()}
    return Ran(tensors, scales, made["weights"])


def _end(ran: subprocess.CompletedProcess[str]) -> str:
    """How a process ended, in words."""
    if ran.returncode < 0:
        return f"crashed ({signal.Signals(-ran.returncode).name})"
    return f"said: {(ran.stderr.strip().splitlines() or ['nothing'])[-1][:300]}"


def segment_ends(operations: Iterable[Operation], constants: Collection[str], outputs: Collection[str]) -> list[str]:
    """The tensors at the ends of segments, in order.

    Every tensor that is made elementwise from one other tensor and constants belongs to that one, its root: batch norm,
    activations, also those written out as several operations, and x * sigmoid(x). An operation on two roots (a
    residual sum, a gate) makes a root. An end is a tensor that an operation outside its root's family reads or that
    the model returns; and a root that is no convolution's, for nothing is fused there.

    Parameters
    ----------
    operations : in order of execution
    constants : names of weights
    outputs : what the model returns

    Examples
    --------
    >>> conv, relu = Operation("Conv", ("x", "w"), ("c",)), Operation("Relu", ("c",), ("r",))
    >>> segment_ends([conv, relu, Operation("GlobalAveragePool", ("r",), ("p",))], ("w",), ("p",))
    ['r', 'p']
    """
    fixed = set(constants)
    root: dict[str, str] = {}
    made: dict[str, str] = {}  # tensor -> the operation that made it
    read: set[str] = set()  # from outside of their families
    for operation in operations:
        op = _op(operation)
        inputs = [name for name in operation.inputs if name and name not in fixed]
        if not inputs:
            fixed |= set(operation.outputs)
            continue
        roots = {root.get(name, name) for name in inputs}
        within = op in _ELEMENTWISE and len(roots) == 1
        for name in operation.outputs:
            made[name] = op
            root[name] = next(iter(roots)) if within else name
        if not within:
            read |= set(inputs)
    return [
        name
        for name, op in made.items()
        if name in outputs or (op not in _MOVES and (name in read or (root[name] == name and op not in _SUMS)))
    ]


def _op(operation: Operation) -> str:
    """What an operation is called, spelled alike for every runtime."""
    return operation.op.replace("_", "").lower()


# --------------------------------------------------------------------------------------------------------------- onnx


def _onnx(path: Path, x: Array) -> Ran:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise _missing(path, "onnx onnxruntime", error) from None
    with _Refused(path, "the onnx package"):
        model = onnx.load(str(path))
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer} | {
        tensor.values.name for tensor in graph.sparse_initializer
    }
    name, shape = _only_input(
        path, [(i.name, _onnx_shape(i.type.tensor_type.shape)) for i in graph.input if i.name not in constants]
    )
    outputs = [output.name for output in graph.output]
    operations = [Operation(node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node]
    wanted = segment_ends(operations, constants, outputs)
    graph.output.extend([onnx.ValueInfoProto(name=end) for end in wanted if end not in outputs])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with _Refused(path, "onnxruntime"):
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        kind = session.get_inputs()[0].type  # 'tensor(float)'
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    if kind not in types:
        raise RequestError(f"{path}: its input {name!r} is a {kind}; take a model that is given float32")
    order, fed = _fed(path, x, shape, "nchw")
    fed = fed.astype(types[kind])
    tensors: dict[str, Array] = {} if np.array_equal(fed, order(x)) else {name: fed}
    with _Refused(path, "onnxruntime"):
        parts = [session.run(wanted, {name: part}) for part in _batches(path, fed, shape[0])]
    tensors |= {end: _joined(arrays) for end, *arrays in zip(wanted, *parts, strict=True)}
    return Ran({end: y for end, y in tensors.items() if y.dtype.kind == "f" and y.ndim}, {})


def _onnx_shape(shape: Any) -> Shape:
    """Lengths that are named or left open (Paddle writes -1) are None."""
    return tuple(side.dim_value if side.dim_value > 0 else None for side in shape.dim)


# ------------------------------------------------------------------------------------------------------------- tflite


def _tflite(path: Path, x: Array) -> Ran:
    interpreter_of = _interpreter(path)
    with _Refused(path, "the TFLite interpreter"):
        interpreter = interpreter_of(model_path=str(path), experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
        details = {str(entry["index"]): entry for entry in interpreter.get_tensor_details()}
        inputs = [(str(entry["index"]), _tflite_shape(entry)) for entry in interpreter.get_input_details()]
        outputs = [str(entry["index"]) for entry in interpreter.get_output_details()]
        operations = [_operation(entry) for entry in interpreter._get_ops_details()]
    key, shape = _only_input(path, inputs)
    made = {name for operation in operations for name in operation.outputs}
    wanted = [end for end in segment_ends(operations, set(details) - made - {key}, outputs) if _is_real(details[end])]
    _, real = _fed(path, x, shape, "nhwc")
    fed = _quantised(path, real, details[key])
    keep = [*wanted, key] if fed.dtype.kind != "f" or not np.array_equal(fed, real) else wanted
    with _Refused(path, "the TFLite interpreter"):
        parts = []
        for part in _batches(path, fed, shape[0]):
            if shape[0] is None:
                interpreter.resize_tensor_input(int(key), part.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(int(key), part)
            interpreter.invoke()
            parts.append([interpreter.get_tensor(int(index)) for index in keep])
        filters = [operation.inputs[1] for operation in operations if _op(operation) in _SUMS]
        int8 = bool(filters) and all(_is_int8(details[key], interpreter.get_tensor(int(key))) for key in filters)
    names = _distinct([str(details[index]["name"]) for index in keep])
    tensors = {name: _joined(arrays) for name, *arrays in zip(names, *parts, strict=True)}
    scales = {name: _scale(details[index]) for name, index in zip(names, keep, strict=True)}
    integers = {name: scale for name, scale in scales.items() if tensors[name].dtype.kind != "f"}
    return Ran(tensors, integers, "int8" if int8 else "")


def _interpreter(path: Path) -> Callable[..., Any]:
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        try:
            import tensorflow
        except ImportError as error:
            raise _missing(path, "ai-edge-litert", error) from None
        interpreter = tensorflow.lite  # no module of its own, so nothing to import from
    found: Callable[..., Any] = interpreter.Interpreter
    return found


def _tflite_shape(entry: Mapping[str, Any]) -> Shape:
    signature = entry.get("shape_signature", entry["shape"])
    return tuple(int(side) if side > 0 else None for side in signature)


def _operation(entry: Mapping[str, Any]) -> Operation:
    read, made = (tuple(str(index) for index in entry[side] if index >= 0) for side in ("inputs", "outputs"))
    return Operation(str(entry["op_name"]), read, made)


def _is_real(entry: Mapping[str, Any]) -> bool:
    """Whether a tensor stands for real numbers: floats, or integers with a scale."""
    return np.dtype(entry["dtype"]).kind == "f" or _scale(entry)[0] > 0


def _scale(entry: Mapping[str, Any]) -> tuple[float, int]:
    scale, zero_point = entry["quantization"]
    return float(scale), int(zero_point)


def _is_int8(entry: Mapping[str, Any], w: Array) -> bool:
    """Whether weights are 8 bits, symmetric, with a scale for each filter that its largest uses up."""
    facts = entry.get("quantization_parameters", {})
    scales, zeros = np.asarray(facts.get("scales", ())), np.asarray(facts.get("zero_points", ()))
    axis = int(facts.get("quantized_dimension", 0))
    if w.dtype != np.int8 or not w.size or zeros.any() or scales.shape != w.shape[axis : axis + 1]:
        return False
    largest = np.abs(np.moveaxis(w, axis, 0).astype(np.int16)).reshape(len(scales), -1).max(axis=1)
    return bool(np.isin(largest, (0, 127)).all())


def _quantised(path: Path, x: Array, entry: Mapping[str, Any]) -> Array:
    """An input in the format that the model takes."""
    dtype, (scale, zero_point) = np.dtype(entry["dtype"]), _scale(entry)
    if dtype.kind == "f":
        return x.astype(dtype)
    if dtype.kind not in "iu" or not scale > 0:
        raise RequestError(f"{path}: takes {dtype} without a scale; take a model that is given float32")
    limits = np.iinfo(dtype)
    steps: Array = np.clip(np.rint(x / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return steps


def _distinct(names: list[str]) -> list[str]:
    """Names, numbered where a model uses one twice."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return made


# --------------------------------------------------------------------------------------------------------------- both


class _Refused:
    """Turns whatever a runtime raises into one line: runtimes have exceptions of their own, of every kind."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, RefnetError):
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise FormatError(f"{self.path}: {self.what} refuses it: {reason}") from None


def _missing(path: Path, packages: str, error: ImportError) -> RequestError:
    what = packages if error.name is None else error.name
    what = {"tensorflow": "ai-edge-litert or tensorflow"}.get(what, what)
    return RequestError(f"{path}: running {path.suffix} files needs {what}: pip install {packages}")


def _only_input(path: Path, inputs: list[tuple[str, Shape]]) -> tuple[str, Shape]:
    if len(inputs) != 1:
        raise FormatError(f"{path}: has {len(inputs)} inputs, not one: no network of this family")
    name, shape = inputs[0]
    if len(shape) != 4:
        raise FormatError(f"{path}: its input {name!r} has {len(shape)} axes, not four")
    return name, shape


def _fed(path: Path, x: Array, shape: Shape, first: str) -> tuple[Callable[[Array], Array], Array]:
    """x in the layout that the model's input says; `first` where both fit."""
    ways: dict[str, Callable[[Array], Array]] = {
        "nchw": lambda y: y,
        "nhwc": lambda y: np.ascontiguousarray(y.transpose(0, 2, 3, 1)),
    }
    for layout in sorted(ways, key=lambda layout: layout != first):
        y = ways[layout](x)
        if all(side in (None, have) for side, have in zip(shape[1:], y.shape[1:], strict=True)):
            return ways[layout], y
    sides = ", ".join("any" if side is None else str(side) for side in shape)
    raise RequestError(f"{path}: takes ({sides}), and the pack's input is {x.shape}: make a pack of that size")


def _batches(path: Path, x: Array, batch: int | None) -> Iterator[Array]:
    """x in parts of the batch that the model takes."""
    size = len(x) if batch is None else batch
    if len(x) % size:
        raise RequestError(f"{path}: takes {size} images at once, and the pack has {len(x)}")
    return (x[first : first + size] for first in range(0, len(x), size))


def _joined(arrays: list[Array]) -> Array:
    """The parts of a batch as one tensor, where it has a batch axis."""
    first = arrays[0]
    return first if len(arrays) == 1 or not np.ndim(first) else np.concatenate(arrays)


_RUNTIMES: Mapping[str, Callable[[Path, Array], Ran]] = {".onnx": _onnx, ".tflite": _tflite}
