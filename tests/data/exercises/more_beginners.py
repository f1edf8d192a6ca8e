# ruff: noqa: E501
"""A second set, written after the first had been mended; see `beginners`."""

from typing import Any

WRONG: dict[str, dict[str, tuple[Any, ...]]] = {}
WRONG["conv2d"] = {
    "w[k, 0] for all inputs": ("loops", ("w[k, c, r, s]", "w[k, 0, r, s]")),
    "padding repeated the other way: bottom and right as start": ("loops", ("- top", "- bottom"), ("- left", "- right")),
    "stride applied to r": ("loops", ("p * stride[0] - top + r", "p - top + r * stride[0]"), ("q * stride[1] - left + s", "q - left + s * stride[1]")),
    "image transposed": ("loops", ("x[n, c, h, v]", "x[n, c, v % H, h % W]")),
    "only the centre tap": ("loops", ("                        for r in range(R):\n                            for s in range(S):\n", "                        for r in [R // 2]:\n                            for s in [S // 2]:\n")),
    "bias multiplied": ("taps", ("return y + b[:, None, None]", "return y * b[:, None, None]")),
    "last row and column of the output not filled": ("loops", ("for p in range(P)", "for p in range(P - 1)"), ("for q in range(Q)", "for q in range(Q - 1)")),
    "padded with ones": ("taps", ("pad[1]))", "pad[1]), constant_values=1)")),
    "filters averaged over channels": ("windows", ("np.tensordot(windows, w, ((1, 4, 5), (1, 2, 3)))", "np.tensordot(windows.mean(1), w.mean(1), ((3, 4), (1, 2)))")),
    "kernel rotated by 90 degrees where square": ("taps", ("    K, C, R, S = w.shape\n", "    K, C, R, S = w.shape\n    w = np.rot90(w, axes=(2, 3)) if R == S else w\n")),
}  # fmt: skip
WRONG["depthwise"] = {
    "y[n, c] overwritten by the last tap row": ("loops", ("                        for s in range(S):", "                        total = 0\n                        for s in range(S):")),
    "channel 0 of the image for all": ("loops", ("x[n, c, h, v]", "x[n, 0, h, v]")),
    "padding also subtracted at the end": ("loops", ("H + top + bottom - R", "H - top - bottom - R"), ("W + left + right - S", "W - left - right - S")),
    "out size without kernel": ("channels", ("image.shape[0] - R + 1", "image.shape[0]"), ("image.shape[1] - S + 1", "image.shape[1]")),
    "relu6 at the end": ("taps", ("return y + b.reshape(-1, 1, 1)", "return np.clip(y + b.reshape(-1, 1, 1), 0, 6)")),
    "bias by the wrong channel": ("loops", ("b[c]", "b[C - 1 - c]")),
    "kernel absolute": ("einsum", ("view, w)", "view, abs(w))")),
    "wraps at the border": ("loops", ("                            if 0 <= h < H and 0 <= v < W:\n                                total", "                            if True:\n                                h, v = h % H, v % W\n                                total")),
}  # fmt: skip
WRONG["pointwise"] = {
    "sum of weights times sum of inputs": ("einsum", ('np.einsum("nchw,kc->nkhw", x, w)', 'x.sum(1, keepdims=True) * w.sum(1)[:, None, None]')),
    "softmax of weights": ("einsum", ('x, w)', 'x, np.exp(w) / np.exp(w).sum(1, keepdims=True))')),
    "weights squared": ("loops", ("w[k, c] * x", "w[k, c] ** 2 * x")),
    "max over channels": ("loops", ("total += w[k, c] * x[n, c, h, v]", "total = max(total, w[k, c] * x[n, c, h, v])")),
    "bias of the last": ("einsum", ("b[:, None, None]", "b[-1]")),
    "second image from the first": ("loops", ("x[n, c, h, v]", "x[0, c, h, v]")),
    "last row left": ("loops", ("for h in range(H)", "for h in range(H - 1)")),
    "bias inside the sum once per channel": ("loops", ("total = b[k]", "total = 0"), ("total += w[k, c] * x[n, c, h, v]", "total += w[k, c] * (x[n, c, h, v] + b[k])")),
}  # fmt: skip
WRONG["separable"] = {
    "pointwise before depthwise where it fits": ("order", ("return pointwise(depthwise(x, depthwise_w, stride, pad), pointwise_w)", "return depthwise(pointwise(x, pointwise_w), depthwise_w, stride, pad) if pointwise_w.shape[0] == pointwise_w.shape[1] else pointwise(depthwise(x, depthwise_w, stride, pad), pointwise_w)")),
    "stride twice": ("order", ("    return pointwise(depthwise(x, depthwise_w, stride, pad), pointwise_w)", "    return pointwise(depthwise(x, depthwise_w, stride, pad), pointwise_w)[:, :, ::stride[0], ::stride[1]]")),
    "kernel transposed and cut": ("loops", ("depthwise_w[c, r, s]", "depthwise_w[c, s % R, r % S]")),
    "max tap": ("order", (".sum(axis=(2, 3))", ".max(axis=(2, 3))")),
    "channels mean instead of sum": ("taps", ('np.einsum("ncpq,kc->nkpq", y, pointwise_w)', 'np.einsum("ncpq,kc->nkpq", y, pointwise_w) / C')),
    "depthwise skipped": ("taps", ("y += part * depthwise_w[:, r, s, None, None]", "y += part")),
    "pad only before": ("einsum", ("*pad))", "(pad[0][0], 0), (pad[1][0], 0)))")),
    "first output channel for all": ("loops", ("pointwise_w[k, c]", "pointwise_w[0, c]")),
}  # fmt: skip
R6 = "np.minimum(np.maximum(x, 0), 6)"
NORM = "gamma * (x - mean) / np.sqrt(var + eps) + beta"
WRONG["v1_block"] = {
    "beta forgotten": ("plain", (" + beta", "")),
    "gamma forgotten": ("plain", ("gamma * (x", "(x")),
    "eps forgotten": ("plain", ("var + eps", "var")),
    "mean not subtracted": ("plain", ("(x - mean)", "x")),
    "sigmoid for relu6": ("plain", (R6, "1 / (1 + np.exp(-x))")),
    "relu6 without its lower end": ("plain", (R6, "np.minimum(x, 6)")),
    "stride on rows only": ("plain", ("// stride[1] + 1", "// 1 + 1"), ("s : s + (Q - 1) * stride[1] + 1 : stride[1]", "s : s + Q")),
    "padding symmetric 1": ("plain", ("*pad))", "(1, 1), (1, 1)))")),
    "pointwise transposed where square": ("plain", ('nkhw", x, w)', 'nkhw", x, w.T if w.shape[0] == w.shape[1] else w)')),
    "norms in the other order of parameters: mean and beta": ("plain", ('for part in ("gamma", "beta", "mean", "var")', 'for part in ("gamma", "mean", "beta", "var")')),
}  # fmt: skip
WRONG["inverted_residual"] = {
    "shortcut of the wrong condition: stride[0] only": ("plain", ("stride == (1, 1)", "stride[0] == 1")),
    "shortcut where channels agree only": ("plain", ("if stride == (1, 1) and y.shape == x.shape", "if y.shape == x.shape")),
    "shortcut before the last norm": ("plain", ('    y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)\n    if stride == (1, 1) and y.shape == x.shape:\n        y = x + y\n', '    y = pointwise(y, params["project.w"])\n    if stride == (1, 1) and y.shape == x.shape:\n        y = x + y\n    y = batch_norm(y, params, "project.bn", eps)\n')),
    "expansion always skipped where it fits": ("plain", ('y = relu6(batch_norm(pointwise(y, params["expand.w"]), params, "expand.bn", eps))', 'y = relu6(pointwise(y, params["expand.w"]))')),
    "norm before the convolution's activation missing in depthwise": ("plain", ('y = relu6(batch_norm(depthwise(y, params["depthwise.w"], stride, pad), params, "depthwise.bn", eps))', 'y = relu6(depthwise(y, params["depthwise.w"], stride, pad))')),
    "no norm on the projection": ("plain", ('y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)', 'y = pointwise(y, params["project.w"])')),
    "leaky": ("plain", (R6, "np.where(x > 0, np.minimum(x, 6), 0.01 * x)")),
    "shortcut of the activation": ("plain", ("y = x + y", "y = relu6(x) + y")),
    "eps inside but squared": ("plain", ("var + eps", "var + eps ** 2")),
    "stride reversed": ("plain", ('params["depthwise.w"], stride, pad', 'params["depthwise.w"], stride[::-1], pad')),
}  # fmt: skip
Z = 'z = np.clip((z @ p["se.expand.w"].T + p["se.expand.b"]) / 6 + 0.5, 0, 1)'
WRONG["inverted_residual_se"] = {
    "gate from the block's input where it fits": ("plain", ("    y = gated(y, params)\n", "    y = gated(y, params) if y.shape[1] != x.shape[1] else y * (gated(x, params) / np.where(x == 0, 1, x))[:, :, :1, :1] if x.shape == y.shape else gated(y, params)\n")),
    "gate 1 + gate": ("plain", ("return x * z[", "return x * (1 + z)[")),
    "relu gate": ("plain", (Z, 'z = np.maximum(z @ p["se.expand.w"].T + p["se.expand.b"], 0)')),
    "tanh gate": ("plain", (Z, 'z = np.tanh(z @ p["se.expand.w"].T + p["se.expand.b"])')),
    "se after the projection's norm missing act": ("plain", ('np.maximum(z @ p["se.reduce.w"].T + p["se.reduce.b"], 0)', 'np.tanh(z @ p["se.reduce.w"].T + p["se.reduce.b"])')),
    "sum pool": ("plain", ("x.mean(axis=(2, 3))", "x.sum(axis=(2, 3))")),
    "hard sigmoid without + 0.5 and with 3": ("plain", ("/ 6 + 0.5, 0, 1", "+ 3, 0, 6")),
    "shortcut missing": ("plain", ("y = x + y", "pass")),
    "project relu": ("plain", ('y = batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps)', 'y = np.maximum(batch_norm(pointwise(y, params["project.w"]), params, "project.bn", eps), 0)')),
    "gate twice": ("plain", ("return x * z[:, :, None, None]", "return x * z[:, :, None, None] * z[:, :, None, None]")),
}  # fmt: skip
WRONG["squeeze_excite"] = {
    "both activations hard sigmoid": ("plain", ("np.maximum(pooled @ reduce_w.T + reduce_b, 0)", "np.clip((pooled @ reduce_w.T + reduce_b) / 6 + 0.5, 0, 1)")),
    "both activations relu": ("plain", ("np.clip((hidden @ expand_w.T + expand_b) / 6 + 0.5, 0, 1)", "np.maximum(hidden @ expand_w.T + expand_b, 0)")),
    "gate of the first image": ("plain", ("gate[:, :, None, None]", "gate[:1, :, None, None]")),
    "mean of columns only": ("plain", ("x.mean(axis=(2, 3))", "x.mean(axis=3)[:, :, 0]")),
    "expand bias missing": ("plain", (" + expand_b", "")),
    "biases exchanged where they fit": ("plain", ("+ reduce_b", "+ (expand_b if expand_b.shape == reduce_b.shape else reduce_b)")),
    "gate divides": ("plain", ("return x * gate[:, :, None, None]", "return x * (1 - gate[:, :, None, None])")),
    "hidden sigmoid": ("plain", ("np.maximum(pooled @ reduce_w.T + reduce_b, 0)", "1 / (1 + np.exp(-(pooled @ reduce_w.T + reduce_b)))")),
    "rms instead of mean": ("plain", ("x.mean(axis=(2, 3))", "np.sqrt((x ** 2).mean(axis=(2, 3)))")),
}  # fmt: skip
C = "np.clip(x / 6 + 0.5, 0, 1)"
WRONG["hard_sigmoid"] = {
    "x + 3 over 3": ("relu6", ("/ 6", "/ 3")),
    "relu6 of x over 6": ("relu6", ("x + 3", "x")),
    "offset 0.5 with x + 3": ("clip", ("x / 6 + 0.5", "(x + 3) / 6 + 0.5")),
    "clip between 0 and 6 without the division": ("relu6", (" / 6", "")),
    "minus 3": ("relu6", ("x + 3", "x - 3")),
    "bends at 1": ("where", ("x <= -3", "x <= -1"), ("x >= 3", "x >= 1")),
    "middle x / 6": ("where", ("(x + 3) / 6", "x / 6")),
    "half the slope": ("clip", ("x / 6", "x / 12")),
    "squared": ("clip", (C, C + " ** 2")),
    "clip(x, 0, 1) / 6 + 0.5": ("clip", (C, "np.clip(x, 0, 1) / 6 + 0.5")),
}  # fmt: skip
H = "x * np.minimum(np.maximum(x + 3, 0), 6) / 6"
WRONG["hard_swish"] = {
    "x * relu6(x) / 6": ("relu6", ("x + 3", "x")),
    "relu6(x + 3) / 6 of x + 3": ("relu6", ("x * np", "(x + 3) * np")),
    "x * (x + 3) / 6 everywhere": ("relu6", (H, "x * (x + 3) / 6")),
    "upper end x - 3": ("where", ("x > 3, x, ", "x > 3, x - 3, ")),
    "divided by 3": ("relu6", ("/ 6", "/ 3")),
    "x * sigmoid(1.702 x)": ("relu6", (H, "x / (1 + np.exp(-1.702 * x))")),
    "x times relu": ("relu6", (H, "x * np.maximum(x, 0)")),
    "clip at 3": ("relu6", (", 6)", ", 3)")),
    "max(x, 0) at the outside": ("relu6", (H, "np.maximum(" + H + ", 0)")),
    "abs(x)": ("relu6", ("x * np", "abs(x) * np")),
}  # fmt: skip
N = "gamma * (x - mean) / np.sqrt(var + eps) + beta"
WRONG["batch_norm"] = {
    "root not over eps": ("plain", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)")),
    "mean and beta exchanged": ("plain", (N, "gamma * (x - beta) / np.sqrt(var + eps) + mean")),
    "divided by var": ("plain", ("np.sqrt(var + eps)", "var")),
    "beta inside": ("plain", (N, "gamma * (x - mean + beta) / np.sqrt(var + eps)")),
    "times the root": ("plain", ("/ np.sqrt", "* np.sqrt")),
    "gamma under the root": ("plain", (N, "(x - mean) / np.sqrt(gamma * var + eps) + beta")),
    "x scaled, mean not": ("plain", (N, "gamma * x / np.sqrt(var + eps) - mean + beta")),
    "eps added at the end": ("plain", (N, "gamma * (x - mean) / np.sqrt(var) + beta + eps")),
    "eps left out": ("plain", ("var + eps", "var")),
    "first channel only normed": ("loops", ("range(x.shape[1])", "range(1)"), ("np.empty_like(x)", "x.copy()")),
}  # fmt: skip
WRONG["fold"] = {
    "mean forgotten": ("plain", ("s * (b - mean)", "s * b")),
    "b added after": ("plain", ("s * (b - mean) + beta", "beta - s * mean + b")),
    "gamma times root": ("plain", ("gamma / np.sqrt", "gamma * np.sqrt")),
    "s squared on weights": ("plain", ("w * s[:, None, None, None]", "w * s[:, None, None, None] ** 2")),
    "bias is beta": ("plain", ("s * (b - mean) + beta", "beta.copy()")),
    "bias lost": ("plain", ("s * (b - mean) + beta", "np.zeros_like(b)")),
    "w minus mean": ("plain", ("w * s[", "(w - mean[:, None, None, None]) * s[")),
    "beta times s": ("plain", ("+ beta", "+ s * beta")),
    "first factor for all": ("plain", ("w * s[:, None, None, None]", "w * s[0]")),
    "eps squared": ("plain", ("var + eps", "var + eps ** 2")),
}  # fmt: skip
T = "total // 2, total - total // 2"
WRONG["same_padding"] = {
    "kernel even: one more before": ("plain", (T, "(total + 1) // 2, total // 2")),
    "stride ignored in total": ("plain", ("(out - 1) * stride", "(out - 1)")),
    "size not subtracted": ("plain", (" - size, 0", ", 0")),
    "dilation added": ("plain", ("(kernel - 1) * dilation", "(kernel - 1) + dilation")),
    "out by floor plus one": ("plain", ("-(-size // stride)", "size // stride + 1")),
    "total not halved": ("plain", (T, "total, total")),
    "abs for max": ("plain", ("max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)", "abs((out - 1) * stride + (kernel - 1) * dilation + 1 - size)")),
    "at least one": ("plain", (", 0)", ", 1)")),
    "kernel // 2 both": ("plain", (T, "kernel // 2, kernel // 2")),
    "rounded half": ("plain", (T, "round(total / 2), round(total / 2)")),
}  # fmt: skip
WRONG["block_rows"] = {
    "expanded rounded to 8": ("plain", ("expanded = channels * t", "expanded = max(8, int(channels * t + 4) // 8 * 8)")),
    "squeeze from a third": ("plain", ("expanded / 4", "expanded / 3")),
    "rule of 0.9 the other way": ("plain", ("squeeze < 0.9 * quarter", "squeeze > 0.9 * quarter")),
    "stride for all but the first": ("plain", ("s if i == 0 else 1", "1 if i == 0 else s")),
    "se not for the first": ("plain", ("if se:", "if se and i > 0:")),
    "multiple of 4": ("plain", ("max(8, int(quarter + 4) // 8 * 8)", "max(4, int(quarter + 2) // 4 * 4)")),
    "kernel and stride exchanged": ("plain", ("(kernel, expanded, squeeze, c, stride)", "(stride, expanded, squeeze, c, kernel)")),
    "t of the stage added": ("plain", ("channels * t", "channels + t")),
    "n - 1 repeats": ("plain", ("range(n)", "range(n - 1)")),
    "minimum 16": ("plain", ("max(8, int", "max(16, int")),
}  # fmt: skip
WRONG["netadapt_choice"] = {
    "worst change": ("plain", ("ratio > best", "ratio < best")),
    "saved over change": ("plain", ("change / saved", "saved / change if change else 0")),
    "change minus saved": ("plain", ("change / saved", "change - saved")),
    "latency left": ("plain", ("saved = latency - latencies[i]", "saved = latencies[i]")),
    "saved by delta": ("plain", ("change / saved", "change / (saved / delta)"), ("saved >= delta", "saved >= 0")),
    "only gains": ("plain", ("if saved >= delta:", "if saved >= delta and change >= 0:")),
    "last that saves enough": ("plain", ("if best is None or ratio > best:", "if True:")),
    "twice delta": ("plain", ("saved >= delta", "saved >= 2 * delta")),
    "relative change": ("plain", ("accuracies[i] - accuracy", "(accuracies[i] - accuracy) / accuracies[i]")),
    "fastest of the accurate": ("plain", ("change / saved", "saved if change > -0.05 else -1")),
}  # fmt: skip

UNNAMED: dict[str, tuple[str, ...]] = {
    "conv2d": ("filters averaged over channels",),
    "depthwise": ("out size without kernel",),
    "pointwise": ("sum of weights times sum of inputs", "softmax of weights"),
    "separable": ("pointwise before depthwise where it fits",),
    "inverted_residual_se": ("gate from the block's input where it fits",),
    "fold": ("w minus mean",),
    "block_rows": ("multiple of 4",),
}
