"""What the reports say in words, the same in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from refnet.judge.verdicts import FAILING
from refnet.report.bugs import ALONE

__all__ = ["causes", "figure", "origin", "summary"]


def figure(value: float | str | None) -> str:
    """A number in three figures; '-' where there is none, '>1e9' where it says no more than that."""
    if value is None:
        return "-"
    return ">1e9" if 1e9 < float(value) < float("inf") else f"{float(value):.3g}"


def origin(tensor: Mapping[str, Any]) -> str:
    """Which of the candidate's tensors it is and in which layout, where that is not plain from its name."""
    source, layout = tensor.get("source"), tensor.get("layout")
    parts = [source] if source and source != tensor["name"] else []
    if layout and layout not in ("nchw", "nc"):
        parts.append(layout)
    return ", ".join(parts)


def causes(document: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each cause as a sentence, and the lines below it: detail and link.

    'block4.depthwise: wrong. It equals the reference when the padding is TF SAME (0,1) instead of (1,1) [pad-same].'
    """
    verdicts = {tensor["name"]: tensor["verdict"] for tensor in document["tensors"]}
    for cause in document["causes"]:
        node, sentence = cause["node"], cause["sentence"].strip().rstrip(".")
        if cause.get("id") and cause["id"] not in ALONE:
            start = "It equals the reference just as well when" if cause.get("tie") else "It equals the reference when"
            sentence = f"{start} {sentence}"
        if (place := cause.get("place", node)) != node:  # somewhere before it in its segment
            sentence = f"{sentence}, at {place.replace(', ', ' and ')}"
        name = f" [{cause['id']}]" if cause.get("id") else ""
        more = [str(line) for line in (cause.get("detail"), cause.get("link")) if line]
        yield f"{node}: {verdicts.get(node, 'wrong')}. {sentence}{name}.", more


def summary(document: Mapping[str, Any]) -> str:
    """The verdict, and what it rests on, in one line."""
    counts = Counter(tensor["verdict"] for tensor in document["tensors"])
    accepted = " (accepted)" if document["verdict"] == "holds" else ""
    parts = [f"{counts[verdict]} {verdict}{accepted}" for verdict in FAILING if counts[verdict]]
    if document["unmatched"]:
        parts.append(f"{len(document['unmatched'])} unmatched")
    return ": ".join([document["verdict"], *([", ".join(parts)] if parts else [])])
