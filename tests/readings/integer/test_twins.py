"""The two executions of every table of rules: no element different, on random legal tensors."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readings.integer import some_quantised as some

from refnet.errors import RequestError
from refnet.readings.integer import fast, loops
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

FOLDER = Path(loops.__file__).parents[1]
TFLITE = [name for name in loops.KERNELS if name.startswith(("tflite", "cmsis", "xnn"))]
ONNX = [name for name in loops.KERNELS if name.startswith("onnx")]
TORCH = [name for name in loops.KERNELS if name.startswith(("fbgemm", "qnnpack", "x86"))]


def names(rules):
    return set(getattr(rules, "__all__", vars(rules)))


def of_each(*ops):
    """Parametrise by (kernels, op), every rule once: tables of rules have many in common."""
    found = {}
    for kernels, rules in loops.KERNELS.items():
        for op in ops:
            if op in names(rules) and kernels not in ("tflite_hybrid", "onnxruntime_dynamic"):  # they take other things
                found.setdefault((op, getattr(rules, op)), (kernels, op))
    return pytest.mark.parametrize(("kernels", "op"), found.values(), ids=["-".join(case) for case in found.values()])


def drawn(test):
    """Twenty random cases: loops are slow, and many rules have the same sums."""
    return settings(max_examples=20)(given(st.data())(test))


def bits(y):
    y = y.values if isinstance(y, QuantisedTensor) else y
    return np.ascontiguousarray(y).view(f"u{y.dtype.itemsize}")


def agree(kernels, op, *args, **attrs):
    """Both executions give the same integers, of the asked dtype, or refuse with the same words."""
    made = []
    for execution in (loops, fast):
        try:
            made.append(getattr(execution.KERNELS[kernels], op)(*args, **attrs))
        except RequestError as error:
            made.append(str(error).partition(":")[0])
    one, other = made
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    if "to" in attrs:
        assert one.values.dtype == other.values.dtype == attrs["to"].dtype
    assert one.values.shape == other.values.shape if "to" in attrs else one.shape == other.shape
    assert np.array_equal(bits(one), bits(other)), f"{kernels} {op}: {np.count_nonzero(bits(one) != bits(other))}"


def types(kernels):
    """The dtypes of activations, and those of the weights that go with one."""
    if kernels in TORCH:
        return st.just(("uint8", "int8"))
    if kernels in ONNX:
        return st.sampled_from([("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
    if kernels in ("tflite", "tflite_2_19"):
        return st.sampled_from([("uint8", "uint8"), ("int8", "int8"), ("int16", "int8")])
    return st.sampled_from([("uint8", "uint8"), ("int8", "int8")])


def acts(kernels):
    if kernels in ONNX:
        return st.just({})
    known = ["", "relu"] if kernels in TORCH else ["", "relu", "relu6", "relu_n1_to_1"]
    return st.builds(lambda act: {"act": act}, st.sampled_from(known))


def bias(data, kernels, K):
    b = data.draw(some.biases(K))
    return b if b is None or kernels not in TORCH else (b * 1e-3).astype(np.float32)


def pairs(kernels):
    """Whether some rule adds up in pairs, which are of symmetric weights."""
    return kernels.endswith("avx2") or kernels.startswith("fbgemm")


@of_each("conv2d")
@drawn
def test_conv2d(kernels, op, data):
    x_type, w_type = data.draw(types(kernels))
    N, C, K, *kernel = (data.draw(st.integers(1, 3)) for _ in range(5))
    size, attrs = data.draw(some.places(kernel))
    x = data.draw(some.tensors(x_type, N, C, *size))
    w = data.draw(some.weights(w_type, K, C, *kernel, symmetric=pairs(kernels)))
    to, act = data.draw(some.quantisations(x_type)), data.draw(acts(kernels))
    agree(kernels, op, x, w, bias(data, kernels, K), **attrs, to=to, **act)


@of_each("depthwise_conv2d")
@drawn
def test_depthwise_conv2d(kernels, op, data):
    x_type, w_type = data.draw(types(kernels))
    N, C, times, *kernel = (data.draw(st.integers(1, 3)) for _ in range(5))
    size, attrs = data.draw(some.places(kernel))
    x = data.draw(some.tensors(x_type, N, C, *size))
    w = data.draw(some.weights(w_type, C * times, *kernel, symmetric=pairs(kernels)))
    to, act = data.draw(some.quantisations(x_type)), data.draw(acts(kernels))
    agree(kernels, op, x, w, bias(data, kernels, C * times), **attrs, to=to, **act)


@of_each("pointwise_conv2d", "fully_connected")
@drawn
def test_pointwise_conv2d_and_fully_connected(kernels, op, data):
    x_type, w_type = data.draw(types(kernels))
    N, C, K, H, W = (data.draw(st.integers(1, most)) for most in (2, 9, 3, 3, 3))
    x = data.draw(some.tensors(x_type, N, C, H, W))
    w = data.draw(some.weights(w_type, K, C, symmetric=pairs(kernels)))
    to, act = data.draw(some.quantisations(x_type)), data.draw(acts(kernels))
    agree(kernels, op, x, w, bias(data, kernels, K), to=to, **act)


@of_each("add", "sub", "scale")
@drawn
def test_joins_of_two_tensors(kernels, op, data):
    dtype = data.draw(types(kernels))[0]
    shape = (1, *(data.draw(st.integers(1, 4)) for _ in range(3)))
    x, y = data.draw(some.tensors(dtype, *shape)), data.draw(some.tensors(dtype, *shape[:2], 1, 1))
    agree(kernels, op, x, y, to=data.draw(some.quantisations(dtype)), **data.draw(acts(kernels)))


@of_each("relu", "relu6", "hard_swish", "sigmoid", "requantize")
@drawn
def test_functions_of_one_tensor(kernels, op, data):
    dtype = data.draw(types(kernels))[0]
    x = data.draw(some.tensors(dtype, 1, 2, 3, 4))
    to = data.draw(some.quantisations(data.draw(some.EIGHT) if op == "requantize" else dtype))
    if op == "sigmoid":
        to = Quantisation(1 / 256, np.iinfo(dtype).min, None, dtype)
    agree(kernels, op, x, to=to)


@of_each("relu_0_to_1", "relu_n1_to_1", "reduce_max")
@drawn
def test_rarer_functions_of_one_tensor(kernels, op, data):
    x = data.draw(some.tensors(data.draw(some.EIGHT), 1, 2, 3, 4))
    options = {"axes": (2, 3), "keepdims": data.draw(st.booleans())} if op == "reduce_max" else {}
    agree(kernels, op, x, **options, to=data.draw(some.quantisations(x.quantisation.dtype)))


@of_each("leaky_relu")
@drawn
def test_leaky_relu(kernels, op, data):
    x = data.draw(some.tensors(data.draw(types(kernels))[0], 1, 2, 3, 4))
    slope = data.draw(st.floats(-2, 2, width=32) | st.sampled_from([0.1, 0.25, 0.0]))
    agree(kernels, op, x, slope=slope, to=data.draw(some.quantisations(x.quantisation.dtype)))


@of_each("prelu", "maximum", "minimum")
@drawn
def test_joins_with_one_number_a_channel(kernels, op, data):
    x = data.draw(some.tensors(data.draw(some.EIGHT), 1, 3, 2, 4))
    y = data.draw(some.tensors(x.quantisation.dtype, 1, 3, 1, 1))
    agree(kernels, op, x, y, to=data.draw(some.quantisations(x.quantisation.dtype)))


@of_each("tanh")
@drawn
def test_tanh(kernels, op, data):
    x = data.draw(some.tensors(data.draw(some.EIGHT), 1, 2, 3, 4))
    zero = data.draw(st.sampled_from([0, 128]))
    right = Quantisation(1 / 128, zero if x.quantisation.dtype == "uint8" else 0, None, x.quantisation.dtype)
    agree(kernels, op, x, to=right)


@pytest.mark.parametrize("op", ["sigmoid", "tanh"])
@drawn
def test_curves_of_int16(op, data):
    scale = data.draw(some.scales() | st.sampled_from([2.0**-12, 2.0**-11])) * data.draw(st.sampled_from([1, 2.0**-8]))
    values = data.draw(some.tensors("int16", 1, 2, 8, 8)).values
    x = QuantisedTensor(values, Quantisation(scale, 0, None, "int16"))
    agree("tflite", op, x, to=Quantisation(data.draw(st.sampled_from([2.0**-15, 0.1])), 0, None, "int16"))


@of_each("space_to_batch", "batch_to_space", "depth_to_space", "tile", "strided_slice", "resize_nearest")
@drawn
def test_moves(kernels, op, data):
    a, b, c, d = (data.draw(st.integers(1, 3)) for _ in range(4))
    shape, options = {
        "space_to_batch": ((2, c, 2 * a * d + 1, 3 * b), {"block": (a, b), "pad": ((a - 1, 0), (b, 2 * b))}),
        "batch_to_space": ((a * b * 2, c, d + 1, 2), {"block": (a, b), "crop": ((0, a - 1), (b // 2, 0))}),
        "depth_to_space": ((2, a * a * b, c, d), {"block": a}),
        "tile": ((2, a, b, c), {"times": (d, a, b)}),
        "strided_slice": ((2, 4, 5, 6), {"begin": (a, 0, b), "end": (4, 5 - c, 6), "step": (1, d, a)}),
        "resize_nearest": ((1, a, b, c), {"size": (a + d, b * c), "align_corners": a > 2, "half_pixel": b > 1}),
    }[op]
    if op == "space_to_batch":
        options["pad"] = ((-shape[2] % a, 0), (0, 0))
    x = data.draw(some.tensors(data.draw(some.EIGHT), *shape))
    agree(kernels, op, x, **options, to=x.quantisation)


@of_each("arg_max")
@drawn
def test_arg_max(kernels, op, data):
    x = data.draw(some.tensors(data.draw(some.EIGHT), 2, 4, 2, 2))
    agree(
        kernels,
        op,
        QuantisedTensor(x.values // 64, x.quantisation),
        dtype=data.draw(st.sampled_from(["int32", "int64"])),
    )


@of_each("hard_sigmoid")
@drawn
def test_hard_sigmoid(kernels, op, data):
    x = data.draw(some.tensors("uint8", 1, 2, 3, 4))
    to = Quantisation(1 / 256, 0, None, "uint8")
    agree(kernels, op, x, slope=1 / 6, offset=0.5, to=to)


@of_each("avg_pool2d", "max_pool2d")
@drawn
def test_pools(kernels, op, data):
    dtype = data.draw(types(kernels))[0]
    size = (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)))
    x = data.draw(some.tensors(dtype, 2, 2, *size))
    attrs = data.draw(some.pools(size))
    if op == "avg_pool2d" and kernels not in TFLITE:
        attrs = {"kernel": size, "stride": (1, 1), "pad": ((0, 0), (0, 0))}
    act = data.draw(acts(kernels)) if kernels in TFLITE else {}
    agree(kernels, op, x, **attrs, to=data.draw(some.quantisations(dtype)), **act)


@of_each("mean")
@drawn
def test_mean(kernels, op, data):
    dtype = data.draw(some.EIGHT)
    x = data.draw(some.tensors(dtype, 2, *(data.draw(st.integers(1, 5)) for _ in range(3))))
    axes = data.draw(st.sampled_from([(2, 3), (3, 2), (-1, -2), (1,), (2,), (1, 2, 3)]))
    to = data.draw(some.quantisations(dtype) | st.just(x.quantisation))
    agree(kernels, op, x, axes=axes, keepdims=data.draw(st.booleans()), dropped=data.draw(st.booleans()), to=to)


@of_each("softmax")
@drawn
def test_softmax(kernels, op, data):
    dtype = data.draw(some.EIGHT)
    places = data.draw(st.sampled_from([(), (2, 2)])) if kernels in TFLITE else ()
    x = data.draw(some.tensors(dtype, 2, data.draw(st.sampled_from([1, 2, 7, 40, 600])), *places))
    to = Quantisation(1 / 256, np.iinfo(dtype).min, None, dtype)
    agree(kernels, op, x, beta=data.draw(st.sampled_from([1.0, 0.5])), to=to)


@drawn
def test_softmax_of_int16(data):
    x = data.draw(some.tensors("int16", 2, data.draw(st.sampled_from([1, 2, 7, 40, 600]))))
    agree(
        "tflite", "softmax", x, beta=data.draw(st.sampled_from([1.0, 0.5])), to=Quantisation(2.0**-15, 0, None, "int16")
    )


@st.composite
def real_maps(draw, *shape):
    """Float maps: of both signs or one, of nothing but zeros, of halves of quantisation steps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "positive", "zero", "ties"]))
    x = rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3)
    if kind == "ties":
        x = rng.integers(0, 511, shape) * 0.5
        x.reshape(shape[0], -1)[:, 0] = draw(st.sampled_from([127, 255]))
    return (np.abs(x) if kind == "positive" else x * (kind != "zero")).astype(np.float32)


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d", "pointwise_conv2d", "fully_connected"])
@drawn
def test_dynamic_range(op, data):
    N, C, K, *kernel = (data.draw(st.integers(1, 3)) for _ in range(5))
    size, attrs = data.draw(some.places(kernel))
    shape = {"conv2d": (K, C, *kernel), "depthwise_conv2d": (C, *kernel)}.get(op, (K, C))
    if len(shape) == 2:
        attrs = {}
    if op == "fully_connected":
        size, attrs = (1, 1), {"asymmetric_inputs": data.draw(st.booleans())}
    w = data.draw(some.weights("int8", *shape, symmetric=True))
    b = data.draw(st.none() | st.just(np.linspace(-1, 1, shape[0], dtype=np.float32)))
    act = data.draw(st.sampled_from(["", "relu", "relu6", "relu_n1_to_1"]))
    agree("tflite_hybrid", op, data.draw(real_maps(N, C, *size)), w, b, **attrs, act=act)


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d", "pointwise_conv2d"])
@drawn
def test_dynamic_quantisation(op, data):
    N, C, K, *kernel = (data.draw(st.integers(1, 3)) for _ in range(5))
    size, attrs = data.draw(some.places(kernel))
    shape = {"conv2d": (K, C, *kernel), "depthwise_conv2d": (C, *kernel)}.get(op, (K, C))
    w = data.draw(some.weights(data.draw(some.EIGHT), *shape))
    b = data.draw(st.none() | st.just(np.linspace(-1, 1, shape[0], dtype=np.float32)))
    agree("onnxruntime_dynamic", op, data.draw(real_maps(N, C, *size)), w, b, **({} if len(shape) == 2 else attrs))


