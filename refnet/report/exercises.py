"""Exercises in words: what each asks for, and how a reader's function did, with its smallest wrong case in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS
from refnet.graph import SOURCE
from refnet.report.mistakes.bugs import of_reader
from refnet.report.mistakes.features import feature_sentence
from refnet.report.mistakes.programs import slip_lines, slip_words
from refnet.study.answers import Blemish
from refnet.study.causes import NamedMistake
from refnet.study.exercises import Exercise
from refnet.study.grades import Grade
from refnet.study.subjects import Computed, Folded

__all__ = ["grade_document", "grade_lines", "task_lines"]

Array = npt.NDArray[Any]

_ALL = "Your answers, all of them, are what one gets when"
_TIES = 2  # ways that are told, of those that explain the answers alike
_PADS = "stride is (down, right), pad is ((top, bottom), (left, right)); points outside the image count as 0."
_NORM = "gamma (x - mean) / sqrt(var + eps) + beta, channel by channel"
_VECTORS = "gamma, beta, mean and var hold one number for each channel; eps is added to var."
_NAMES = (
    "params holds the arrays by name: {parts}, each with '.w' and with '.bn.gamma', '.bn.beta', '.bn.mean', '.bn.var'."
)

# By exercise, what a reader must know.
_TASKS: Mapping[str, tuple[str, ...]] = {
    "conv2d": (
        "x is (N, C, H, W), w (K, C, R, S), b (K,). Return y, (N, K, P, Q):",
        "y[n,k,p,q] = b[k] + sum over c,r,s of x[n, c, p stride[0] - top + r, q stride[1] - left + s] w[k,c,r,s]",
        "with P = (H + top + bottom - R) // stride[0] + 1, and Q likewise.",
        _PADS,
    ),
    "depthwise": (
        "x is (N, C, H, W), w (C, R, S), b (C,). Return y, (N, C, P, Q):",
        "y[n,c,p,q] = b[c] + sum over r,s of x[n, c, p stride[0] - top + r, q stride[1] - left + s] w[c,r,s]",
        "with P = (H + top + bottom - R) // stride[0] + 1, and Q likewise.",
        _PADS,
    ),
    "pointwise": (
        "x is (N, C, H, W), w (K, C), b (K,). Return y, (N, K, H, W):",
        "y[n,k,h,v] = b[k] + sum over c of x[n,c,h,v] w[k,c]",
    ),
    "separable": (
        "x is (N, C, H, W), depthwise_w (C, R, S), pointwise_w (K, C). Return y, (N, K, P, Q):",
        "a depthwise convolution with this stride and pad, then a pointwise one. There are no biases, and nothing "
        "between the two.",
        _PADS,
    ),
    "v1_block": (
        "x is (N, C, H, W). Return y, (N, K, P, Q): a 3 x 3 depthwise convolution, batch norm, ReLU6, a pointwise "
        "convolution, batch norm, ReLU6.",
        _NAMES.format(parts="'depthwise' and 'project'"),
        f"Batch norm is {_NORM}. " + _PADS,
    ),
    "inverted_residual": (
        "x is (N, C, H, W). Return y, (N, K, P, Q): a pointwise convolution that expands, batch norm, ReLU6; a 3 x 3 "
        "depthwise convolution, batch norm, ReLU6; a pointwise convolution that projects, batch norm. No activation "
        "follows.",
        "Where the stride is (1, 1) and K = C, x is added. Where params has no 'expand.w', the first three are left "
        "out.",
        _NAMES.format(parts="'expand', 'depthwise' and 'project'"),
        f"Batch norm is {_NORM}. " + _PADS,
    ),
    "inverted_residual_se": (
        "x is (N, C, H, W). Return y, (N, K, P, Q): as inverted_residual, with squeeze-and-excite between the "
        "activation of the depthwise convolution and the projection:",
        "the mean of each channel, a linear layer with 'se.reduce.w' (S, E) and 'se.reduce.b', ReLU, a linear layer "
        "with 'se.expand.w' (E, S) and 'se.expand.b', hard sigmoid min(max(z / 6 + 1/2, 0), 1); each channel times its "
        "gate.",
        "Where the stride is (1, 1) and K = C, x is added. Where params has no 'expand.w', there is no expansion.",
        _NAMES.format(parts="'expand', 'depthwise' and 'project'"),
        f"Batch norm is {_NORM}. " + _PADS,
    ),
    "squeeze_excite": (
        "x is (N, C, H, W), reduce_w (S, C), reduce_b (S,), expand_w (C, S), expand_b (C,). Return y, (N, C, H, W):",
        "the mean of each channel of each image; a linear layer to S numbers, ReLU; a linear layer back to C numbers, "
        "hard sigmoid min(max(z / 6 + 1/2, 0), 1); each channel of x times its gate.",
    ),
    "hard_sigmoid": ("x is an array of any shape. Return min(max(x / 6 + 1/2, 0), 1) of each number.",),
    "hard_swish": ("x is an array of any shape. Return x min(max(x + 3, 0), 6) / 6 of each number.",),
    "batch_norm": (f"x is (N, C, H, W). Return y of the same shape: {_NORM}.", _VECTORS),
    "fold": (
        "w is (K, C, R, S), b (K,): a convolution, which a batch norm follows. Return (weights, bias) of one "
        "convolution that does both.",
        f"Batch norm is {_NORM}. " + _VECTORS,
    ),
    "same_padding": (
        "All four are whole numbers, along one axis. Return (before, after), the pads that TensorFlow's SAME puts on:",
        "there are ceil(size / stride) windows, the padding is the least for that, and an odd point comes after.",
    ),
    "block_rows": (
        "stem is the number of channels before the first block. stages is a list of (kernel, t, c, n, s, se), as in "
        "V2's table 2: n blocks with c channels out, the first with stride s, the others with stride 1; each block "
        "expands its input by the factor t. Return one (kernel, expanded, squeeze, out, stride) for each block.",
        "squeeze is 0 where se is False. Else it is a quarter of the expanded channels, rounded to the nearest "
        "multiple of 8 (half-way up, at least 8), and 8 more where that is less than 0.9 of the quarter.",
    ),
    "netadapt_choice": (
        "A network has this accuracy and this latency. Proposal i has accuracies[i] and latencies[i]. Return the "
        "index of the one that NetAdapt takes in MobileNet V3:",
        "of those that save at least delta of the latency, the one with the largest change of accuracy divided by the "
        "saved latency; the first of equals, and -1 where none saves enough.",
    ),
}


_WHOLE = {
    "numbers": "two whole numbers: (before, after)",
    "number": "one whole number: the index of a proposal",
    "rows": "rows of five whole numbers: (kernel, expanded, squeeze, out, stride)",
}


def task_lines(exercise: Exercise) -> list[str]:
    """What an exercise asks for, and how to begin."""
    lines = [f"{exercise.name}: {exercise.line}", "", *_TASKS[exercise.name]]
    if exercise.answers not in _WHOLE:
        lines.append("The result has the dtype of the arrays that are given, and these stay as they are.")
    return [*lines, "", "import numpy as np", "", "", f"def {exercise.name}({exercise.call}):", "    ..."]


def grade_lines(grade: Grade) -> list[str]:
    """How a reader's function did."""
    exercise, done = grade.exercise.name, len(grade.answers)
    if grade.passed:
        return [f"{exercise}: right, in all of {done} cases"]
    of = len(grade.cases)
    right = done - len(grade.wrong)
    lines = [f"{exercise}: not yet right. {right} of {of} cases are right" + ("" if done == of else "; it ended early")]
    for index, fault in grade.faults:
        if fault.kind != "shape" or not (grade.causes or grade.slips):
            lines.append(f"Case {index + 1}: {_fault(fault)}.")
    if grade.numbers:
        index = grade.numbers[0]
        lines += ["", f"The smallest case that is wrong, case {index + 1}:", "", *_picture(grade, index), ""]
    elif grade.faults and all(fault.kind == "dtype" for _, fault in grade.faults):
        lines.append("The numbers are right.")
    lines += _causes(grade)
    return lines


