"""What explains all in which two graphs differ: another network, another width, or widths rounded otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from refnet.alignment.differences import STRUCTURE, Difference
from refnet.files.checkpoint import Checkpoint
from refnet.networks.dialects import MODELS, Model
from refnet.networks.plan import plan

__all__ = ["OtherNetwork", "other_network"]

_KNOWN = ("known", "almost")


class OtherNetwork(NamedTuple):
    """Which network a copy is in place of the original.

    Attributes
    ----------
    kind : 'model', 'width', 'divisor' (of the widths, to whose multiples they are rounded) or 'both' of these
    known, found : the names of both networks
    widths : of the original and of the copy, as multipliers of the network's own
    divisors : of both; 0 where widths are cut off
    """

    kind: str
    known: str
    found: str
    widths: tuple[float, float]
    divisors: tuple[int, int]


def other_network(original: Checkpoint, copy: Checkpoint, structure: Sequence[Difference]) -> OtherNetwork | None:
    """What explains all differences of structure at once; None where nothing does, or there are none."""
    needed = [each for each in structure if each.needs == STRUCTURE]
    files = original, copy
    said = original.standing.model, copy.standing.model
    if not needed or not all(name in MODELS for name in said) or any(f.standing.kind not in _KNOWN for f in files):
        return None
    models = [MODELS[name] for name in said]
    first, second = (model.width * file.standing.width for model, file in zip(models, files, strict=True))
    own, theirs = (_divisor(file, model) for model, file in zip(models, files, strict=True))
    divisors = own, theirs
    if models[0].table.rows != models[1].table.rows:
        return OtherNetwork("model", *said, (first, second), divisors)
    ours = [each for each in needed if each.node != _classifier(original)]
    if not ours or any(each.key != "channels" for each in ours):
        return None
    if own == theirs:
        return OtherNetwork("width", *said, (first, second), divisors) if first != second else None
    if own == _usual(models[0]) and _are_alike(models[0], first, second):
        first = second  # which both are of
    elif theirs == _usual(models[1]) and _are_alike(models[1], first, second):
        second = first
    return OtherNetwork("divisor" if first == second else "both", *said, (first, second), divisors)


def _divisor(file: Checkpoint, model: Model) -> int:
    """To whose multiples a file's widths are rounded."""
    return next((int(note.names[1]) for note in file.notes if note.kind == "divisor"), _usual(model))


def _usual(model: Model) -> int:
    """The same of a network as its vendor has it."""
    return 0 if model.dialect.rounding == "floor" else model.dialect.divisor


def _classifier(file: Checkpoint) -> str:
    """The last layer with weights, which has as many channels as there are classes."""
    return next(node.name for node in reversed(file.graph.nodes) if "w" in node.params)


def _are_alike(model: Model, one: float, other: float) -> bool:
    """Whether a network has the same channels at two widths."""
    return plan(model, one / model.width) == plan(model, other / model.width)
