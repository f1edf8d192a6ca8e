"""Make litert.npz: what LiteRT's reference kernels make of single operations in int16 and in dynamic range.

    python tests/data/integers/make_litert.py

Each entry is a TFLite file of one operation with random scales, weights and sizes (NNN_model), an input (NNN_in0,
NNN_in1) and what BUILTIN_REF made of it (NNN_ref). Needs ai-edge-litert and its flatbuffers; nothing of refnet. No test
runs it.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter
from ai_edge_litert import schema_py_generated as schema

OUT = Path(__file__).with_name("litert.npz")
TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "int16": 7, "int8": 9}
rng = np.random.default_rng(12)


def tensor(shape, dtype, scale=None, zero=0, axis=0, data=None):
    return {"shape": shape, "dtype": dtype, "scale": scale, "zero": zero, "axis": axis, "data": data}


def model(op, tensors, outputs, options, fields, number):
    """A file of one operation; every tensor but the last is an input of it."""
    buffers, made = [schema.BufferT()], []
    for t in tensors:
        out = schema.TensorT()
        out.shape, out.type, out.name = list(t["shape"]), TYPES[t["dtype"]], f"t{len(made)}".encode()
        out.buffer = 0
        if t["data"] is not None:
            buffers.append(schema.BufferT())
            buffers[-1].data = np.frombuffer(np.ascontiguousarray(t["data"]).tobytes(), np.uint8)
            out.buffer = len(buffers) - 1
        if t["scale"] is not None:
            scales = np.atleast_1d(np.float32(t["scale"]))
            out.quantization = schema.QuantizationParametersT()
            out.quantization.scale = scales
            out.quantization.zeroPoint = np.full(len(scales), t["zero"], np.int64)
            out.quantization.quantizedDimension = t["axis"]
        made.append(out)
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), number
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = list(range(len(tensors) - 1)), [len(tensors) - 1]
    if options:
        operator.builtinOptions = getattr(schema, options + "T")()
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        for name, value in fields.items():
            setattr(operator.builtinOptions, name, value)
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.outputs = made, [operator], operator.outputs
    graph.inputs = [i for i in operator.inputs if tensors[i]["data"] is None]
    whole = schema.ModelT()
    whole.version, whole.operatorCodes, whole.subgraphs, whole.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(data, arrays):
    reference = interpreter.OpResolverType.BUILTIN_REF
    made = interpreter.Interpreter(model_content=data, experimental_op_resolver_type=reference, num_threads=1)
    made.allocate_tensors()
    for detail, array in zip(made.get_input_details(), arrays, strict=True):
        made.set_tensor(detail["index"], array)
    made.invoke()
    return made.get_tensor(made.get_output_details()[0]["index"])


def scale(low, high):
    power = np.float32(2.0) ** rng.integers(low, high)
    return np.float32(power * (1 + (rng.random() > 0.25) * rng.random()))


def short(*shape):
    return rng.integers(-(2**15), 2**15, shape).astype(np.int16)


def filters(op, kind, C, K):
    """(weights, out channels, options, fields, pad of the output's shape) of a convolution of 3x2, stride 2."""
    fields = {"padding": 0, "strideW": 2, "strideH": 2, "dilationWFactor": 1, "dilationHFactor": 1}
    fields["fusedActivationFunction"] = int(rng.integers(0, 4 if kind == "hybrid" else 2))
    if op == "DEPTHWISE_CONV_2D":
        fields["depthMultiplier"], K = 1, C
    shape = (K, 3, 2, C) if op == "CONV_2D" else (1, 3, 2, C)
    return rng.integers(-127, 128, shape).astype(np.int8), K, fields


def cases():
    """(tag, file, inputs) of every operation."""
    for turn in range(3):
        H, W, C, K = (int(side) for side in rng.integers(3, 9, 4))
        P, Q = -(-H // 2), -(-W // 2)
        for op, options, number in (
            ("CONV_2D", "Conv2DOptions", 5),
            ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", 6),
        ):
            axis = 0 if op == "CONV_2D" else 3
            w, k, fields = filters(op, "int16", C, K)
            s, sw = scale(-12, -6), np.array([scale(-8, -4) for _ in range(k)])
            b = tensor((k,), "int64", sw * s, data=rng.integers(-(2**20), 2**20, k))
            parts = [tensor((1, H, W, C), "int16", s), tensor(w.shape, "int8", sw, 0, axis, w), b]
            parts.append(tensor((1, P, Q, k), "int16", scale(-10, -3)))
            yield f"{op}/16x8", model(op, parts, 1, options, fields, number), [short(1, H, W, C)]
            for way in ("one", "each", "equal"):
                if way == "one" and op != "CONV_2D":
                    continue
                w, k, fields = filters(op, "hybrid", C, K)
                sw = scale(-8, -4) if way == "one" else np.array([scale(-8, -4) for _ in range(k)])
                sw = np.full(k, sw[0]) if way == "equal" else sw
                b = tensor((k,), "float32", data=rng.normal(size=k).astype(np.float32))
                parts = [tensor((2, H, W, C), "float32"), tensor(w.shape, "int8", sw, 0, axis, w), b]
                parts.append(tensor((2, P, Q, k), "float32"))
                x = real(turn, 2, H, W, C)
                yield f"{op}/hybrid/{way}", model(op, parts, 1, options, fields, number), [x]
        yield from linear(turn, C * 5, K)
        yield from others(H, W, C)


def real(turn, *shape):
    """Numbers of both signs; of one; halves of steps, which are ties."""
    if turn == 2:
        x = (rng.integers(0, 511, shape) * 0.5).astype(np.float32)
        x.reshape(shape[0], -1)[:, 0] = 255
        return x
    x = rng.normal(size=shape) * 10 ** rng.uniform(-2, 2)
    return (np.abs(x) if turn else x).astype(np.float32)


def linear(turn, C, K):
    for each in (False, True):
        for asymmetric in (False, True):
            sw = np.array([scale(-8, -4) for _ in range(K)]) if each else scale(-8, -4)
            w = rng.integers(-127, 128, (K, C)).astype(np.int8)
            b = tensor((K,), "float32", data=rng.normal(size=K).astype(np.float32))
            parts = [tensor((2, C), "float32"), tensor((K, C), "int8", sw, data=w), b, tensor((2, K), "float32")]
            fields = {"fusedActivationFunction": 0, "asymmetricQuantizeInputs": asymmetric}
            tag = f"FULLY_CONNECTED/hybrid/{'each' if each else 'one'}/{'asymmetric' if asymmetric else 'symmetric'}"
            yield tag, model("FULLY_CONNECTED", parts, 1, "FullyConnectedOptions", fields, 9), [real(turn, 2, C)]
        s = scale(-12, -6)
        b = tensor((K,), "int64", sw * s, data=rng.integers(-(2**20), 2**20, K))
        parts = [
            tensor((2, C), "int16", s),
            tensor((K, C), "int8", sw, data=w),
            b,
            tensor((2, K), "int16", scale(-8, -2)),
        ]
        fields = {"fusedActivationFunction": 0}
        yield (
            "FULLY_CONNECTED/16x8",
            model("FULLY_CONNECTED", parts, 1, "FullyConnectedOptions", fields, 7),
            [short(2, C)],
        )


def others(H, W, C):
    shape, s = (1, H, W, C), scale(-12, -6)

    def of(op, out, options="", fields=None, more=(), number=3, to=None):
        target = tensor(out, "int16", s if to is None else to)
        return (
            f"{op}/int16",
            model(op, [tensor(shape, "int16", s), *more, target], 1, options, fields or {}, number),
            [short(*shape)],
        )

    for op, options in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")):
        parts = [tensor(shape, "int16", scale(-12, -6)), tensor(shape, "int16", scale(-12, -6))]
        parts.append(tensor(shape, "int16", scale(-12, -4)))
        file = model(op, parts, 1, options, {"fusedActivationFunction": 1}, {"ADD": 2, "SUB": 3, "MUL": 4}[op])
        yield f"{op}/int16", file, [short(*shape), short(*shape)]
    pool = {"padding": 0, "strideW": 2, "strideH": 1, "filterWidth": 2, "filterHeight": 3, "fusedActivationFunction": 1}
    for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        yield of(op, (1, H, -(-W // 2), C), "Pool2DOptions", pool)
    axes = tensor((2,), "int32", data=np.array([1, 2], np.int32))
    yield of("MEAN", (1, 1, 1, C), "ReducerOptions", {"keepDims": True}, [axes], to=scale(-12, -6))
    size = tensor((2,), "int32", data=np.array([7, 5], np.int32))
    for corners, half in ((True, False), (False, True), (False, False)):
        ways = {"alignCorners": corners, "halfPixelCenters": half}
        yield of("RESIZE_BILINEAR", (1, 7, 5, C), "ResizeBilinearOptions", ways, [size], 4)
    yield of("RELU", shape, to=scale(-12, -6))
    yield of("QUANTIZE", shape, to=scale(-12, -6), number=2)
    parts = [tensor((4, C * H), "int16", scale(-14, -8)), tensor((4, C * H), "int16", 1 / 32768)]
    yield "SOFTMAX/int16", model("SOFTMAX", parts, 1, "SoftmaxOptions", {"beta": 1.0}, 3), [short(4, C * H)]


def main() -> None:
    made, tags = {}, []
    for tag, file, arrays in cases():
        prefix = f"{len(tags):03d}_"
        tags.append(tag)
        made[prefix + "model"] = np.frombuffer(file, np.uint8)
        made |= {f"{prefix}in{place}": array for place, array in enumerate(arrays)}
        made[prefix + "ref"], made[prefix + "sets"] = run(file, arrays), np.array(["ref"])
    versions = [
        f"ai-edge-litert {version('ai-edge-litert')} BUILTIN_REF",
        f"numpy {np.__version__}",
        platform.machine(),
    ]
    np.savez_compressed(OUT, **made, tags=np.array(tags), versions=np.array(versions))


if __name__ == "__main__":
    main()
