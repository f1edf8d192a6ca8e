"""The programs of each exercise, with all their slips."""

from __future__ import annotations

import ast
import copy
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np

from refnet.study.programs import blocks, curves, norms, rules, windows
from refnet.study.programs.edits import Edit, edits_of
from refnet.study.programs.kin import CURVES, KIN
from refnet.study.programs.trees import Path, Step, parsed, parts_of, with_steps

__all__ = ["PROGRAMS", "Slipped", "programs_of", "slips_of"]

_ROOMS = (windows, curves, norms, blocks, rules)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    name: value for room in _ROOMS for name, value in vars(room).items()
    if inspect.isfunction(value) and value.__module__ == room.__name__
}  # fmt: skip


@dataclass(frozen=True)
class Slipped:
    """A program with slips.

    Attributes
    ----------
    main : the name of the function that is called
    edits : the slips
    part : where they are made in a part of the result: what makes the rest, the axis, and which part along that
    """

    main: str
    edits: tuple[Edit, ...] = ()
    part: tuple[Slipped, int, str] | None = None

    def edited(self, edit: Edit) -> Slipped:
        """With one more slip."""
        return replace(self, edits=(*self.edits, edit))

    def within(self, right: Slipped, axis: int, which: str) -> Slipped:
        """With its last slip in a part of the result only."""
        *before, last = self.edits
        return replace(self, edits=(*before, replace(last, part=(axis, which))), part=(right, axis, which))

    def steps(self, name: str) -> tuple[Step, ...]:
        """What is replaced in one of its functions; `norm__1` is what the second call of `norm` calls."""
        own = [step for edit in self.edits if name in (edit.function, edit.copy) for step in edit.steps]
        if name == self.main:
            own += [_renamed(name, edit.function, edit.place) for edit in self.edits if edit.call]
        return tuple(own)

    def tree(self, name: str) -> ast.FunctionDef:
        """Of one of its functions.

        Raises
        ------
        ValueError
            if two slips are in the same part.
        """
        return with_steps(_tree(name.partition("__")[0]), self.steps(name))

    @cached_property
    def function(self) -> Callable[..., Any]:
        """To call.

        Raises
        ------
        ValueError
            if two slips are in the same part.
        """
        names, calls = dict(_GLOBALS), {edit.copy for edit in self.edits if edit.call}
        edited = {edit.copy for edit in self.edits} | ({self.main} if calls else set())
        for name in {self.main, *_helpers(self.main)} - edited - _KEPT.keys():
            names[name] = types.FunctionType(_FUNCTIONS[name].__code__, names, name)
            names[name].__kwdefaults__ = _FUNCTIONS[name].__kwdefaults__
        for name in edited:
            names[name] = types.FunctionType(_compiled(name.partition("__")[0], self.steps(name)), names, name)
        found: Callable[..., Any] = names[self.main]
        return found

    def slips(self) -> Iterator[Edit]:
        """Of one step: in the function itself, in those that it calls, in one call of those that are called twice."""
        for name in (self.main, *_helpers(self.main)):
            calls = [call for _, call in _calls(self.main, name)]
            for edit in (*edits_of(_tree(name), KIN), *self._others(name)):
                yield edit
                if len(calls) > 1:
                    yield from (replace(edit, call=call, place=place) for place, call in enumerate(calls))

    def _others(self, name: str) -> Iterator[Edit]:
        """Of a curve another one, or a slip in another spelling of it; of what returns y an activation of that."""
        tree, base = _tree(name), name.partition("_in_")[0].partition("_of_")[0]
        value = tree.body[-1].value if isinstance(tree.body[-1], ast.Return) else None
        path: Path = (("body", len(tree.body) - 1), ("value", None))
        if value is not None and base in CURVES and len(tree.body) == 2:
            for other in CURVES:
                call = parsed(f"{other}(x)")
                yield Edit("curve", ast.unparse(value), other, "return", tree.name, ((path, call),))
            for other in ("np.square", "abs", "-"):
                call = parsed(f"{other}({ast.unparse(value)})")
                yield Edit("after", ast.unparse(value), f"{other}(x)", "return", tree.name, ((path, call),))
            for other in _FUNCTIONS:
                if name != self.main and other.startswith((f"{base}_of_", f"{base}_in_")):
                    for edit in edits_of(_tree(other), KIN):
                        made = with_steps(_tree(other), edit.steps).body[-1]
                        assert isinstance(made, ast.Return)
                        yield replace(edit, function=tree.name, steps=((path, made.value),))
        elif name == self.main and value is not None and not isinstance(value, ast.Tuple) and base not in CURVES:
            code = ast.unparse(value)
            for other in (*CURVES, "np.trunc", "np.rint", "abs", "-"):
                call = parsed(f"{other}({code})")
                yield Edit("after", code, f"{other}({code})", "return", tree.name, ((path, call),))


