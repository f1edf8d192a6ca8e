# ruff: noqa: E501
"""What readers write for the exercises of blocks; see `filters`."""

_HELPERS = """
import numpy as np

def depthwise(x, w, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), *pad))
    P, Q = (x.shape[2] - 3) // stride[0] + 1, (x.shape[3] - 3) // stride[1] + 1
    y = 0
    for r in range(3):
        for s in range(3):
            part = x[:, :, r : r + (P - 1) * stride[0] + 1 : stride[0], s : s + (Q - 1) * stride[1] + 1 : stride[1]]
            y = y + part * w[:, r, s, None, None]
    return y

def pointwise(x, w):
    return np.einsum("nchw,kc->nkhw", x, w)

def batch_norm(x, p, name, eps):
    gamma, beta, mean, var = (p[f"{name}.{part}"][:, None, None] for part in ("gamma", "beta", "mean", "var"))
    return gamma * (x - mean) / np.sqrt(var + eps) + beta

def relu6(x):
    return np.minimum(np.maximum(x, 0), 6)
"""

_FOLDED = """
import numpy as np

def folded(p, part, eps):
    s = p[f"{part}.bn.gamma"] / np.sqrt(p[f"{part}.bn.var"] + eps)
    w = p[f"{part}.w"]
    return w * s.reshape(-1, *[1] * (w.ndim - 1)), p[f"{part}.bn.beta"] - p[f"{part}.bn.mean"] * s

def window(x, w, b, stride, pad):
    view = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), *pad)), (3, 3), (2, 3))
    return np.einsum("ncpqrs,crs->ncpq", view[:, :, :: stride[0], :: stride[1]], w) + b[:, None, None]

def mix(x, w, b):
    return (x.transpose(0, 2, 3, 1) @ w.T + b).transpose(0, 3, 1, 2)
"""

_V1 = (
    _HELPERS
    + """
def v1_block(x, params, *, stride, pad, eps):
    y = depthwise(x, params["depthwise.w"], stride, pad)
    y = batch_norm(y, params, "depthwise.bn", eps)
    y = relu6(y)
    y = pointwise(y, params["project.w"])
    y = batch_norm(y, params, "project.bn", eps)
    return relu6(y)
"""
)
_V1_FOLDED = (
    _FOLDED
    + """
def v1_block(x, params, *, stride, pad, eps):
    y = window(x, *folded(params, "depthwise", eps), stride, pad).clip(0, 6)
    return mix(y, *folded(params, "project", eps)).clip(0, 6)
"""
)
_V1_LOOPS = """
import numpy as np

def v1_block(x, params, *, stride, pad, eps):
    N, C, H, W = x.shape
    d, m = params["depthwise.w"], params["project.w"]
    P, Q = (H + sum(pad[0]) - 3) // stride[0] + 1, (W + sum(pad[1]) - 3) // stride[1] + 1
    middle, y = np.zeros((N, C, P, Q), x.dtype), np.zeros((N, len(m), P, Q), x.dtype)

    def normed(value, part, c):
        scale = params[part + ".bn.gamma"][c] / np.sqrt(params[part + ".bn.var"][c] + eps)
        value = (value - params[part + ".bn.mean"][c]) * scale + params[part + ".bn.beta"][c]
        return min(max(value, 0), 6)

    for n, c, p, q in np.ndindex(middle.shape):
        total = 0
        for r in range(3):
            for s in range(3):
                h, v = p * stride[0] + r - pad[0][0], q * stride[1] + s - pad[1][0]
                if 0 <= h < H and 0 <= v < W:
                    total += x[n, c, h, v] * d[c, r, s]
        middle[n, c, p, q] = normed(total, "depthwise", c)
    for n, k, p, q in np.ndindex(y.shape):
        total = 0
        for c in range(C):
            total += middle[n, c, p, q] * m[k, c]
        y[n, k, p, q] = normed(total, "project", k)
    return y
"""
_V1_WIDE = _V1.replace("def v1_block(x, params", "def v1_block(image, params").replace(
    '    y = depthwise(x, params["depthwise.w"], stride, pad)',
    '    x = image.astype(np.float64)\n    y = depthwise(x, params["depthwise.w"].astype(np.float64), stride, pad)',
).replace("return relu6(y)", "return relu6(y).astype(image.dtype)")  # fmt: skip
_V1_RECIPROCAL = _V1.replace(
    "gamma * (x - mean) / np.sqrt(var + eps) + beta", "x * (gamma * (var + eps) ** -0.5) + (beta - mean * gamma / (var + eps) ** 0.5)"
)  # fmt: skip

