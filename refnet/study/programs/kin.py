"""What readers take for one another in a program: names, and parts that are written in another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["CURVES", "KIN"]

CURVES = (
    "relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "swish", "tanh", "hard_tanh", "step", "softmax",
    "softplus", "leaky_relu", "elu",
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
_ALSO: Mapping[str, Sequence[str]] = {
    "stride[0]": ("1",), "stride[1]": ("1",), "stride": ("(1, 1)", "stride[::-1]"), "pad": ("pad[::-1]",),
    "top": ("0", "R // 2"), "bottom": ("0",), "left": ("0", "S // 2"), "right": ("0",), "h": ("max(h, 0)",),
    "w[k]": ("w[k][:, ::-1, ::-1]", "w[k][:, ::-1]", "w[k][..., ::-1]"),
    "w[c]": ("w[c][::-1, ::-1]", "w[c][::-1]", "w[c][..., ::-1]", "w[c] / np.sum(w[c])"),
    "y": ("x + y",),
    "gamma": ("1", "1 + gamma"), "eps": ("0", "1e-05", "0.001", "eps ** 2"),
    "vector[:, None, None]": ("vector[0]", "vector"),
    "w.copy()": ("np.zeros(w.shape)",), "b.copy()": ("np.zeros(b.shape)",), "np.zeros(x.shape)": ("x.copy()",),
    "across(mean)": tuple(map(_MEAN.format, _AXES)), "across(var)": tuple(map(_VAR.format, _AXES)),
    "H * W": ("x.shape[1] * H * W", "len(x) * H * W", "H + W"),
    "np.mean(x, axis=(2, 3))": (
        "np.mean(x, axis=(0, 2, 3))[None]", "np.mean(x, axis=(1, 2, 3))[:, None] + np.zeros(x.shape[:2])",
    ),
    "x * gate[:, :, None, None]": (
        "x + x * gate[:, :, None, None]", "np.zeros(x.shape) + gate[:, :, None, None]",
        "x * (1 + gate[:, :, None, None])", "x * (1 - gate[:, :, None, None])",
    ),
    "float('-inf')": ("0", "-1", "float('inf')"),
    "i == 0": ("i == n - 1", "i > 0"), "se": ("True", "se and i == 0"),
    "channels * t": ("channels if not rows else channels * t", "channels if i == 0 else channels * t"),
    "in_eights(expanded / 4)": ("int(expanded / 4)", "expanded // 4 // 8 * 8"),
}  # fmt: skip


def _kin() -> Mapping[str, tuple[str, ...]]:
    kin: dict[str, tuple[str, ...]] = {}
    for family in _FAMILIES:
        for name in family:
            kin[name] = (*kin.get(name, ()), *(other for other in family if other != name))
    for name, others in _ALSO.items():
        kin[name] = (*kin.get(name, ()), *others)
    return kin


KIN = _kin()
