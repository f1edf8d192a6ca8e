"""What a network is that another is not, one line each."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Difference"]

BIAS = "bias"


class Difference(NamedTuple):
    """One way in which the network of a file is not a known one.

    Attributes
    ----------
    node : where, by refnet's name of the node
    kind : 'attribute' (another stride, pad, eps, ...; or it reads another tensor), 'operation' (relu for relu6),
        'missing' (the file has no such node or bias), 'extra' (the known network has none), 'shape' (of its weights)
    known, file : what the known network and the file have there, in words: 'stride (2, 2)', 'relu6'; '' for nothing
    """

    node: str
    kind: str
    known: str
    file: str

    def __str__(self) -> str:
        match self.kind:
            case "operation":
                return f"{self.node} is {self.file}, not {self.known}"
            case "missing" if self.known == BIAS:
                return f"{self.node} has no bias"
            case "missing":
                return f"{self.node} is missing ({self.known})"
            case "extra" if self.file == BIAS:
                return f"{self.node} has a bias"
            case "extra":
                return f"{self.node} is extra ({self.file})"
        what = self.file.split(" ")[0] + " "
        return f"{self.node} has {self.file}, not {self.known.removeprefix(what)}"
