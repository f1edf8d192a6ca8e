"""What `verify` found, as a JSON document, as plain text and as JUnit XML. Nothing is judged here."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from refnet.alignment.differences import Difference
from refnet.files.checkpoint import Checkpoint
from refnet.report.differences import grouped, line, network_words, words
from refnet.report.junit import JUnitCase, suite
from refnet.report.mistakes.arrays import KIND_SENTENCES, detail, remark_sentence
from refnet.report.mistakes.channels import rearrangement_words
from refnet.report.notes import note_lines
from refnet.report.verdict import (
    TELLING,
    also_words,
    entry_words,
    health_words,
    other_words,
    pattern_words,
    rearranged_lines,
    sentence,
)
from refnet.report.words import figure, search_document, unfinished, where
from refnet.text import plain
from refnet.verification.array_findings import EQUAL, ArrayFinding
from refnet.verification.findings import HealthFinding
from refnet.verification.policy import WORDS
from refnet.verification.sides import Choice
from refnet.verification.verify import Verified

__all__ = ["verification_document", "verification_junit", "verification_text"]

_MANY = 20  # lines of one kind
_NAMED = 4  # nodes in one line
_SHOWN = 8  # tensors with one fault, each with figures of its own
_LONG = 60  # letters of a file's own name
# Notes that say which weights were taken.
_TOLD = ("wrapper", "beside", "training", "words", "order", "axes", "blocks", "alike", "unfolded", "divisor", "end")


def verification_document(found: Verified) -> dict[str, Any]:
    """The whole answer for programs."""
    return {
        "verdict": sentence(found),
        "search": search_document(found.search, "tensors"),
        "structure": [_difference(found, each) for each in found.structure],
        "values": [_value(found, value) for value in found.values],
        "pattern": _pattern_document(found),
        "entry": None if found.entry is None else found.entry._asdict(),
        "rearranged": _rearrangements(found),
        "behaviour": _behaviour(found),
        "health": [
            {
                "file": each.file,
                "name": each.name,
                "key": each.key,
                "kind": each.kind,
                "fails": each in found.unhealthy,
                "count": each.count,
                "first": list(each.first),
                "detail": health_words(each),
            }
            for each in found.health
        ],
    }


def _rearrangements(found: Verified) -> list[dict[str, Any]]:
    made = [] if found.rearranged is None else found.rearranged.found
    return [
        {
            "made": each.made,
            "undone": each.undone,
            **each.how._asdict(),
            "facts": dict(each.how.facts),
            "sentence": rearrangement_words(each),
        }
        for each in made
    ]


def _pattern_document(found: Verified) -> dict[str, Any] | None:
    made = found.pattern
    if made is None:
        return None
    tails = None if made.tails is None else made.tails._asdict()
    words = {"scope": where(made.scope), "sentence": pattern_words(made, found.faults)}
    return {**made._asdict(), "tails": tails, **words}


def _difference(found: Verified, each: Difference) -> dict[str, Any]:
    kind, original, copy = words(each)
    meant = each.needs in found.allowed
    return {"node": each.node, "kind": kind, "original": original, "copy": copy, "meant": meant}


def _value(found: Verified, value: ArrayFinding) -> dict[str, Any]:
    return {
        "name": value.name,
        "kind": value.kind,
        "meant": not value.fault and all(word in found.allowed for word in value.needs),
        "detail": detail(value),
        "ulps": _number(value.ulps),
        "at": list(value.at),
        "original": value.original,
        "copy": value.copy,
    }


def _behaviour(found: Verified) -> dict[str, Any]:
    made = found.behaviour
    return {
        "images": made.images,
        "size": list(made.size),
        "nodes": made.counts,
        "wrong": made.wrong,
        "end": made.end,
        "agree": made.agree,
        "judged": made.judged,
        "difference": _number(made.difference),
        "spread": _number(made.spread),
        "note": remark_sentence(made.remark),
    }


def _number(value: float) -> float | str | None:
    """A JSON number; infinity in words, nothing for what was not measured."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def verification_text(found: Verified, *, verbose: bool = False) -> str:
    """The answer for people: the files, the levels, what is wrong with tables, and the verdict in the last line."""
    parts = [_files(found)]
    if found.sides is not None:
        parts.append(f"meant: {', '.join(found.allowed) or 'no difference'}")
        if os.path.realpath(found.sides.original.path) == os.path.realpath(found.sides.copy.path):
            parts.append("both are one and the same file: this proves nothing")
        parts += [plain(_choice(choice)) for choice in found.sides.choices]
    parts.append(_structure(found))
    if found.sides is not None:
        parts += [_values(found, verbose), _behaves(found)]
    else:
        parts.append(plain(remark_sentence(found.behaviour.remark)))
    parts.append(_health(found, verbose))
    if not found.search.finished:
        parts.append(unfinished(found.search, "tensors"))
    return "\n\n".join([part for part in parts if part] + [plain(sentence(found))])


