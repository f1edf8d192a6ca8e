"""The arrays of two files, tensor by tensor: equal, equal after what was meant, or wrong, and then how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.verification.cases import Case, agrees, fits
from refnet.verification.kinds import KINDS
from refnet.verification.layers import Expected, expected
from refnet.verification.roundings import roundings
from refnet.verification.sides import Sides

__all__ = ["Value", "compare"]

Array = npt.NDArray[Any]

EQUAL = "bit-equal"
_NORMAL = 2.0**-126
_NOTHING = Expected.exactly(np.zeros(0))  # in place of a tensor that is not there

_Made = Mapping[str, Callable[[], Mapping[str, Expected]]]


@dataclass(frozen=True)
class Value:
    """One tensor of the copy.

    Attributes
    ----------
    name : refnet's, as the copy has it
    kind : 'bit-equal'; what it is equal after, joined by '+' ('folded', 'float16', 'folded+int8'); or the id of what
        is wrong, from `kinds.KINDS`, or 'stale' (this layer alone differs), 'retrained' (most do), 'missing', 'extra',
        'shape'
    fault : whether something is wrong with it
    needs : what a policy must allow for it
    detail : more, in words
    ulps : the largest difference, in units in the last place of float32 at the value that it should be
    at : index of that element
    original, copy : the files' own names of the arrays
    moved : whether it was rounded with a constant added, see `roundings.Rounding`
    """

    name: str
    kind: str
    fault: bool = False
    needs: tuple[str, ...] = ()
    detail: str = ""
    ulps: float = 0.0
    at: tuple[int, ...] = ()
    original: str = ""
    copy: str = ""
    moved: bool = False


def compare(sides: Sides, steps: Mapping[str, Array] | None = None) -> list[Value]:
    """Every tensor of a copy beside the original, in order.

    Parameters
    ----------
    steps : by the copy's 'node.slot', quantisation steps of what it stores as integers, to meet the tensor's shape
    """
    found: list[Value] = []
    made = {name: cache(partial(_made, sides, name)) for name in sides.first}
    constants = _constants(sides)
    for name in dict.fromkeys([*sides.first, *sides.second]):
        if name not in sides.second:
            found += [Value(each, "missing", True) for each in sides.first[name].names.values()]
        elif name not in sides.first:
            found += [Value(each, "extra", True) for each in sides.second[name].names.values()]
        elif sides.unfolded(name) and (holes := _holes(sides, name)):
            found += holes  # without which there is nothing to fold
        else:
            for case, known, origin in _cases(sides, name, made):
                value = _fitting(sides, _value(case, known, (steps or {}).get(known), constants.get(name, 0.0)))
                keys = (sides.copy.keys, sides.original.keys)
                theirs, mine = reversed(keys) if sides.unfolded(name) else keys
                found.append(replace(value, original=mine.get(origin, ""), copy=theirs.get(known, "")))
    needed = sides.copy.graph.params()
    left_over = {key: words for key, words in sides.copy.misfits.items() if key not in needed}
    found += [Value(key, "extra", True, detail=words, copy=key) for key, words in left_over.items()]
    return _settled(found)


def _holes(sides: Sides, name: str) -> list[Value]:
    """The arrays of a layer of the copy that are missing, or of a size that cannot be read in any order."""
    params, needed = sides.copy.params, sides.copy.graph.params()
    names = [each for each in sides.second[name].names.values() if each in sides.copy.misfits]
    holes = [each for each in names if each not in params or params[each].shape != needed[each]]
    return [_fitting(sides, Value(each, EQUAL, copy=sides.copy.keys.get(each, ""))) for each in holes]


def _fitting(sides: Sides, value: Value) -> Value:
    """A value, or where nothing else is wrong with a tensor, that strict loading would refuse it."""
    words = sides.copy.misfits.get(value.name)
    if value.fault or words is None:
        return value
    kind = "shape" if value.name in sides.copy.params else "lost"
    return replace(value, kind=kind, fault=True, detail=words)


def _made(sides: Sides, name: str) -> dict[str, Expected]:
    """A layer of the original as the copy should have it."""
    return expected(sides.first[name], sides.folded(name))


def _constants(sides: Sides) -> dict[str, float]:
    """What the activation behind a layer adds to its input: 3 for x / 6 + 0.5 as relu6(x + 3) / 6."""
    readers, found = sides.original.graph.readers(), {}
    for name, layer in sides.first.items():
        last = layer.names["gamma"].rpartition(".")[0] if layer.norm else name
        for node in readers[last]:
            if node.op == "hard_sigmoid":
                found[name] = float(f"{node.attrs['offset'] / node.attrs['slope']:.6g}")
            elif node.op == "hard_swish":
                found[name] = 3.0
    return found


def _cases(sides: Sides, name: str, made: _Made) -> Iterator[tuple[Case, str, str]]:
    """Each tensor of a layer, by the names that the copy and the original have for it."""
    original, copy, folded = sides.first[name], sides.second[name], sides.folded(name)
    wanted = made[name]()
    if sides.unfolded(name):  # the copy of a folded network has its batch norm
        original, copy, folded = copy, original, True
        wanted = expected(original, folded)
    for slot in dict.fromkeys([*wanted, *copy.arrays]):
        case = Case(
            slot=slot,
            layer=original,
            folded=folded,
            wanted=wanted.get(slot, _NOTHING),
            copy=copy.arrays.get(slot, _NOTHING.value),
            mates=copy.arrays,
            roundings=(),
            others={other: each for other, each in made.items() if other != name},
            last=name == "head.logits",
        )
        yield case, copy.names.get(slot, f"{name}.{slot}"), original.names.get(slot, "")


def _value(case: Case, name: str, steps: Array | None, constant: float) -> Value:
    if case.copy is _NOTHING.value:
        if not case.wanted.value.any():
            return Value(name, EQUAL, detail="the original's bias is zero, and the copy has none")
        return Value(name, "lost", True, detail="the copy has no such array")
    if case.wanted is _NOTHING:
        if not case.copy.any():
            return Value(name, EQUAL, detail="a bias of zeros, which the original does without")
        return Value(name, "extra", True, detail="the original has no such array")
    folds = ("folded",) if case.folded else ()
    if case.copy.shape == case.wanted.value.shape and not folds and agrees(case.copy, case.wanted):
        return Value(name, EQUAL)
    case = replace(case, roundings=tuple(roundings(case.copy, steps, constant if case.slot == "b" else 0.0)))
    ulps, at = _apart(case)
    for rounding in case.roundings:
        if agrees(case.copy, rounding.widen(case.wanted)):
            needs = tuple(dict.fromkeys((*folds, *rounding.needs)))
            kind = "+".join(needs) or EQUAL
            return Value(name, kind, False, needs, rounding.detail, ulps, at, moved=rounding.moved)
    for known in KINDS.values():
        with np.errstate(all="ignore"):
            for reading, rounding in fits(case, known.tries(case)):
                words = reading.detail
                if not rounding.fine:
                    words += f"; {rounding.detail}"
                return Value(name, known.id, True, folds, words, ulps, at)
    if case.copy.shape != case.wanted.value.shape:
        words = f"{case.copy.shape} instead of {case.wanted.value.shape}"
        return Value(name, "shape", True, folds, words)
    return Value(name, "stale", True, folds, _likeness(case), ulps, at)


def _apart(case: Case) -> tuple[float, tuple[int, ...]]:
    """The largest difference in units in the last place of float32, and where."""
    if case.copy.shape != case.wanted.value.shape or not case.copy.size:
        return 0.0, ()
    with np.errstate(all="ignore"):
        value = np.abs(case.wanted.value).astype(np.float32)
        unit = np.spacing(np.maximum(np.minimum(value, np.float32(2.0**127)), np.float32(_NORMAL))).astype(np.float64)
        error = np.abs(case.copy - case.wanted.value) / unit
    error = np.where(case.copy == case.wanted.value, 0.0, np.where(np.isnan(error), np.inf, error))
    index = int(error.argmax())
    return float(error.flat[index]), tuple(int(i) for i in np.unravel_index(index, error.shape))


def _likeness(case: Case) -> str:
    """How much of a tensor is still what it should be, in words."""
    copy, wanted = case.copy.ravel(), case.wanted.value.ravel()
    if not (np.isfinite(copy).all() and np.isfinite(wanted).all()):
        return "not finite"
    size, apart = np.sqrt(np.mean(wanted**2)), np.sqrt(np.mean((copy - wanted) ** 2))
    product = float(np.sqrt((copy**2).sum() * (wanted**2).sum()))
    alike = float((copy * wanted).sum()) / product if product else 0.0
    what = "of another training step" if alike > 0.5 else "unrelated"
    return f"{what}: {apart / size:.2g} of its size away, correlation {alike:.3g}" if size else what


def _settled(found: list[Value]) -> list[Value]:
    """Stale is what differs while most agree; where most differ, the network was trained otherwise."""
    unexplained = sum(value.kind == "stale" for value in found)
    if 2 * unexplained <= len(found):
        return found
    return [replace(value, kind="retrained") if value.kind == "stale" else value for value in found]
