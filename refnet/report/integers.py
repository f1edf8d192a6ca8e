"""A comparison of integers in words: a document for programs, a table for people, JUnit."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Collection
from typing import Any

from refnet.bugs.integers.catalogue import INPUT_BUGS, INTEGER_BUGS
from refnet.judge.integers.nodes import RIGHT, IntegerComparison, IntegerFinding
from refnet.judge.integers.rules import IntegerCause
from refnet.judge.integers.through import ALL
from refnet.text import plain, table

__all__ = ["arithmetic_sentence", "integer_document", "integer_sentence", "integer_table"]

_VERDICTS = {
    "exact": "exact",
    "rounding": "as rounding of floats may be",
    "wrong": "wrong",
    "inside": "",
    "shape": "has another shape",
    "dtype": "holds another type",
    "missing": "missing",
}


# Why the arithmetic of a file is taken to be that of some kernels, where nobody says it.
_ASSUMED = {
    "fbgemm": "PyTorch's file does not say its engine, and scales for each filter are how fbgemm and x86 quantise; "
    "fbgemm_avx2 without VNNI, x86_vnni, qnnpack are others",
    "qnnpack": "PyTorch's file does not say its engine, and one scale for a tensor is how qnnpack quantises; fbgemm, "
    "fbgemm_avx2 without VNNI, x86_vnni are others",
    "onnxruntime": "sums are taken to be exact, as with VNNI; onnxruntime_avx2 is without it",
    "tflite": "the reference kernels; tflite_optimised, xnnpack, tflite_micro are others",
}


def arithmetic_sentence(kernels: str, *, asked: bool = False) -> str:
    """Whose arithmetic it is, and why, where that was assumed."""
    if asked or kernels not in _ASSUMED:
        return f"arithmetic of {kernels}"
    return f"arithmetic of {kernels}, assumed: {_ASSUMED[kernels]}"


def integer_sentence(rule: str) -> str:
    """What a rule does, in one sentence."""
    if rule.startswith("kernels:"):
        return f"These are the integers of the kernels {rule.removeprefix('kernels:')}."
    text = inspect.getdoc(INPUT_BUGS[rule] if rule in INPUT_BUGS else INTEGER_BUGS[rule]) or ""
    return " ".join(text.partition("\n\n")[0].split())


def integer_document(found: IntegerComparison, *, pack: str, candidate: str) -> dict[str, Any]:
    """A comparison as JSON."""
    counts = dict.fromkeys(_VERDICTS, 0)
    for finding in found.findings:
        counts[finding.verdict] += 1
    return {
        "pack": pack,
        "candidate": candidate,
        "arithmetic": found.kernels,
        "instead_of": found.instead,
        "verdict": "holds" if found.holds else "differs",
        "counts": {verdict: count for verdict, count in counts.items() if count},
        "partial": found.partial,
        "everywhere": [_rule(rule) for rule in found.everywhere],
        "whole": found.whole,
        "tensors": [_finding(finding) for finding in found.findings],
        "unmatched": list(found.unmatched),
    }


def _rule(rule: str) -> dict[str, str]:
    return {"rule": rule, "sentence": integer_sentence(rule)}


def _finding(finding: IntegerFinding) -> dict[str, Any]:
    made = finding._asdict() | {"place": list(finding.place), "causes": [_cause(cause) for cause in finding.causes]}
    return {key: value for key, value in made.items() if value or key in ("node", "verdict", "different")}


def _cause(cause: IntegerCause) -> dict[str, Any]:
    made = _rule(cause.rule) | {"left": cause.left, "changes": cause.changes, "on_noise": cause.on_noise}
    return made | ({"at": cause.at} if cause.at else {})


def integer_table(document: dict[str, Any], *, verbose: bool) -> str:
    """A comparison for people: what is not exact, and why."""
    rows, nodes = [], [each["node"] for each in document["tensors"]]
    for each in document["tensors"]:
        if each["verdict"] in RIGHT and not verbose:
            continue
        share = f"{each['different']:,} of {each.get('elements', 0):,}" if each["different"] else ""
        most = f"{each['most']:g}" if each.get("most") else ""
        rows.append((plain(each["node"]), each.get("op", ""), each["verdict"], share, most, _why(each, nodes)))
    lines = []
    if rows:
        lines.append(table(("node", "operation", "verdict", "differ", "most", "rule"), rows, left=3))
        lines.append("")
    counts = document["counts"]
    judged = sum(count for verdict, count in counts.items() if verdict != "inside")
    accepted = {"missing": " (accepted)"} if document["partial"] else {}
    said = ", ".join(f"{count} {verdict}{accepted.get(verdict, '')}" for verdict, count in counts.items())
    kernels, instead = document["arithmetic"], document["instead_of"]
    if instead:
        lines.append(f"The port is of the kernels {kernels}, not of {instead}; it is judged in their arithmetic.")
    lines.append(f"{judged} tensors on their own inputs, arithmetic of {kernels}: {said}")
    if (end := document["tensors"][-1])["verdict"] == "inside":
        lines.append(
            f"{'not there':<14} {plain(end['node'])}: the port ends before this softmax, and is judged without it"
        )
    if document["everywhere"]:
        first, *others = document["everywhere"]
        lines.append(f"{_scope(document):<14} {first['rule']}: {first['sentence']}")
        lines += [f"  or as well   {other['rule']}: {other['sentence']}" for other in others]
    else:
        lines += _by_rule(document)
    if document["unmatched"]:
        lines.append(f"unmatched      {', '.join(plain(name) for name in document['unmatched'][:8])}")
    return "\n".join(lines)


def _scope(document: dict[str, Any]) -> str:
    """At which of the wrong tensors the rule fits that fits at most of them."""
    rule = document["everywhere"][0]["rule"]
    wrong = [each for each in document["tensors"] if each["verdict"] == "wrong"]
    fits = sum(any(cause["rule"] == rule and not cause["left"] for cause in each.get("causes", [])) for each in wrong)
    if fits < len(wrong):
        return f"at {fits} of {len(wrong)}"
    return "everywhere" if document["whole"] else "in all wrong"


def _why(each: dict[str, Any], nodes: Collection[str]) -> str:
    """The rules that fit a node, or come near."""
    causes = each.get("causes", [])
    fits = [cause["rule"] + _at(cause.get("at", ""), nodes) for cause in causes if not cause["left"]]
    if fits:
        rest = f" (or {', '.join(fits[1:4])}{', ...' if len(fits) > 4 else ''})" if len(fits) > 1 else ""
        return str(fits[0]) + rest
    near = [f"near: {cause['rule']}, but for {cause['left']:,}" for cause in causes]
    return str(near[0]) if near else ("none fits" if each["verdict"] == "wrong" else _VERDICTS[each["verdict"]])


def _at(at: str, nodes: Collection[str]) -> str:
    """Where among nodes that are not dumped."""
    if at in ("", ALL):
        return f" {at}".rstrip()
    return f" at {plain(at)}" if at in nodes else f" in all of {at}"


def _by_rule(document: dict[str, Any]) -> list[str]:
    """The fewest rules that fit the nodes that any fits, those of most nodes first."""
    wrong = [each for each in document["tensors"] if each["verdict"] == "wrong"]
    left = [{cause["rule"] for cause in each.get("causes", []) if not cause["left"]} for each in wrong]
    lines = []
    while left := [rules for rules in left if rules]:
        counts = Counter(rule for rules in left for rule in rules)
        firsts = [cause["rule"] for each in wrong for cause in each.get("causes", [])]
        rule = max(counts, key=lambda rule: (counts[rule], -firsts.index(rule)))
        lines.append(f"{f'at {counts[rule]} of {len(wrong)}':<14} {rule}: {integer_sentence(rule)}")
        left = [rules for rules in left if rule not in rules]
    return lines