@of_each("resize_bilinear")
@drawn
def test_resize_bilinear(kernels, op, data):
    dtype = data.draw(some.EIGHT)
    H, W, P, Q = (data.draw(st.integers(1, 6)) for _ in range(4))
    x = data.draw(some.tensors(dtype, 1, 2, H, W))
    ways = data.draw(st.sampled_from([(True, False), (False, True), (False, False)]))
    attrs = dict(zip(("align_corners", "half_pixel"), ways, strict=True))
    agree(kernels, op, x, size=(P, Q), **attrs, to=x.quantisation)


@of_each("pad")
@drawn
def test_pad(kernels, op, data):
    x = data.draw(some.tensors("uint8", 1, 2, 3, 4))
    mode = "constant" if kernels in ONNX else data.draw(st.sampled_from(["constant", "edge", "reflect", "symmetric"]))
    value = 0.0 if kernels in ONNX or mode != "constant" else data.draw(st.sampled_from([0.0, -1.5, 1e9]))
    more = {"channels": (1, 2)} if kernels in TFLITE and mode == "constant" and data.draw(st.booleans()) else {}
    agree(kernels, op, x, pad=((1, 2), (0, 2)), mode=mode, value=value, to=x.quantisation, **more)


@of_each("concatenation")
@drawn
def test_concatenation(kernels, op, data):
    dtype = data.draw(some.EIGHT)
    x = data.draw(some.tensors(dtype, 1, 2, 3, 3))
    y = data.draw(some.tensors(dtype, 1, 1, 3, 3))
    y = QuantisedTensor(y.values, x.quantisation) if dtype == "int8" and data.draw(st.booleans()) else y
    agree(kernels, op, x, y, axis=1, to=x.quantisation)


