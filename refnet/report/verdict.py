"""The verdict of `verify` in one line, and what its parts are called."""

from __future__ import annotations

from collections.abc import Sequence

from refnet.alignment.differences import STRUCTURE, Difference
from refnet.report.differences import grouped, line
from refnet.report.mistakes.arrays import KIND_SENTENCES, detail, health_detail, norm_words
from refnet.report.mistakes.channels import rearrangement_words
from refnet.report.mistakes.facts import fact_words
from refnet.report.mistakes.narrower import rounded_words
from refnet.report.words import where
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.entries import OtherEntry
from refnet.verification.findings import HealthFinding
from refnet.verification.health_groups import HealthGroup
from refnet.verification.other_networks import OtherNetwork
from refnet.verification.patterns import FaultPattern, Tails
from refnet.verification.rearranged import Rearranged
from refnet.verification.verify import Verified

__all__ = [
    "TELLING",
    "also_words",
    "entry_words",
    "health_words",
    "more_words",
    "other_words",
    "pattern_words",
    "rearranged_lines",
    "sentence",
]

_NAMED = 4  # nodes in one line
TELLING = (
    "pruned",
    "untrained",
    "untrained-head",
    "untrained-affine",
    "equal-channels",
    "absurd",
    "scale",
    "whole-numbers",
    "repeated",
)  # said first
_SLOTS = {"gamma": "gammas", "beta": "betas", "mean": "the running means", "var": "the running variances"}
_ARRAYS: dict[tuple[str, ...], str] = {("w",): "arrays of weights", ("b",): "biases"}
_MEANT = {
    "folded": "batch norm folded",
    "float32": "rounded to float32",
    "float16": "rounded to float16",
    "bfloat16": "rounded to bfloat16",
    "int8": "weights in 8 bits",
    "renamed": "under other names",
    "rearranged": "computing the same with channels rearranged",
    "softmax": "with probabilities where the other ends in logits",
    "structure": "with another structure",
}


def sentence(found: Verified) -> str:
    """The verdict in one line: 'same network, batch norm folded'."""
    if found.sides is None:
        told = [each for each in found.health if each.kind in TELLING]
        more = f", but {health_words(told[0])}" if told else ""
        return f"healthy{more}" if found.holds else f"not healthy: {_counted(found)}"
    if found.holds:
        said = ", ".join(["same network", *_meant(found.needs)])
        return said if found.rearranged is None else f"{said}: {rearranged_lines(found.rearranged)[0]}"
    why, other = list[str](), found.other if "structure" in found.unmeant else None
    if found.structure and "structure" in found.unmeant:
        why.append(_structure(found.structure) if other is None else other_words(other))
    if other is not None and any(each.kind == "shape" for each in found.faults):
        why[-1] += ", so that their arrays cannot be held against each other"
    elif found.faults:
        why.append(pattern_words(found.pattern, found.faults) if found.pattern else _faults(found.faults))
        if found.entry is not None:
            why[-1] = f"{entry_words(found.entry)}; {why[-1]}"
    if found.rearranged is not None and "rearranged" in found.unmeant:
        why.append(rearranged_lines(found.rearranged)[0])
    if words := [word for word in found.unmeant if word != "structure"]:
        why.append(f"{', '.join(_meant(words))}, which --allow does not list")
    if found.unhealthy:
        why.append(_counted(found))
    if found.strange:
        why.append(f"{found.behaviour.wrong[0]} computes something else")
    return f"not the same network: {'; '.join(why)}"


def _structure(structure: Sequence[Difference]) -> str:
    """All differences where they are one and the same, else the first and how many more there are."""
    changes = [each for each in structure if each.needs == STRUCTURE]
    first, *others = changes
    if not others:
        return line(first)
    if len(grouped(changes)) == 1:
        rest = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        return f"{line(first)}, and likewise {', '.join(each.node for each in others[:_NAMED])}{rest}"
    return f"{line(first)}, and {more_words(len(others), 'difference')} of structure"


def other_words(found: OtherNetwork) -> str:
    """Which network the copy is: 'the copy is of width 0.5, the original of width 0.35'."""
    match found.kind:
        case "model":
            return f"the copy is {found.found}, the original {found.known}"
        case "width":
            return f"the copy is of width {found.widths[1]:.6g}, the original of width {found.widths[0]:.6g}"
        case "divisor":
            own, copy = (rounded_words(each) for each in found.divisors)
            return f"both are of width {found.widths[0]:.6g}, and the copy's channels are {copy}, the original's {own}"
    sides = zip(found.widths, found.divisors, strict=True)
    own, copy = (f"of width {width:.6g}, with channels {rounded_words(divisor)}" for width, divisor in sides)
    return f"the copy is {copy}, the original {own}"


def entry_words(found: OtherEntry) -> str:
    """Which entry of a checkpoint should have been taken."""
    return f"{found.other} holds entry {found.entry!r} of {found.path}, not the one that was taken"