def _choice(choice: Choice) -> str:
    """Which network a file was taken for that cannot tell."""
    which = f"which of {' and '.join(choice.models)} it is ({', '.join(choice.apart)} differ)"
    if choice.path is None:
        return f"neither file can tell {which}; as {choice.taken} they are compared"
    return f"{choice.path} cannot tell {which}: it is taken for {choice.taken}, which the other file is nearest to"


def _files(found: Verified) -> str:
    if found.sides is None:
        return _block([plain(f"{found.file.path}: {_identity(found.file)}"), *_notes(found.file)])
    sides, lines = found.sides, []
    for role, file in (("original", sides.original), ("copy    ", sides.copy)):
        lines += [plain(f"{role}  {file.path}: {_identity(file)}"), *_notes(file)]
    return "\n".join(lines)


def _notes(file: Checkpoint) -> list[str]:
    """What the file holds beside the network, where that may be another network."""
    return [f"  {line}" for line in note_lines(note for note in file.notes if note.kind in _TOLD)]


def _identity(file: Checkpoint) -> str:
    recipe = file.graph.recipe
    height, width = recipe.size
    dtypes = Counter(file.stored.values())
    return ", ".join(
        [
            " or ".join(file.models) or "no network that refnet knows",
            f"width {recipe.width:g}",
            f"{height}x{width}",
            f"{recipe.classes} classes",
            "batch norm folded" if file.folded else "batch norm not folded",
            " and ".join(sorted(dtypes)),
            f"{file.kind}, {'its own structure' if file.scheme == 'structure' else f'names of {file.scheme}'}",
        ]
    )


def _structure(found: Verified) -> str:
    if not found.structure:
        return f"structure: {len(found.file.graph)} nodes, no difference"
    count = len(found.structure)
    head = f"structure: {count} difference{'s' if count > 1 else ''}"
    if found.sides is None:
        head += f" from {found.file.models[0] if found.file.models else 'any known network'}"
    lines = [] if found.other is None else [f"  {other_words(found.other)}"]
    lines += [f"  {each}" for each in grouped(found.structure, _NAMED)]
    return _block([head, *_few(lines)])


def _values(found: Verified, verbose: bool) -> str:
    counts = Counter(value.kind for value in found.values)
    lines = [f"values: {', '.join(f'{count} {kind}' for kind, count in counts.most_common())}"]
    moved = [value for value in found.values if value.kind != EQUAL and "int8" not in value.needs]
    if moved:
        most = max(moved, key=lambda value: value.ulps)
        place = f"[{', '.join(map(str, most.at))}]"
        lines[0] += f"; at most {figure(most.ulps)} ulps, at {most.name}{place}"
    rows = found.values if verbose else found.faults
    if found.entry is not None:
        lines.append(f"  {entry_words(found.entry)}")
    lines += _few([f"  {each}" for each in rearranged_lines(found.rearranged)])
    if found.pattern is not None:
        lines.append(f"  {pattern_words(found.pattern, found.faults)}")
    if not verbose and (found.pattern or found.other):
        few = found.pattern is not None and not found.pattern.same and len(rows) <= _SHOWN
        rows = rows if few else rows[:1]
    lines += _few([f"  {_line(value)}" for value in rows], len(rows) if verbose else _MANY)
    for kind in dict.fromkeys(value.kind for value in found.faults):
        if kind in KIND_SENTENCES:
            lines.append(f"  [{kind}] {KIND_SENTENCES[kind]}")
    return _block(lines)


def _line(value: ArrayFinding) -> str:
    own = plain(value.copy, _LONG)
    named = f" ({own})" if own and own != value.name else ""
    words = f": {more}" if (more := detail(value)) else ""
    place = f", most at [{', '.join(map(str, value.at))}] by {figure(value.ulps)} ulps" if value.ulps else ""
    return f"{value.name}{named}: {value.kind}{words}{place}"


