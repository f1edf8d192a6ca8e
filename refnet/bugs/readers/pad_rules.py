"""Slips in the rule of SAME padding, as numbers. As `slips`, of readers alone."""

from __future__ import annotations

from collections.abc import Iterator

from refnet.bugs.language.changes import Change, with_attrs
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.padding import windowed


def pad_rule(segment: Segment) -> Iterator[Change]:
    """another rule than TensorFlow's SAME."""
    for node in windowed(segment):
        size, kernel = segment.sizes[node.inputs[0]][1], node.params["w"][-2]
        stride, dilation = node.attrs["stride"][0], node.attrs["dilation"][0]
        for form, found in _rules(size, kernel, stride, dilation).items():
            if found != node.attrs["pad"][0]:
                facts = {"found": found, "known": node.attrs["pad"][0]}
                yield Change(node.name, form, facts, nodes=with_attrs(node, pad=(found, (0, 0))))


def _rules(size: int, kernel: int, stride: int, dilation: int) -> dict[str, tuple[int, int]]:
    """What is written for it: (before, after), by what is wrong."""
    reach, outputs = (kernel - 1) * dilation + 1, -(-size // stride)

    def halves(total: int) -> tuple[int, int]:
        return total // 2, total - total // 2

    total = max((outputs - 1) * stride + reach - size, 0)
    return {
        "none": (0, 0),
        "centred": (reach // 2, reach // 2),
        "kernel": (kernel // 2, kernel // 2),
        "one less": ((kernel - 1) // 2, (kernel - 1) // 2),
        "lower": halves(total)[::-1],
        "down": (total // 2, total // 2),
        "up": ((total + 1) // 2, (total + 1) // 2),
        "both": (total, total),
        "before": (total, 0),
        "after": (0, total),
        "undilated": halves(max((outputs - 1) * stride + kernel - size, 0)),
        "dilated whole": halves(max((outputs - 1) * stride + dilation * kernel - size, 0)),
        "dilated more": halves(max((outputs - 1) * stride + dilation * kernel + 1 - size, 0)),
        "floor": halves(max((size // stride - 1) * stride + reach - size, 0)),
        "negative": halves((outputs - 1) * stride + reach - size),
        "unstrided": halves(reach - 1),
        "less stride": halves(max(reach - stride, 0)),
        "plus one": halves(max((outputs - 1) * stride + reach + 1 - size, 0)),
        "minus one": halves(max((outputs - 1) * stride + reach - 1 - size, 0)),
        "outputs": halves(max(outputs * stride + reach - size, 0)),
    }
