"""refnet scorecard: inject every bug in every network family, and count what is detected, located and named."""

from __future__ import annotations

import argparse
from typing import Any

from refnet.cli.common import Command, print_json, say
from refnet.errors import RequestError
from refnet.judge.scorecard import FAMILIES, Trial, false_alarms, pairs, subject, tally, trials
from refnet.report.mistakes.bugs import of_port
from refnet.text import table


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; by default all")
    parser.add_argument("--sample", type=int, default=3, help="places of each bug in each family (3); 0 is all")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of bugs in different layers, each family (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print the table; 1 if an honest run is found wrong."""
    if options.sample < 0 or options.pairs < 0:
        raise RequestError("--sample and --pairs: take 0 or more")
    if unknown := [name for name in options.families if name not in FAMILIES]:
        raise RequestError(f"no family is called {unknown[0]!r}; they are {', '.join(FAMILIES)}")
    rows: list[Trial] = []
    families: dict[str, Any] = {}
    for name in options.families or FAMILIES:
        say(f"{name} ...", aside=True)
        one = subject(FAMILIES[name])
        own = list(trials(one, sample=options.sample or None, seed=options.seed))
        both = [located for located, _ in pairs(one, options.pairs, options.seed)]
        alarms = {order: wrong for order, wrong in false_alarms(one).items() if wrong}
        families[name] = {**tally(own), "pairs": len(both), "pairs_located": sum(both), "false_alarms": alarms}
        rows += own
    bugs = {
        bug: tally([row for row in rows if row.mistake.bug == bug])
        for bug in dict.fromkeys(row.mistake.bug for row in rows)
    }
    result = {
        "families": families,
        "bugs": bugs,
        "total": tally(rows),
        "missed": [_why_missed(row) for row in rows if _bad(row)],
    }
    if options.json:
        print_json(result)
    else:
        _print(result)
    return 1 if any(family["false_alarms"] for family in families.values()) else 0


def _bad(row: Trial) -> bool:
    return not row.visible or not row.located or row.named == "missed"


def _why_missed(row: Trial) -> str:
    why = "not visible" if not row.visible else "not located" if not row.located else "not named"
    return f"{row.mistake.bug} at {row.mistake.node} ({of_port(row.mistake)}): {why}"


def _print(result: dict[str, Any]) -> None:
    header = ("", "injected", "visible", "detected", "located", "named", "tied", "missed")
    keys = header[1:]
    lines = [(name, *(counts[key] for key in keys)) for name, counts in result["bugs"].items()]
    say(table(("bug", *header[1:]), [*lines, ("all", *(result["total"][key] for key in keys))]))
    say()
    more = (*keys, "pairs", "pairs_located")
    lines = [
        (name, *(counts[key] for key in more), len(counts["false_alarms"]))
        for name, counts in result["families"].items()
    ]
    say(table(("family", *keys, "pairs", "both located", "false alarms"), lines))
    say()
    say("\n".join(result["missed"]) or "nothing was missed")


COMMAND = Command("scorecard", "inject every known bug and count what is detected, located and named", _arguments, _run)
