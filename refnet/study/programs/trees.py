"""Syntax trees: their statements and expressions by path, as code, and with parts replaced."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

__all__ = [
    "Expression",
    "Path",
    "Step",
    "at_path",
    "code_of",
    "head_of",
    "lines_of",
    "loops_of",
    "parsed",
    "parts_of",
    "role_of",
    "swapped",
    "with_steps",
]

Node = TypeVar("Node", bound=ast.AST)
Path = tuple[tuple[str, int | None], ...]  # of a part within a tree: fields, and places in lists
Step = tuple[Path, ast.AST | None]  # a part, and what is in its place; None where it is left out


class Expression:
    """An expression of a function: where, which, in which statement, as code."""

    def __init__(self, path: Path, node: ast.expr, line: ast.stmt) -> None:
        self.path, self.node, self.line, self.code = path, node, line, code_of(node)

    @property
    def whole(self) -> bool:
        """Whether it is all that its statement reads."""
        return self.node in (getattr(self.line, field, None) for field in ("value", "test", "iter"))


def with_steps(tree: ast.FunctionDef, steps: Sequence[Step]) -> ast.FunctionDef:
    """A function with parts replaced; what is not on the way to them is shared.

    Raises
    ------
    ValueError
        if a part is within another one that is no longer there.
    """
    outer: list[Step] = []
    for path, new in sorted(steps, key=lambda step: len(step[0])):
        within = next((at for at, (other, _) in enumerate(outer) if path[: len(other)] == other), None)
        if within is None:
            outer.append((path, new))
        else:
            place, part = outer[within]
            if part is None or new is None:
                raise ValueError("one slip is within another one")
            outer[within] = (place, swapped(part, at_path(tree, path), new))
    made: ast.AST = tree
    for path, new in sorted(outer, key=lambda step: [(field, at or 0) for field, at in step[0]], reverse=True):
        made = _set(made, path, new)
    assert isinstance(made, ast.FunctionDef)
    return made


def swapped(tree: Node, old: ast.AST, new: ast.AST) -> Node:
    """A part in which a node of it, the object itself, is another one.

    Raises
    ------
    ValueError
        if it is not there.
    """
    found = []

    def swap(value: Any) -> Any:
        if value is old:
            found.append(value)
            return new
        if isinstance(value, list):
            return [swap(each) for each in value]
        if not any(each is old for each in ast.walk(value)) if isinstance(value, ast.AST) else True:
            return value
        made = copy.copy(value)
        for field, each in ast.iter_fields(value):
            setattr(made, field, swap(each))
        return made

    made: Node = swap(tree)
    if not found:
        raise ValueError("one slip is within another one")
    return made


def _set(tree: ast.AST, path: Path, new: ast.AST | None) -> ast.AST:
    if not path:
        assert new is not None
        return new
    (field, at), *rest = path
    made, value = copy.copy(tree), getattr(tree, field)
    if at is None:
        setattr(made, field, new if not rest else _set(value, tuple(rest), new))
    else:
        middle = [each for each in (new,) if each is not None] if not rest else [_set(value[at], tuple(rest), new)]
        setattr(made, field, [*value[:at], *middle, *value[at + 1 :]] or [ast.fix_missing_locations(ast.Pass())])
    return made


def at_path(tree: ast.AST, path: Path) -> ast.AST:
    """The part at a path."""
    for field, at in path:
        value = getattr(tree, field)
        tree = value if at is None else value[at]
    return tree


def parts_of(tree: ast.FunctionDef) -> Iterator[Expression]:
    """Every expression that is read, with the statement that it is in."""
    for path, line in lines_of(tree):
        for field in ("iter", "test", "value"):
            value = getattr(line, field, None)
            if isinstance(value, ast.expr):
                yield from (Expression(p, n, line) for p, n in _expressions(value, (*path, (field, None))))
        for field, at, target in _targets(line):
            if isinstance(target, ast.Subscript):
                where = (*path, (field, at), ("slice", None))
                yield from (Expression(p, n, line) for p, n in _expressions(target.slice, where))


def _targets(line: ast.stmt) -> Iterator[tuple[str, int | None, ast.expr]]:
    if isinstance(line, ast.Assign):
        yield "targets", 0, line.targets[0]
    elif isinstance(line, ast.AugAssign):
        yield "target", None, line.target


def lines_of(tree: ast.AST, path: Path = ()) -> Iterator[tuple[Path, ast.stmt]]:
    """Every statement, in loops and conditions too."""
    for field in ("body", "orelse"):
        for at, line in enumerate(getattr(tree, field, ())):
            here = (*path, (field, at))
            if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):  # a docstring
                continue
            yield here, line
            yield from lines_of(line, here)


def _expressions(node: ast.expr, path: Path) -> Iterator[tuple[Path, ast.expr]]:
    yield path, node
    for field, value in ast.iter_fields(node):
        if field == "func" and isinstance(value, ast.Attribute) and code_of(value).startswith("np."):
            continue
        if isinstance(value, ast.expr):
            yield from _expressions(value, (*path, (field, None)))
        elif isinstance(value, list):
            for at, each in enumerate(value):
                if isinstance(each, ast.expr):
                    yield from _expressions(each, (*path, (field, at)))


def role_of(line: ast.stmt) -> str:
    """What a statement makes: the name that it assigns, or that runs in a loop; 'if', 'return'."""
    target = line.target if isinstance(line, ast.For | ast.AugAssign) else None
    if isinstance(line, ast.Assign):
        target = line.targets[0]
    if isinstance(line, ast.If):
        return "if"
    return code_of(target) if target is not None else "return"


def code_of(node: ast.AST | None) -> str:
    """A part as code; '' for none."""
    return "" if node is None else ast.unparse(node)


def head_of(line: ast.stmt) -> str:
    """A statement as code; of a loop or a condition its first line."""
    return code_of(line).partition("\n")[0].removesuffix(":")


def loops_of(tree: ast.FunctionDef) -> Mapping[str, str]:
    """By the name that runs in a loop, how far it runs."""
    return {
        line.target.id: code_of(line.iter.args[-1])
        for line in ast.walk(tree)
        if isinstance(line, ast.For) and isinstance(line.target, ast.Name) and isinstance(line.iter, ast.Call)
        and code_of(line.iter.func) == "range"
    }  # fmt: skip


def parsed(code: str) -> ast.expr:
    """The expression that is written so."""
    return ast.parse(code, mode="eval").body
