"""One way in which a graph is another one, as values; `report.differences` has the words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from refnet.graph import Node
from refnet.ops import CONVOLUTIONS, RESIZES

__all__ = ["OUTPUT", "SOFTMAX", "STRUCTURE", "WHOLE", "Difference", "Standing", "described", "structural"]

OUTPUT = "output"  # where a difference is that is of no node, as SOURCE is the input
STRUCTURE = "structure"  # what a policy must allow for a difference that no rounding explains
SOFTMAX = "softmax"  # the same for probabilities at the end of one graph, and their logits at that of the other
WHOLE = "global"  # the kernel of a pool that takes in the whole map, whatever its size


class Difference(NamedTuple):
    """One way in which a graph is not a known one.

    Attributes
    ----------
    node : where, by the known graph's name; what it lacks, by the other's
    key : 'op', 'missing' (the other graph lacks the node), 'extra' (the known one does), 'inputs', 'bias', 'channels'
        (that a convolution makes), 'filter' (the kernel of a convolution); an attribute of `OPS`: 'stride', 'pad',
        'eps', ..., the 'kernel' of a pool; of a global mean the 'factor' behind it; of the input 'channels' or 'size',
        of the output 'returns'
    known, found : what the known graph and the other have there, None for nothing. Of 'op', 'missing' and 'extra': what
        `described` says; of 'inputs' and 'returns': names; of 'bias': whether there is one; else numbers, or `WHOLE`
    needs : what a policy must allow for it: `STRUCTURE`; 'float16' or 'bfloat16' where rounding a constant to that
        format explains it; `SOFTMAX`

    Examples
    --------
    >>> Difference("block1.depthwise", "stride", (2, 2), (2, 1)).found
    (2, 1)
    """

    node: str
    key: str
    known: Any = None
    found: Any = None
    needs: str = STRUCTURE


class Standing(NamedTuple):
    """How a graph stands to the networks that are known.

    Attributes
    ----------
    kind : 'known' (it is one), 'almost' (it is one but for differences), 'beginning' (of one that ends early, or goes
        on as the graph's own), 'own' (none)
    model, width : the known network; of an own one the nearest, '' and 1 where none is near
    share : of the convolutions of the larger of the two, how many are the other's
    until : of a beginning, the last node of the known network
    beyond : of a beginning, the nodes of the graph's own behind that one
    """

    kind: Literal["known", "almost", "beginning", "own"]
    model: str = ""
    width: float = 1.0
    share: float = 1.0
    until: str = ""
    beyond: tuple[str, ...] = ()


def described(node: Node) -> dict[str, Any]:
    """An operation with what tells it from others of its kind, and the size of the image does not decide."""
    if node.op in CONVOLUTIONS:
        return {"op": node.op, "channels": node.params["w"][0]}
    if node.op in RESIZES:
        return {"op": node.op, **{key: value for key, value in node.attrs.items() if key != "size"}}
    keys = ("slope", "offset", "mode") if node.op == "avg_pool2d" else ("kernel", "slope", "offset", "mode")
    return {"op": node.op, **{key: node.attrs[key] for key in keys if key in node.attrs}}


def structural(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Those that make a graph another network: neither rounding nor the size of the image."""
    return tuple(each for each in differences if each.needs == STRUCTURE and each.key != "size")
