"""Two networks side by side, in lines and as a document: what each node costs in either, and what is saved."""

from __future__ import annotations

from typing import Any

from refnet.alignment.costs import CostPair, GraphDiff
from refnet.graph import Recipe
from refnet.readings.cost import Cost
from refnet.report.differences import grouped, words
from refnet.text import plain, table

__all__ = ["diff_document", "diff_lines"]


def diff_lines(found: GraphDiff, one: Recipe, other: Recipe) -> list[str]:
    """Which nodes cost another number of multiply-adds or parameters, in how far, and the totals."""
    header = ("node", "of the other", "operation", "multiply-adds", "of the other", "difference", "parameters")
    lines = [
        (
            pair.one.node.name if pair.one else "-",
            pair.other.node.name if pair.other else "-",
            (pair.one or pair.other).node.op,  # type: ignore[union-attr]
            f"{pair.one.macs:,}" if pair.one else "-",
            f"{pair.other.macs:,}" if pair.other else "-",
            f"{pair.macs:+,}" if pair.macs else "0",
            f"{pair.params:+,}" if pair.params else "0",
        )
        for pair in found.pairs
        if pair.macs or pair.params
    ]
    said = [f"{one}, {_size(one)}, and {other}, {_size(other)}"]
    if lines:
        said += ["", *table(header, lines, left=3).splitlines()]
    changed = [plain(each) for each in grouped(found.differences)]
    said += ["", *(changed or ["no difference of structure"])]
    said += ["", _total("multiply-adds", _sums(found, "macs")), _total("parameters", _sums(found, "trainable"))]
    return said


def _size(recipe: Recipe) -> str:
    return f"{recipe.channels}x{recipe.size[0]}x{recipe.size[1]}"


def _sums(found: GraphDiff, key: str) -> tuple[int, int]:
    one = sum(getattr(pair.one, key) for pair in found.pairs if pair.one)
    other = sum(getattr(pair.other, key) for pair in found.pairs if pair.other)
    return one, other


def _total(what: str, sums: tuple[int, int]) -> str:
    one, other = sums
    if one == other:
        return f"{what:<14} {one:,} in both"
    share = f", {abs(other - one) / one:.1%}" if one else ""
    return f"{what:<14} {one:,} and {other:,}: {abs(other - one):,} {'more' if other > one else 'less'}{share}"


def diff_document(found: GraphDiff, one: Recipe, other: Recipe) -> dict[str, Any]:
    """Every node of either network once, with its costs, and the totals."""
    return {
        "networks": [
            {
                "model": recipe.model,
                "width": recipe.width,
                "size": list(recipe.size),
                "macs": _sums(found, "macs")[index],
                "parameters": _sums(found, "trainable")[index],
            }
            for index, recipe in enumerate((one, other))
        ],
        "macs": found.macs,
        "parameters": found.params,
        "nodes": [_pair(pair) for pair in found.pairs],
        "differences": [{"node": each.node, "key": each.key, **words(each)._asdict()} for each in found.differences],
    }


def _pair(pair: CostPair) -> dict[str, Any]:
    return {"one": _cost(pair.one), "other": _cost(pair.other), "macs": pair.macs, "parameters": pair.params}


def _cost(row: Cost | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "node": row.node.name,
        "op": row.node.op,
        "shape": list(row.shape),
        "macs": row.macs,
        "parameters": row.trainable,
    }
