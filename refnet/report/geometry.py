"""What a node does to the size of a map, in a few letters."""

from __future__ import annotations

from refnet.graph import Node

__all__ = ["geometry"]


def geometry(node: Node) -> str:
    """Kernel, stride, padding, dilation: what changes the map's size, where it says anything."""
    attrs, weights = node.attrs, node.params.get("w", ())
    words = []
    kernel = attrs.get("kernel", weights[-2:] if node.op in ("conv2d", "depthwise_conv2d") else None)
    if kernel:
        words.append("x".join(map(str, kernel)))
    if attrs.get("stride", (1, 1)) != (1, 1):
        words.append("s" + "x".join(map(str, dict.fromkeys(attrs["stride"]))))
    if "pad" in attrs and any(map(any, attrs["pad"])):
        sides = [*attrs["pad"][0], *attrs["pad"][1]]
        words.append("p" + ",".join(map(str, sides if len(set(sides)) > 1 else sides[:1])))
    if attrs.get("dilation", (1, 1)) != (1, 1):
        words.append("d" + "x".join(map(str, dict.fromkeys(attrs["dilation"]))))
    words += [f"{key} {attrs[key]:.6g}" for key in ("eps", "slope", "offset") if key in attrs]
    return " ".join(words)
