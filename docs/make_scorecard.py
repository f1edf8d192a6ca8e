"""Write scorecard.md: how well refnet finds bugs that it injects, and mistakes in ports written apart from it.

Usage: PYTHONPATH=.:tests/data/ports python docs/make_scorecard.py [--keep FOLDER [PART ...]]. Takes a quarter of an
hour of one core. With --keep what each part of it found is kept in a folder as JSON, and not looked for again: so it
may be interrupted, and parts may run side by side. Samples are drawn with a fixed seed, so the page changes only when
refnet does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from exam import PORTS, marks
from fast_convolution import PORTS as FAST

from refnet.bugs.catalogue import BUGS, REPLAYED
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.scorecard import FAMILIES, FLOAT32, Subject, false_alarms, pairs, subject, tally, trials
from refnet.judge.sweep import DUMPS, SYSTEMATIC, sweep
from refnet.judge.tensors import judge_tensors
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port

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
  styles; depthwise convolutions by Winograd's F(2 x 2, 3 x 3) and by the Fourier transform, declared), how many are
  found wrong.

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

{ports} ports in PyTorch, C and NumPy were written by hand, with {mistakes} mistakes in them, without looking at the
table ([tests/data/ports](../tests/data/ports/make_ports.py)). So this measures whether the table is complete. A mistake
is *located* if a segment with it is found wrong and no segment without a mistake is; and *named* if it is among the
causes of such a segment.

{exam}

{not_named}

Of the first 80 mistakes 76 were named the first time: that is what to expect of mistakes that nobody thought of. The
table was then extended by three variations that the exam had shown to be missing (a black border, an activation on a
linear tensor that is read, a background class), so the figures above are no longer independent of it.
"""


class Row(NamedTuple):
    """A mistake that was made in one place, told in words, and what became of it."""

    family: str
    bug: str
    told: str
    visible: bool
    detected: bool
    located: bool
    named: str


class Everywhere(NamedTuple):
    """A mistake that was made everywhere, which tensors were dumped, and what became of it."""

    family: str
    bug: str
    form: str
    dump: str
    named: str


class Exam(NamedTuple):
    """A mistake in a port that was written apart from the table."""

    port: str
    what: str
    bug: str
    located: bool
    named: bool


def injected(name: str) -> dict[str, Any]:
    """Of one family the outcome of each bug; of pairs of bugs how many were located, of honest runs how many not."""
    one = subject(FAMILIES[name])
    rows = [
        Row(
            name,
            row.mistake.bug,
            f"`{row.mistake.bug}` at `{row.mistake.node}` ({of_port(row.mistake)})",
            bool(row.visible),
            row.detected,
            row.located,
            row.named,
        )
        for row in trials(one, sample=SAMPLE)
    ]
    alarms = [*map(bool, false_alarms(one).values()), *(bool(_by(one, algorithm)) for algorithm in _DECLARED)]
    both = sum(located for located, _ in pairs(one, PAIRS))
    return {"rows": rows, "pairs": both, "honest": len(alarms), "alarms": sum(alarms)}


_DECLARED = ("winograd-f2", "fft")


def _by(one: Subject, algorithm: str) -> list[str]:
    """What is found wrong in a run whose depthwise convolutions are computed by a fast algorithm, which is declared."""
    tensors = {SOURCE: one.tensors[SOURCE]}
    for node in one.graph.nodes:
        dense = node.attrs.get("stride") == (1, 1) and node.attrs.get("pad") == ((1, 1), (1, 1))
        if node.op == "depthwise_conv2d" and dense and node.params["w"][-1] == 3 and "b" not in node.params:
            y = FAST[algorithm](tensors[node.inputs[0]], one.net.params[f"{node.name}.w"])
        else:
            part = Graph(one.graph.recipe, (node,))
            y = interpret(part, fast, one.net.params, {each: tensors[each] for each in node.inputs})
        tensors[node.name] = np.asarray(y, np.float32)
    declared = FLOAT32._replace(algorithm=algorithm)
    return judge_tensors(one.reference, tensors, precision=declared, explain=False).wrong()


_COLUMNS = {"all": "everywhere", "fused": "everywhere, fused", "logits": "end only"}
INPUTS = ("preprocessing", "raster", "pictures", "solved", "decoding", "colour_spaces", "pitch", "pipelines")


def systematic(name: str, dump: str) -> dict[str, Any]:
    """Of one family the outcome of mistakes made everywhere; those in the input are among them."""
    rows = sweep(subject(FAMILIES[name], 1), (dump,), forms=1, seconds=3600)
    return {"rows": [Everywhere(name, row.bug, row.form, row.dump, row.named) for row in rows if row.visible]}


