"""Every slip of one step in a program: one operator, operand, name, number, bound, test, line or order of two lines.

A program is the syntax trees of its functions. A slip replaces a part of one tree by another; where the same step is
there for the other axis of the image, it can be made in both.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from refnet.study.programs.lines import line_slips
from refnet.study.programs.replacements import Kin, moved_operands, replacements, ungrouped
from refnet.study.programs.trees import Expression, Step, code_of, loops_of, parsed, parts_of, role_of

__all__ = ["Edit", "edits_of"]

_MIRROR = {"h": "v", "r": "s", "p": "q", "P": "Q", "H": "W", "R": "S", "top": "left", "bottom": "right"}
_MIRROR |= {other: one for one, other in _MIRROR.items()}


@dataclass(frozen=True)
class Edit:
    """One slip.

    Attributes
    ----------
    kind : what is done: 'operator', 'dropped', 'name', ...
    old, new : the part as it is and as it becomes, as code
    role : what the statement makes: the name that is assigned, or that runs in a loop; 'if', 'return'
    function : which it is in
    call : of a function that is called several times, the call, as code; '' for every one
    place : which of these calls
    axes : '' for the one that it is written for; 'both', 'every' place that reads so, 'everyboth'
    steps : the parts that are replaced
    part : where it is made in a part of the result: the axis, and which part along that
    """

    kind: str
    old: str
    new: str
    role: str
    function: str
    steps: tuple[Step, ...]
    call: str = ""
    place: int = 0
    part: tuple[int, str] | None = None
    axes: str = ""

    @property
    def copy(self) -> str:
        """The function that it is in; a copy of its own where it is in one call only."""
        return f"{self.function}__{self.place}" if self.call else self.function

    @property
    def order(self) -> tuple[int, int]:
        """What is told first of two that give the same numbers: the simpler."""
        return _KINDS.index(self.kind), len(self.new)


_KINDS = (
    "operator", "dropped", "exchanged", "name", "number", "reversed", "first", "last", "next", "skip first",
    "skip last", "only first", "only middle", "one more", "only last", "call", "unwrapped", "strict", "loose",
    "direction", "always", "never", "and", "assign", "line", "lines", "inside", "outside", "regrouped", "axis", "pad",
    "wrapped", "rounded", "cut", "half", "branch", "repeated", "inwards", "outwards", "low", "high", "parentheses",
    "names", "curve", "after", "part", "moved",
)  # fmt: skip


def edits_of(tree: ast.FunctionDef, kin: Kin) -> Iterator[Edit]:
    """All slips of one function.

    Parameters
    ----------
    kin : by a name, what may be taken for it
    """
    seen, parts, loops = set[tuple[object, ...]](), list(parts_of(tree)), loops_of(tree)
    for part in parts:
        for kind, new in replacements(part.node, kin, loops):
            edit = _edit(tree, part, kind, new)
            every = _everywhere(parts, edit)
            both = (_mirrored(parts, each) for each in (edit, every) if each is not None)
            yield from _fresh((edit, every, *both), seen)
        if part.whole:
            for kind, new in (*ungrouped(part.code), *(("moved", each) for each in moved_operands(part.node))):
                edit = _edit(tree, part, kind, new)
                yield from _fresh((edit, _mirrored(parts, edit)), seen)
    yield from _fresh(_names(tree, parts, kin), seen)
    yield from _fresh((Edit(*slip[:4], tree.name, slip.steps) for slip in line_slips(tree)), seen)


def _edit(tree: ast.FunctionDef, part: Expression, kind: str, new: ast.expr) -> Edit:
    return Edit(kind, part.code, code_of(new), role_of(part.line), tree.name, ((part.path, new),))


def _fresh(edits: Iterable[Edit | None], seen: set[tuple[object, ...]]) -> Iterator[Edit]:
    for edit in edits:
        if edit is not None and edit.old != edit.new:
            key = tuple((path, new and ast.dump(new)) for path, new in edit.steps)
            if key not in seen:
                seen.add(key)
                for _, new in edit.steps:
                    if new is not None:
                        ast.fix_missing_locations(new)
                yield edit


def _names(tree: ast.FunctionDef, parts: Sequence[Expression], kin: Kin) -> Iterator[Edit]:
    """Two names exchanged at every place."""
    for one, others in kin.items():
        for other in others:
            if one < other and one.isidentifier() and other.isidentifier():
                here = [(part.path, parsed(other)) for part in parts if part.code == one]
                there = [(part.path, parsed(one)) for part in parts if part.code == other]
                if here and there:
                    yield Edit("names", one, other, "", tree.name, (*here, *there))


def _mirror(code: str) -> str:
    """Code for the other axis of the image."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = _MIRROR.get(node.id, node.id)
        elif (
            isinstance(node, ast.Subscript)
            and code_of(node.value) in ("stride", "pad")
            and isinstance(node.slice, ast.Constant)
        ):
            node.slice = ast.Constant(0 if node.slice.value else 1)
    return ast.unparse(tree)


def _mirrored(parts: Sequence[Expression], edit: Edit) -> Edit | None:
    """The same slip along both axes."""
    steps: list[Step] = []
    for path, new in edit.steps:
        here = next(part for part in parts if part.path == path)
        try:
            other, made = _mirror(here.code), parsed(_mirror(code_of(new)))
        except SyntaxError:  # a part that stands only where it stands
            return None
        own = [part.path for part in parts if part.code == here.code]
        twins = [part.path for part in parts if part.code == other]
        at = own.index(path)
        if other == here.code or at >= len(twins):
            return None
        steps.append((twins[at], made))
    return replace(edit, axes=edit.axes + "both", steps=(*edit.steps, *steps))


def _everywhere(parts: Sequence[Expression], edit: Edit) -> Edit | None:
    """A name or a number that stands for another one at every place."""
    ((_, new),) = edit.steps
    places = [part.path for part in parts if part.code == edit.old]
    if edit.kind not in ("name", "number") or len(places) < 2:
        return None
    return replace(edit, axes="every", steps=tuple((path, new) for path in places))
