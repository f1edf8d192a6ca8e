"""What a network is that another is not, in words: a sentence, lines for many nodes, texts for documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from refnet.alignment.differences import Difference, Standing
from refnet.ops import OPS

__all__ = ["Words", "grouped", "line", "matters", "network_words", "standing_words", "what", "words"]

# Of operations whose name does not say all.
_CALLED = {"resize_legacy": "resize_legacy (asymmetric: pixels by their corners)"}
_KINDS = {"op": "operation", "missing": "missing", "extra": "extra", "channels": "shape", "filter": "shape"}


class Words(NamedTuple):
    """A difference as documents have it.

    Attributes
    ----------
    kind : 'attribute' (another stride, pad, eps, ...; or it reads another tensor), 'operation' (relu for relu6),
        'missing' (the file has no such node or bias), 'extra' (the known network has none), 'shape' (of its weights)
    known, found : 'stride (2, 2)', 'relu6'; '' for nothing
    """

    kind: str
    known: str
    found: str


def words(difference: Difference) -> Words:
    """The texts of a difference.

    Examples
    --------
    >>> words(Difference("block1.depthwise", "stride", (2, 2), (2, 1)))
    Words(kind='attribute', known='stride (2, 2)', found='stride (2, 1)')
    """
    key = difference.key
    known, found = _shown(difference)
    match key:
        case "op" | "missing" | "extra":
            return Words(_KINDS[key], known, found)
        case "bias":
            return Words("missing", "bias", "") if difference.known else Words("extra", "", "bias")
        case "channels":
            return Words("shape", f"{known} channels", f"{found} channels")
        case "filter":
            return Words("shape", f"kernel {known}", f"kernel {found}")
        case "inputs":
            return Words("attribute", f"input {known}", f"input {found}")
        case "returns":
            return Words("attribute", known, found)
    return Words("attribute", f"{key} {known}", f"{key} {found}")


def what(difference: Difference) -> str:
    """What is different, without where: 'has stride (2, 1), not (2, 2)'."""
    known, found = _shown(difference)
    match difference.key:
        case "op" | "returns":
            return f"is {found}, not {known}"
        case "missing":
            return f"is missing: {known}"
        case "extra":
            return f"is extra: {found}"
        case "bias":
            return "has a bias" if difference.found else "has no bias"
        case "channels":
            return f"has {found} channels, not {known}"
        case "filter":
            return f"has kernel {found}, not {known}"
        case "inputs":
            return f"has input{'s' if len(difference.found) > 1 else ''} {found}, not {known}"
        case "factor" if difference.known == 1:
            return f"is {found} times the mean of its map"
    return f"has {difference.key} {found}, not {known}"


def line(difference: Difference) -> str:
    """A difference as a sentence: 'block1.depthwise has stride (2, 1), not (2, 2)'."""
    return f"{difference.node} {what(difference)}"


def standing_words(standing: Standing) -> str:
    """How a network stands to those that are known: 'almost keras/MobileNet x0.25'.

    Examples
    --------
    >>> standing_words(Standing("beginning", "keras/MobileNetV2", 0.35, 1.0, "block6.expand.act", ("head", "logits")))
    'the beginning of keras/MobileNetV2 x0.35, as far as block6.expand.act, and 2 nodes of its own'
    """
    known = f"{standing.model} x{standing.width:g}"
    match standing.kind:
        case "known":
            return known
        case "almost":
            return f"almost {known}"
        case "beginning":
            beyond = len(standing.beyond)
            rest = f", and {beyond} node{'s' if beyond > 1 else ''} of its own" if beyond else ""
            return f"the beginning of {known}, as far as {standing.until}{rest}"
    return network_words("")


def network_words(model: str) -> str:
    """The name of a known network, or what one without a name is called."""
    return model or "a network of its own"


def grouped(differences: Iterable[Difference], most: int | None = None) -> list[str]:
    """A line for all nodes that differ in the same way: 'is relu, not relu6: stem.act, block1.depthwise.act'.

    Parameters
    ----------
    most : how many nodes a line names; by default all
    """
    nodes: dict[str, list[str]] = {}
    for difference in differences:
        nodes.setdefault(what(difference), []).append(difference.node)
    return [_of_nodes(each, names, len(names) if most is None else most) for each, names in nodes.items()]


def _of_nodes(each: str, names: list[str], most: int) -> str:
    if len(names) == 1:
        return f"{names[0]} {each}"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{each}: {', '.join(names[:most])}{rest}"


def matters(differences: Iterable[Difference]) -> tuple[str, ...]:
    """In what networks differ, each matter once: ('pad', 'eps', 'stem.rescale').

    A node that one of them lacks is called by its name where it is the only one of its operation, else by what it is.
    """
    every = list(differences)
    alone: dict[str, set[str]] = {}
    for each in every:
        if each.key in ("missing", "extra"):
            alone.setdefault(_op(each), set()).add(each.node)
    found = []
    for each in every:
        match each.key:
            case "op":
                found.append("{1} for {0}".format(*_shown(each)))
            case "missing" | "extra":
                op = _op(each)
                called = "act" if OPS[op].kind == "activation" else op
                found.append(each.node if len(alone[op]) == 1 else called)
            case "inputs":
                found.append("input")
            case "returns":
                found.append("output")
            case key:
                found.append("kernel" if key == "filter" else key)
    return tuple(dict.fromkeys(found))


def _op(difference: Difference) -> str:
    """The operation that one side lacks."""
    there: Mapping[str, str] = difference.known or difference.found
    return there["op"]


def _shown(difference: Difference) -> tuple[str, str]:
    """What the known network and the file have, in all digits where six do not tell them apart."""
    known, found = _text(difference.known), _text(difference.found)
    return (str(difference.known), str(difference.found)) if known == found else (known, found)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.6g}"
        case {"op": op, "channels": channels}:
            return f"{op} with {channels} channels"
        case {"op": op, **rest}:
            return " ".join([_CALLED.get(op, op), *(f"{key} {_text(each)}" for key, each in rest.items())])
        case (str(), *_):
            return " and ".join(value)
    return str(value)