_NORM = "gamma * (x - mean) / np.sqrt(var + eps) + beta"
_D, _P = 'y = batch_norm(y, params, "depthwise.bn", eps)', 'y = batch_norm(y, params, "project.bn", eps)'

V1_BLOCK_RIGHT = {
    "plain": _V1, "folded": _V1_FOLDED, "loops": _V1_LOOPS, "wide": _V1_WIDE, "reciprocal": _V1_RECIPROCAL,
}  # fmt: skip
V1_BLOCK_WRONG = {
    "eps outside the root": ("plain", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)")),
    "no eps": ("plain", ("np.sqrt(var + eps)", "np.sqrt(var)")),
    "no root": ("plain", ("np.sqrt(var + eps)", "(var + eps)")),
    "relu for relu6": ("plain", ("return np.minimum(np.maximum(x, 0), 6)", "return np.maximum(x, 0)")),
    "a linear end": ("plain", ("return relu6(y)", "return y")),
    "no activation between": ("plain", ("    y = relu6(y)\n", "")),
    "no batch norm between": ("plain", (f"    {_D}\n", "")),
    "no batch norm at the end": ("plain", (f"    {_P}\n", "")),
    "activation before batch norm": ("plain", (f"    {_D}\n    y = relu6(y)\n", "    y = relu6(y)\n    " + _D + "\n")),
    "a shortcut": ("plain", ("return relu6(y)", "y = relu6(y)\n    return x + y if x.shape == y.shape else y")),
    "mean and beta exchanged": ("plain", ('("gamma", "beta", "mean", "var")', '("gamma", "mean", "beta", "var")')),
    "gamma forgotten": ("plain", ("gamma * (x - mean)", "(x - mean)")),
    "beta forgotten": ("plain", (_NORM, "gamma * (x - mean) / np.sqrt(var + eps)")),
    "statistics of the batch": ("plain", (f"    return {_NORM}", f"    mean, var = x.mean(axis=(0, 2, 3), keepdims=True)[0], x.var(axis=(0, 2, 3), keepdims=True)[0]\n    return {_NORM}")),
    "the kernel turned": ("plain", ("part * w[:, r, s,", "part * w[:, 2 - r, 2 - s,")),
    "stride left out": ("folded", ("[:, :, :: stride[0], :: stride[1]]", "")),
    "the mean forgotten": ("folded", (' - p[f"{part}.bn.mean"] * s', "")),
    "the wrong batch norm": ("plain", (_D, 'y = batch_norm(y, params, "depthwise.bn", 1e-3 + eps)')),
}  # fmt: skip

