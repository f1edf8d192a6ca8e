# ruff: noqa: E501
"""What readers write for the exercises of functions; see `filters`."""


def _one(name, expression, before=""):
    return f"import numpy as np\n\ndef {name}(x):\n{before}    return {expression}\n"


HARD_SIGMOID_RIGHT = {
    "clip": _one("hard_sigmoid", "np.clip(x / 6 + 0.5, 0, 1)"),
    "relu6": _one("hard_sigmoid", "np.minimum(np.maximum(x + 3, 0), 6) / 6"),
    "where": _one("hard_sigmoid", "np.where(x <= -3, 0, np.where(x >= 3, 1, (x + 3) / 6)).astype(x.dtype)"),
    "sixth": _one("hard_sigmoid", "np.minimum(np.maximum(x * (1 / 6) + 1 / 2, 0), 1)"),
    "in steps": _one("hard_sigmoid", "y", "    y = (x + 3) / 6\n    y[y < 0] = 0\n    y[y > 1] = 1\n"),
}
HARD_SIGMOID_WRONG = {
    "Keras' slope": ("clip", ("x / 6 + 0.5", "0.2 * x + 0.5")),
    "no offset": ("clip", ("x / 6 + 0.5", "x / 6")),
    "half": ("clip", ("x / 6 + 0.5", "(x + 1) / 2")),
    "the true sigmoid": ("clip", ("np.clip(x / 6 + 0.5, 0, 1)", "1 / (1 + np.exp(-x))")),
    "no clip": ("clip", ("np.clip(x / 6 + 0.5, 0, 1)", "x / 6 + 0.5")),
    "no upper end": ("sixth", ("np.minimum(np.maximum(x * (1 / 6) + 1 / 2, 0), 1)", "np.maximum(x * (1 / 6) + 1 / 2, 0)")),
    "no lower end": ("sixth", ("np.minimum(np.maximum(x * (1 / 6) + 1 / 2, 0), 1)", "np.minimum(x * (1 / 6) + 1 / 2, 1)")),
    "no sixth": ("relu6", (" / 6", "")),
    "relu for relu6": ("relu6", ("np.minimum(np.maximum(x + 3, 0), 6) / 6", "np.maximum(x + 3, 0) / 6")),
    "times x": ("relu6", ("np.minimum(np.maximum(x + 3, 0), 6) / 6", "x * np.minimum(np.maximum(x + 3, 0), 6) / 6")),
    "a third": ("relu6", ("/ 6", "/ 3")),
    "between -1 and 1": ("clip", ("0, 1)", "-1, 1)")),
    "minimum and maximum exchanged": ("sixth", ("np.minimum(np.maximum(x * (1 / 6) + 1 / 2, 0), 1)", "np.maximum(np.minimum(x * (1 / 6) + 1 / 2, 0), 1)")),
    "no plus three": ("relu6", ("x + 3", "x")),
    "a rounded sixth": ("clip", ("x / 6", "x * 0.1667")),
}  # fmt: skip

