"""The result of a comparison in words: a table of plain text, and JUnit XML; the page with pictures is in `page`.

All three render the one JSON document that `refnet compare --json` prints. Nothing is judged here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from refnet.golden.page import html
from refnet.golden.verdicts import FAILING
from refnet.golden.words import causes, figure, origin, summary
from refnet.text import table as columns

__all__ = ["html", "junit", "table"]

_HEADER = ("tensor", "verdict", "from", "worst", "expected", "rms", "max error", "accumulated", "border", "interior")
_LEFT = 3  # columns of words


def table(document: Mapping[str, Any], *, verbose: bool = False) -> str:
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
    >>> print(table({"verdict": "holds", "candidate": "port", "pack": "gold", "model": "m", "precision": "float32",
    ...              "tensors": [], "causes": [], "notes": [], "unmatched": []}))
    port against gold: m, float32
    <BLANKLINE>
    holds
    """
    tensors = document["tensors"]
    accepted = "missing" if document["verdict"] == "holds" else ""  # of a candidate that may be partial
    shown = [t for t in tensors if verbose or (t["verdict"] in FAILING and t["verdict"] != accepted)]
    fine = Counter(tensor["verdict"] for tensor in tensors if tensor["verdict"] not in FAILING)
    parts = ["{candidate} against {pack}: {model}, {precision}".format(**document)]
    if shown:
        parts.append(columns(_HEADER, map(_row, shown), _LEFT))
    if fine and not verbose:
        parts.append(f"fine: {', '.join(f'{count} {verdict}' for verdict, count in fine.items())}")
    if few := list(_channels([tensor for tensor in shown if tensor["verdict"] in FAILING])):
        parts.append("\n".join(few))
    for sentence, more in causes(document):
        parts.append("\n".join([sentence, *(f"  {line}" for line in more)]))
    if document["notes"]:
        parts.append("\n".join(document["notes"]))
    if document["unmatched"]:
        parts.append(f"match nothing: {', '.join(map(_plain, document['unmatched']))}")
    return "\n\n".join([*parts, summary(document)])


def _row(tensor: Mapping[str, Any]) -> list[str]:
    accumulated = tensor.get("accumulated") or {}
    return [
        _plain(tensor["name"]),
        tensor["verdict"],
        _plain(origin(tensor)) or "-",
        *(figure(tensor.get(key)) for key in ("worst", "expected", "rms", "error")),
        *(figure(accumulated.get(key)) for key in ("relative", "border", "interior")),
    ]


def _plain(name: str) -> str:
    """A name of the candidate's as a terminal may print it."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def _channels(tensors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Sentences on tensors whose difference sits in few channels."""
    for tensor in tensors:
        values = [float(value) if value is not None else 0.0 for value in tensor.get("channels") or []]
        values = [0.0 if math.isnan(value) else value for value in values]
        order = sorted(range(len(values)), key=lambda channel: -values[channel])
        ranked = [values[channel] for channel in order]
        for few in range(1, len(values) // 8 + 1):
            if ranked[few - 1] > 10 * ranked[few]:
                named = ", ".join(f"{channel} ({figure(values[channel])})" for channel in order[:few])
                yield f"{tensor['name']}: mostly in channel {named}; elsewhere at most {figure(ranked[few])}"
                break


_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


def _legal(text: object) -> str:
    return _ILLEGAL.sub("\ufffd", str(text))


def junit(document: Mapping[str, Any]) -> str:
    """The report as JUnit XML: a test case per tensor, and one per tensor of the candidate that matches nothing.

    What lies inside a judged segment counts as passed.
    """
    suite = ElementTree.Element("testsuite", name=_legal(f"refnet compare {document['candidate']}"))
    why: dict[str, list[str]] = {}
    for cause, (sentence, more) in zip(document["causes"], causes(document), strict=True):
        why.setdefault(cause["node"], []).extend([sentence, *more])
    failures = 0
    for tensor in document["tensors"]:
        case = _case(suite, document, tensor["name"])
        if tensor["verdict"] in FAILING:
            failures += 1
            figures = [f"{key} {figure(tensor.get(key))}" for key in ("worst", "expected", "rms", "error")]
            failure = ElementTree.SubElement(case, "failure", type=_legal(tensor["verdict"]))
            failure.set("message", _legal(f"{tensor['name']}: {tensor['verdict']}; {', '.join(figures)}"))
            failure.text = _legal("\n".join(why.get(tensor["name"], [])))
        else:
            ElementTree.SubElement(case, "system-out").text = _legal(tensor["verdict"])
    for name in document["unmatched"]:
        failures += 1
        failure = ElementTree.SubElement(_case(suite, document, name), "failure", type="unmatched")
        failure.set("message", _legal(f"{name}: matches no node"))
    for key, count in (("tests", len(suite)), ("failures", failures), ("errors", 0), ("skipped", 0)):
        suite.set(key, str(count))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, document: Mapping[str, Any], name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=_legal(document["model"]), name=_legal(name), time="0")
