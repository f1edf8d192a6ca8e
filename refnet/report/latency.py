"""What each layer of a network costs and takes, in lines and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refnet.graph import Recipe
from refnet.search.layers import Layer
from refnet.text import table

__all__ = ["latency_document", "latency_lines"]

_WIDE = 60  # characters of a layer's name that a line shows


def latency_lines(layers: Sequence[Layer], times: Sequence[float] | None, whole: float | None) -> list[str]:
    """A line for each layer, the dearest marked by its share of all.

    Parameters
    ----------
    times : milliseconds of each layer, if a table has told
    whole : measured milliseconds of the whole network
    """
    total = sum(times or ())
    header = ["node", "layer", "multiply-adds", "KiB moved", *(["ms", "share"] if times else [])]
    rows = []
    for index, layer in enumerate(layers):
        name = layer.name if len(layer.name) <= _WIDE else f"{layer.name[: _WIDE - 4]} ..."
        row = [layer.nodes[-1].name, name, f"{layer.macs:,}", f"{layer.moved / 1024:,.0f}"]
        if times:
            row += [f"{times[index]:.3f}", f"{times[index] / total:.1%}" if total else "-"]
        rows.append(tuple(row))
    macs, moved = sum(layer.macs for layer in layers), sum(layer.moved for layer in layers)
    said = [table(tuple(header), rows, left=2), "", f"{macs:,} multiply-adds, {moved / 2**20:.1f} MiB moved"]
    if times:
        said.append(f"predicted {total:.2f} ms")
    if whole is not None:
        apart = f", the prediction {(total - whole) / whole:+.1%} from it" if times else ""
        said.append(f"measured  {whole:.2f} ms{apart}")
    return said


def latency_document(
    recipe: Recipe, layers: Sequence[Layer], times: Sequence[float] | None, machine: str, whole: float | None
) -> dict[str, Any]:
    """Every layer with its costs; what a table of another machine is to be filled in by."""
    return {
        "model": recipe.model,
        "width": recipe.width,
        "size": list(recipe.size),
        "machine": machine,
        "macs": sum(layer.macs for layer in layers),
        "bytes": sum(layer.moved for layer in layers),
        "predicted_ms": sum(times) if times else None,
        "measured_ms": whole,
        "layers": [
            {
                "layer": layer.name,
                "nodes": [node.name for node in layer.nodes],
                "macs": layer.macs,
                "bytes": layer.moved,
                "ms": times[index] if times else None,
            }
            for index, layer in enumerate(layers)
        ],
    }