_V2 = (
    _HELPERS
    + """
def inverted_residual(x, params, *, stride, pad, eps):
    y = x
    if "expand.w" in params:
        y = relu6(batch_norm(pointwise(y, params["expand.w"]), params, "expand.bn", eps))
    y = relu6(batch_norm(depthwise(y, params["depthwise.w"], stride, pad), params, "depthwise.bn", eps))
    y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)
    if stride == (1, 1) and y.shape == x.shape:
        y = x + y
    return y
"""
)
_V2_FOLDED = (
    _FOLDED
    + """
def inverted_residual(x, params, *, stride, pad, eps):
    y = mix(x, *folded(params, "expand", eps)).clip(0, 6) if "expand.w" in params else x
    y = window(y, *folded(params, "depthwise", eps), stride, pad).clip(0, 6)
    y = mix(y, *folded(params, "project", eps))
    return y + x if stride == (1, 1) and y.shape[1] == x.shape[1] else y
"""
)
_V2_ADDED = _V2.replace("        y = x + y\n", "        y += x\n").replace(
    "return np.minimum(np.maximum(x, 0), 6)", "return np.clip(x, 0, 6)"
)
_V2_LAST = _V2.replace('np.einsum("nchw,kc->nkhw", x, w)', "(x.transpose(0, 2, 3, 1) @ w.T).transpose(0, 3, 1, 2)")
_V2_WIDE = _V2.replace("    y = x\n", "    dtype, x = x.dtype, x.astype(float)\n    y = x\n").replace("    return y\n'''", "").replace(
    "        y = x + y\n    return y\n", "        y = x + y\n    return y.astype(dtype)\n"
)  # fmt: skip
_ADD = "        y = x + y\n"
INVERTED_RESIDUAL_RIGHT = {
    "plain": _V2, "folded": _V2_FOLDED, "added": _V2_ADDED, "last": _V2_LAST, "wide": _V2_WIDE,
}  # fmt: skip
INVERTED_RESIDUAL_WRONG = {
    "no shortcut": ("plain", ('    if stride == (1, 1) and y.shape == x.shape:\n        y = x + y\n', "")),
    "relu6 on the projection": ("plain", ('y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)', 'y = relu6(batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps))')),
    "relu for relu6": ("plain", ("np.minimum(np.maximum(x, 0), 6)", "np.maximum(x, 0)")),
    "relu after the shortcut": ("plain", (_ADD, "        y = np.maximum(x + y, 0)\n")),
    "relu6 after the shortcut": ("plain", (_ADD, "        y = relu6(x + y)\n")),
    "no activation after the expansion": ("plain", ('y = relu6(batch_norm(pointwise(y, params["expand.w"]), params, "expand.bn", eps))', 'y = batch_norm(pointwise(y, params["expand.w"]), params, "expand.bn", eps)')),
    "no activation after the depthwise": ("folded", ('"depthwise", eps), stride, pad).clip(0, 6)', '"depthwise", eps), stride, pad)')),
    "relu6 on the input where nothing expands": ("plain", ("    y = x\n", '    y = x if "expand.w" in params else relu6(x)\n')),
    "another eps": ("plain", ("np.sqrt(var + eps)", "np.sqrt(var + 1e-5)")),
    "eps outside the root": ("plain", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)")),
    "no root": ("plain", ("np.sqrt(var + eps)", "(var + eps)")),
    "the kernel turned": ("plain", ("part * w[:, r, s,", "part * w[:, 2 - r, 2 - s,")),
    "no batch norm after the projection": ("plain", ('batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)', 'pointwise(y, params["project.w"])')),
    "the mean forgotten": ("folded", (' - p[f"{part}.bn.mean"] * s', "")),
    "stride left out": ("folded", ("[:, :, :: stride[0], :: stride[1]]", "")),
    "statistics of the batch": ("plain", (f"    return {_NORM}", f"    mean, var = x.mean(axis=(0, 2, 3), keepdims=True)[0], x.var(axis=(0, 2, 3), keepdims=True)[0]\n    return {_NORM}")),
    "the shortcut twice": ("plain", (_ADD, "        y = x + y + x\n")),
    "hard swish": ("plain", ("np.minimum(np.maximum(x, 0), 6)", "x * np.clip(x + 3, 0, 6) / 6")),
}  # fmt: skip