def _meant(words: Sequence[str]) -> list[str]:
    return [_MEANT[word] for word in _MEANT if word in words]


def _faults(faults: Sequence[ArrayFinding]) -> str:
    """One kind by its tensor and detail; of several tensors, the first and how many."""
    first = faults[0]
    kind = "of another shape" if first.kind == "shape" else first.kind
    words = detail(first)
    said = f"{first.name} is {kind}" + (f" ({words})" if words else "")
    return said if len(faults) == 1 else f"{said}, and {more_words(len(faults) - 1, 'tensor')}"


def pattern_words(pattern: FaultPattern, faults: Sequence[ArrayFinding]) -> str:
    """What all faults have in common: 'only the running statistics differ, in 52 of 52 batch norms'."""
    layers, place = f"{pattern.layers} of {pattern.of}", f", {where(pattern.scope)}" if pattern.scope else ""
    one = detail(faults[0]) if pattern.same else KIND_SENTENCES.get(pattern.fault, pattern.fault)
    if two := _exchanged(pattern, faults):
        return f"{two} are exchanged, in {layers} batch norms{place}"
    match pattern.kind:
        case "empty":
            cut = pattern.scope is not None and pattern.scope.kind == "from"
            more = ": the file was cut off, or not written to its end" if cut else ""
            return f"{pattern.arrays} arrays of {layers} layers hold zeros alone{place}{more}"
        case "statistics":
            slot, *others = pattern.slots
            which = "the running statistics" if others else _SLOTS[slot]
            what = f" ({detail(faults[0]) if pattern.same else pattern.fault or 'mixed'})"
            if {each.kind for each in faults} & {"stale", "retrained"}:
                what = ": as after passes in training mode, or with another average"
            return f"only {which} differ, in {layers} batch norms{place}{what}"
        case "norms":
            own = "" if {"mean", "var"} & {*pattern.slots} else " and ".join(_SLOTS[slot] for slot in pattern.slots)
            rest = ", and no statistics" if own else ""
            return f"only {own and f'{own} of '}batch norms differ{rest}, {layers}{place}{f': {one}' if one else ''}"
        case "folded":
            which, how = norm_words([each.mistake for each in faults if each.mistake])
            return f"only {which} of batch norm differ, in {layers} folded layers{place}: {how}"
    what = one if pattern.tails is None else _tail_words(pattern.tails)
    arrays = _ARRAYS.get(pattern.slots, "arrays")
    return f"{pattern.arrays} {arrays} of {layers} layers have one fault{place}: {what}"


def _exchanged(pattern: FaultPattern, faults: Sequence[ArrayFinding]) -> str:
    """Which two arrays of batch norms took each other's places, if that is all; '' otherwise, as in folded layers."""
    forms = {each.mistake.form for each in faults if each.mistake}
    match pattern.kind, pattern.slots:
        case (("norms" | "statistics"), (one, other)) if pattern.fault == "swapped" and len(forms) == 1:
            return f"{_SLOTS[one]} and {_SLOTS[other]}"
    return ""


def _tail_words(tails: Tails) -> str:
    """Which last channels are off: 'the channels behind the last whole group of 16 are all zero'."""
    side, how = fact_words("side", tails.side), "all zero" if tails.empty else "off"
    which = f"behind the last whole group of {tails.group}" if tails.group else f"at the end, {tails.each} of each,"
    return f"the {side} {which} are {how}"


def rearranged_lines(found: Rearranged | None) -> list[str]:
    """What the copy makes otherwise and takes back, a line for each."""
    return [] if found is None else [rearrangement_words(each) for each in found.found]


def more_words(count: int, what: str) -> str:
    """How many more there are: '3 more tensors'."""
    return f"{count} more {what}{'s' if count > 1 else ''}"


def health_words(finding: HealthFinding) -> str:
    """What is wrong, or about to be, with the arrays of one file: of some of its batch norms, with which."""
    places = ""
    if finding.kind == "untrained-norms" and finding.count < finding.value:
        named = f"{finding.name.rpartition('.')[0]}, {finding.other}{', ...' if finding.count > _NAMED else ''}"
        places = f" in {finding.count} of {finding.value:.0f} layers, {where(finding.scope) or named}"
    return health_detail(finding, places)


def also_words(group: HealthGroup) -> str:
    """Of what is found of several tensors alike: ', and so in 16 more tensors, in all depthwise layers'."""
    more = len(group.findings) - 1
    place = f", {where(group.scope)}" if group.scope else ""
    return f", and so in {more_words(more, 'tensor')}{place}" if more else ""


def _counted(found: Verified) -> str:
    first, *others = found.health_groups(found.unhealthy)
    finding, more = first.findings[0], sum(len(each.findings) for each in others)
    rest = f", and {more_words(more, 'finding')}" if more else ""
    return f"{finding.name} of {finding.file}: {health_words(finding)}{also_words(first)}{rest}"