def examined() -> dict[str, Any]:
    """The outcome of each mistake in ports that were written apart from the table."""
    return {
        "rows": [
            Exam(port["file"].removesuffix(".npz"), port["what"], mark.bug[0], mark.located, mark.named)
            for port in PORTS
            for mark in marks(port)
        ]
    }


PARTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    **{name: partial(injected, name) for name in FAMILIES},
    **{f"{name}, {dump}": partial(systematic, name, dump) for name in SYSTEMATIC for dump in DUMPS},
    "ports": examined,
}


def found(part: str, keep: Path | None) -> dict[str, Any]:
    """What a part of the scorecard is: read where it is kept, else looked for, and kept."""
    path = None if keep is None else keep / f"{part}.json"
    if path is not None and path.exists():
        return json.loads(path.read_text())
    print(f"{part} ...", file=sys.stderr, flush=True)
    made = PARTS[part]()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made))
    return made


def _everywhere(rows: Sequence[Everywhere], single: Sequence[Row]) -> str:
    """A row for each family: named of visible, in each style of dump; and in the input, from the single trials."""

    def cell(named: Sequence[bool]) -> str:
        return f"{sum(named)} of {len(named)}"

    lines = []
    for name in SYSTEMATIC:
        styles = [
            cell([row.named == "named" for row in rows if (row.family, row.dump) == (name, dump)]) for dump in DUMPS
        ]
        fed = [row for row in single if row.family == name and row.visible and BUGS[row.bug].group in INPUTS]
        lines.append([name, *styles, cell([row.named != "missed" for row in fed])])
    return table(["family", *_COLUMNS.values(), "input, named or tied"], lines)


_GROUPS = dict.fromkeys(("padding", "weights", "sampling", "shaping"), "geometry and weights")
_GROUPS |= dict.fromkeys(("activations", "blocks", "dropout", "head", "decoder"), "blocks and activations")
_GROUPS |= dict.fromkeys(("stored", "leftovers", "zero_points"), "memory")
_GROUPS |= dict.fromkeys(("ends", *INPUTS), "input and output")
_GROUPS |= {"norms": "batch norm", "precision": "precision", "overflow": "precision"}


def _group(bug: str) -> str:
    """The kind of a bug, by the module that it is of."""
    return _GROUPS[BUGS[bug].group]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (header, ruler, *rows))


def page(keep: Path | None = None) -> str:
    """The whole page."""
    families = {name: found(name, keep) for name in FAMILIES}
    rows = [Row(*row) for each in families.values() for row in each["rows"]]
    everywhere = [
        Everywhere(*row) for name in SYSTEMATIC for dump in DUMPS for row in found(f"{name}, {dump}", keep)["rows"]
    ]
    mistakes = [Exam(*row) for row in found("ports", keep)["rows"]]
    keys = ["injected", "visible", "detected", "located", "named", "tied", "missed"]
    counts = {name: tally([row for row in rows if row.family == name]) for name in FAMILIES}
    lines = [
        [name, *(counts[name][key] for key in keys), each["pairs"], each["alarms"]] for name, each in families.items()
    ]
    total = [
        "all",
        *tally(rows).values(),
        *(sum(each[key] for each in families.values()) for key in ("pairs", "alarms")),
    ]
    bugs = {bug.id: tally([row for row in rows if row.bug == bug.id]) for bug in REPLAYED}
    by_group: dict[str, list[Exam]] = {}
    for mark in mistakes:
        by_group.setdefault(_group(mark.bug), []).append(mark)
    by_group["all"] = mistakes
    return PAGE.format(
        sample=SAMPLE,
        pairs=PAIRS,
        honest=max(each["honest"] for each in families.values()),
        families=table(["family", *keys, "pairs", "false alarms"], [*lines, total]),
        hidden=_listed("Not visible", [(row.told, row.family) for row in rows if not row.visible]),
        missed=_listed("Missed", [(row.told, row.family) for row in rows if row.visible and _lost(row)]),
        bugs=table(["bug", *keys], [[f"`{bug}`", *(each[key] for key in keys)] for bug, each in bugs.items()]),
        everywhere=_everywhere(everywhere, rows),
        unnamed=_listed(
            "Not named first",
            [
                (f"`{row.bug}`{f' ({row.form})' if row.form else ''}, {_COLUMNS[row.dump]}: {row.named}", row.family)
                for row in everywhere
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
            [(f"`{mark.port}`", mark.what) for mark in mistakes if not (mark.located and mark.named)],
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


def _lost(row: Row) -> bool:
    return not row.located or row.named == "missed"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write scorecard.md.")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what each part found, and read what is kept")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only look for these, of: {'; '.join(PARTS)}")
    return parser.parse_args()


if __name__ == "__main__":
    options = _options()
    for part in options.parts:
        found(part, options.keep)
    if not options.parts:
        (HERE / "scorecard.md").write_text(page(options.keep))
