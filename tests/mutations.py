"""The small mistakes that `mutate.py` makes: one change each to the syntax tree of a module.

Comparisons, arithmetic, constants, conditions, minimum for maximum, calls and assignments dropped, arguments swapped or
dropped, results that are None. Texts, annotations, decorators, assertions, `__all__` and what an error says are left
as they are: no behaviour hangs on them.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Mutant", "mutants"]

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_PAIRS = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("any", "all"),
    ("floor", "ceil"),
    ("argmin", "argmax"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("startswith", "endswith"),
    ("removeprefix", "removesuffix"),
    ("minimum_filter", "maximum_filter"),
)
TWINS = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
WRAPPERS = ("abs", "sorted", "reversed", "square", "sqrt")  # calls that may be left out: abs(x) -> x
SYMMETRIC = {
    *TWINS,
    "add",
    "multiply",
    "hypot",
    "array_equal",
    "isinstance",
    "issubclass",
    "getattr",
    "hasattr",
    "cast",
}
SILENT = {
    "errstate",
    "simplefilter",
    "warn",
    "debug",
    "info",
    "cast",
    "TypeVar",
}  # calls whose arguments are not behaviour
KEYWORDS = {"strict"}  # keywords that catch only what cannot be
UNTOUCHED = {"annotation", "returns", "decorator_list", "type_params", "pattern", "type"}  # fields


class Mutant(NamedTuple):
    """One mistake in one module.

    Attributes
    ----------
    file : of the module, beneath the checkout
    line : of the statement, before
    scope : the function that it is in, 'Value.total'; '' at the top of the module
    before, after : the statement, or its first line where it has more
    site : for `source`
    """

    file: str
    line: int
    scope: str
    before: str
    after: str
    site: Site

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it in the list of equivalent ones: no line, so that other edits do not move it."""
        return self.file, self.scope, self.before, self.after

    @property
    def source(self) -> str:
        """The module with the mistake."""
        return self.site.applied(lambda: ast.unparse(self.site.tree))


class Site(NamedTuple):
    """Where a tree is changed, and to what."""

    tree: ast.Module
    statement: ast.AST
    owner: ast.AST
    field: str
    index: int | None
    new: ast.AST

    def applied(self, read: Any) -> Any:
        """What `read` sees while the change is made."""
        held = getattr(self.owner, self.field)
        made = self.new if self.index is None else [*held[: self.index], self.new, *held[self.index + 1 :]]
        setattr(self.owner, self.field, made)
        try:
            return read()
        finally:
            setattr(self.owner, self.field, held)

    def texts(self) -> tuple[str, str]:
        """The statement before and after."""
        whole = isinstance(self.new, ast.stmt)
        after = _head(self.new) if whole else self.applied(lambda: _head(self.statement))
        return _head(self.statement), after


def mutants(source: str, file: str) -> list[Mutant]:
    """Every mutant of a module, each once, in the order of the source."""
    tree = ast.parse(source)
    found: dict[tuple[int, str, str, str], Mutant] = {}
    for scope, site in _sites(tree, tree, "", tree, set()):
        before, after = site.texts()
        line = getattr(site.statement, "lineno", 0) or getattr(site.owner, "lineno", 0)
        if before != after:
            found.setdefault((line, scope, before, after), Mutant(file, line, scope, before, after, site))
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _head(statement: ast.AST) -> str:
    """A statement's text; of one that holds others, its first line."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        statement = copy.copy(statement)
        statement.decorator_list = []
    text = ast.unparse(statement).strip()
    return text.split("\n", 1)[0] if isinstance(getattr(statement, "body", None), list) else text


def _sites(
    tree: ast.Module, node: ast.AST, scope: str, statement: ast.AST, bound: set[str]
) -> Iterator[tuple[str, Site]]:
    """Go down a tree; `bound` are the names that the function around has given values so far."""
    if isinstance(node, ast.FunctionDef):
        bound = {argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    for field, held in ast.iter_fields(node):
        if field in UNTOUCHED or (isinstance(node, ast.Raise) and field == "exc"):
            continue
        for index, child in enumerate(held) if isinstance(held, list) else ((None, held),):
            if not isinstance(child, ast.AST) or _inert(child) or _is_the_rest(child, node):
                continue
            own = child if isinstance(child, ast.stmt | ast.match_case) else statement
            inner = scope
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{scope}.{child.name}".removeprefix(".")
            for new in (*_expressions(child, node, field), *_statements(child, bound)):
                yield scope, Site(tree, own, node, field, index, new)
            yield from _sites(tree, child, inner, own, bound)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                bound.add(child.id)


def _inert(node: ast.AST) -> bool:
    """Whether no behaviour hangs on a node and what is in it."""
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Global() | ast.Nonlocal():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Call(func=func) if _called(func) in SILENT:
            return True
        case ast.keyword(arg=arg):
            return arg in KEYWORDS
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):  # int | None, Stem | Pointwise
            return all(_is_type(each) for each in (left, right))
        case ast.BinOp(left=left, right=right):  # texts
            return any(isinstance(each, ast.JoinedStr) or _is_text(each) for each in (left, right))
    return False


def _is_the_rest(node: ast.AST, owner: ast.AST) -> bool:
    """Whether it is the -1 of a reshape: NumPy takes any number below zero for it."""
    return isinstance(owner, ast.Call) and _called(owner.func) == "reshape" and isinstance(node, ast.UnaryOp)


def _is_type(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in ("int", "float", "str", "bytes", "bool", "tuple", "list", "dict") or (
                name[0].isupper() and not name.isupper()
            )
        case ast.Constant(value=None):
            return True
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _is_type(left) and _is_type(right)
        case ast.Subscript(value=value):
            return _is_type(value)
    return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _called(func: ast.expr) -> str:
    """The last part of a function's name."""
    return getattr(func, "attr", getattr(func, "id", ""))


