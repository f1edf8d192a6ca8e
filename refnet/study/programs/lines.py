"""Slips of whole lines: left out, exchanged, moved into a loop or out of it, and sums that are not summed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from refnet.study.programs.trees import Path, Step, at_path, code_of, head_of, lines_of, parsed, role_of

__all__ = ["LineSlip", "line_slips"]


class LineSlip(NamedTuple):
    """One slip of a line.

    Attributes
    ----------
    kind : what is done
    old, new : the line as it is; as it becomes, or what it is moved by, as code
    role : what it makes
    steps : the parts that are replaced
    """

    kind: str
    old: str
    new: str
    role: str
    steps: tuple[Step, ...]


class _Line(NamedTuple):
    """A statement: where, which, and the block that it is in."""

    path: Path
    node: ast.stmt
    block: Sequence[ast.stmt]

    @property
    def at(self) -> int:
        return self.path[-1][1] or 0

    def beside(self, by: int) -> Path:
        """The path of a statement before or after it."""
        return (*self.path[:-1], (self.path[-1][0], self.at + by))

    def slip(self, kind: str, new: ast.AST | None, *steps: Step, what: str = "") -> LineSlip:
        made = what or code_of(new).partition("\n")[0].removesuffix(":")
        return LineSlip(kind, head_of(self.node), made, role_of(self.node), steps or ((self.path, new),))


def line_slips(tree: ast.FunctionDef) -> Iterator[LineSlip]:
    """Of every line of a function."""
    for path, node in lines_of(tree):
        line = _Line(path, node, getattr(at_path(tree, path[:-1]), path[-1][0]))
        if isinstance(node, ast.AugAssign):
            yield from _of_sum(line, node)
        if isinstance(node, ast.If) and not node.orelse:
            yield line.slip("always", ast.If(ast.Constant(True), node.body, []))
            yield line.slip("direction", ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, []))
        if isinstance(node, ast.AugAssign | ast.If) or (isinstance(node, ast.Assign) and _again(line, node)):
            yield line.slip("line", None)
        if line.at + 1 < len(line.block) and _plain(node) and _plain(line.block[line.at + 1]):
            after = line.block[line.at + 1]
            yield line.slip("lines", after, (path, after), (line.beside(1), node))
        if isinstance(node, ast.For):
            yield from _moved_in(line, node)
        yield from _moved_out(tree, line)


def _plain(line: ast.stmt) -> bool:
    return isinstance(line, ast.Assign | ast.AugAssign | ast.If)


def _again(line: _Line, node: ast.Assign) -> bool:
    """Whether a line makes something anew that is there without it."""
    made = role_of(node)
    return any(isinstance(each, ast.Name) and each.id == made for each in ast.walk(node.value))


def _of_sum(line: _Line, node: ast.AugAssign) -> Iterator[LineSlip]:
    """A sum that keeps the last term, takes terms away, is the largest of them, or is cut or rounded."""
    total, term = code_of(node.target), code_of(node.value)

    def assigned(code: str) -> ast.Assign:
        return ast.Assign([node.target], parsed(code), lineno=0)

    whole = code_of(ast.BinOp(parsed(total), node.op, node.value))
    yield line.slip("assign", assigned(term))
    yield from (line.slip("assign", ast.AugAssign(node.target, op, node.value)) for op in (ast.Sub(), ast.Mult()))
    yield line.slip("call", assigned(f"max({total}, {term})"))
    yield line.slip("cut", assigned(f"int({whole})"))
    yield line.slip("cut", assigned(f"{total} + int({term})"))
    yield line.slip("half", assigned(f"np.float16({whole})"))


def _moved_in(line: _Line, loop: ast.For) -> Iterator[LineSlip]:
    """The line before a loop, at the loop's beginning."""
    before = line.block[line.at - 1] if line.at else None
    if isinstance(before, ast.Assign):
        made = ast.For(loop.target, loop.iter, [before, *loop.body], [])
        yield line.slip("inside", made, (line.beside(-1), None), (line.path, made), what=head_of(before))


def _moved_out(tree: ast.FunctionDef, line: _Line) -> Iterator[LineSlip]:
    """A line out of the loop that it is in: before it where it begins the loop, behind it where it ends it."""
    loop = at_path(tree, line.path[:-1])
    if not isinstance(loop, ast.For) or not isinstance(line.node, ast.Assign) or len(loop.body) < 2:
        return
    rest = ast.For(loop.target, loop.iter, [each for each in loop.body if each is not line.node], [])
    order = {0: [line.node, rest], len(loop.body) - 1: [rest, line.node]}.get(line.at)
    if order:
        (field, place), outer = line.path[-2], copy.copy(at_path(tree, line.path[:-2]))
        block = getattr(outer, field)
        assert place is not None
        setattr(outer, field, [*block[:place], *order, *block[place + 1 :]])
        yield line.slip("outside", line.node, (line.path[:-2], outer), what=head_of(loop))