@of_each("flatten")
@drawn
def test_flatten(kernels, op, data):
    x = data.draw(some.tensors("uint8", 2, 3, 2, 2))
    agree(kernels, op, x, to=x.quantisation)


@of_each("quantize")
@drawn
def test_quantize(kernels, op, data):
    to = data.draw(some.quantisations(data.draw(some.EIGHT)))
    steps = data.draw(st.lists(st.integers(-600, 600), min_size=4, max_size=8))
    ties = np.array(steps, np.float32) * np.float32(0.5) * to.scale
    others = data.draw(st.lists(st.floats(width=32), max_size=4)) if kernels != "tflite_optimised" else []
    agree(kernels, op, np.concatenate([ties, np.array(others, np.float32)]), to=to)


@of_each("dequantize")
@drawn
def test_dequantize(kernels, op, data):
    dtype = data.draw(some.EIGHT)
    if kernels in ("tflite", "onnxruntime") and data.draw(st.booleans()):
        agree(kernels, op, data.draw(some.weights(dtype, 3, 2, 2)))
    agree(kernels, op, data.draw(some.tensors(dtype, 1, 2, 3, 4)))


def test_both_executions_have_the_same_tables_and_rules():
    assert list(loops.KERNELS) == list(fast.KERNELS)
    for kernels in loops.KERNELS:
        assert names(loops.KERNELS[kernels]) == names(fast.KERNELS[kernels])


@pytest.mark.parametrize(("folder", "other"), [("loops", "fast"), ("fast", "loops")])
def test_executions_share_roundings_and_types_only(folder, other):
    for path in (FOLDER / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("refnet"):
                assert other not in node.module.split(".")
                assert node.module == "refnet.errors" or node.module.startswith("refnet.readings.integer")
