"""refnet check: this machine's runs beside the outputs of the vendors' own modules."""

from __future__ import annotations

import argparse
import statistics

from refnet.cli.common import Command, jobs_argument, print_json, progress, say
from refnet.judge.saved import AGREEMENT, Checked, Saved, check_saved, saved
from refnet.shares import cores, in_shares
from refnet.text import table

_WORTH_JOBS = 4  # networks for each process; to start one takes as long as to check one
# One of each family and dialect; small enough to be done in seconds.
_DOZEN = (
    "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_large",
    "torchvision/mobilenet_v3_small",
    "torchvision/mobilenet_v3_small@dilated",
    "torchvision/lraspp_mobilenet_v3_large",
    "torchvision/mnasnet0_5",
    "timm/mobilenetv1_100",
    "timm/semnasnet_100",
    "timm/tf_mobilenetv3_small_minimal_100",
    "keras/MobileNet",
    "keras/MobileNetV3Small",
    "d-li14/mobilenetv3_small",
    "kuan-wang/mobilenetv3_small",
    "article/torch_small",
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="by default one of each family and vendor")
    parser.add_argument("--all", action="store_true", help="every saved configuration")
    parser.add_argument("--list", action="store_true", help="print the names of the models with saved outputs")
    jobs_argument(parser, "the networks")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print a table; 1 if a network does not agree."""
    if options.list:
        say("\n".join(dict.fromkeys(case.model for case in saved())))
        return 0
    cases = _cases(options)
    jobs = min(len(cases) // _WORTH_JOBS or 1, cores()) if options.jobs is None else options.jobs
    with progress("network") as tell:
        rows = in_shares(_checked, cases, len(cases), jobs, tell)
    failed = [row for row in rows if row.verdict != "agrees"]
    if options.json:
        print_json({"verdict": "differs" if failed else "agrees", "networks": [row._asdict() for row in rows]})
    else:
        _print(rows, len(failed))
    return 1 if failed else 0


def _checked(cases: list[Saved], share: int, of: int) -> Checked:
    return check_saved(cases[share])


def _cases(options: argparse.Namespace) -> list[Saved]:
    if options.all:
        return list(saved())
    if options.models:
        return [case for model in options.models for case in saved(model)]
    return [_smallest(model) for model in _DOZEN]


def _smallest(model: str) -> Saved:
    """The saved configuration of full width that takes the least time."""
    return min(saved(model), key=lambda case: (case.width != 1, case.size[0] * case.size[1]))


def _more(rows: list[Checked]) -> str:
    """Where float64 itself leaves more open than is asked, said."""
    open_rows = [f"{row.asked64:.1e} of {row.model} {row.width:g}" for row in rows if row.asked64 > AGREEMENT]
    return f"; refnet's own float64 spread, {', '.join(open_rows)}" if open_rows else ""


def _print(rows: list[Checked], failed: int) -> None:
    header = ("network", "width", "size", "float64", "float32", "vendor's", "verdict")
    lines = [
        (
            row.model,
            f"{row.width:g}",
            "x".join(map(str, row.size)),
            f"{row.error64:.1e}",
            f"{row.error32:.1e}",
            f"{row.vendor32:.1e}",
            row.verdict,
        )
        for row in rows
    ]
    say(table(header, lines))
    say(
        "float64: largest difference from the vendor's float64 logits, relative to the largest logit "
        f"(asked: {AGREEMENT:g}{_more(rows)}).\n"
        "float32, vendor's: the float32 logits of refnet and of the vendor's module against float64, likewise.\n"
        "verdict: also that rounding explains the float32 tensor of every node, given its own inputs."
    )
    ratio = statistics.median(row.error32 / row.vendor32 for row in rows)
    say(f"{len(rows) - failed} of {len(rows)} agree; float32 error, refnet's over the vendor's: median {ratio:.2f}")


COMMAND = Command("check", "compare this machine's runs with the vendors' saved outputs", _arguments, _run)
