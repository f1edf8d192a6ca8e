"""refnet summary: a network row by row, as its paper has it, or node by node."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refnet.cli.common import (
    Command,
    identified,
    model_of,
    network_arguments,
    part_arguments,
    print_json,
    quantised_of,
    say,
)
from refnet.graph import Graph
from refnet.networks.dialects import MODELS
from refnet.networks.random import random_params
from refnet.readings.cost import Cost, cost
from refnet.report.differences import grouped, line, standing_words, words
from refnet.report.geometry import geometry
from refnet.report.notes import note_document, note_lines
from refnet.report.rows import rows_document, rows_table
from refnet.session import Session
from refnet.study.rows import layer_rows
from refnet.text import plain, table

if TYPE_CHECKING:
    from refnet.alignment.differences import Difference
    from refnet.files.checkpoint import Checkpoint

_MIB = 2**20


def _arguments(parser: argparse.ArgumentParser) -> None:
    network_arguments(parser)
    parser.add_argument("--classes", type=int, help="number of classes")
    part_arguments(parser)
    parser.add_argument("--nodes", action="store_true", help="list every node, not the blocks")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print a table with totals, or JSON."""
    integers = quantised_of(options)
    if integers is not None:
        from refnet.cli.integers import summarise_integers

        return summarise_integers(integers, options)
    found = identified(options)
    graph = found.graph if found else model_of(options)
    rows = cost(graph)
    if options.json:
        print_json(_document(graph, rows) | ({"file": _file(found)} if found else {}))
        return 0
    say(_node_table(rows) if options.nodes else rows_table(layer_rows(graph)))
    say()
    say(_totals(graph, rows))
    if found:
        say(_identity(found))
    return 0


def _node_table(rows: list[Cost]) -> str:
    """Every node: what it reads, makes and costs."""
    lines = [
        (
            row.node.name,
            row.node.op,
            geometry(row.node),
            ", ".join(row.node.inputs),
            "x".join(map(str, row.shape)),
            f"{row.params:,}" if row.params else "",
            f"{row.macs:,}" if row.macs else "",
        )
        for row in rows
    ]
    header = ("node", "operation", "geometry", "reads", "output", "parameters", "multiply-adds")
    return table(header, lines, left=4)


def _figures(graph: Graph, rows: list[Cost]) -> dict[str, Any]:
    trainable, total = sum(row.trainable for row in rows), sum(row.params for row in rows)
    elements = sum(math.prod(row.shape) for row in rows)
    return {
        "parameters": total,
        "trainable": trainable,
        "statistics": total - trainable,
        "macs": sum(row.macs for row in rows),
        "input_bytes": 4 * math.prod(graph.input_shape),
        "tensor_bytes": 4 * elements,
        "largest_tensor_bytes": 4 * max(math.prod(row.shape) for row in rows),
        "parameter_bytes": 4 * total,
        **_session(graph),
    }


def _session(graph: Graph) -> dict[str, int]:
    """What a run takes: memory that is used again and again, whatever the batch."""
    session = Session(graph, random_params(graph), threads=1)
    return {"session_buffer_bytes": session.buffer_bytes, "session_weight_bytes": session.weight_bytes}


def _totals(graph: Graph, rows: list[Cost]) -> str:
    sums = _figures(graph, rows)
    recipe = graph.recipe
    source = f" ({MODELS[recipe.model].table.source})" if recipe.model in MODELS else ""
    return "\n".join(
        (
            f"{recipe}, input {'x'.join(map(str, graph.input_shape))}, {recipe.classes} classes{source}",
            f"parameters     {sums['parameters']:,}: {sums['trainable']:,} trained, "
            f"{sums['statistics']:,} batch-norm statistics",
            f"multiply-adds  {sums['macs']:,} (convolutions and linear layers, one image)",
            "float32 MiB    "
            + ", ".join(
                f"{what} {sums[key] / _MIB:.2f}"
                for what, key in {
                    "input": "input_bytes",
                    "parameters": "parameter_bytes",
                    "all tensors": "tensor_bytes",
                    "largest tensor": "largest_tensor_bytes",
                }.items()
            )
            + f"\npeak of a run  {sums['session_buffer_bytes'] / _MIB:.2f} MiB of buffers, "
            f"{sums['session_weight_bytes'] / _MIB:.2f} of packed weights; any batch, one image at a time",
        )
    )


def _identity(found: Checkpoint) -> str:
    """What the file is, and every way in which its network is not the known one."""
    by = "its structure" if found.scheme == "structure" else f"names of {found.scheme}"
    how = "read" if found.standing.kind == "own" else "recognised"
    norms = "folded" if found.folded else "not folded"
    stored = " and ".join(sorted(set(found.stored.values()))) or "no weights"
    lines = [f"file           {Path(found.path).name}: {found.kind}, {stored}, batch norm {norms}, {how} by {by}"]
    lines.append(f"network        {standing_words(found.standing)}")
    lines += [f"note           {line}" for line in note_lines(found.notes)]
    if len(found.models) > 1:
        apart = (
            f"they differ in {', '.join(found.apart)}; say which with --model" if found.apart else "they compute alike"
        )
        lines.append(f"it may be      {' or '.join(found.models)}: {apart}")
    if found.differences:
        lines.append(f"differences    {len(found.differences)} from the known network")
        lines += [f"  {line}" for line in grouped(found.differences, most=3)]
    return "\n".join(map(plain, lines))


def _file(found: Checkpoint) -> dict[str, Any]:
    return {
        "path": found.path,
        "kind": found.kind,
        "scheme": found.scheme,
        "standing": found.standing._asdict(),
        "models": list(found.models),
        "apart": list(found.apart),
        "folded": found.folded,
        "stored": sorted(set(found.stored.values())),
        "notes": [note_document(note) for note in found.notes],
        "differences": [_difference(one) for one in found.differences],
    }


def _difference(one: Difference) -> dict[str, str]:
    kind, known, found = words(one)
    return {"node": one.node, "kind": kind, "known": known, "file": found, "line": line(one)}


def _document(graph: Graph, rows: list[Cost]) -> dict[str, Any]:
    recipe = graph.recipe
    return {
        "model": recipe.model,
        "width": recipe.width,
        "input": list(graph.input_shape),
        "classes": recipe.classes,
        "nodes": [
            {
                "name": row.node.name,
                "op": row.node.op,
                "inputs": list(row.node.inputs),
                "attrs": dict(row.node.attrs),
                "params": {slot: list(shape) for slot, shape in row.node.params.items()},
                "shape": list(row.shape),
                "parameters": row.params,
                "macs": row.macs,
            }
            for row in rows
        ],
        "rows": rows_document(layer_rows(graph)),
        "totals": _figures(graph, rows),
    }


COMMAND = Command("summary", "show a network row by row, or node by node, with what it costs", _arguments, _run)