def _causes(grade: Grade) -> Iterator[str]:
    for place, way in enumerate(grade.causes[:_TIES]):
        words = " and ".join(_of_named(named, grade) for named in way)
        start = "Or, just as well, when" if place else _ALL
        yield f"{start} {words} [{', '.join(named.mistake.bug for named in way)}]."
        yield from (f"  {BUGS[named.mistake.bug].link}" for named in way if BUGS[named.mistake.bug].link)
    for place, slips in enumerate(grade.slips[:_TIES]):
        words = " and ".join(slip_words(slip, _axes(grade)) for slip in slips)
        yield f"{'Or, just as well, when' if place else _ALL} {words}."
        yield from (line for slip in slips for line in slip_lines(slip))
    if grade.numbers and not grade.causes and not grade.slips:
        yield "No mistake of the catalogue gives all of your answers."
        yield from (f"What can be seen: {feature_sentence(feature)}." for feature in grade.features)


def _axes(grade: Grade) -> tuple[str, ...]:
    """What the axes of a result are called."""
    match grade.exercise.answers:
        case "arrays":
            return ("filter",)
        case "rows":
            return ("block", "number of a row")
    return ("image", "channel", "row", "column")


def _of_named(named: NamedMistake, grade: Grade) -> str:
    """A mistake, and where it is in an exercise of several layers."""
    subjects = [case.subject for case in grade.cases]
    words = of_reader(named.mistake, folded=isinstance(subjects[0], Folded))
    layers = max(len(subject.segment.graph) if isinstance(subject, Computed) else 1 for subject in subjects)
    if layers == 1 or named.mistake.node == SOURCE:
        return words
    return f"{words}, {'everywhere' if named.everywhere else f'in {named.mistake.node}'}"