HARD_SWISH_RIGHT = {
    "relu6": _one("hard_swish", "x * np.minimum(np.maximum(x + 3, 0), 6) / 6"),
    "clip": _one("hard_swish", "x * np.clip(x / 6 + 0.5, 0, 1)"),
    "where": _one("hard_swish", "np.where(x < -3, 0, np.where(x > 3, x, x * (x + 3) / 6)).astype(x.dtype)"),
    "sixth": _one("hard_swish", "x * (np.clip(x + 3, 0, 6) * (1 / 6))"),
    "in place": _one("hard_swish", "y", "    y = x + 3\n    np.clip(y, 0, 6, out=y)\n    y *= x\n    y /= 6\n"),
}
_SWISH = "x * np.minimum(np.maximum(x + 3, 0), 6) / 6"
HARD_SWISH_WRONG = {
    "no sixth": ("relu6", (" / 6", "")),
    "the true swish": ("relu6", (_SWISH, "x / (1 + np.exp(-x))")),
    "no x": ("relu6", ("x * np", "np")),
    "no plus three": ("relu6", ("x + 3", "x")),
    "relu for relu6": ("relu6", (_SWISH, "x * np.maximum(x + 3, 0) / 6")),
    "relu": ("relu6", (_SWISH, "np.maximum(x, 0)")),
    "relu6": ("relu6", (_SWISH, "np.clip(x, 0, 6)")),
    "a rounded sixth": ("sixth", ("(1 / 6)", "0.1667")),
    "Keras' slope": ("clip", ("x / 6 + 0.5", "0.2 * x + 0.5")),
    "the gate squared": ("clip", ("x * np.clip(x / 6 + 0.5, 0, 1)", "x * np.clip(x / 6 + 0.5, 0, 1) ** 2")),
    "clipped to three": ("relu6", (", 6)", ", 3)")),
    "no clip": ("clip", ("np.clip(x / 6 + 0.5, 0, 1)", "(x / 6 + 0.5)")),
    "minimum only": ("clip", ("np.clip(x / 6 + 0.5, 0, 1)", "np.minimum(x / 6 + 0.5, 1)")),
    "a third": ("relu6", ("/ 6", "/ 3")),
    "nothing at all": ("relu6", (_SWISH, "x + 0")),
    "the offset left out": ("clip", ("x / 6 + 0.5", "x / 6")),
}  # fmt: skip

_BN = """
import numpy as np

def batch_norm(x, gamma, beta, mean, var, *, eps):
    gamma, beta, mean, var = (each.reshape(1, -1, 1, 1) for each in (gamma, beta, mean, var))
    return gamma * (x - mean) / np.sqrt(var + eps) + beta
"""
_BN_LOOPS = """
import numpy as np

def batch_norm(x, gamma, beta, mean, var, *, eps):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = gamma[c] * ((x[:, c] - mean[c]) / np.sqrt(var[c] + eps)) + beta[c]
    return y
"""
_BN_FACTOR = """
import numpy as np

def batch_norm(x, gamma, beta, mean, var, *, eps):
    factor = gamma / np.sqrt(var + eps)
    shift = beta - factor * mean
    return x * factor[:, None, None] + shift[:, None, None]
"""
_BN_LAST = """
import numpy as np

def batch_norm(x, gamma, beta, mean, var, *, eps):
    y = np.moveaxis(x, 1, -1)
    y = (y - mean) * (var + eps) ** -0.5 * gamma + beta
    return np.moveaxis(y, -1, 1)
"""
_BN_WIDE = _BN_FACTOR.replace("gamma / np.sqrt(var + eps)", "gamma.astype(float) / np.sqrt(var.astype(float) + eps)").replace(
    "shift[:, None, None]", "shift[:, None, None]).astype(x.dtype)"
).replace("return x", "return (x")  # fmt: skip
_LINE = "gamma * (x - mean) / np.sqrt(var + eps) + beta"
BATCH_NORM_RIGHT = {"plain": _BN, "loops": _BN_LOOPS, "factor": _BN_FACTOR, "last": _BN_LAST, "wide": _BN_WIDE}
BATCH_NORM_WRONG = {
    "eps outside the root": ("plain", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)")),
    "no eps": ("plain", ("var + eps", "var")),
    "no root": ("plain", ("np.sqrt(var + eps)", "(var + eps)")),
    "no root and no eps": ("plain", ("np.sqrt(var + eps)", "var")),
    "statistics of the batch": ("plain", ("    return", "    mean, var = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)\n    return")),
    "statistics of each image": ("plain", ("    return", "    mean, var = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)\n    return")),
    "mean and beta exchanged": ("plain", ("in (gamma, beta, mean, var)", "in (gamma, mean, beta, var)")),
    "gamma and var exchanged": ("plain", ("in (gamma, beta, mean, var)", "in (var, beta, mean, np.abs(gamma))")),
    "no gamma": ("plain", ("gamma * (x", "(x")),
    "no beta": ("plain", (" + beta", "")),
    "no mean": ("plain", ("(x - mean)", "x")),
    "the mean added": ("plain", ("x - mean", "x + mean")),
    "beta subtracted": ("plain", ("+ beta", "- beta")),
    "the mean unscaled": ("factor", ("beta - factor * mean", "beta - mean")),
    "multiplied by the root": ("plain", ("/ np.sqrt", "* np.sqrt")),
    "another eps": ("loops", ("var[c] + eps", "var[c] + 1e-5")),
    "the mean without the root": ("factor", ("factor * mean", "gamma * mean")),
}  # fmt: skip

