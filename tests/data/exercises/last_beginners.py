# ruff: noqa: E501
"""A third set, written after the second had been mended; see `beginners`."""

from typing import Any

WRONG: dict[str, dict[str, tuple[Any, ...]]] = {}
WRONG["conv2d"] = {
    "minus for plus in h": ("loops", ("- top + r", "- top - r")),
    "P and Q exchanged in the shape where it fits": ("loops", ("np.zeros((N, K, P, Q)", "np.zeros((N, K, max(P, Q), max(P, Q))")),
    "pad twice": ("loops", ("(top, bottom), (left, right) = pad", "(top, bottom), (left, right) = pad; top, bottom, left, right = 2 * top, 2 * bottom, 2 * left, 2 * right")),
    "filters reversed": ("loops", ("w[k, c, r, s]", "w[K - 1 - k, c, r, s]")),
    "the last channel only": ("loops", ("for c in range(C)", "for c in range(C - 1, C)")),
    "bias of the channel index": ("loops", ("total + b[k]", "total + b[min(c, K - 1)]")),
    "stride 2 fixed": ("taps", ("stride[0]", "2"), ("stride[1]", "2")),
    "first column of the kernel skipped": ("loops", ("for s in range(S)", "for s in range(1, S)")),
}  # fmt: skip
WRONG["depthwise"] = {
    "mean over the window": ("channels", ("np.sum(image[h : h + R, v : v + S] * kernel)", "np.mean(image[h : h + R, v : v + S] * kernel)")),
    "x + w": ("loops", ("x[n, c, h, v] * w[c, r, s]", "(x[n, c, h, v] + w[c, r, s])")),
    "kernel flipped left to right": ("einsum", ("view, w)", "view, w[:, :, ::-1])")),
    "bias added in the padded corners only": ("loops", ("total + b[c]", "total + (b[c] if p == 0 else 0)")),
    "symmetric mode": ("einsum", ("*pad))", "*pad), mode='symmetric')")),
    "q starts one late": ("loops", ("q * stride[1] + s - left", "(q + 1) * stride[1] + s - left")),
    "border strict at the end": ("loops", ("0 <= h < H and 0 <= v < W", "0 <= h < H - 1 and 0 <= v < W - 1")),
    "no bias": ("loops", ("total + b[c]", "total")),
}  # fmt: skip
WRONG["pointwise"] = {
    "bias times w": ("loops", ("total = b[k]", "total = b[k] * w[k, 0]")),
    "output channels reversed": ("einsum", ('x, w)', 'x, w[::-1])')),
    "minus": ("loops", ("total += w", "total -= w")),
    "first input channel for all": ("loops", ("x[n, c, h, v]", "x[n, 0, h, v]")),
    "abs of inputs": ("loops", ("x[n, c, h, v]", "abs(x[n, c, h, v])")),
    "relu6 after": ("matmul", ("return (w @ flat + b[:, None]).reshape(N, len(w), H, W)", "return np.clip((w @ flat + b[:, None]).reshape(N, len(w), H, W), 0, 6)")),
    "mean": ("loops", ("w[k, c] * x[n, c, h, v]", "w[k, c] * x[n, c, h, v] / C")),
}  # fmt: skip
WRONG["separable"] = {
    "relu at the end": ("taps", ('return np.einsum("ncpq,kc->nkpq", y, pointwise_w)', 'return np.maximum(np.einsum("ncpq,kc->nkpq", y, pointwise_w), 0)')),
    "kernel mean": ("einsum", ("view, depthwise_w)", "view, depthwise_w) / depthwise_w[0].size")),
    "last tap left": ("taps", ("for s in range(S)", "for s in range(S - 1)")),
    "pad swapped": ("taps", ("pad[0], pad[1]))", "pad[1], pad[0]))")),
    "channel 0 kernel": ("einsum", ("view, depthwise_w)", "view, np.broadcast_to(depthwise_w[:1], depthwise_w.shape))")),
    "pointwise sum of abs": ("taps", ("y, pointwise_w)", "y, abs(pointwise_w))")),
    "stride 1": ("order", ("depthwise(x, depthwise_w, stride, pad)", "depthwise(x, depthwise_w, (1, 1), pad)")),
}  # fmt: skip
R6 = "np.minimum(np.maximum(x, 0), 6)"
N = "gamma * (x - mean) / np.sqrt(var + eps) + beta"
WRONG["v1_block"] = {
    "swish": ("plain", (R6, "x / (1 + np.exp(-x))")),
    "clip at 3": ("plain", (R6, "np.clip(x, 0, 3)")),
    "kernel turned": ("plain", ("part * w[:, r, s,", "part * w[:, 2 - r, 2 - s,")),
    "eps 1e-3 fixed": ("plain", ("var + eps", "var + 1e-3")),
    "gamma over beta too": ("plain", (N, "gamma * ((x - mean) / np.sqrt(var + eps) + beta)")),
    "last activation hard swish": ("plain", ("return relu6(y)", "return y * np.clip(y + 3, 0, 6) / 6")),
    "no pad": ("plain", ("    x = np.pad(x, ((0, 0), (0, 0), *pad))\n", "")),
}  # fmt: skip
WRONG["inverted_residual"] = {
    "shortcut twice": ("plain", ("y = x + y", "y = x + y + x")),
    "relu6 after the add": ("plain", ("y = x + y", "y = relu6(x + y)")),
    "mean added": ("plain", ("x - mean", "x + mean")),
    "relu in the expansion only": ("plain", ('y = relu6(batch_norm(pointwise(y, params["expand.w"])', 'y = (lambda v: np.maximum(v, 0))(batch_norm(pointwise(y, params["expand.w"])')),
    "beta left out of the projection": ("plain", ('y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)', 'y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps) - params["project.bn.beta"][:, None, None]')),
    "kernel upside down": ("plain", ("part * w[:, r, s,", "part * w[:, 2 - r, s,")),
    "shortcut with stride": ("plain", ("    if stride == (1, 1) and y.shape == x.shape:\n        y = x + y", "    s = x[:, :, ::stride[0], ::stride[1]]\n    if s.shape == y.shape:\n        y = s + y")),
}  # fmt: skip
Z = 'z = np.clip((z @ p["se.expand.w"].T + p["se.expand.b"]) / 6 + 0.5, 0, 1)'
WRONG["inverted_residual_se"] = {
    "swish gate": ("plain", (Z, 'z = z @ p["se.expand.w"].T + p["se.expand.b"]\n    z = z / (1 + np.exp(-z))')),
    "no clip of the gate": ("plain", ("np.clip((z @ p[\"se.expand.w\"].T + p[\"se.expand.b\"]) / 6 + 0.5, 0, 1)", "(z @ p[\"se.expand.w\"].T + p[\"se.expand.b\"]) / 6 + 0.5")),
    "gate - ": ("plain", ("return x * z[", "return x - z[")),
    "shortcut of the gate": ("plain", ("return x * z[:, :, None, None]", "return x + x * z[:, :, None, None]")),
    "min pool": ("plain", ("x.mean(axis=(2, 3))", "x.min(axis=(2, 3))")),
    "hard swish in the reduce": ("plain", ('z = np.maximum(z @ p["se.reduce.w"].T + p["se.reduce.b"], 0)', 'z = z @ p["se.reduce.w"].T + p["se.reduce.b"]\n    z = z * np.clip(z + 3, 0, 6) / 6')),
    "hard swish in the expansion": ("plain", ('y = relu6(batch_norm(pointwise(y, params["expand.w"]), params, "expand.bn", eps))', 'y = batch_norm(pointwise(y, params["expand.w"]), params, "expand.bn", eps)\n        y = y * np.clip(y + 3, 0, 6) / 6')),
}  # fmt: skip
WRONG["squeeze_excite"] = {
    "hard swish gate": ("plain", ("    return x * gate", "    z = hidden @ expand_w.T + expand_b; gate = z * np.clip(z / 6 + 0.5, 0, 1)\n    return x * gate")),
    "no biases": ("plain", (" + reduce_b", ""), (" + expand_b", "")),
    "offset 3 / 6 twice": ("plain", ("/ 6 + 0.5", "/ 6 + 3")),
    "hidden leaky": ("plain", ("np.maximum(pooled @ reduce_w.T + reduce_b, 0)", "np.maximum(pooled @ reduce_w.T + reduce_b, 0.1 * (pooled @ reduce_w.T + reduce_b))")),
    "gate of the pooled mean": ("plain", ("gate = np.clip((hidden @ expand_w.T + expand_b) / 6 + 0.5, 0, 1)", "gate = np.clip(pooled / 6 + 0.5, 0, 1)")),
    "mean without the last row": ("plain", ("x.mean(axis=(2, 3))", "x[:, :, :-1].mean(axis=(2, 3))")),
    "mul by pooled": ("plain", ("return x * gate[:, :, None, None]", "return x * gate[:, :, None, None] * pooled[:, :, None, None]")),
}  # fmt: skip
C = "np.clip(x / 6 + 0.5, 0, 1)"
WRONG["hard_sigmoid"] = {
    "swish": ("clip", (C, "x / (1 + np.exp(-x))")),
    "relu6(x) / 6 + 0.5": ("clip", (C, "np.clip(x, 0, 6) / 6 + 0.5")),
    "clip at -3 and 3": ("clip", (C, "np.clip(x, -3, 3)")),
    "bends at 2": ("where", ("x <= -3", "x <= -2"), ("x >= 3", "x >= 2"), ("(x + 3) / 6", "x / 4 + 0.5")),
    "ceil": ("clip", (C, "np.ceil(" + C + ")")),
    "1 - it": ("clip", (C, "1 - " + C)),
    "tanh scaled": ("clip", (C, "(np.tanh(x) + 1) / 2")),
}  # fmt: skip
H = "x * np.minimum(np.maximum(x + 3, 0), 6) / 6"
WRONG["hard_swish"] = {
    "plus 1": ("relu6", ("x + 3", "x + 1")),
    "minus x": ("relu6", ("x * np", "-x * np")),
    "relu": ("relu6", (H, "np.maximum(x, 0)")),
    "1 - gate": ("clip", ("x * np.clip(x / 6 + 0.5, 0, 1)", "x * (1 - np.clip(x / 6 + 0.5, 0, 1))")),
    "lower end below": ("where", ("x < -3, 0, ", "x < -3, -3, ")),
    "x / 6 times": ("clip", ("x / 6 + 0.5", "x / 6 + 3")),
    "tanh": ("relu6", (H, "x * np.tanh(x)")),
}  # fmt: skip
WRONG["batch_norm"] = {
    "minus beta": ("plain", ("+ beta", "- beta")),
    "sqrt of eps and var": ("plain", ("np.sqrt(var + eps)", "np.sqrt(var) + np.sqrt(eps)")),
    "gamma divided": ("plain", ("gamma * (x - mean)", "(x - mean) / gamma")),
    "var squared": ("plain", ("var + eps", "var ** 2 + eps")),
    "mean times gamma missing": ("plain", (N, "gamma * x / np.sqrt(var + eps) - gamma * mean + beta")),
    "image mean, stored var": ("plain", ("    return", "    mean = x.mean((2, 3), keepdims=True)\n    return")),
    "clipped at 0": ("plain", ("return " + N, "return np.maximum(" + N + ", 0)")),
}  # fmt: skip
WRONG["fold"] = {
    "mean over root": ("plain", ("s * (b - mean) + beta", "s * b - mean / np.sqrt(var + eps) + beta")),
    "beta over root": ("plain", ("+ beta", "+ beta / np.sqrt(var + eps)")),
    "b and beta exchanged": ("plain", ("s * (b - mean) + beta", "s * (beta - mean) + b")),
    "weights by gamma only": ("plain", ("w * s[:", "w * gamma[:")),
    "eps outside root": ("plain", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)")),
    "mean as it is": ("plain", ("s * (b - mean) + beta", "s * b + beta - mean")),
    "one plus s": ("plain", ("w * s[:, None, None, None]", "w * (1 + s[:, None, None, None])")),
}  # fmt: skip
T = "total // 2, total - total // 2"
WRONG["same_padding"] = {
    "kernel - 1 in total": ("plain", ("max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)", "(kernel - 1) * dilation")),
    "after negative": ("plain", (T, "total // 2, total // 2 - total")),
    "dilation squared": ("plain", ("* dilation", "* dilation * dilation")),
    "third": ("plain", (T, "total // 3, total - total // 3")),
    "min for max": ("plain", ("max(", "min(")),
    "stride - 1": ("plain", ("(out - 1) * stride", "(out - 1) * (stride - 1)")),
    "halves of the kernel by stride": ("plain", (T, "kernel // 2 // stride, kernel // 2 // stride")),
}  # fmt: skip
WRONG["block_rows"] = {
    "expanded by the stem": ("plain", ("channels * t", "stem * t")),
    "no 8 more but 8 less": ("plain", ("squeeze += 8", "squeeze -= 8")),
    "stride 2 in every first": ("plain", ("stride = s if", "stride = 2 if")),
    "kernel 3 always": ("plain", ("(kernel, expanded", "(3, expanded")),
    "out in place of expanded": ("plain", ("(kernel, expanded, squeeze, c, stride)", "(kernel, c, squeeze, c, stride)")),
    "limit 0.8": ("plain", ("0.9", "0.8")),
    "quarter of t": ("plain", ("expanded / 4", "channels * t // 8")),
}  # fmt: skip
WRONG["netadapt_choice"] = {
    "accuracy only of those": ("plain", ("change / saved", "change")),
    "delta as share": ("plain", ("saved >= delta", "saved >= delta * latency / 100")),
    "no -1 but 0": ("plain", ("None, -1", "None, 0")),
    "squared saving": ("plain", ("change / saved", "change / saved ** 2")),
    "previous index": ("plain", ("best, index = ratio, i", "best, index = ratio, max(i - 1, 0)")),
    "sum": ("plain", ("change / saved", "change + saved")),
    "starts at second": ("plain", ("range(len(accuracies))", "range(1, len(accuracies))")),
}  # fmt: skip

UNNAMED: dict[str, tuple[str, ...]] = {
    "conv2d": ("P and Q exchanged in the shape where it fits",),
    "pointwise": ("bias times w",),
    "batch_norm": ("sqrt of eps and var",),
}