def _fault(fault: Blemish) -> str:
    """What is wrong besides numbers: 'it returns a list, not an array'."""
    facts = fault.facts
    match fault.kind:
        case "raised":
            line = f", in line {facts['line']}: {facts['text']}" if facts["line"] else ""
            words = f": {facts['words']}" if facts["words"] else ""
            return f"it raises {facts['error']}{words}{line}"
        case "type" if facts["found"] == "NoneType":
            return "it returns nothing: end it with return y"
        case "type":
            return f"it returns a value of type {facts['found']}, not an array of numbers"
        case "count":
            return f"it returns a value of type {facts['found']}, not two arrays: the weights and the bias"
        case "numbers":
            return f"it returns {facts['found']}, not {_WHOLE[str(facts['wanted'])]}"
        case "large" | "shape":
            return f"its result has the shape {facts['found']}, not {facts['wanted']}"
        case "dtype":
            return (
                f"its result is {facts['found']}, where the arrays are {facts['wanted']}: make it with dtype=x.dtype, "
                "and see which constant widens it"
            )
        case "nonfinite":
            return f"{facts['count']} of {facts['of']} numbers are not finite"
        case "changed":
            return f"it changes {facts['argument']}, which it is given: work on a copy"
        case "unsteady":
            return "asked twice, it answers in two ways: something is kept from one call to the next"
        case "endless":
            return f"it does not end: it was stopped after {facts['seconds']:g} seconds"
    return f"it ends Python ({facts['how']})"


# -------------------------------------------------------------------------------------------------- pictures of numbers

_ROWS, _COLUMNS, _BESIDE, _WIDTH = 8, 9, 4, 100
_DIGITS = 4


def _picture(grade: Grade, index: int) -> list[str]:
    """A case as matrices: what is given, what should come out, what does, with a mark at each number that is off."""
    case, answer = grade.cases[index], grade.answers[index]
    rights, marks = case.subject.right, case.subject.off(answer.arrays)
    place = next(i for i, mark in enumerate(marks) if mark.any() or answer.arrays[i].shape != rights[i].shape)
    right, found, mark = rights[place], answer.arrays[place], marks[place]
    first = tuple(int(i) for i in np.argwhere(mark)[0]) if mark.shape == right.shape else (0,) * right.ndim
    numbers: dict[str, Any] = {k: v for k, v in case.given.items() if isinstance(v, int | float | list)}
    numbers |= dict(case.named)
    lines = [", ".join(f"{name} {value}" for name, value in numbers.items())] if numbers else []
    given = [block for name, array in case.arrays.items() for block in _given(name, array, first)]
    lines += _beside(given[: 2 * _BESIDE])
    what = "" if len(rights) == 1 else (" weights", " bias")[place]
    digits = _telling(right, found, mark)
    pair = [(f"right{what}", right, None), (f"yours{what}", found, mark)]
    lines += ["", *_beside([_slice(name, array, first, stars, digits) for name, array, stars in pair])]
    if len(given) > 2 * _BESIDE:
        lines.insert(0, f"(the first {2 * _BESIDE} of {len(given)} matrices that are given)")
    return lines