@cache
def _calls(main: str, name: str) -> tuple[tuple[Path, str], ...]:
    """The calls of a function in another one, in order: where its name stands, and the call as code."""
    return tuple(
        ((*part.path, ("func", None)), part.code)
        for part in parts_of(_tree(main))
        if isinstance(part.node, ast.Call) and isinstance(part.node.func, ast.Name) and part.node.func.id == name
    )


@cache
def _renamed(main: str, name: str, place: int) -> Step:
    """One call of a function in another one as that of its copy."""
    path, _ = _calls(main, name)[place]
    return path, ast.fix_missing_locations(ast.Name(f"{name}__{place}", ast.Load()))


@lru_cache(4096)
def _compiled(name: str, steps: tuple[Step, ...]) -> types.CodeType:
    """A function with parts replaced."""
    bare = copy.copy(with_steps(_tree(name), steps))
    bare.returns = None
    code = compile(ast.Module([bare], []), "<program>", "exec")
    return next(each for each in code.co_consts if isinstance(each, types.CodeType))


_kept: dict[tuple[object, ...], Any] = {}


def _look(x: Any, w: Any, stride: Any, pad: Any) -> Any:
    """`look`, once for the same arguments: it takes the most time of all steps of a block."""
    key = (x.tobytes(), x.shape, w.tobytes(), stride, pad)
    if key not in _kept:
        if len(_kept) > _MOST:
            _kept.clear()
        _kept[key] = windows.look(x, w, stride, pad)
    return _kept[key].copy()


_MOST = 64
_KEPT: Mapping[str, Callable[..., Any]] = {"look": _look}
_GLOBALS: dict[str, Any] = {"np": np, **_FUNCTIONS, **_KEPT}


@cache
def _tree(name: str) -> ast.FunctionDef:
    (tree,) = ast.parse(inspect.getsource(_FUNCTIONS[name])).body
    assert isinstance(tree, ast.FunctionDef)
    for argument in (*tree.args.args, *tree.args.kwonlyargs):
        argument.annotation = None
    return tree


@cache
def _helpers(name: str) -> tuple[str, ...]:
    """The functions that one calls, and those that these call."""
    found: dict[str, None] = {}
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Name) and node.id in _FUNCTIONS and node.id != name:
            found |= {node.id: None, **dict.fromkeys(_helpers(node.id))}
    return tuple(found)


PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("conv2d", "conv2d_patches"),
    "depthwise": ("depthwise", "depthwise_patches"),
    "pointwise": ("pointwise", "pointwise_from_bias"),
    "separable": ("separable", "separable_patches", "separable_dense"),
    "v1_block": ("v1_block",),
    "inverted_residual": ("inverted_residual",),
    "inverted_residual_se": ("inverted_residual_se",),
    "squeeze_excite": ("squeeze_excite", "squeeze_excite_by_sum"),
    "hard_sigmoid": ("hard_sigmoid", "hard_sigmoid_of_relu6", "hard_sigmoid_in_parts", "hard_sigmoid_in_open_parts"),
    "hard_swish": ("hard_swish", "hard_swish_of_relu6", "hard_swish_in_parts", "hard_swish_in_open_parts"),
    "batch_norm": ("batch_norm", "batch_norm_by_channel", "batch_norm_as_line"),
    "fold": ("fold", "fold_in_terms"),
    "same_padding": ("same_padding",),
    "block_rows": ("block_rows",),
    "netadapt_choice": ("netadapt_choice",),
}


@cache
def programs_of(exercise: str) -> tuple[Slipped, ...]:
    """The right programs of an exercise."""
    return tuple(Slipped(name) for name in PROGRAMS[exercise])


@cache
def slips_of(exercise: str) -> tuple[Slipped, ...]:
    """Its programs with one slip."""
    return tuple(program.edited(edit) for program in programs_of(exercise) for edit in program.slips())
