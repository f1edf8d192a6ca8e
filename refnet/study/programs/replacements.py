"""What stands in the place of one expression in a program with one slip: by kind, as an expression."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from refnet.study.programs.trees import code_of, parsed, swapped

__all__ = ["Kin", "moved_operands", "replacements", "resigned", "ungrouped"]

Kin = Mapping[str, Sequence[str]]

_OPERATORS: Mapping[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Mult),
    ast.Mult: (ast.Add, ast.Div, ast.Sub),
    ast.Div: (ast.Mult, ast.FloorDiv, ast.Sub),
    ast.FloorDiv: (ast.Mult,),
    ast.MatMult: (),
}
_NUMBERS: Mapping[float, tuple[float, ...]] = {
    0: (1, -1), 1: (0, 2), 2: (1, 3, 4), 3: (0, 1, 2, 2.5, 4, 6), 4: (2, 3, 8, 16), 6: (1, 3, 5, 2, 4, 12),
    8: (4, 16), 0.5: (0, 1, 0.25, 3), 0.9: (1, 1.1), 7: (8,), 0.01: (0.1, 0.2),
}  # fmt: skip
_CALLS = {
    "np.maximum": ("np.minimum", "np.add"), "np.minimum": ("np.maximum",), "max": ("min",), "min": ("max",),
    "np.mean": ("np.max", "np.sum", "np.min", "np.var"), "np.sum": ("np.max", "np.mean", "np.min", "np.prod"),
    "np.sqrt": ("np.square", "np.exp", "np.abs"), "int": ("round",),
}  # fmt: skip


_SIGNED = ("x", "w", "change", "saved", "w[k, c, r, s]", "w[c, r, s]", "gamma", "total", "y")


def replacements(node: ast.expr, kin: Kin, sizes: Mapping[str, str]) -> Iterator[tuple[str, ast.expr]]:
    """What stands in the place of one expression, by kind."""
    match node:
        case ast.BinOp():
            yield from _of_operation(node)
            yield from (("operator", each) for each in resigned(node))
        case ast.Name():
            yield from (("name", parsed(other)) for other in kin.get(node.id, ()))
        case ast.Constant(value=bool() | str() | None):
            pass
        case ast.Constant(value=int() | float() as number):
            yield from (("number", ast.Constant(other)) for other in _NUMBERS.get(number, ()))
        case ast.Call():
            yield from _of_call(node, kin)
        case ast.Compare():
            yield from _of_test(node)
        case ast.BoolOp(op=op, values=values):
            yield from (("dropped", value) for value in values)
            yield "and", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.IfExp():
            yield from (("branch", value) for value in (node.body, node.orelse))
            yield "exchanged", ast.IfExp(node.test, node.orelse, node.body)
        case ast.Subscript():
            yield from _of_index(node, kin, sizes)
        case ast.UnaryOp(operand=operand):
            yield "dropped", operand
        case ast.Attribute(value=value, attr="T"):
            yield "dropped", value
        case ast.Tuple(elts=[one, other]) if not isinstance(one, ast.Tuple):
            yield from (("exchanged", ast.Tuple([other, one], ast.Load())), ("name", ast.Tuple([one, one], ast.Load())))
            yield "name", ast.Tuple([other, other], ast.Load())
    code = code_of(node)
    if code in kin and not isinstance(node, ast.Name):
        yield from (("name", parsed(other)) for other in kin[code])
    if isinstance(node, ast.BinOp | ast.Call) and not code.startswith(("np.zeros", "range", "abs", "len")):
        yield from (("wrapped", parsed(form.format(code))) for form in ("abs({})", "-({})"))
    elif code in _SIGNED:
        yield from (("wrapped", parsed(form.format(code))) for form in ("abs({})", "-{}"))


def _low(op: ast.operator) -> bool:
    """Whether it is a sum or a difference."""
    return isinstance(op, ast.Add | ast.Sub)


def _of_operation(node: ast.BinOp) -> Iterator[tuple[str, ast.expr]]:
    one, op, other = node.left, node.op, node.right
    for kind in _OPERATORS.get(type(op), ()):
        yield "operator", ast.BinOp(one, kind(), other)
    yield from (("dropped", each) for each in (one, other))
    if isinstance(op, ast.Sub | ast.Div | ast.FloorDiv):
        yield "exchanged", ast.BinOp(other, op, one)
    if isinstance(op, ast.FloorDiv):
        yield "rounded", parsed(f"-(-({code_of(one)}) // ({code_of(other)}))")
    if isinstance(op, ast.Add) and isinstance(one, ast.Name):
        yield "call", ast.Call(parsed("np.maximum"), [one, other], [])
    if isinstance(op, ast.Sub):
        yield "dropped", ast.UnaryOp(ast.USub(), other)
    if isinstance(op, ast.Mult | ast.Add):
        yield from (("repeated", ast.BinOp(node, op, each)) for each in (one, other))
    for call, rest in ((one, other), (other, one)):  # f(a, c) * b as f(a * b, c), which it is not
        if isinstance(call, ast.Call) and call.args:
            inner = (call.args[0], op, rest) if call is one else (rest, op, call.args[0])
            yield "inwards", ast.Call(call.func, [ast.BinOp(*inner), *call.args[1:]], call.keywords)
    if isinstance(one, ast.BinOp) and not isinstance(op, ast.MatMult):  # (a + b) / c as a + b / c
        yield "regrouped", ast.BinOp(one.left, one.op, ast.BinOp(one.right, op, other))
        if _low(op) != _low(one.op):  # (a + b) / c as a / c + b, a * b - c as (a - c) * b
            yield "regrouped", ast.BinOp(ast.BinOp(one.left, op, other), one.op, one.right)
    if isinstance(one, ast.BinOp) and isinstance(one.left, ast.BinOp):  # a * b / c + d as a * (b / c + d)
        low = one.left
        yield "regrouped", ast.BinOp(low.left, low.op, ast.BinOp(ast.BinOp(low.right, one.op, one.right), op, other))
    if isinstance(other, ast.BinOp) and not isinstance(op, ast.MatMult):  # a * (b - c) as a * b - c
        yield "regrouped", ast.BinOp(ast.BinOp(one, op, other.left), other.op, other.right)


_SIMPLE = (ast.Name, ast.Subscript, ast.Constant)
_FEW = 5
_MOST = 12  # parts of an expression: in a longer one nothing is moved


def moved_operands(whole: ast.expr) -> Iterator[ast.expr]:
    """An expression with one operand taken from where it is and put to another part of it, with the same operator."""
    parts = [each for each in ast.walk(whole) if isinstance(each, ast.BinOp | ast.Name | ast.Call | ast.Subscript)]
    sums = [each for each in parts if isinstance(each, ast.BinOp)]
    for node in sums if len(sums) <= _MOST else ():
        for operand, rest in ((node.right, node.left), (node.left, node.right)):
            if not (isinstance(operand, _SIMPLE) or code_of(operand).startswith("across(")) or (
                operand is node.left and not isinstance(node.op, ast.Add | ast.Mult)
            ):
                continue
            bare = swapped(whole, node, rest)
            if len(sums) <= _FEW and isinstance(node.op, ast.Add):  # made once more in another part
                for part in parts:
                    if isinstance(part, ast.Name) and part is not operand and _stands(part, whole):
                        yield swapped(whole, part, ast.BinOp(part, node.op, operand))
            for part in parts:
                there = any(each is part for each in ast.walk(bare))
                if there and part is not node and part is not operand and _stands(part, bare):
                    yield swapped(bare, part, ast.BinOp(part, node.op, operand))


def _stands(part: ast.expr, whole: ast.AST) -> bool:
    """Whether a part is read as a number: no function's name, and nothing within an index."""
    for each in ast.walk(whole):
        if isinstance(each, ast.Call) and any(inner is part for inner in ast.walk(each.func)):
            return False
        if isinstance(each, ast.Subscript) and each is not part and any(inner is part for inner in ast.walk(each)):
            return False
    return True