def _given(name: str, array: Array, first: tuple[int, ...]) -> Iterator[list[str]]:
    """What is given as matrices: of an image or a filter, each channel of the one that is looked at."""
    if array.ndim < 3:
        yield _matrix(name, array, None)
        return
    outer = (first[0] if name == "x" else first[1] if len(first) > 1 else first[0],) if array.ndim == 4 else ()
    part = array[min(outer[0], len(array) - 1)] if outer else array
    for c in range(min(len(part), _BESIDE)):
        yield _matrix(f"{name}[{', '.join(map(str, (*outer, c)))}]", part[c], None)


def _telling(right: Array, found: Array, mark: Array) -> int:
    """How many digits tell the first wrong number from the right one."""
    if right.shape != found.shape:
        return _DIGITS
    one, other = (float(array[mark][0]) for array in (right, found))
    return next((n for n in range(_DIGITS, 17) if f"{one:.{n}g}" != f"{other:.{n}g}"), 17)


def _slice(name: str, array: Array, first: tuple[int, ...], mark: Array | None, digits: int) -> list[str]:
    """The matrix of a result in which the first wrong number is."""
    at = tuple(min(i, side - 1) for i, side in zip(first, array.shape, strict=False))[: max(array.ndim - 2, 0)]
    title = f"{name}[{', '.join(map(str, at))}]" if at else name
    if mark is None or mark.shape != array.shape:
        return _matrix(title, array[at], None, digits)
    return _matrix(title, array[at], mark[at], digits)


def _matrix(title: str, array: Array, mark: Array | None, digits: int = _DIGITS) -> list[str]:
    """A title and rows of numbers; one that is off has a star behind it."""
    rows = np.atleast_2d(array)
    stars = np.zeros(rows.shape, bool) if mark is None else np.atleast_2d(mark)
    shown = [
        [_number(value, digits) + ("*" if star else " ") for value, star in zip(*row, strict=True)]
        for row in zip(rows, stars, strict=True)
    ]
    cut = [row[:_COLUMNS] + ["..."] * (len(row) > _COLUMNS) for row in shown[:_ROWS]]
    width = max((len(cell) for row in cut for cell in row), default=1)
    lines = [" ".join(cell.rjust(width) for cell in row).rstrip() for row in cut]
    return [f"{title}", *lines, *(["..."] if len(shown) > _ROWS else [])]


def _number(value: Any, digits: int) -> str:
    return f"{float(value) + 0.0:.{digits}g}"  # no -0


def _beside(blocks: list[list[str]]) -> list[str]:
    """Matrices side by side, as many as there is room for."""
    lines: list[str] = []
    while blocks:
        row: list[list[str]] = []
        while blocks and (not row or sum(max(map(len, b)) + 3 for b in (*row, blocks[0])) <= _WIDTH):
            row.append(blocks.pop(0))
        widths = [max(map(len, block)) for block in row]
        cells = zip_longest(*row, fillvalue="")
        lines += [
            "   ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)).rstrip() for each in cells
        ]
    return lines


def grade_document(grade: Grade) -> dict[str, Any]:
    """A grade for programs."""
    folded = isinstance(grade.cases[0].subject, Folded)
    return {
        "exercise": grade.exercise.name,
        "passed": grade.passed,
        "cases": len(grade.cases),
        "answered": len(grade.answers),
        "wrong": [index + 1 for index in grade.wrong],
        "faults": [{"case": index + 1, "kind": fault.kind, "sentence": _fault(fault)} for index, fault in grade.faults],
        "mistakes": [
            [
                {
                    "id": named.mistake.bug,
                    "place": named.mistake.node,
                    "everywhere": named.everywhere,
                    "sentence": of_reader(named.mistake, folded=folded),
                    "link": BUGS[named.mistake.bug].link,
                }
                for named in way
            ]
            for way in grade.causes
        ],
        "slips": [
            [{"sentence": slip_words(s, _axes(grade)), "right": list(s.before), "yours": list(s.after)} for s in way]
            for way in grade.slips
        ],
    }