_SE = """
import numpy as np

def squeeze_excite(x, reduce_w, reduce_b, expand_w, expand_b):
    pooled = x.mean(axis=(2, 3))
    hidden = np.maximum(pooled @ reduce_w.T + reduce_b, 0)
    gate = np.clip((hidden @ expand_w.T + expand_b) / 6 + 0.5, 0, 1)
    return x * gate[:, :, None, None]
"""
_SE_LOOPS = """
import numpy as np

def squeeze_excite(x, reduce_w, reduce_b, expand_w, expand_b):
    N, C, H, W = x.shape
    y = np.zeros_like(x)
    for n in range(N):
        pooled = [sum(x[n, c, h, v] for h in range(H) for v in range(W)) / (H * W) for c in range(C)]
        hidden = []
        for j in range(len(reduce_w)):
            hidden.append(max(0, sum(reduce_w[j, c] * pooled[c] for c in range(C)) + reduce_b[j]))
        for c in range(C):
            z = sum(expand_w[c, j] * hidden[j] for j in range(len(hidden))) + expand_b[c]
            gate = min(max(z + 3, 0), 6) / 6
            y[n, c] = x[n, c] * gate
    return y
"""
_SE_MAPS = """
import numpy as np

def squeeze_excite(x, reduce_w, reduce_b, expand_w, expand_b):
    z = np.mean(x, axis=(-2, -1), keepdims=True)
    z = np.einsum("nchw,kc->nkhw", z, reduce_w) + reduce_b[:, None, None]
    z = np.where(z > 0, z, 0).astype(x.dtype)
    z = np.einsum("nchw,kc->nkhw", z, expand_w) + expand_b[:, None, None]
    return x * (np.minimum(np.maximum(z + 3, 0), 6) / 6)
"""
_SE_FLAT = """
import numpy as np

def squeeze_excite(x, reduce_w, reduce_b, expand_w, expand_b):
    N, C, H, W = x.shape
    flat = x.reshape(N, C, H * W)
    hidden = (flat.sum(axis=2) / (H * W)).dot(reduce_w.T) + reduce_b
    hidden[hidden < 0] = 0
    gate = ((hidden.dot(expand_w.T) + expand_b + 3) / 6).clip(0, 1)
    return (flat * gate[..., None]).reshape(x.shape)
"""
_SE_WIDE = _SE.replace("x.mean(axis=(2, 3))", "x.astype(float).mean(axis=(2, 3))").replace(
    "return x * gate[:, :, None, None]", "return (x * gate[:, :, None, None]).astype(x.dtype)"
)  # fmt: skip
_GATE = "np.clip((hidden @ expand_w.T + expand_b) / 6 + 0.5, 0, 1)"
SQUEEZE_EXCITE_RIGHT = {"plain": _SE, "loops": _SE_LOOPS, "maps": _SE_MAPS, "flat": _SE_FLAT, "wide": _SE_WIDE}
SQUEEZE_EXCITE_WRONG = {
    "the true sigmoid": ("plain", (_GATE, "1 / (1 + np.exp(-(hidden @ expand_w.T + expand_b)))")),
    "Keras' slope": ("plain", ("/ 6 + 0.5", "* 0.2 + 0.5")),
    "no offset": ("plain", ("/ 6 + 0.5", "/ 6")),
    "no relu": ("plain", ("np.maximum(pooled @ reduce_w.T + reduce_b, 0)", "pooled @ reduce_w.T + reduce_b")),
    "no biases": ("plain", (" + reduce_b", ""), (" + expand_b", "")),
    "no bias of the first": ("plain", (" + reduce_b", "")),
    "no bias of the second": ("maps", (" + expand_b[:, None, None]", "")),
    "the largest for the mean": ("plain", ("x.mean(axis=(2, 3))", "x.max(axis=(2, 3))")),
    "the sum for the mean": ("plain", ("x.mean(axis=(2, 3))", "x.sum(axis=(2, 3))")),
    "the mean of the batch": ("maps", ("np.mean(x, axis=(-2, -1), keepdims=True)", "np.mean(x, axis=(0, 2, 3), keepdims=True)")),
    "the gate alone": ("maps", ("return x * (", "return (x * 0 + 1) * (")),
    "the gate added": ("plain", ("return x * gate", "return x + gate")),
    "the gate not used": ("plain", ("return x * gate[:, :, None, None]", "return x")),
    "hard swish inside": ("plain", ("np.maximum(pooled @ reduce_w.T + reduce_b, 0)", "pooled @ reduce_w.T + reduce_b\n    hidden = hidden * np.clip(hidden + 3, 0, 6) / 6")),
    "hard swish for the gate": ("flat", ("((hidden.dot(expand_w.T) + expand_b + 3) / 6).clip(0, 1)", "hidden.dot(expand_w.T) + expand_b\n    gate = gate * ((gate + 3) / 6).clip(0, 1)")),
    "a gate of six": ("loops", ("min(max(z + 3, 0), 6) / 6", "min(max(z + 3, 0), 6)")),
    "a gate without a clip": ("plain", (_GATE, "(hidden @ expand_w.T + expand_b) / 6 + 0.5")),
    "half": ("plain", ("/ 6 + 0.5", "/ 2 + 0.5")),
}  # fmt: skip

_GATED = """
def gated(x, p):
    z = x.mean(axis=(2, 3))
    z = np.maximum(z @ p["se.reduce.w"].T + p["se.reduce.b"], 0)
    z = np.clip((z @ p["se.expand.w"].T + p["se.expand.b"]) / 6 + 0.5, 0, 1)
    return x * z[:, :, None, None]

def inverted_residual_se("""
_GATED_LOOPS = """
def gated(x, p):
    y = np.zeros_like(x)
    for n, c in np.ndindex(x.shape[:2]):
        z = p["se.expand.b"][c]
        for j in range(len(p["se.reduce.b"])):
            hidden = p["se.reduce.b"][j]
            for i in range(x.shape[1]):
                hidden = hidden + x[n, i].mean() * p["se.reduce.w"][j, i]
            z = z + max(hidden, 0) * p["se.expand.w"][c, j]
        y[n, c] = x[n, c] * (min(max(z + 3, 0), 6) / 6)
    return y

def inverted_residual_se("""


