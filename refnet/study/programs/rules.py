"""Rules whose results are whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

Stage = tuple[int, int, int, int, int, bool]


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Before and after."""
    reach = (kernel - 1) * dilation + 1
    out = (size + stride - 1) // stride
    total = (out - 1) * stride + reach - size
    total = max(total, 0)
    before = total // 2
    after = total - before
    return before, after


def in_eights(quarter: float) -> int:
    """To eights."""
    squeeze = int(quarter + 4) // 8 * 8
    squeeze = max(squeeze, 8)
    if squeeze < 0.9 * quarter:
        squeeze += 8
    return squeeze


def block_rows(stem: int, stages: Sequence[Stage]) -> list[tuple[int, int, int, int, int]]:
    """Block by block."""
    rows = []
    channels = stem
    for kernel, t, c, n, s, se in stages:
        for i in range(n):
            expanded = channels * t
            squeeze = in_eights(expanded / 4) if se else 0
            stride = s if i == 0 else 1
            rows.append((kernel, expanded, squeeze, c, stride))
            channels = c
    return rows


def netadapt_choice(
    accuracy: float, latency: float, accuracies: Sequence[float], latencies: Sequence[float], delta: float
) -> int:
    """One proposal after the other."""
    best = float("-inf")
    chosen = -1
    for i in range(len(accuracies)):
        saved = latency - latencies[i]
        change = accuracies[i] - accuracy
        score = change / saved
        if saved >= delta and score > best:
            best = score
            chosen = i
    return chosen