def _statements(node: ast.AST, bound: set[str]) -> Iterator[ast.stmt]:
    """What a statement may be replaced by."""
    match node:
        case ast.AugAssign(target, op, value):
            yield ast.Pass()
            if type(op) in ARITHMETIC:
                yield ast.AugAssign(target, ARITHMETIC[type(op)](), value)
        case ast.Expr(ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[target]) if _assigned_before(target, bound):
            yield ast.Pass()
        case ast.Return(value) if value is not None and not _is_nothing(value):
            yield ast.Return(ast.Constant(None))
        case ast.Continue():
            yield ast.Pass()
            yield ast.Break()
        case ast.Break():
            yield ast.Pass()


def _assigned_before(target: ast.expr, bound: set[str]) -> bool:
    match target:
        case ast.Name(id=name):
            return name in bound
        case ast.Tuple(elts=each):
            return all(_assigned_before(one, bound) for one in each)
    return isinstance(target, ast.Attribute | ast.Subscript)


def _is_nothing(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _expressions(node: ast.AST, owner: ast.AST, field: str) -> Iterator[ast.expr]:
    """What an expression may be replaced by, in its place."""
    if field in ("test", "guard", "ifs") and isinstance(node, ast.expr):
        yield _negated(node)
        if field == "ifs":
            yield ast.Constant(True)
    match node:
        case ast.Compare(left, ops, comparators):
            for index, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    yield ast.Compare(left, [*ops[:index], other(), *ops[index + 1 :]], comparators)
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            yield ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = [*values[:index], *values[index + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.Constant(value):
            yield from _constants(value)
        case ast.Name(id=name) if name in TWINS and isinstance(owner, ast.Call) and field == "func":
            yield ast.Name(TWINS[name])
        case ast.Attribute(value, attr) if attr in TWINS and isinstance(owner, ast.Call) and field == "func":
            yield ast.Attribute(value, TWINS[attr])
        case ast.Call():
            yield from _calls(node)


def _constants(value: Any) -> Iterator[ast.expr]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)


def _calls(node: ast.Call) -> Iterator[ast.expr]:
    """Arguments swapped, a keyword dropped, the call itself left out."""
    name, args = _called(node.func), node.args
    if len(args) > 1 and name not in SYMMETRIC and not any(isinstance(each, ast.Starred) for each in args[:2]):
        yield ast.Call(node.func, [args[1], args[0], *args[2:]], node.keywords)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in KEYWORDS:
            yield ast.Call(node.func, args, [*node.keywords[:index], *node.keywords[index + 1 :]])
    if name in WRAPPERS and args and not isinstance(args[0], ast.Starred):
        yield args[0]


def _negated(test: ast.expr) -> ast.expr:
    match test:
        case ast.UnaryOp(ast.Not(), operand):
            return operand
        case ast.Compare(left, [op], comparators):
            return ast.Compare(left, [COMPARISONS[type(op)][-1]()], comparators)
    return ast.UnaryOp(ast.Not(), test)
