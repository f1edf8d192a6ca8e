"""Make the .onnx files of this folder and `onnx_networks.npz`: networks that onnxruntime quantised, and its integers.

    python tests/data/integers/make_onnx.py float FOLDER   # with refnet: the networks of floats
    python tests/data/integers/make_onnx.py quantise FOLDER  # with onnxruntime 1.32 and onnx: all else

V3-Small x0.25 with random weights, images of 32 x 32, as QDQ (uint8 activations, int8 weights by filter) and as
QOperator (int8, one scale a tensor). onnxruntime ran them without further optimisation; the QDQ file after its own
extended one, which makes operations on integers of it. `onnx_networks.npz` has the input and, by the file's tensors,
the CRC-32 of what it made. The processor had VNNI: no sum saturates.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIZE = 32


def write_floats(folder: Path) -> None:
    import onnx
    from onnx import helper

    import refnet

    graph = refnet.build("torchvision/mobilenet_v3_small", width=0.25, size=SIZE, classes=10)
    net = refnet.Network(graph, refnet.random_params(graph)).fold()
    path = folder / "float.onnx"
    refnet.write_weights(net.graph, net.params, path)
    model = onnx.load(path)
    for place, node in enumerate(model.graph.node):
        if node.op_type == "AveragePool":  # of whole maps, as PyTorch's exporter says it
            made = helper.make_node("GlobalAveragePool", node.input, node.output, name=node.name)
            model.graph.node[place].CopyFrom(made)
    onnx.save(model, path)


def quantise(folder: Path) -> None:
    from onnxruntime import quantization as q

    rng = np.random.default_rng(0)

    class Calibration(q.CalibrationDataReader):
        def __init__(self):
            self.images = iter([rng.standard_normal((1, 3, SIZE, SIZE)).astype("f4") for _ in range(3)])

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {"input": image}

    found = {"x": np.random.default_rng(7).standard_normal((2, 3, SIZE, SIZE)).astype("f4")}
    kinds = {
        "qdq": (q.QuantFormat.QDQ, q.QuantType.QUInt8, True),
        "qoperator": (q.QuantFormat.QOperator, q.QuantType.QInt8, False),
    }
    for name, (form, activations, by_filter) in kinds.items():
        path = HERE / f"v3_small_{name}.onnx"
        q.quantize_static(
            folder / "float.onnx",
            path,
            Calibration(),
            quant_format=form,
            per_channel=by_filter,
            activation_type=activations,
            weight_type=q.QuantType.QInt8,
        )
        found |= {f"{name}|{tensor}": crc for tensor, crc in run(path, folder / "optimised.onnx", found["x"]).items()}
    np.savez_compressed(HERE / "onnx_networks.npz", **found, **dynamic(folder))


def dynamic(folder: Path) -> dict[str, np.ndarray]:
    """Convolutions by themselves, quantised dynamically: the files, an input of each, and what is made of it."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import quantization as q

    rng = np.random.default_rng(5)
    made = {}
    cases = {
        "dense": ((6, 3, 3, 3), 1, [0, 0, 1, 1], [2, 2]),
        "depthwise": ((3, 1, 3, 3), 3, [1, 1, 1, 1], [1, 1]),
        "pointwise": ((8, 3, 1, 1), 1, [0] * 4, [1, 1]),
    }
    for name, (shape, group, pads, strides) in cases.items():
        w, b = rng.standard_normal(shape).astype("f4"), rng.standard_normal(shape[0]).astype("f4")
        held = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")]
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=group, pads=pads, strides=strides)
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [2, 3, 9, 8]), ("y", None))]
        graph = helper.make_graph([node], "one", ends[:1], ends[1:], held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / "one.onnx")
        q.quantize_dynamic(folder / "one.onnx", folder / "dynamic.onnx", weight_type=q.QuantType.QUInt8)
        data = (folder / "dynamic.onnx").read_bytes()
        x = rng.standard_normal((2, 3, 9, 8)).astype("f4") * 3
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {"x": x})
        made |= {f"dynamic_{name}_model": np.frombuffer(data, np.uint8), f"dynamic_{name}_x": x, f"dynamic_{name}_y": y}
    return made


def run(path: Path, optimised: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """The CRC-32 of every tensor of integers that onnxruntime makes."""
    import onnx
    import onnxruntime as ort
    from onnx import helper

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimised)
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = onnx.load(optimised)
    for node in model.graph.node:
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in node.output)
    del model.graph.output[0]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [made.name for made in session.get_outputs()]
    made = zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True)
    return {name: np.array(zlib.crc32(y.tobytes())) for name, y in made if y.dtype.kind in "iu"}


if __name__ == "__main__":
    {"float": write_floats, "quantise": quantise}[sys.argv[1]](Path(sys.argv[2]))
