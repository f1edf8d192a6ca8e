"""What the reports say in words, the same in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refnet.bugs.language.changes import Mistake
from refnet.bugs.systematic import Scope
from refnet.judge.causes.budget import Search
from refnet.judge.causes.search import Evidence
from refnet.judge.causes.ways import Extent
from refnet.judge.measures.yardstick import NEAR
from refnet.judge.verdicts import FAILING, failing_verdicts
from refnet.report.mistakes.bugs import ALONE, of_port

__all__ = [
    "MANY",
    "against",
    "causes",
    "evidence_words",
    "figure",
    "first_of",
    "made_words",
    "origin",
    "search_document",
    "summary",
    "systematic",
    "unfinished",
    "where",
]

MANY = 3  # tensors of which one sentence is said

_LAYERS = {
    "depthwise_conv2d": "depthwise layers",
    "pointwise_conv2d": "1 x 1 convolutions",
    "conv2d": "full convolutions",
    "batch_norm": "batch norms",
    "avg_pool2d": "average pools",
    "add": "sums",
    "resize_bilinear": "resizes",
}
_PARTS = {
    "expand": "expansions",
    "depthwise": "depthwise layers",
    "project": "projections",
    "squeeze": "squeeze-and-excite layers",
    "head": "layers of the head",
}


def first_of(names: Sequence[str]) -> str:
    """Of many names the first, and how many more there are."""
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")


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


def causes(document: Mapping[str, Any], *, brief: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Each cause as a sentence, and the lines below it: detail and link; `brief` leaves out what a pattern says.

    'block4.depthwise: wrong. It equals the reference when the padding is TF SAME (0,1) instead of (1,1) [pad-same].'
    """
    verdicts = {tensor["name"]: tensor["verdict"] for tensor in document["tensors"]}
    said = {name for each in document.get("patterns", ()) for name in each["tensors"]} if brief else set()
    same = set[tuple[str, str | None, str]]()  # what explains several tensors is said of the first
    for cause in document["causes"]:
        known = cause.get("place", cause["node"]), cause.get("id"), cause["sentence"]
        if brief and (cause["node"] in said or known in same):
            continue
        same.add(known)
        node, sentence = cause["node"], cause["sentence"].strip().rstrip(".")
        if cause.get("id") and cause["id"] not in ALONE:
            start = "It equals the reference just as well when" if cause.get("tie") else "It equals the reference when"
            sentence = f"{start} {sentence}"
        else:
            sentence = f"{sentence[:1].upper()}{sentence[1:]}"
        if (place := cause.get("place", node)) != node:  # somewhere before it in its segment
            sentence = f"{sentence}, at {place.replace(', ', ' and ')}"
        name = f" [{cause['id']}]" if cause.get("id") else ""
        more = [str(line) for line in (cause.get("detail"), cause.get("link")) if line]
        yield f"{node}: {verdicts.get(node, 'wrong')}. {sentence}{name}.", more


def systematic(document: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each mistake that is at many places as a sentence, and the lines below it: where, and the link.

    'Everywhere, at 34 of 34 places: eps is 0.001 instead of 1e-05 [bn-eps].'
    """
    for each in document.get("patterns", ()):
        place = each["where"] or "in several layers"
        count = f"at {len(each['places'])} of {each['of']} places"
        sentence = f"{place[0].upper()}{place[1:]}, {count}: {each['sentence']} [{each['id']}]."
        yield sentence, [line for line in (", ".join(each["places"]), each["link"]) if line]


def where(scope: Scope | None) -> str:
    """At what places a mistake is: 'in all depthwise layers'."""
    match scope:
        case None:
            return ""
        case ("convolutions", _):
            return "in all convolutions"
        case ("wide", _):
            return "in all convolutions but depthwise ones"
        case ("maps", _):
            return "in all convolutions of maps but depthwise ones"
        case ("activations", _):
            return "behind all activations"
        case ("units", _):
            return "behind all layers"
        case ("layers", op):
            return f"in all {_LAYERS.get(op, op)}"
        case ("normed", op):
            return f"in all {_LAYERS.get(op, op)} with batch norm"
        case ("part", part):
            return f"in all {_PARTS[part]}"
        case ("strided", strided):
            return f"in all layers {'with' if strided else 'without'} a stride"
        case ("strided kernel", size):
            return f"in all {size} x {size} layers with a stride"
        case ("strided layers", op):
            return f"in all {_LAYERS.get(op, op)} with a stride"
        case ("kernel", side):
            return f"in all layers with kernels of {side} x {side}"
        case ("act", op):
            return f"wherever the activation is {op}"
        case ("before", op):
            return f"in all layers before {op}"
        case ("from", name):
            return f"from {name} on"
        case ("until", name):
            return f"up to {name}"
    return "everywhere"


def made_words(mistake: Mistake, extent: Extent | None) -> str:
    """What a port does, and where, if it does so at many places."""
    return f"{of_port(mistake)}, {where(extent.scope)}" if extent is not None else of_port(mistake)


def unfinished(search: Search, what: str = "ways") -> str:
    """How far a search got that did not end by itself."""
    looked = f"looked at {search.looked:,} of {search.ways:,} {what}" if search.ways > search.looked else ""
    looked = looked or (f"looked at {search.looked:,} {what}" if search.looked else f"looked at no {what} yet")
    if search.ended == "interrupted":
        return f"Interrupted: {looked}."
    unseen = f", {search.unseen} errors not described" if search.unseen else ""
    return f"Causes: {looked}, not finished{unseen}: more with --seconds {10 * search.seconds:g}."


def search_document(search: Search, what: str = "ways") -> dict[str, Any]:
    """How far a search got, for programs, with its sentence where it did not end by itself."""
    seconds = search.seconds if search.seconds < float("inf") else None
    return {**search._asdict(), "seconds": seconds, "sentence": "" if search.finished else unfinished(search, what)}


def against(document: Mapping[str, Any]) -> set[str]:
    """The verdicts of a comparison that are against the candidate."""
    return failing_verdicts(partial=document.get("partial", False))


def summary(document: Mapping[str, Any]) -> str:
    """The verdict, and what it rests on, in one line."""
    counts = Counter(tensor["verdict"] for tensor in document["tensors"])
    bad = against(document)
    parts = [f"{counts[each]} {each}{'' if each in bad else ' (accepted)'}" for each in FAILING if counts[each]]
    if document["unmatched"]:
        parts.append(f"{len(document['unmatched'])} unmatched")
    return ": ".join([document["verdict"], *([", ".join(parts)] if parts else [])])


def evidence_words(name: str, sure: Evidence) -> str:
    """How sure the causes of a tensor are, and what to dump."""
    rest = f"the best of the others leaves {100 * sure.rest:.3g}% of the error"
    if sure.left >= sure.rest:
        rest = f"none of {sure.looked} ways fits, the best leaves {100 * sure.rest:.3g}% of the error"
    elif sure.left > NEAR:
        rest = f"{100 * sure.left:.3g}% of the error is left, as where sums in another order round elsewhere; {rest}"
    if sure.nearest is not None:
        rest += f": {made_words(*sure.nearest)}, and a little more is wrong or is rounded in another way"
    more = f"; dump {sure.dump} next, it tells most" if sure.dump else ""
    return f"{name}: {rest}{more}."
