"""The result of a comparison in words: a table of plain text, and JUnit XML; the page with pictures is in `page`.

All three render the one JSON document that `refnet compare --json` prints. Nothing is judged here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from refnet.judge.verdicts import FAILING
from refnet.report.differences import network_words
from refnet.report.junit import JUnitCase, suite
from refnet.report.words import against, causes, figure, origin, summary, systematic
from refnet.text import plain_document, table

__all__ = ["comparison_junit", "comparison_table"]

_FAR = "channels that are far from the golden tensor, and how far, over their rms:"
_FEW = 10  # tensors beside the judged that are listed
_HEADER = ("tensor", "verdict", "from", "worst", "expected", "rms", "max error", "accumulated", "border", "interior")
_LEFT = 3  # columns of words


def comparison_table(document: Mapping[str, Any], *, verbose: bool = False) -> str:
    """The report as plain text.

    Parameters
    ----------
    document : as `refnet compare --json` prints it
    verbose : a line for every tensor; otherwise for those only that are not fine, and a count of the rest

    Returns
    -------
    str
        a row a tensor: the largest error in units of the worst-case and of the expected bound, the rms error in units
        of that which rounding explains, the largest error itself; then, beside the judgement, how far the tensor is
        from the golden one, relative to it: as a whole, in the outermost ring of pixels, inside it. Below: the causes,
        notes, and the verdict in the last line.

    Examples
    --------
    >>> print(comparison_table({"verdict": "holds", "candidate": "port", "pack": "gold", "model": "m",
    ...     "precision": "float32", "tensors": [], "causes": [], "notes": [], "unmatched": []}))
    port against gold: m, float32
    <BLANKLINE>
    holds
    """
    document = plain_document(document)
    tensors = document["tensors"]
    failing = against(document)
    behind = Counter(t["follows"] for t in tensors if t.get("follows"))
    shown = [t for t in tensors if verbose or t["verdict"] in failing]
    shown = [t for t in shown if verbose or not t.get("follows")]
    fine = Counter(tensor["verdict"] for tensor in tensors if tensor["verdict"] not in FAILING)
    parts = ["{candidate} against {pack}: {}, {precision}".format(network_words(document["model"]), **document)]
    if shown:
        parts.append(table(_HEADER, map(_row, shown), _LEFT))
    if fine and not verbose:
        parts.append(f"fine: {', '.join(f'{count} {verdict}' for verdict, count in fine.items())}")
    parts += [f"{count} behind {name} cannot be judged: it is not finite" for name, count in behind.items()]
    if few := list(_channels([tensor for tensor in shown if tensor["verdict"] in FAILING])):
        parts.append("\n  ".join([_FAR, *few]))
    for sentence, more in (*systematic(document), *causes(document, brief=True)):
        parts.append("\n".join([sentence, *(f"  {line}" for line in more)]))
    if document["notes"]:
        parts.append("\n".join(document["notes"]))
    if document["unmatched"]:
        parts.append(f"match nothing: {', '.join(document['unmatched'])}")
    if extras := document.get("extras"):
        lines = [f"  {extra['source']}: {extra['sentence']}" for extra in extras]
        few = lines if verbose or len(lines) <= _FEW else [*lines[:_FEW], f"  and {len(lines) - _FEW} more (--verbose)"]
        parts.append("\n".join(["add nothing, and are not judged:", *few]))
    return "\n\n".join([*parts, summary(document)])


def _row(tensor: Mapping[str, Any]) -> list[str]:
    accumulated = tensor.get("accumulated") or {}
    return [
        tensor["name"],
        tensor["verdict"],
        origin(tensor) or "-",
        *(figure(tensor.get(key)) for key in ("worst", "expected", "rms", "error")),
        *(figure(accumulated.get(key)) for key in ("relative", "border", "interior")),
    ]


def _channels(tensors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The tensors whose difference sits in few channels, with these."""
    for tensor in tensors:
        values = [float(value) if value is not None else 0.0 for value in tensor.get("channels") or []]
        values = [0.0 if math.isnan(value) else value for value in values]
        order = sorted(range(len(values)), key=lambda channel: -values[channel])
        ranked = [values[channel] for channel in order]
        for few in range(1, len(values) // 8 + 1):
            if ranked[few - 1] > 10 * ranked[few]:
                named = ", ".join(f"{channel} ({figure(values[channel])})" for channel in order[:few])
                yield f"{tensor['name']}: {named}; the others at most {figure(ranked[few])}"
                break


def comparison_junit(document: Mapping[str, Any]) -> str:
    """The report as JUnit XML: a test case per tensor, and one per tensor of the candidate that matches nothing.

    What lies inside a judged segment counts as passed.
    """
    document = plain_document(document)
    return suite(f"refnet compare {document['candidate']}", network_words(document["model"]), _cases(document))


def _cases(document: Mapping[str, Any]) -> Iterator[JUnitCase]:
    why: dict[str, list[str]] = {}
    for cause, (sentence, more) in zip(document["causes"], causes(document), strict=True):
        why.setdefault(cause["node"], []).extend([sentence, *more])
    failing = against(document)
    for tensor in document["tensors"]:
        name, verdict = tensor["name"], tensor["verdict"]
        if verdict in failing:
            figures = [f"{key} {figure(tensor.get(key))}" for key in ("worst", "expected", "rms", "error")]
            message = f"{name}: {verdict}; {', '.join(figures)}"
            yield JUnitCase(name, verdict, message, "\n".join(why.get(name, [])))
        else:
            yield JUnitCase(name, "", verdict)
    for sentence, _ in systematic(document):
        yield JUnitCase("systematic", "", sentence)
    if unfinished := (document.get("search") or {}).get("sentence"):
        yield JUnitCase("search", "", unfinished)
    for name in document["unmatched"]:
        yield JUnitCase(name, "unmatched", f"{name}: matches no node")
