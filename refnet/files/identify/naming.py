"""Names for the nodes of a file's graph: the known network's where it has the node, else after their place."""

from __future__ import annotations

from refnet.files.identify.alignment import ACTIVATIONS, Pairs, moved, room
from refnet.graph import Graph, Node

__all__ = ["named"]


def named(known: Graph, pairs: Pairs) -> dict[str, str]:
    """The file's name of each node -> its name, every one of them once.

    A node that the known network lacks is called after the layer or block that it stands in: 'block3.project.act',
    'head.max_pool'; a softmax at the end 'output', as elsewhere.
    """
    taken = {node.name for node in known.nodes}
    elsewhere, names = moved(pairs), dict[str, str]()
    before = ""  # the name of the layer before
    for index, (ours, theirs) in enumerate(pairs):
        if theirs is None:
            continue
        if ours is not None:
            name = ours.node.name
        elif theirs.node.name in elsewhere:
            name = elsewhere[theirs.node.name].name
        else:
            after = next((one.node.name for one, other in pairs[index:] if one and other), "")
            last = all(other is None for _, other in pairs[index + 1 :])
            name = _free(_after_its_place(theirs.node, before, after, last), taken)
        names[theirs.node.name] = before = name
        taken.add(name)
        if theirs.norm is not None:
            shared = ours.norm.name if ours is not None and ours.norm is not None else _free(f"{name}.bn", taken)
            names[theirs.norm.name] = shared
            taken.add(shared)
    return names


def _after_its_place(node: Node, before: str, after: str, last: bool) -> str:
    if node.op == "softmax" and last:
        return "output"
    if node.op == "pointwise_conv2d" and after.endswith(".depthwise"):
        return f"{room(after)}.expand"
    if node.op == "pad" and after:
        return f"{after}.pad"
    if node.op in ACTIVATIONS and before.rpartition(".")[2] not in ("act", "pool", "add", "scale", "flatten"):
        return f"{before or room(after)}.act"
    what = {"affine": "rescale", "conv2d": "conv", "batch_norm": "bn"}.get(node.op, node.op)
    return f"{room(before or after or 'head')}.{what.removesuffix('2d').removesuffix('_conv')}"


def _free(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found
