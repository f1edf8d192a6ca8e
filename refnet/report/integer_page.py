"""What is known of integers as pages and test cases: a port against a pack, a file against the network it is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from refnet.judge.integers.nodes import RIGHT
from refnet.report.integers import integer_table
from refnet.report.junit import JUnitCase, suite
from refnet.report.page import layer_strip, listed, page_of
from refnet.text import plain_document

__all__ = ["integer_junit", "integer_page", "quantisation_cases", "quantisation_page"]

_TOP, _WIDTH, _ROW = 60.0, 640, 18  # decibels of a full bar; pixels of a full bar, and of a row
_NAMES = 300  # pixels in which names stand


def integer_page(document: Mapping[str, Any]) -> str:
    """A comparison of integers as a page: a strip of all tensors, the rules, the table of what is not exact."""
    document = plain_document(document)
    judged = sum(count for verdict, count in document["counts"].items() if verdict != "inside")
    exact = document["counts"].get("exact", 0)
    title = "every integer is exact" if document["verdict"] == "holds" else f"{exact} of {judged} tensors are exact"
    tensors = [{"name": each["node"], "verdict": each["verdict"]} for each in document["tensors"]]
    parts = [
        *layer_strip(tensors),
        *(f'<div class="cause"><span class="verdict">{_rule(rule)}</span></div>' for rule in document["everywhere"]),
        "<h2>Tensors</h2>",
        *(_finding(each) for each in document["tensors"] if each["verdict"] not in RIGHT),
        f"<pre>{escape(integer_table(dict(document), verbose=True))}</pre>",
    ]
    head = f"arithmetic of {document['arithmetic']}: {document['candidate']} against {document['pack']}"
    return page_of(title, head, parts, holds=document["verdict"] == "holds")


def _rule(rule: Mapping[str, Any]) -> str:
    return f"{escape(rule['rule'])}: {escape(rule['sentence'])}"


def _finding(each: Mapping[str, Any]) -> str:
    """What an id leads to: the node, and what was found of it."""
    name = escape(each["node"])
    said = f"{each['different']:,} of {each.get('elements', 0):,} integers differ" if each["different"] else ""
    causes = "; ".join(_rule(cause) for cause in each.get("causes", []) if not cause["left"])
    return f'<div class="tensor" id="tensor-{name}"><h3>{name}: {escape(each["verdict"])}</h3>{said}. {causes}</div>'


def integer_junit(document: Mapping[str, Any]) -> str:
    """A case for each tensor that was judged."""
    cases = [_case(each) for each in document["tensors"] if each["verdict"] != "inside"]
    return suite("refnet compare", document["pack"], cases)


def _case(each: Mapping[str, Any]) -> JUnitCase:
    if each["verdict"] in RIGHT:
        return JUnitCase(each["node"], "", each["verdict"])
    rules = [cause["rule"] for cause in each.get("causes", []) if not cause["left"]]
    said = f"{each['different']} of {each.get('elements', 0)} integers differ" if each["different"] else each["verdict"]
    sentences = "\n".join(f"{cause['rule']}: {cause['sentence']}" for cause in each.get("causes", []))
    return JUnitCase(each["node"], each["verdict"], ": ".join([said, *rules[:1]]), sentences)


# --------------------------------------------------------------------------------------- a file against its network


def quantisation_page(document: Mapping[str, Any], head: str, about: str = "") -> str:
    """What verification says of integers as a page: findings, and the signal over noise of every layer, drawn.

    Parameters
    ----------
    document : as `quantisation_document` makes it
    head : what was held against what
    about : what else verification found, as text
    """
    document = plain_document(document)
    wrong = [f"{each['node']}: {each['sentence']}" for each in document["findings"] if each["fails"]]
    notes = [f"{each['node']}: {each['sentence']}" for each in document["findings"] if not each["fails"]]
    title = "the integers hold" if document["holds"] else f"{len(wrong)} findings of integers that are wrong"
    parts = [*listed("Wrong", wrong), *_drawn(document["signal_to_noise"]), *listed("Notes", notes)]
    if about:
        parts += ["<h2>The files</h2>", f"<pre>{escape(about)}</pre>"]
    return page_of(title, head, parts, holds=document["holds"])


def _drawn(ratios: Mapping[str, float | None]) -> Iterator[str]:
    """A bar for each layer, in order of execution."""
    rows = []
    for place, (name, ratio) in enumerate(ratios.items()):
        y, known = place * _ROW, _TOP if ratio is None else ratio
        wide = min(max(known, 0.0), _TOP) / _TOP * _WIDTH
        said = "equal" if ratio is None else f"{ratio:.1f} dB"
        rows.append(
            f'<text x="0" y="{y + 13}">{escape(name[-42:])}</text>'
            f'<rect x="{_NAMES}" y="{y + 3}" width="{wide:.1f}" height="{_ROW - 5}"/>'
            f'<text x="{_NAMES + wide + 6:.1f}" y="{y + 13}">{said}</text>'
        )
    width, height = _NAMES + _WIDTH + 80, len(rows) * _ROW
    yield f"<h2>Signal over noise, layer by layer</h2><small>a full bar is {_TOP:g} dB</small>"
    yield (
        f'<div class="scroll"><svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'font-size="12" fill="currentColor">{"".join(rows)}</svg></div>'
    )


def quantisation_cases(document: Mapping[str, Any]) -> list[JUnitCase]:
    """A case for each node of which something is wrong; one where nothing is."""
    failing = [each for each in document["findings"] if each["fails"]]
    cases = [JUnitCase(f"integers of {each['node']}", each["kind"], each["sentence"]) for each in failing]
    return cases or [JUnitCase("integers", "", "the integers are the network's")]
