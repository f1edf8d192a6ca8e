"""Write scorecard.md: how well refnet finds bugs that it injects, and mistakes in ports written apart from it.

Usage: PYTHONPATH=.:tests/data/ports python docs/make_scorecard.py. Takes a few minutes. Samples are drawn with a fixed
seed, so the page changes only when refnet does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from exam import PORTS, Mark, marks

from refnet.bugs.catalogue import BUGS, REPLAYED
from refnet.judge.scorecard import FAMILIES, Trial, false_alarms, pairs, subject, tally, trials
from refnet.judge.sweep import DUMPS, SYSTEMATIC, Sweep, sweep
from refnet.report.bugs import of_port

HERE = Path(__file__).parent
SAMPLE, PAIRS = 3, 20

PAGE = """# How good is the diagnosis?

Written by [make_scorecard.py](make_scorecard.py). Two questions, two tables.

## Does the machinery tell bugs apart?

Every bug of ports in the catalogue, `refnet/bugs/`, is injected into a float32 run of each network, at up to
{sample} places, one at a time, and the tensors are judged as any port's are. Diagnosis replays the same table, so this
measures whether the machinery tells these bugs apart, and not whether the table is complete.

- *visible*: in float64 the bug moves its segment by more than four times what rounding explains. The other columns
  count only these.
- *detected*: something is found wrong. *Located*: exactly the segment with the bug is.
- *named*: its cause comes first. *Tied*: it is among several causes that fit, and another comes first. *Missed*: not
  located, or not among them.
- *pairs*: of {pairs} pairs of bugs in different segments, how often exactly these two are found wrong.
- *false alarms*: of {honest} honest runs (other orders of summation, batch norm folded and not, each dumped in three
  styles), how many are found
  wrong.

{families}

{hidden}

{missed}

Bug by bug, over all families:

{bugs}

## Is what is wrong everywhere told?

What is written once in a port is wrong wherever it is used. Every bug that can be at two places or more is made at all
of them at once, in its first form, and judged with all tensors (*everywhere*), with those of a runtime that fuses, and
with the logits alone (*end only*); and so is every bug of the input (*input*), of which there is one place. Of those
that show, how many are named first, of how many; what is tied or missed is listed.

{everywhere}

{unnamed}

## Is the table complete?

{ports} ports in PyTorch and C were written by hand, with {mistakes} mistakes in them, without looking at the table
([tests/data/ports](../tests/data/ports/make_ports.py)). So this measures whether the table is complete. A mistake is
*located* if a segment with it is found wrong and no segment without a mistake is; and *named* if it is among the causes
of such a segment.

{exam}

{not_named}

