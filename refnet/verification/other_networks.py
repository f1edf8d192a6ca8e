"""What explains all in which two graphs differ: another network, another width, or widths rounded otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from refnet.alignment.differences import STRUCTURE, Difference
from refnet.files.checkpoint import Checkpoint
from refnet.files.identify.notes import rounding_of
from refnet.networks.dialects import MODELS, Model
from refnet.networks.plan import Plan, WidthRule, plan, rounding_to

__all__ = ["OtherNetwork", "other_network"]

_KNOWN = ("known", "almost")


class OtherNetwork(NamedTuple):
    """Which network a copy is in place of the original.

    Attributes
    ----------
    kind : 'model', 'width', 'divisor' (of the widths, to whose multiples they are rounded) or 'both' of these
    known, found : the names of both networks
    widths : of the original and of the copy, as multipliers of the network's own
    divisors : by which rules those of both are rounded
    """

    kind: str
    known: str
    found: str
    widths: tuple[float, float]
    divisors: tuple[WidthRule, WidthRule]


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
    sides = zip(models, (first, second), divisors, strict=True)
    plans = [plan(_rounding(model, by), width / model.width) for model, width, by in sides]
    if not ours or any(each.key != "channels" and not _follows(each, *plans) for each in ours):
        return None
    if own == theirs:
        return OtherNetwork("width", *said, (first, second), divisors) if first != second else None
    if own == _usual(models[0]) and _are_alike(models[0], first, second):
        first = second  # which both are of
    elif theirs == _usual(models[1]) and _are_alike(models[1], first, second):
        second = first
    return OtherNetwork("divisor" if first == second else "both", *said, (first, second), divisors)


def _divisor(file: Checkpoint, model: Model) -> WidthRule:
    """By which rule a file's widths are rounded."""
    return next((rounding_of(note) for note in file.notes if note.kind == "divisor"), _usual(model))


def _follows(each: Difference, one: Plan, other: Plan) -> bool:
    """Whether a node is there at one of two widths alone: a shortcut, or an expansion that would expand nothing."""
    block, _, part = each.node.partition(".")
    apart = {
        f"block{place}": {"add": a.shortcut != b.shortcut, "expand": a.expand != b.expand}
        for place, (a, b) in enumerate(zip(one.blocks, other.blocks, strict=True), 1)
    }
    return each.key in ("missing", "extra", "inputs") and apart.get(block, {}).get(part.partition(".")[0], False)


def _rounding(model: Model, by: WidthRule) -> Model:
    return model if by == _usual(model) else rounding_to(model, by)


def _usual(model: Model) -> WidthRule:
    """The same of a network as its vendor has it."""
    dialect = model.dialect
    return WidthRule.to(0) if dialect.rounding == "floor" else WidthRule(dialect.divisor, dialect.rounding)


def _classifier(file: Checkpoint) -> str:
    """The last layer with weights, which has as many channels as there are classes."""
    return next(node.name for node in reversed(file.graph.nodes) if "w" in node.params)


def _are_alike(model: Model, one: float, other: float) -> bool:
    """Whether a network has the same channels at two widths."""
    return plan(model, one / model.width) == plan(model, other / model.width)