def _with_gate(code: str, gated: str = _GATED) -> str:
    """The inverted residual of a spelling with a gate before its projection."""
    code = code.replace("\ndef inverted_residual(", gated).replace(
        '    y = batch_norm(pointwise(y, params["project.w"])',
        '    y = gated(y, params)\n    y = batch_norm(pointwise(y, params["project.w"])',
    )
    return code.replace(
        '    y = mix(y, *folded(params, "project", eps))',
        '    y = gated(y, params)\n    y = mix(y, *folded(params, "project", eps))',
    )


INVERTED_RESIDUAL_SE_RIGHT = {
    **{name: _with_gate(code) for name, code in INVERTED_RESIDUAL_RIGHT.items()}, "loops": _with_gate(_V2, _GATED_LOOPS),
}  # fmt: skip
_BEHIND = '    y = gated(y, params)\n    y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)\n'
_CLIPPED = 'np.clip((z @ p["se.expand.w"].T + p["se.expand.b"]) / 6 + 0.5, 0, 1)'
INVERTED_RESIDUAL_SE_WRONG = {
    "no gate": ("plain", ("    y = gated(y, params)\n", "")),
    "the true sigmoid": ("plain", (_CLIPPED, '1 / (1 + np.exp(-(z @ p["se.expand.w"].T + p["se.expand.b"])))')),
    "Keras' slope": ("plain", ("/ 6 + 0.5", "* 0.2 + 0.5")),
    "no relu in the gate": ("plain", ('np.maximum(z @ p["se.reduce.w"].T + p["se.reduce.b"], 0)', 'z @ p["se.reduce.w"].T + p["se.reduce.b"]')),
    "the largest for the mean": ("plain", ("x.mean(axis=(2, 3))\n    z = np.max", "x.max(axis=(2, 3))\n    z = np.max")),
    "no biases in the gate": ("plain", (' + p["se.reduce.b"]', ""), (' + p["se.expand.b"]', "")),
    "the gate added": ("plain", ("return x * z[:, :, None, None]", "return x + z[:, :, None, None]")),
    "the gate before the activation": ("plain", (
        'y = relu6(batch_norm(depthwise(y, params["depthwise.w"], stride, pad), params, "depthwise.bn", eps))\n    y = gated(y, params)',
        'y = relu6(gated(batch_norm(depthwise(y, params["depthwise.w"], stride, pad), params, "depthwise.bn", eps), params))',
    )),
    "the kernel turned": ("plain", ("part * w[:, r, s,", "part * w[:, 2 - r, 2 - s,")),
    "relu for relu6": ("plain", ("np.minimum(np.maximum(x, 0), 6)", "np.maximum(x, 0)")),
    "no shortcut": ("plain", ("    if stride == (1, 1) and y.shape == x.shape:\n        y = x + y\n", "")),
    "relu6 on the projection": ("plain", ('y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)', 'y = relu6(batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps))')),
    "eps outside the root": ("plain", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)")),
    "hard swish for relu6": ("plain", ("np.minimum(np.maximum(x, 0), 6)", "x * np.clip(x + 3, 0, 6) / 6")),
    "hard swish for the gate": ("plain", (f"z = {_CLIPPED}", 'z = z @ p["se.expand.w"].T + p["se.expand.b"]\n    z = z * np.clip(z / 6 + 0.5, 0, 1)')),
}  # fmt: skip

ANSWERS = {
    "inverted_residual_se": (INVERTED_RESIDUAL_SE_RIGHT, INVERTED_RESIDUAL_SE_WRONG),
    "v1_block": (V1_BLOCK_RIGHT, V1_BLOCK_WRONG),
    "inverted_residual": (INVERTED_RESIDUAL_RIGHT, INVERTED_RESIDUAL_WRONG),
    "squeeze_excite": (SQUEEZE_EXCITE_RIGHT, SQUEEZE_EXCITE_WRONG),
}