The first time, 76 of 80 mistakes were named: that is what to expect of mistakes that nobody thought of. The table was
then extended by three variations that the exam had shown to be missing (a black border, an activation on a linear
tensor that is read, a background class), so the figures above are no longer independent of it.
"""


def injected() -> tuple[dict[str, dict[str, Any]], list[tuple[str, Trial]]]:
    """Per family its counts; and every outcome, with its family."""
    families, rows = {}, []
    for name, family in FAMILIES.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        one = subject(family)
        own = list(trials(one, sample=SAMPLE))
        both = [located for located, _ in pairs(one, PAIRS)]
        alarms = false_alarms(one)
        families[name] = {
            **tally(own),
            "pairs": sum(both),
            "honest": len(alarms),
            "false alarms": sum(bool(wrong) for wrong in alarms.values()),
        }
        rows += [(name, row) for row in own]
    return families, rows


_COLUMNS = {"all": "everywhere", "fused": "everywhere, fused", "logits": "end only"}
_INPUTS = ("inputs", "solved")


def systematic() -> list[tuple[str, Sweep]]:
    """Every outcome of mistakes made everywhere, with its family; those in the input are among them."""
    found = []
    for name in SYSTEMATIC:
        print(f"{name}, everywhere ...", file=sys.stderr, flush=True)
        found += [(name, row) for row in sweep(subject(FAMILIES[name], 1), forms=1, seconds=600) if row.visible]
    return found


def _everywhere(found: Sequence[tuple[str, Sweep]], rows: Sequence[tuple[str, Trial]]) -> str:
    """A row for each family: named of visible, in each style of dump; and in the input, from the single trials."""

    def cell(named: Sequence[bool]) -> str:
        return f"{sum(named)} of {len(named)}"

    lines = []
    for name in SYSTEMATIC:
        own = [row for family, row in found if family == name]
        styles = [cell([row.named == "named" for row in own if row.dump == dump]) for dump in DUMPS]
        fed = [row for family, row in rows if family == name and row.visible and BUGS[row.mistake.bug].group in _INPUTS]
        lines.append([name, *styles, cell([row.named != "missed" for row in fed])])
    return table(["family", *_COLUMNS.values(), "input, named or tied"], lines)


_GROUPS = dict.fromkeys(("padding", "weights", "sampling"), "geometry and weights")
_GROUPS |= dict.fromkeys(("activations", "blocks", "head"), "blocks and activations")
_GROUPS |= {"norms": "batch norm", "ends": "input and output", "precision": "precision"}


def _group(bug: str) -> str:
    """The kind of a bug, by the module that it is of."""
    return _GROUPS[BUGS[bug].group]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (header, ruler, *rows))


def page() -> str:
    """The whole page."""
    families, found = injected()
    rows = [row for _, row in found]
    everywhere = systematic()
    mistakes = [(port, mark) for port in PORTS for mark in marks(port)]
    keys = ["injected", "visible", "detected", "located", "named", "tied", "missed"]
    more = [*keys, "pairs", "false alarms"]
    total = tally(rows)
    sums = [sum(each[key] for each in families.values()) for key in ("pairs", "false alarms")]
    bugs = {bug.id: tally([row for row in rows if row.mistake.bug == bug.id]) for bug in REPLAYED}
    by_group: dict[str, list[Mark]] = {}
    for _, mark in mistakes:
        by_group.setdefault(_group(mark.bug[0]), []).append(mark)
    by_group["all"] = [mark for _, mark in mistakes]
    return PAGE.format(
        sample=SAMPLE,
        pairs=PAIRS,
        honest=max(each["honest"] for each in families.values()),
        families=table(
            ["family", *more],
            [
                *([name, *(each[key] for key in more)] for name, each in families.items()),
                ["all", *(total[key] for key in keys), *sums],
            ],
        ),
        hidden=_listed("Not visible", [(_told(row), name) for name, row in found if not row.visible]),
        missed=_listed("Missed", [(_told(row), name) for name, row in found if row.visible and _lost(row)]),
        bugs=table(["bug", *keys], [[f"`{bug}`", *(each[key] for key in keys)] for bug, each in bugs.items()]),
        everywhere=_everywhere(everywhere, found),
        unnamed=_listed(
            "Not named first",
            [
                (f"`{row.bug}`{f' ({row.form})' if row.form else ''}, {_COLUMNS[row.dump]}: {row.named}", name)
                for name, row in everywhere
                if row.named != "named"
            ],
        ),
        ports=len(PORTS),
        mistakes=len(mistakes),
        exam=table(
            ["mistakes in", "made", "located", "named"],
            [[group, len(of), sum(m.located for m in of), sum(m.named for m in of)] for group, of in by_group.items()],
        ),
        not_named=_listed(
            "Not located or not named",
            [
                (f"`{port['file'].removesuffix('.npz')}`", port["what"])
                for port, mark in mistakes
                if not (mark.located and mark.named)
            ],
        ),
    )


def _listed(title: str, items: Iterable[tuple[str, str]]) -> str:
    """A list of what was found where; what is found in several places is listed once."""
    places: dict[str, list[str]] = {}
    for what, where in items:
        places.setdefault(what, []).extend([where] if where not in places.get(what, []) else [])
    if not places:
        return f"{title}: none."
    return "\n".join([f"{title}:", "", *(f"- {what}: {', '.join(where)}" for what, where in places.items())])


def _lost(row: Trial) -> bool:
    return not row.located or row.named == "missed"


def _told(row: Trial) -> str:
    return f"`{row.mistake.bug}` at `{row.mistake.node}` ({of_port(row.mistake)})"


if __name__ == "__main__":
    (HERE / "scorecard.md").write_text(page())
