# ruff: noqa: E501
"""What readers write for the exercises of rules; see `filters`."""

_ROWS = """
def block_rows(stem, stages):
    rows = []
    channels = stem
    for kernel, t, c, n, s, se in stages:
        for i in range(n):
            expanded = channels * t
            squeeze = 0
            if se:
                quarter = expanded / 4
                squeeze = max(8, int(quarter + 4) // 8 * 8)
                if squeeze < 0.9 * quarter:
                    squeeze += 8
            stride = s if i == 0 else 1
            rows.append((kernel, expanded, squeeze, c, stride))
            channels = c
    return rows
"""
_ROWS_LIST = _ROWS.replace(
    "rows.append((kernel, expanded, squeeze, c, stride))", "rows.append([kernel, expanded, squeeze, c, stride])"
)
_ROWS_ARRAY = "import numpy as np\n" + _ROWS.replace("return rows", "return np.array(rows)")
_ROWS_FLOAT = "import numpy as np\n" + _ROWS.replace("return rows", "return np.array(rows, float)")
_ROWS_YIELD = """
def eights(v):
    new = max(8, int(v + 4) // 8 * 8)
    return new + 8 if new < 0.9 * v else new

def block_rows(stem, stages):
    widths = [stem] + [c for _, _, c, n, _, _ in stages for _ in range(n)]
    blocks = [(k, t, c, s if i == 0 else 1, se) for k, t, c, n, s, se in stages for i in range(n)]
    return tuple(
        (k, t * w, eights(t * w / 4) if se else 0, c, s) for w, (k, t, c, s, se) in zip(widths, blocks)
    )
"""
BLOCK_ROWS_RIGHT = {
    "plain": _ROWS,
    "lists": _ROWS_LIST,
    "array": _ROWS_ARRAY,
    "floats": _ROWS_FLOAT,
    "zip": _ROWS_YIELD,
}
BLOCK_ROWS_WRONG = {
    "the stride of every repeat": ("plain", ("stride = s if i == 0 else 1", "stride = s")),
    "the channels not carried on": ("plain", ("            channels = c\n", "        channels = c\n")),
    "channels of the stem": ("plain", ("            channels = c\n", "")),
    "expanded from out": ("plain", ("channels * t", "c * t")),
    "no repeats": ("plain", ("range(n)", "range(1)")),
    "a quarter cut off": ("plain", ("int(quarter + 4) // 8 * 8", "int(quarter) // 8 * 8")),
    "no rule of the tenth": ("plain", ("                if squeeze < 0.9 * quarter:\n                    squeeze += 8\n", "")),
    "a plain quarter": ("plain", ("max(8, int(quarter + 4) // 8 * 8)", "expanded // 4"), ("                if squeeze < 0.9 * quarter:\n                    squeeze += 8\n", "")),
    "se for all": ("plain", ("if se:", "if True:")),
    "the squeeze of the input": ("plain", ("expanded / 4", "channels / 4")),
    "the wrong columns": ("plain", ("(kernel, expanded, squeeze, c, stride)", "(kernel, c, squeeze, expanded, stride)")),
    "the stride at the end": ("plain", ("if i == 0", "if i == n - 1")),
    "two mistakes": ("plain", ("stride = s if i == 0 else 1", "stride = s"), ("expanded / 4", "channels / 4")),
}  # fmt: skip

_CHOICE = """
def netadapt_choice(accuracy, latency, accuracies, latencies, delta):
    best, index = None, -1
    for i in range(len(accuracies)):
        saved = latency - latencies[i]
        change = accuracies[i] - accuracy
        if saved >= delta:
            ratio = change / saved
            if best is None or ratio > best:
                best, index = ratio, i
    return index
"""
_CHOICE_MAX = """
def netadapt_choice(accuracy, latency, accuracies, latencies, delta):
    ok = [i for i, l in enumerate(latencies) if latency - l >= delta]
    return max(ok, key=lambda i: (accuracies[i] - accuracy) / (latency - latencies[i]), default=-1)
"""
_CHOICE_NUMPY = """
import numpy as np

def netadapt_choice(accuracy, latency, accuracies, latencies, delta):
    saved = latency - np.array(latencies)
    ratio = (np.array(accuracies) - accuracy) / saved
    ratio[saved < delta] = -np.inf
    return int(np.argmax(ratio)) if (saved >= delta).any() else -1
"""
_CHOICE_FLOAT = _CHOICE_NUMPY.replace("int(np.argmax(ratio))", "np.argmax(ratio)")
_CHOICE_LOSS = """
def netadapt_choice(accuracy, latency, accuracies, latencies, delta):
    index = -1
    least = float("inf")
    for i, (a, l) in enumerate(zip(accuracies, latencies)):
        if latency - l < delta:
            continue
        loss = (accuracy - a) / (latency - l)
        if loss < least:
            least, index = loss, i
    return index
"""
NETADAPT_CHOICE_RIGHT = {
    "plain": _CHOICE,
    "max": _CHOICE_MAX,
    "numpy": _CHOICE_NUMPY,
    "integer": _CHOICE_FLOAT,
    "loss": _CHOICE_LOSS,
}
NETADAPT_CHOICE_WRONG = {
    "no limit": ("plain", ("if saved >= delta:", "if True:")),
    "a strict limit": ("plain", ("saved >= delta", "saved > delta")),
    "the most accurate": ("plain", ("change / saved", "accuracies[i]")),
    "the fastest": ("plain", ("change / saved", "saved")),
    "upside down": ("plain", ("change / saved", "saved / change")),
    "the sign of latency": ("plain", ("change / saved", "change / (latencies[i] - latency)")),
    "the sign of accuracy": ("plain", ("accuracies[i] - accuracy", "accuracy - accuracies[i]")),
    "accuracy by latency": ("plain", ("change / saved", "accuracies[i] / latencies[i]")),
    "the index among those left": ("max", ("return max(ok,", "return ok.index(max(ok,"), ("default=-1)", "default=-1)) if ok else -1")),
    "a share": ("plain", ("saved >= delta", "saved >= delta * latency")),
    "from one": ("plain", ("best, index = ratio, i", "best, index = ratio, i + 1")),
    "the first that saves enough": ("plain", ("if best is None or ratio > best:", "if best is None:")),
}  # fmt: skip

ANSWERS = {
    "block_rows": (BLOCK_ROWS_RIGHT, BLOCK_ROWS_WRONG),
    "netadapt_choice": (NETADAPT_CHOICE_RIGHT, NETADAPT_CHOICE_WRONG),
}
