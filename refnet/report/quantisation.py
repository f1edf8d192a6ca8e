"""What verification says of integers, in words: a document and a text."""

from __future__ import annotations

import math
from typing import Any

from refnet.text import plain, table
from refnet.verification.quantisation import QuantisationFinding, QuantisationReport

__all__ = ["not_run_text", "quantisation_document", "quantisation_text"]

_ROWS = 10


def _sentence(each: QuantisationFinding) -> str:
    """A finding as a sentence."""
    part = f"{each.affected:,} of {each.of:,}"
    match each.kind:
        case "weights":
            return f"{part} weights are not the nearest integers of the network's: {each.amount:.3g} steps off at most"
        case "scale":
            return f"the scales of {part} filters are not those of their largest weight, max |w| / 127"
        case "zero-points":
            return f"{part} filters of int8 have zero points: kernels take them as 0"
        case "bias":
            return f"{part} biases are not the nearest integers of the network's: {each.amount:.3g} steps off at most"
        case "bias-scale":
            return f"the bias is {each.amount:.4g} times the network's: its scale is not that of input times weight"
        case "clamp-lost":
            return "the network's activation is neither fused nor implied by the range of the integers"
        case "range-cut":
            return f"the range cuts {each.amount:.1%} of a photograph's numbers: it was calibrated on other data"
        case "range-wide":
            return f"a photograph uses {each.amount:.1%} of the range: it was calibrated on other data"
        case "input-range":
            return f"its range leaves out {each.amount:.1%} of a prepared photograph: images are prepared otherwise"
        case "logits-saturated":
            return f"{part} logits lie at the ends of their range"
        case "coarse-filters":
            return f"one scale for all leaves {part} filters with fewer than 8 steps: scale each by itself"
    return f"the signal loses {each.amount:.1f} dB against what the node reads"


def quantisation_document(report: QuantisationReport) -> dict[str, Any]:
    """As JSON."""
    findings = [each._asdict() | {"sentence": _sentence(each)} for each in report.findings]
    ratios = {name: ratio if math.isfinite(ratio) else None for name, ratio in report.ratios.items()}
    return {"holds": report.holds, "findings": findings, "signal_to_noise": ratios}


def quantisation_text(report: QuantisationReport, *, verbose: bool) -> str:
    """For people: what fails first, then what is only told, then the noisiest nodes."""
    ranked = sorted(report.findings, key=lambda each: not each.fails)
    shown = ranked if verbose else ranked[:_ROWS]
    lines = [f"integers       {'hold' if report.holds else 'do not hold'}: {len(report.findings)} findings"]
    lines += [f"  {'wrong' if each.fails else 'note '}  {plain(each.node)}: {_sentence(each)}" for each in shown]
    if len(ranked) > len(shown):
        lines.append(f"  and {len(ranked) - len(shown)} more: --verbose")
    worst = sorted(report.ratios.items(), key=lambda item: item[1])
    rows = [(plain(name), f"{ratio:.1f} dB", _bar(ratio)) for name, ratio in (worst if verbose else worst[:_ROWS])]
    return "\n".join([*map(plain, lines), "", table(("noisiest nodes", "signal to noise", ""), rows, left=1)])


def not_run_text(why: str) -> str:
    """That integers were not run, and what stopped it."""
    return f"integers       not run: {plain(why)}"


def _bar(ratio: float) -> str:
    """Two decibels a mark."""
    return "#" * int(min(max(ratio, 0.0), 80.0) / 2)
