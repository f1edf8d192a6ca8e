"""What readers take for one another in a program: names, and parts that are written in another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["CURVES", "KIN"]

CURVES = (
    "relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "swish", "tanh", "hard_tanh", "step", "softmax",
    "softplus", "gelu", "leaky_relu", "elu",
)  # fmt: skip
_FAMILIES: Sequence[Sequence[str]] = (
    CURVES,
    ("'expand'", "'depthwise'", "'project'"),
    ("top", "bottom", "left", "right"),
    ("stride[0]", "stride[1]"),
    ("H", "W"), ("P", "Q"), ("R", "S"), ("h", "v"), ("r", "s"), ("p", "q"), ("k", "c", "n"),
    ("gamma", "beta", "mean", "var"),
    ("gamma[c]", "beta[c]", "mean[c]", "var[c]"),
    ("gamma[k]", "beta[k]", "mean[k]", "var[k]"),
    ("size", "kernel", "stride", "dilation", "out", "reach"),
    ("stem", "channels", "c", "t", "expanded", "kernel", "squeeze"), ("n", "s"),
    ("saved", "change", "score", "accuracies[i]", "latencies[i]", "latency", "accuracy"),
    ("x", "y"),
    ("before", "after", "total"),
    ("reduce_b", "expand_b"),
)  # fmt: skip
_MEAN, _VAR = "np.mean(x, axis={}, keepdims=True)", "np.var(x, axis={}, keepdims=True)"
_AXES = ("(0, 2, 3)", "(2, 3)", "(1, 2, 3)", "1", "None")
_PADS = (
    "pad[::-1]", "((0, 0), (0, 0))", "((1, 1), (1, 1))", "((R // 2, R // 2), (S // 2, S // 2))", "2 * np.array(pad)",
    "(pad[0], pad[0])", "(pad[1], pad[1])", "[(0, sum(side)) for side in pad]", "[(sum(side), 0) for side in pad]",
    "[side[::-1] for side in pad]",
)  # fmt: skip
_COUNTS = (
    "p", "q", "r", "s", "h", "v", "H", "W", "i", "n", "t", "size", "kernel", "stride", "dilation", "out", "reach",
    "total",
)  # fmt: skip
_POOLS = (
    "x[:, :, 0, 0]", "np.mean(x, axis=3)[:, :, 0]", "np.mean(x, axis=2)[:, :, 0]", "np.median(x, axis=(2, 3))",
    "np.mean(abs(x), axis=(2, 3))", "np.sqrt(np.mean(x * x, axis=(2, 3)))", "np.std(x, axis=(2, 3))",
    "np.mean(x[:, :, :-1], axis=(2, 3))", "np.mean(x[..., :-1], axis=(2, 3))", "np.mean(x[:, :, 1:], axis=(2, 3))",
)  # fmt: skip
_ALSO: Mapping[str, Sequence[str]] = {
    "stride[0]": ("1", "2"), "stride[1]": ("1", "2"), "stride": ("(1, 1)", "(2, 2)", "stride[::-1]"), "pad": _PADS,
    "top": ("0", "R // 2"), "bottom": ("0",), "left": ("0", "S // 2"), "right": ("0",), "h": ("max(h, 0)",),
    "w[k]": ("w[k][:, ::-1, ::-1]", "w[k][:, ::-1]", "w[k][..., ::-1]"),
    "w[c]": ("w[c][::-1, ::-1]", "w[c][::-1]", "w[c][..., ::-1]", "w[c] / np.sum(w[c])"),
    "y": ("x + y",),
    "gamma": ("1", "1 + gamma"), "eps": ("0", "1e-05", "0.001", "eps ** 2"),
    "vector[:, None, None]": ("vector[0]", "vector"),
    "w.copy()": ("np.zeros(w.shape)",), "b.copy()": ("np.zeros(b.shape)",), "np.zeros(x.shape)": ("x.copy()",),
    "across(mean)": tuple(map(_MEAN.format, _AXES)),
    "across(var)": (*map(_VAR.format, _AXES), "across(var) ** 2", "np.sqrt(across(var))"),
    "mix(y, pointwise_w)": (
        "y", "look(mix(x, pointwise_w), depthwise_w, stride, pad)",
        "mix(y, pointwise_w)[:, :, ::stride[0], ::stride[1]]",
    ),
    "np.maximum(x, 0)": tuple(f"np.maximum(x, {slope} * x)" for slope in (0.01, 0.1, 0.2)),
    "x + y": ("relu6(x) + y", "relu(x) + y", "x + relu6(y)", "x + relu(y)", "(x + y) / 2", "x + y + x"),
    "gate[:, :, None, None]": ("gate[:1, :, None, None]", "gate[-1:, :, None, None]"),
    "s[:, None, None, None]": (
        "s[0]", "gamma[:, None, None, None]", "1 + s[:, None, None, None]",
        "1 / np.sqrt(var + eps)[:, None, None, None]",
    ),
    "mean[k] * s": ("mean[k] * gamma[k]", "mean[k] / np.sqrt(var[k] + eps)"),
    "b[k] * s": ("b[k] * gamma[k]", "b[k] / np.sqrt(var[k] + eps)"),
    "beta[k]": ("beta[k] * s", "beta[k] / np.sqrt(var[k] + eps)"),
    "np.clip(x / 6 + 0.5, 0, 1)": (*(f"{curve}(x)" for curve in CURVES), "(tanh(x) + 1) / 2", "1 - hard_sigmoid(x)"),
    "var": ("var ** 2", "np.sqrt(var)"), "var[c]": ("var[c] ** 2", "np.sqrt(var[c])"), "n": ("max(n - 1, 1)",),
    "s": ("2",), "kernel": ("3",), "t": ("6",), "i": ("max(i - 1, 0)",),
    "accuracies[i] - accuracy": ("accuracies[i] / accuracy", "(accuracies[i] - accuracy) / accuracies[i]"),
    "b[k]": ("0",), "b[c]": ("0",),
    "x[n, c, h, v]": ("x[n, c, h, v] + b[k]", "x[n, c, h, v] + b[c]"), "x[:, c, h, v]": ("x[:, c, h, v] + b[k]",),
    "H * W": ("x.shape[1] * H * W", "len(x) * H * W", "H + W"),
    "np.mean(x, axis=(2, 3))": (
        *_POOLS, "np.mean(x, axis=(0, 2, 3))[None]", "np.mean(x, axis=(1, 2, 3))[:, None] + np.zeros(x.shape[:2])",
    ),
    "x * gate[:, :, None, None]": (
        "x + x * gate[:, :, None, None]", "np.zeros(x.shape) + gate[:, :, None, None]",
        "x * (1 + gate[:, :, None, None])", "x * (1 - gate[:, :, None, None])",
        "x * gate[:, :, None, None] * pooled[:, :, None, None]", "x * pooled[:, :, None, None]",
    ),
    "float('-inf')": ("0", "-1", "float('inf')"),
    "i == 0": ("i == n - 1", "i > 0"), "se": ("True", "se and i == 0", "se and i > 0"),
    "channels * t": ("channels if not rows else channels * t", "channels if i == 0 else channels * t"),
    "in_eights(expanded / 4)": ("int(expanded / 4)", "expanded // 4 // 8 * 8"),
}  # fmt: skip


def _kin() -> Mapping[str, tuple[str, ...]]:
    kin: dict[str, tuple[str, ...]] = {}
    for family in _FAMILIES:
        for name in family:
            kin[name] = (*kin.get(name, ()), *(other for other in family if other != name))
    for name in _COUNTS:
        kin[name] = (*kin.get(name, ()), f"{name} - 1", f"{name} + 1")
    for name, others in _ALSO.items():
        kin[name] = (*kin.get(name, ()), *others)
    return kin


KIN = _kin()
