"""What a network is that another is not, one line each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["BIAS", "Difference", "grouped", "matters"]

BIAS = "bias"


class Difference(NamedTuple):
    """One way in which the network of a file is not a known one.

    Attributes
    ----------
    node : where, by refnet's name of the node
    kind : 'attribute' (another stride, pad, eps, ...; or it reads another tensor), 'operation' (relu for relu6),
        'missing' (the file has no such node or bias), 'extra' (the known network has none), 'shape' (of its weights)
    known, file : what the known network and the file have there, in words: 'stride (2, 2)', 'relu6'; '' for nothing

    Examples
    --------
    >>> print(Difference("block1.depthwise", "attribute", "stride (2, 2)", "stride (2, 1)"))
    block1.depthwise has stride (2, 1), not (2, 2)
    """

    node: str
    kind: str
    known: str
    file: str

    def __str__(self) -> str:
        return f"{self.node} {self.what}"

    @property
    def what(self) -> str:
        """What is different, without where: 'has stride (2, 1), not (2, 2)'."""
        match self.kind:
            case "operation":
                return f"is {self.file}, not {self.known}"
            case "missing":
                return "has no bias" if self.known == BIAS else f"is missing: {self.known}"
            case "extra":
                return "has a bias" if self.file == BIAS else f"is extra: {self.file}"
        # 'stride (2, 1)', '200 channels': the word that both have is said once.
        return f"has {self.file}, not {_without(self.known, self.file)}"


def grouped(differences: Iterable[Difference], most: int | None = None) -> list[str]:
    """A line for all nodes that differ in the same way: 'is relu, not relu6: stem.act, block1.depthwise.act'.

    Parameters
    ----------
    most : how many nodes a line names; by default all
    """
    nodes: dict[str, list[str]] = {}
    for difference in differences:
        nodes.setdefault(difference.what, []).append(difference.node)
    return [_line(what, names, len(names) if most is None else most) for what, names in nodes.items()]


def _line(what: str, names: list[str], most: int) -> str:
    if len(names) == 1:
        return f"{names[0]} {what}"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{what}: {', '.join(names[:most])}{rest}"


def matters(differences: Iterable[Difference]) -> tuple[str, ...]:
    """In what two networks differ, each matter once: ('pad', 'eps', 'stem.rescale')."""
    found = []
    for difference in differences:
        match difference.kind:
            case "attribute":
                found.append(difference.file.partition(" ")[0])
            case "operation":
                found.append(f"{difference.file} for {difference.known}")
            case _:
                block, _, part = difference.node.partition(".")
                found.append(part if block.startswith("block") else difference.node)
    return tuple(dict.fromkeys(found))


def _without(known: str, file: str) -> str:
    first, last = file.partition(" ")[0] + " ", " " + file.rpartition(" ")[2]
    return known.removeprefix(first) if known.startswith(first) else known.removesuffix(last)
