"""The exam: ports with known mistakes, written apart from the catalogue of bugs, are judged; is each found and named?

The tests hold refnet to it and docs/make_scorecard.py counts it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refnet import Network, build, random_input, random_params
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors

__all__ = ["PORTS", "Mark", "marks"]

HERE = Path(__file__).parent
PORTS: list[dict[str, Any]] = [
    port for name in ("ports", "numpy_ports") for port in json.loads((HERE / f"{name}.json").read_text())["ports"]
]


class Mark(NamedTuple):
    """What became of one mistake.

    Attributes
    ----------
    bug : ids that would name it
    accused : segments with it that are found wrong
    innocent : segments without any mistake of the port that are found wrong
    named : whether one of its ids is among the causes of a segment with it
    """

    bug: tuple[str, ...]
    accused: tuple[str, ...]
    innocent: tuple[str, ...]
    named: bool

    @property
    def located(self) -> bool:
        """Found where it is, and nothing found where there is none."""
        return bool(self.accused) and not self.innocent


@cache
def _reference(model: str, width: float, size: tuple[int, int], classes: int, batch: int) -> Reference:
    """What many ports are ports of."""
    graph = build(model, width=width, size=size, classes=classes)
    params, x = random_params(graph), random_input(graph, batch)
    exact = Network(graph, params).astype(np.float64).trace(x.astype(np.float64))
    golden = {SOURCE: x, **{name: y.astype(np.float32) for name, y in exact.items()}}
    return Reference.of(graph, params, golden)


def marks(port: Mapping[str, Any]) -> list[Mark]:
    """Judge a port; one mark for each of its mistakes."""
    reference = _reference(port["model"], port["width"], tuple(port["size"]), port["classes"], port["batch"])
    with np.load(HERE / port["file"], allow_pickle=False) as archive:
        tensors = {name: archive[name] for name in archive.files}
    found = judge_tensors(reference, tensors, partial=True)
    wrong = set(found.wrong())
    failing = {each.name: {*each.segment, each.name} for each in found.findings if each.name in wrong}
    places = {place for mistake in port["mistakes"] for place in mistake["places"]}
    innocent = tuple(name for name, nodes in failing.items() if not nodes & places)
    made = []
    for mistake in port["mistakes"]:
        accused = tuple(name for name, nodes in failing.items() if nodes & set(mistake["places"]))
        causes = {bug for name in accused for cause in found.causes.get(name, []) for bug in cause.ids}
        made.append(Mark(tuple(mistake["bug"]), accused, innocent, bool(causes & set(mistake["bug"]))))
    return made
