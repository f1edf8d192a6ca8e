"""refnet doctor: what refnet runs on here, and whether it computes as it should: what to paste into a report."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from refnet import __version__
from refnet.cli.common import Command, print_json, say
from refnet.judge.saved import check_saved, saved
from refnet.machine import EXTRAS, about_this_machine, arithmetic, fuses, package_versions
from refnet.text import plain, table

# Small, of three vendors: squeeze-and-excite, asymmetric padding, hard swishes, batch norms of another eps.
_HANDFUL = (
    "torchvision/mobilenet_v3_small",
    "timm/mobilenetv1_100",
    "keras/MobileNetV3Small",
    "torchvision/mnasnet0_5",
)

_RULES = {
    "subnormal": "small results are flushed to zero",
    "subnormal inputs": "small operands are taken for zero",
    "nearest": "sums are not rounded to nearest, ties to even",
    "once": "float64 is rounded twice, as x87 does",
    "division": "quotients are not correctly rounded",
    "square root": "square roots are not correctly rounded",
}
_MODULES = {"pillow": "PIL.Image", "ai-edge-litert": "ai_edge_litert.interpreter"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print what there is and what is wrong; 1 if anything is."""
    found = _found()
    if options.json:
        print_json(found)
    else:
        _print(found)
    return 0 if found["verdict"] == "well" else 1


def _found() -> dict[str, Any]:
    extras = {name: {"version": number, "fault": _fault(name)} for name, number in package_versions([*EXTRAS]).items()}
    rules, checks = arithmetic(), [check_saved(next(saved(model))) for model in _HANDFUL]
    faults = [words for rule, words in _RULES.items() if not rules[rule]]
    faults += [f"{row.model} {row.verdict}" for row in checks if row.verdict != "agrees"]
    faults += [f"{name} cannot be imported: {each['fault']}" for name, each in extras.items() if each["fault"]]
    return {
        "verdict": "ill" if faults else "well",
        "faults": faults,
        "refnet": __version__,
        **about_this_machine(),
        **package_versions(["numpy", "scipy"]),
        "extras": extras,
        "arithmetic": rules,
        "fma": fuses(),
        "checks": [row._asdict() for row in checks],
    }


def _fault(package: str) -> str:
    """Why a package that is installed cannot be imported; '' where it can, or is not there."""
    if not package_versions([package])[package]:
        return ""
    try:
        import_module(_MODULES.get(package, package.replace("-", "_")))
    except Exception as error:  # one built for another NumPy raises ValueError, AttributeError and worse
        return plain(f"{type(error).__name__}: {error}", 200)
    return ""


def _print(found: dict[str, Any]) -> None:
    facts = ("refnet", "python", "system", "processor", "cores", "numpy", "scipy", "blas")
    say("\n".join(f"{name:<10} {plain(found[name])}" for name in facts))
    rules = found["arithmetic"]
    said = ", ".join(f"{rule} {'yes' if holds else 'NO'}" for rule, holds in rules.items())
    say(f"float32    {'as IEEE 754 asks' if all(rules.values()) else 'NOT as IEEE 754 asks'}: {said}")
    say(f"           BLAS {'fuses' if found['fma'] else 'does not fuse'} products with sums")
    rows = [
        (name, each["version"] or "-", "  " + (each["fault"] or EXTRAS[name])) for name, each in found["extras"].items()
    ]
    say("\n" + table(("extra", "version", "  for"), rows, left=3))
    checks = [
        (row["model"], f"{row['error64']:.1e}", f"{row['error32']:.1e}", row["verdict"]) for row in found["checks"]
    ]
    say("\n" + table(("network", "float64", "float32", "verdict"), checks))
    say("\n" + "\n".join(map(plain, found["faults"] or ["all is well"])))


COMMAND = Command(
    "doctor",
    "say which versions and hardware refnet runs on here, and whether they compute correctly",
    _arguments,
    _run,
)