def resigned(node: ast.expr) -> Iterator[ast.expr]:
    """A sum with all of its terms taken away."""
    terms, ops = node, 0
    while isinstance(terms, ast.BinOp) and isinstance(terms.op, ast.Add | ast.Sub):
        ops += isinstance(terms.op, ast.Add)
        terms = terms.left
    if ops > 1:
        yield _taken(node)


def _taken(node: ast.expr) -> ast.expr:
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)):
        return node
    return ast.BinOp(_taken(node.left), ast.Sub(), node.right)


def ungrouped(code: str) -> Iterator[tuple[str, ast.expr]]:
    """An expression with one pair of parentheses left out, where that makes another one."""
    for at, sign in enumerate(code):
        if sign == "(" and (not at or not (code[at - 1].isalnum() or code[at - 1] in "_])")):
            depth = 0
            for end in range(at, len(code)):
                depth += (code[end] == "(") - (code[end] == ")")
                if not depth:
                    break
            inner = code[at + 1 : end]
            if "," not in inner:
                made = parsed(code[:at] + inner + code[end + 1 :])
                if code_of(made) != code:
                    yield "parentheses", made


def _of_call(node: ast.Call, kin: Kin) -> Iterator[tuple[str, ast.expr]]:
    name, args = code_of(node.func), node.args
    for other in _CALLS.get(name, ()):
        yield "call", ast.Call(parsed(other), args, node.keywords)
    if name == "range":
        yield from _of_range(args[-1])
    elif name == "np.pad":
        for mode in ("edge", "reflect", "symmetric", "wrap"):
            yield "pad", ast.Call(node.func, args, [ast.keyword("mode", ast.Constant(mode))])
        yield "pad", ast.Call(node.func, args, [ast.keyword("constant_values", ast.Constant(1))])
    elif name == "np.where" and len(args) == 3:
        yield "exchanged", ast.Call(node.func, [args[0], args[2], args[1]], [])
        yield from (("branch", each) for each in args[1:])
        if not isinstance(args[1], ast.Call):
            others = (parsed(code) for code in ("0", "1", "x", "6", "-x", "x - 3", "x + 3", "3", "-3"))
            yield from (("branch", ast.Call(node.func, [args[0], each, args[2]], [])) for each in others)
    elif name == "np.clip":
        value, low, high = args
        yield "unwrapped", value
        yield "low", ast.Call(parsed("np.minimum"), [value, high], [])
        yield "high", ast.Call(parsed("np.maximum"), [value, low], [])
        yield "exchanged", ast.Call(node.func, [value, high, low], [])
    elif args and not name.startswith("np.zeros"):
        yield "unwrapped", args[0]
    if args and isinstance(args[0], ast.BinOp) and name != "np.zeros":  # f(a + b) as f(a) + b
        for inner, rest in ((args[0].left, args[0].right), (args[0].right, args[0].left)):
            call = ast.Call(node.func, [inner, *args[1:]], node.keywords)
            made = (call, args[0].op, rest) if inner is args[0].left else (rest, args[0].op, call)
            yield "outwards", ast.BinOp(*made)
        ends = (ast.Call(node.func, [each, *args[1:]], node.keywords) for each in (args[0].left, args[0].right))
        yield "outwards", ast.BinOp(next(ends), args[0].op, next(ends))
    for keyword in node.keywords:
        if keyword.arg == "axis" and isinstance(keyword.value, ast.Tuple):
            rests = [each for each in node.keywords if each is not keyword]
            for axes in ("2", "3", "(1, 2, 3)", "(0, 2, 3)", "(0, 1, 2, 3)"):
                keys = (ast.keyword("axis", parsed(axes)), ast.keyword("keepdims", ast.Constant(True)))
                yield "axis", ast.Call(node.func, args, [*rests, *keys])


