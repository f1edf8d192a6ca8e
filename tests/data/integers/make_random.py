"""Make random.npz: random TFLite files of one integer operation, and what LiteRT's kernels made of them.

    python tests/data/integers/make_random.py [COUNT SEED OUT]

Types, scales (every third a power of two, whose products have ties), zero points, sizes, strides, pads and fused
activations are drawn; so is whether an input is of noise or of the ends of its range. Each entry is a file (NNN_model),
its inputs (NNN_in0, NNN_in1) and what BUILTIN_REF (NNN_ref), the optimised kernels (NNN_opt) and XNNPACK (NNN_xnn) made
of it, which are left out where they are those of BUILTIN_REF; NNN_sets says of which there is a result. A file that the
kernels refuse is drawn anew. Needs ai-edge-litert and its flatbuffers; nothing of refnet. No test runs it.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_litert import interpreter
from make_litert import model, tensor

OUT = Path(__file__).with_name("random.npz")
SETS = {"ref": "BUILTIN_REF", "opt": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "xnn": "AUTO"}
WIDTHS = {"int8": 8, "uint8": 8, "int16": 16}


class Draw:
    """Random sizes and quantisations, and the tensors of one file."""

    def __init__(self, rng, dtype):
        self.rng, self.dtype = rng, dtype
        self.limits = np.iinfo(dtype)

    def n(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def yes(self, part=0.5):
        return bool(self.rng.random() < part)

    def scale(self, low=-8, high=-1):
        if self.dtype == "int16":
            low, high = low - 7, high - 7
        power = np.float32(2.0) ** self.rng.integers(low, high + 1)
        return np.float32(power * (1 + (self.rng.random() > 0.33) * self.rng.random()))

    def zero(self):
        if self.dtype == "int16":
            return 0
        ends = [int(self.limits.min), int(self.limits.max), 0]
        return ends[self.n(0, 2)] if self.yes(0.3) else self.n(self.limits.min, self.limits.max)

    def live(self, *shape, scale=None, zero=None):
        return tensor(
            shape, self.dtype, self.scale() if scale is None else scale, self.zero() if zero is None else zero
        )

    def image(self, channels=6):
        return self.live(1, self.n(1, 9), self.n(1, 9), self.n(1, channels))

    def like(self, t, *shape):
        """A tensor of the same quantisation."""
        return tensor(shape or t["shape"], self.dtype, t["scale"], t["zero"])

    def numbers(self, t):
        """Of a tensor: noise, or the ends of its range."""
        low, high = int(self.limits.min), int(self.limits.max)
        if self.yes(0.15):
            return self.rng.choice([low, low + 1, high - 1, high], t["shape"]).astype(self.dtype)
        return self.rng.integers(low, high + 1, t["shape"]).astype(self.dtype)

    def ints(self, *numbers, dtype="int32"):
        return tensor(np.shape(numbers), dtype, data=np.array(numbers, dtype))

    def act(self, count=4):
        return {"fusedActivationFunction": self.n(0, count - 1)}

    def window(self, H, W, kernel, dilation=(1, 1)):
        """Fields of a window, and the size of what it makes."""
        stride, valid = (self.n(1, 3), self.n(1, 3)), self.yes()
        if max(dilation) > 1:
            stride = (1, 1)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        if valid and (reach[0] > H or reach[1] > W):
            valid = False
        out = [(n - r) // s + 1 if valid else -(-n // s) for n, r, s in zip((H, W), reach, stride, strict=True)]
        return {"padding": int(valid), "strideH": stride[0], "strideW": stride[1]}, out


def _weights(d, shape, axis):
    """Weights, their tensor, and the scales of the filters."""
    by_filter = d.dtype != "uint8" and d.yes(0.7)
    dtype = "uint8" if d.dtype == "uint8" else "int8"
    limits = np.iinfo(dtype)
    w = d.rng.integers(limits.min + (dtype == "int8"), limits.max + 1, shape).astype(dtype)
    count = shape[axis] if by_filter else 1
    power = d.rng.choice([-9, -8, -7, -6, -5])
    scales = np.float32(2.0**power * (1 + (d.rng.random(count) > 0.33) * d.rng.random(count)))
    zero = d.n(0, 255) if dtype == "uint8" else 0
    return tensor(shape, dtype, scales, zero, axis if count > 1 else 0, w), scales


def _bias(d, x, scales, count, length):
    dtype = "int64" if d.dtype == "int16" else "int32"
    most = int(127 * (2**14 if d.dtype == "int16" else 100) * length**0.5) + 1
    b = d.rng.integers(-most, most, count).astype(dtype)
    return tensor((count,), dtype, np.float32(scales * x["scale"]), 0, 0, b)


def _out(d, x, scales, length):
    """A scale into which the sums fit more or less, once in a while one that is too small or too large."""
    spread = float(np.mean(scales)) * float(x["scale"]) * 73 * (73 if d.dtype != "int16" else 18000) * length**0.5
    steps = 2.0 ** (14 if d.dtype == "int16" else 6)
    return np.float32(spread / steps * 2.0 ** d.rng.uniform(-1.5, 1.5) * (2.0 ** d.n(-5, 5) if d.yes(0.1) else 1))


def conv_2d(d):
    x, K, kernel = d.image(9), d.n(1, 9), (d.n(1, 4), d.n(1, 4))
    if d.yes(0.3):
        kernel = (1, 1)
    _, H, W, C = x["shape"]
    dilation = (d.n(1, 2), d.n(1, 2)) if d.yes(0.25) else (1, 1)
    fields, out = d.window(H, W, kernel, dilation)
    fields |= {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]} | d.act(2 if d.dtype == "int16" else 4)
    w, scales = _weights(d, (K, *kernel, C), 0)
    length = C * kernel[0] * kernel[1]
    y = d.live(1, *out, K, scale=_out(d, x, scales, length))
    return [x, w, _bias(d, x, scales, K, length), y], "Conv2DOptions", fields, 5


def depthwise_conv_2d(d):
    x, times, kernel = d.image(9), d.n(1, 2) if d.yes(0.3) else 1, (d.n(1, 5), d.n(1, 5))
    _, H, W, C = x["shape"]
    dilation = (d.n(1, 2), d.n(1, 2)) if d.yes(0.25) else (1, 1)
    fields, out = d.window(H, W, kernel, dilation)
    fields |= {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1], "depthMultiplier": times}
    fields |= d.act(2 if d.dtype == "int16" else 4)
    w, scales = _weights(d, (1, *kernel, C * times), 3)
    length = kernel[0] * kernel[1]
    y = d.live(1, *out, C * times, scale=_out(d, x, scales, length))
    return [x, w, _bias(d, x, scales, C * times, length), y], "DepthwiseConv2DOptions", fields, 6


def fully_connected(d):
    C, K = d.n(1, 40), d.n(1, 20)
    x = d.live(1, 1, 1, C)
    w, scales = _weights(d, (K, C), 0)
    y = d.live(1, 1, 1, K, scale=_out(d, x, scales, C))
    return [x, w, _bias(d, x, scales, K, C), y], "FullyConnectedOptions", {"keepNumDims": True} | d.act(2), 7


def _join(options, number):
    def join(d):
        x = d.image()
        shape, kind = x["shape"], d.n(0, 4)
        other = {0: shape, 1: shape, 2: (1, 1, 1, shape[3]), 3: (1, 1, 1, 1), 4: (1, *shape[1:3], 1)}[kind]
        y = d.live(*other)
        if d.yes():  # a constant
            y["data"] = d.numbers(y)
        out = d.live(*shape)
        if options == "MulOptions":
            out["scale"] = np.float32(x["scale"] * y["scale"] * 2.0 ** d.rng.uniform(2, 8))
            if d.dtype == "int16":
                out["scale"] = np.float32(x["scale"] * y["scale"] * 2.0 ** d.rng.uniform(10, 16))
        return [x, y, out], options, d.act(), number

    return join


def _pool(d):
    x = d.image()
    _, H, W, C = x["shape"]
    kernel = (d.n(1, min(H, 5)), d.n(1, min(W, 5)))
    fields, out = d.window(H, W, kernel)
    fields |= {"filterHeight": kernel[0], "filterWidth": kernel[1]} | d.act()
    return [x, d.like(x, 1, *out, C)], "Pool2DOptions", fields, 3


def _reduced(d):
    x = d.image()
    keep = d.yes()
    y = d.live(1, 1, 1, x["shape"][3]) if keep else d.live(1, x["shape"][3])
    return [x, d.ints(1, 2), y], "ReducerOptions", {"keepDims": keep}, 3


def _largest(d):
    parts, options, fields, number = _reduced(d)
    parts[-1] = d.like(parts[0], *parts[-1]["shape"])
    return parts, options, fields, number


def _plain(*steps, number=3):
    """One tensor in, one out: of any scale, or of the one that the kernels ask for."""

    def plain(d):
        x = d.image()
        y = d.live(*x["shape"]) if not steps else d.live(*x["shape"], scale=steps[0], zero=d.limits.min + steps[1])
        if steps and d.dtype == "int16":
            y["scale"], y["zero"] = np.float32(1 / 32768), 0
        return [x, y], "", {}, number

    return plain


def hard_swish(d):
    x = d.image()
    y = d.live(*x["shape"], scale=np.float32(x["scale"] * 2.0 ** d.rng.uniform(-6, 2)))
    return [x, y], "HardSwishOptions", {}, 1


def softmax(d):
    x = d.live(1, d.n(1, 3), d.n(1, 3), d.n(1, 40), scale=d.scale(-6, 0))
    y = d.live(*x["shape"], scale=np.float32(1 / 256), zero=d.limits.min)
    if d.dtype == "int16":
        y["scale"], y["zero"] = np.float32(1 / 32768), 0
    return [x, y], "SoftmaxOptions", {"beta": 1.0 if d.yes(0.8) else 0.5}, 3


def quantize(d):
    x = tensor((1, d.n(1, 9), d.n(1, 9), d.n(1, 6)), "float32")
    return [x, d.live(*x["shape"])], "QuantizeOptions", {}, 2


def requantize(d):
    x = d.image()
    y = d.live(*x["shape"])
    if d.yes(0.4) and d.dtype != "int16":
        y["dtype"] = "int8" if d.dtype == "uint8" else "uint8"
        y["zero"] = d.n(-128, 127) + (128 if y["dtype"] == "uint8" else 0)
    return [x, y], "QuantizeOptions", {}, 2


def dequantize(d):
    x = d.image()
    return [x, tensor(x["shape"], "float32")], "DequantizeOptions", {}, 3


def resize_bilinear(d):
    x = d.image(4)
    size = (d.n(1, 12), d.n(1, 12))
    way = d.n(0, 2)
    fields = {"alignCorners": way == 0, "halfPixelCenters": way == 1}
    return [x, d.ints(*size), d.like(x, 1, *size, x["shape"][3])], "ResizeBilinearOptions", fields, 4


def resize_nearest(d):
    parts, _, fields, number = resize_bilinear(d)
    return parts, "ResizeNearestNeighborOptions", fields, number


def pad(d):
    x = d.image()
    sides = [[0, 0], *(list(d.rng.integers(0, 3, 2)) for _ in "HWC")]
    if d.yes(0.8):
        sides[3] = [0, 0]
    shape = [side + int(sum(ends)) for side, ends in zip(x["shape"], sides, strict=True)]
    return [x, d.ints(*map(tuple, sides)), d.like(x, *shape)], "PadOptions", {}, 2


def padv2(d):
    parts, _, _, _ = pad(d)
    value = d.like(parts[0], 1)
    value["data"] = d.numbers(value)
    return [*parts[:2], value, parts[2]], "PadV2Options", {}, 2


def mirror_pad(d):
    x = d.image()
    symmetric = d.yes()
    sides = [(0, 0), *((d.n(0, min(2, n - 1)), d.n(0, min(2, n - 1))) for n in x["shape"][1:3]), (0, 0)]
    shape = [side + sum(ends) for side, ends in zip(x["shape"], sides, strict=True)]
    return [x, d.ints(*sides), d.like(x, *shape)], "MirrorPadOptions", {"mode": int(symmetric)}, 2


def concatenation(d):
    x = d.image()
    parts = [x, *(d.live(*x["shape"][:3], d.n(1, 4)) for _ in range(d.n(1, 1)))]
    out = d.live(*x["shape"][:3], sum(part["shape"][3] for part in parts))
    if d.dtype != "uint8" or d.yes():
        out["scale"], out["zero"] = x["scale"], x["zero"]
        parts = [{**part, "scale": x["scale"], "zero": x["zero"]} for part in parts]
    return [*parts, out], "ConcatenationOptions", {"axis": 3 if d.yes() else -1}, 3


def leaky_relu(d):
    x = d.image()
    alpha = float(np.float32(d.rng.choice([0.01, 0.1, 0.2, 0.3, 1.5, d.rng.random()])))
    return [x, d.live(*x["shape"])], "LeakyReluOptions", {"alpha": alpha}, 2


def prelu(d):
    x = d.image()
    alpha = d.live(1, 1, x["shape"][3], scale=d.scale(-9, -5))
    alpha["data"] = d.numbers(alpha)
    return [x, alpha, d.live(*x["shape"])], "", {}, 1


def _extreme(d):
    x = d.image()
    y = d.like(x, *((1, 1, 1, x["shape"][3]) if d.yes() else (1, 1, 1, 1)))
    y["data"] = d.numbers(y)
    return [x, y, d.like(x)], "MaximumMinimumOptions", {}, 2


def space_to_batch(d):
    block, C = (d.n(1, 3), d.n(1, 3)), d.n(1, 4)
    size = [block[i] * d.n(1, 4) for i in range(2)]
    pads = [(d.n(0, 2), d.n(0, 2)) for _ in range(2)]
    sides = [max(1, n - sum(ends)) for n, ends in zip(size, pads, strict=True)]
    pads = [(before, n - side - before) if n - side >= before else (0, n - side)
            for n, side, (before, _) in zip(size, sides, pads, strict=True)]  # fmt: skip
    x = d.live(1, *sides, C)
    y = d.like(x, block[0] * block[1], size[0] // block[0], size[1] // block[1], C)
    return [x, d.ints(*block), d.ints(*pads), y], "SpaceToBatchNDOptions", {}, 2


def tile(d):
    x = d.image()
    times = (1, d.n(1, 3), d.n(1, 3), d.n(1, 2))
    return (
        [x, d.ints(*times), d.like(x, *(a * b for a, b in zip(x["shape"], times, strict=True)))],
        "TileOptions",
        {},
        2,
    )


def arg_max(d):
    x = d.image()
    y = tensor(x["shape"][:3], "int64" if d.yes() else "int32")
    return (
        [x, d.ints(3) if d.yes() else d.ints(-1), y],
        "ArgMaxOptions",
        {"outputType": 4 if y["dtype"] == "int64" else 2},
        2,
    )


def slice_(d):
    x = d.image()
    first = [0, *(d.n(0, n - 1) for n in x["shape"][1:])]
    size = [1, *(d.n(1, n - a) for n, a in zip(x["shape"][1:], first[1:], strict=True))]
    return [x, d.ints(*first), d.ints(*size), d.like(x, *size)], "SliceOptions", {}, 2


def strided_slice(d):
    x = d.image()
    step = [1, *(d.n(1, 2) for _ in "HWC")]
    first = [0, *(d.n(0, n - 1) for n in x["shape"][1:])]
    last = [1, *(d.n(a + 1, n) for n, a in zip(x["shape"][1:], first[1:], strict=True))]
    size = [-(-(b - a) // s) for a, b, s in zip(first, last, step, strict=True)]
    fields = {"beginMask": 0, "endMask": 0}
    return [x, d.ints(*first), d.ints(*last), d.ints(*step), d.like(x, *size)], "StridedSliceOptions", fields, 2


def depth_to_space(d):
    x, block = d.image(), d.n(1, 3)
    x["shape"] = (*x["shape"][:3], d.n(1, 3) * block * block)
    _, H, W, C = x["shape"]
    return [x, d.like(x, 1, H * block, W * block, C // block**2)], "DepthToSpaceOptions", {"blockSize": block}, 1


EIGHT, ALL = ("int8", "uint8"), ("int8", "uint8", "int16")
CASES = {
    "CONV_2D": (conv_2d, ALL, 12), "DEPTHWISE_CONV_2D": (depthwise_conv_2d, ALL, 12),
    "FULLY_CONNECTED": (fully_connected, ALL, 8), "ADD": (_join("AddOptions", 2), ALL, 6),
    "SUB": (_join("SubOptions", 3), ALL, 4), "MUL": (_join("MulOptions", 4), ALL, 6),
    "AVERAGE_POOL_2D": (_pool, ALL, 3), "MAX_POOL_2D": (_pool, ALL, 2), "MEAN": (_reduced, ALL, 4),
    "REDUCE_MAX": (_largest, EIGHT, 1), "HARD_SWISH": (hard_swish, EIGHT, 5),
    "LOGISTIC": (_plain(np.float32(1 / 256), 0), ALL, 4), "TANH": (_plain(np.float32(1 / 128), 128), ALL, 2),
    "RELU": (_plain(number=2), ALL, 2), "RELU6": (_plain(number=2), EIGHT, 2),
    "RELU_N1_TO_1": (_plain(number=1), EIGHT, 2), "RELU_0_TO_1": (_plain(number=1), EIGHT, 1),
    "SOFTMAX": (softmax, ALL, 3), "QUANTIZE": (quantize, ALL, 3), "QUANTIZE/integers": (requantize, ALL, 4),
    "DEQUANTIZE": (dequantize, ALL, 2), "RESIZE_BILINEAR": (resize_bilinear, ALL, 5),
    "RESIZE_NEAREST_NEIGHBOR": (resize_nearest, ALL, 2), "PAD": (pad, ALL, 2), "PADV2": (padv2, ALL, 1),
    "MIRROR_PAD": (mirror_pad, ALL, 1), "CONCATENATION": (concatenation, ALL, 2), "LEAKY_RELU": (leaky_relu, ALL, 3),
    "PRELU": (prelu, EIGHT, 3), "MAXIMUM": (_extreme, EIGHT, 1), "MINIMUM": (_extreme, EIGHT, 1),
    "SPACE_TO_BATCH_ND": (space_to_batch, ALL, 1), "TILE": (tile, EIGHT, 1), "ARG_MAX": (arg_max, EIGHT, 1),
    "SLICE": (slice_, ALL, 1), "STRIDED_SLICE": (strided_slice, ALL, 1),
    "DEPTH_TO_SPACE": (depth_to_space, EIGHT, 1),
}  # fmt: skip


def run(data, arrays, kernels):
    kind = getattr(interpreter.OpResolverType, kernels)
    made = interpreter.Interpreter(model_content=data, experimental_op_resolver_type=kind, num_threads=1)
    made.allocate_tensors()
    for detail, array in zip(made.get_input_details(), arrays, strict=True):
        made.set_tensor(detail["index"], array)
    made.invoke()
    return made.get_tensor(made.get_output_details()[0]["index"])


def one(rng, tag, refused):
    """(file, inputs, results by set) of an operation."""
    while True:
        op, dtype = tag.split("/")[0], tag.split("/")[-1]
        make = CASES[tag.rpartition("/")[0]][0]
        d = Draw(rng, dtype)
        parts, options, fields, number = make(d)
        if op == "TANH" and dtype != "int16":
            parts[-1]["zero"] = 128 if dtype == "uint8" else 0
        try:
            data = model(op, parts, 1, options, fields, number)
            inputs = [_input(d, t, parts) for t in parts[:-1] if t["data"] is None]
            made = {name: run(data, inputs, kernels) for name, kernels in SETS.items()}
            return data, inputs, made
        except (RuntimeError, ValueError) as error:
            refused[tag] = str(error).strip().splitlines()[-1][:150]
            if (count := refused.setdefault(f"{tag} count", 0)) > 30:
                return None
            refused[f"{tag} count"] = count + 1


def _input(d, t, parts):
    if t["dtype"] != "float32":
        return d.numbers(t)
    to = parts[-1]
    steps = d.rng.integers(-300, 300, t["shape"]) * 0.5 if d.yes() else d.rng.normal(0, 90, t["shape"])
    return (steps * float(to["scale"])).astype(np.float32)


def main(count=0, seed=1, out=OUT):
    """`count` files, or one of each tag, and two of those that matter most."""
    rng, made, tags, refused = np.random.default_rng(int(seed)), {}, [], {}
    known = [(f"{op}/{dtype}", weight) for op, (_, dtypes, weight) in CASES.items() for dtype in dtypes]
    weights = np.array([weight for _, weight in known], float)
    if int(count):
        drawn = [known[i][0] for i in rng.choice(len(known), int(count), p=weights / weights.sum())]
    else:
        drawn = [tag for tag, weight in known for _ in range(2 if weight > 5 else 1)]
    for tag in drawn:
        found = None if tag in refused and refused.get(f"{tag} count", 0) > 30 else one(rng, tag, refused)
        if found is None:
            continue
        data, inputs, results = found
        prefix = f"{len(tags):03d}_"
        tags.append(tag)
        made[prefix + "model"] = np.frombuffer(data, np.uint8)
        made |= {f"{prefix}in{place}": array for place, array in enumerate(inputs)}
        made |= {
            prefix + name: y for name, y in results.items() if name == "ref" or not np.array_equal(y, results["ref"])
        }
        made[prefix + "sets"] = np.array(list(results))
    versions = [f"ai-edge-litert {version('ai-edge-litert')}", f"numpy {np.__version__}", platform.machine()]
    np.savez_compressed(out, **made, tags=np.array(tags), versions=np.array(versions))
    print(len(tags), {tag: why for tag, why in refused.items() if "count" not in tag and refused[f"{tag} count"] > 5})


if __name__ == "__main__":
    main(*sys.argv[1:])
