"""What is found of many tensors of a file alike, so that one sentence says it, and which tensors these are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from refnet.bugs.systematic import Scope
from refnet.files.checkpoint import Checkpoint
from refnet.verification.findings import HealthFinding
from refnet.verification.patterns import scope_of

__all__ = ["HealthGroup", "health_groups"]

_SEVERAL = 3  # tensors of which it is said which they are


class HealthGroup(NamedTuple):
    """Findings of one kind about one file.

    Attributes
    ----------
    findings : in order
    scope : which of the layers that have such arrays these are, where they are several, not all, and of a kind
    """

    findings: tuple[HealthFinding, ...]
    scope: Scope | None


def health_groups(findings: Iterable[HealthFinding], files: Iterable[Checkpoint]) -> list[HealthGroup]:
    """The findings, those of one kind together."""
    of = {file.path: file for file in files}
    groups: dict[tuple[str, str, str], list[HealthFinding]] = {}
    for each in findings:
        groups.setdefault((each.file, each.kind, each.form), []).append(each)
    return [HealthGroup(tuple(group), _scope(of[path], group)) for (path, *_), group in groups.items()]


def _scope(file: Checkpoint, group: list[HealthFinding]) -> Scope | None:
    places = [each.name.rpartition(".") for each in group]
    slots = {slot for _, _, slot in places}
    kept = [node.name for node in file.graph.nodes if len(slots) == 1 and slots <= {*node.params}]
    return scope_of(file.graph, [name for name, _, _ in places], kept) if len(group) >= _SEVERAL else None