def _of_range(count: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    code = code_of(count)
    forms = {"skip first": "range(1, {})", "skip last": "range({} - 1)", "only first": "range(1)"}
    forms |= {
        "only middle": "range({0} // 2, {0} // 2 + 1)",
        "one more": "range({} + 1)",
        "only last": "range({0} - 1, {0})",
    }
    for kind, form in forms.items():
        yield kind, parsed(form.format(code))


def _of_test(node: ast.Compare) -> Iterator[tuple[str, ast.expr]]:
    terms, ops = [node.left, *node.comparators], node.ops
    strict = {ast.LtE: ast.Lt, ast.Lt: ast.LtE, ast.GtE: ast.Gt, ast.Gt: ast.GtE}
    other = {ast.LtE: ast.GtE, ast.Lt: ast.Gt, ast.GtE: ast.LtE, ast.Gt: ast.Lt, ast.Eq: ast.NotEq, ast.In: ast.NotIn}
    for at, op in enumerate(ops):
        if type(op) in strict:
            kind = "strict" if isinstance(op, ast.LtE | ast.GtE) else "loose"
            yield kind, ast.Compare(terms[0], [*ops[:at], strict[type(op)](), *ops[at + 1 :]], terms[1:])
        if type(op) in other:
            yield "direction", ast.Compare(terms[0], [*ops[:at], other[type(op)](), *ops[at + 1 :]], terms[1:])
    if len(ops) == 2:
        yield "dropped", ast.Compare(terms[0], ops[:1], terms[1:2])
        yield "dropped", ast.Compare(terms[1], ops[1:], terms[2:])
    yield "always", ast.Constant(True)
    yield "never", ast.Constant(False)


def _of_index(node: ast.Subscript, kin: Kin, sizes: Mapping[str, str]) -> Iterator[tuple[str, ast.expr]]:
    parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if all(isinstance(part, ast.Constant) and part.value is not None for part in parts):
        return

    def indexed(at: int, code: str) -> ast.expr:
        made = [*parts[:at], parsed(code), *parts[at + 1 :]]
        return ast.Subscript(node.value, made[0] if len(made) == 1 else ast.Tuple(made, ast.Load()), ast.Load())

    for at, part in enumerate(parts):
        if isinstance(part, ast.Name):
            yield "first", indexed(at, "0")
            yield "last", indexed(at, "-1")
            if part.id in sizes:
                yield "reversed", indexed(at, f"{sizes[part.id]} - 1 - {part.id}")
                yield "next", indexed(at, f"({part.id} + 1) % ({sizes[part.id]})")
            for name in kin.get(part.id, ()):
                if name in sizes:
                    yield "name", indexed(at, f"{name} % {code_of(node.value)}.shape[{at}]")
    for at, (one, other) in enumerate(pairwise(parts)):
        if isinstance(one, ast.Name) and isinstance(other, ast.Name):
            for form in ("{}", "{} % " + code_of(node.value) + ".shape[{}]"):
                pair = (parsed(form.format(name.id, at + place)) for place, name in enumerate((other, one)))
                made = ast.Tuple([*parts[:at], *pair, *parts[at + 2 :]], ast.Load())
                yield "exchanged", ast.Subscript(node.value, made, ast.Load())