_FOLD = """
import numpy as np

def fold(w, b, gamma, beta, mean, var, *, eps):
    s = gamma / np.sqrt(var + eps)
    return w * s[:, None, None, None], s * (b - mean) + beta
"""
_FOLD_LOOPS = """
import numpy as np

def fold(w, b, gamma, beta, mean, var, *, eps):
    weights, biases = w.copy(), np.zeros_like(b)
    for k in range(len(w)):
        factor = gamma[k] / np.sqrt(var[k] + eps)
        weights[k] *= factor
        biases[k] = (b[k] - mean[k]) * factor + beta[k]
    return weights, biases
"""
_FOLD_EINSUM = """
import numpy as np

def fold(w, b, gamma, beta, mean, var, *, eps):
    s = gamma * (var + eps) ** -0.5
    return np.einsum("kcrs,k->kcrs", w, s), b * s - mean * s + beta
"""
_FOLD_MATRIX = """
import numpy as np

def fold(w, b, gamma, beta, mean, var, *, eps):
    s = np.diag(gamma / np.sqrt(var + eps))
    return (s @ w.reshape(len(w), -1)).reshape(w.shape), s @ (b - mean) + beta
"""
_FOLD_WIDE = """
import numpy as np

def fold(w, b, gamma, beta, mean, var, *, eps):
    s = gamma.astype(float) / np.sqrt(var.astype(float) + eps)
    return [(w * s.reshape(-1, 1, 1, 1)).astype(w.dtype), (s * (b - mean) + beta).astype(w.dtype)]
"""
FOLD_RIGHT = {"plain": _FOLD, "loops": _FOLD_LOOPS, "einsum": _FOLD_EINSUM, "matrix": _FOLD_MATRIX, "wide": _FOLD_WIDE}
FOLD_WRONG = {
    "no eps": ("plain", ("var + eps", "var")),
    "another eps": ("plain", ("var + eps", "var + 1e-3")),
    "eps outside the root": ("plain", ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)")),
    "no root": ("plain", ("np.sqrt(var + eps)", "(var + eps)")),
    "the mean forgotten": ("plain", ("s * (b - mean) + beta", "s * b + beta")),
    "the bias forgotten": ("plain", ("s * (b - mean) + beta", "beta - s * mean")),
    "beta forgotten": ("plain", ("s * (b - mean) + beta", "s * (b - mean)")),
    "the bias unscaled": ("plain", ("s * (b - mean) + beta", "b - s * mean + beta")),
    "the mean unscaled": ("plain", ("s * (b - mean) + beta", "s * b - mean + beta")),
    "the mean without the root": ("plain", ("s * (b - mean) + beta", "s * b - gamma * mean + beta")),
    "the mean added": ("plain", ("b - mean", "b + mean")),
    "beta scaled too": ("plain", ("s * (b - mean) + beta", "s * (b - mean + beta)")),
    "no gamma": ("plain", ("gamma / np", "1 / np")),
    "weights as they were": ("plain", ("w * s[:, None, None, None]", "w")),
    "the bias as it was": ("plain", ("s * (b - mean) + beta", "b")),
    "mean and beta exchanged": ("plain", ("s * (b - mean) + beta", "s * (b - beta) + mean")),
    "multiplied by the root": ("plain", ("gamma / np", "gamma * np")),
    "weights divided": ("plain", ("w * s[", "w / s[")),
}  # fmt: skip

ANSWERS = {
    "hard_sigmoid": (HARD_SIGMOID_RIGHT, HARD_SIGMOID_WRONG),
    "hard_swish": (HARD_SWISH_RIGHT, HARD_SWISH_WRONG),
    "batch_norm": (BATCH_NORM_RIGHT, BATCH_NORM_WRONG),
    "fold": (FOLD_RIGHT, FOLD_WRONG),
}