def _behaves(found: Verified) -> str:
    made = found.behaviour
    if not made.end:
        return plain(f"behaviour: not compared: {remark_sentence(made.remark)}") if made.remark else ""
    lines = [
        f"behaviour: on {made.images} probe images of {made.size[0]}x{made.size[1]}: "
        + (", ".join(_nodes(count, verdict) for verdict, count in made.counts.items()) or "no node judged"),
        f"  {made.end}: the same class for {made.agree} of {made.judged}"
        + (" pixels" if made.judged > made.images else "")
        + (
            ""
            if math.isnan(made.difference)
            else f"; {made.difference:.2g} apart, relative to the largest; refnet's own spread {made.spread:.2g}"
        ),
    ]
    if made.wrong:
        lines.append(f"  first wrong by itself: {', '.join(made.wrong[:5])}{', ...' if len(made.wrong) > 5 else ''}")
    if made.remark:
        lines.append(f"  {remark_sentence(made.remark)}")
    return _block(lines)


def _nodes(count: int, verdict: str) -> str:
    return f"{count} node{'s' if count > 1 else ''} {verdict}"


def _health(found: Verified, verbose: bool) -> str:
    if not found.health:
        return "health: nothing to report"
    failing = found.unhealthy
    other = [finding for finding in found.health if finding not in failing]
    lines = [f"health: {len(failing)} failing, {len(other)} to know of"]
    for mark, some in (("FAILS ", failing), ("", other)):
        ordered = sorted(some, key=lambda each: each.kind not in TELLING)
        for group in [] if verbose else found.health_groups(ordered):
            lines.append(f"  {mark}{_finding(found, group.findings[0])}{also_words(group)}")
        lines += [f"  {mark}{_finding(found, each)}" for each in (ordered if verbose else [])]
    return _block(lines)


def _finding(found: Verified, finding: HealthFinding) -> str:
    place = f", first at [{', '.join(map(str, finding.first))}]" if finding.first else ""
    role = ""
    if found.sides is not None:
        role = " in the original" if finding.file == found.sides.original.path else " in the copy"
    return f"{finding.kind}{role}: {finding.name}: {finding.count}{place}: {health_words(finding)}"


def _block(lines: Sequence[str]) -> str:
    """Lines with names from files in them, each fit to print."""
    return "\n".join(map(plain, lines))


def _few(lines: Sequence[str], most: int = _MANY) -> list[str]:
    if len(lines) <= most:
        return list(lines)
    return [*lines[:most], f"  and {len(lines) - most} more (--verbose or --json shows them)"]


def verification_junit(found: Verified, more: Sequence[JUnitCase] = ()) -> str:
    """JUnit XML: a case for the structure, every tensor, the behaviour and the health of each file; and `more`."""
    name = f"refnet verify {found.file.path}"
    return suite(name, network_words(found.file.graph.recipe.model), [*_cases(found), *more])


def _cases(found: Verified) -> Iterator[JUnitCase]:
    if not found.search.finished:
        yield JUnitCase("search", "", unfinished(found.search, "tensors"))
    if found.sides is not None:
        bad = any(each.needs in found.unmeant for each in found.structure)
        words = "; ".join(map(line, found.structure)) or f"{len(found.file.graph)} nodes alike"
        yield JUnitCase("structure", "structure" if bad else "", words)
        for value in found.values:
            bad = value.fault or not all(word in found.allowed for word in value.needs)
            yield JUnitCase(f"values.{value.name}", value.kind if bad else "", _line(value))
        if found.renamed:
            yield JUnitCase("names", "" if "renamed" in found.allowed else "renamed", WORDS["renamed"])
        wrong = ", ".join(found.behaviour.wrong)
        yield JUnitCase(
            "behaviour",
            "behaviour" if found.strange else "",
            wrong or remark_sentence(found.behaviour.remark) or "as the original",
        )
    files = [found.file] if found.sides is None else [found.sides.original, found.sides.copy]
    for file in files:
        failing = [finding for finding in found.unhealthy if finding.file == file.path]
        yield JUnitCase(
            f"health.{file.path}",
            "health" if failing else "",
            "; ".join(_finding(found, each) for each in failing) or "nothing failing",
        )
