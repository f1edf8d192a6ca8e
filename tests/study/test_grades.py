"""Exercises: right answers pass in every spelling, wrong ones do not, and their mistake is named."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
from data.exercises.exam import ANSWERS, function_of, right_code, unnamed, wrong_code

import refnet
from refnet import RequestError
from refnet.bugs.catalogue import BUGS, REPLAYED
from refnet.report.exercises import grade_document, grade_lines, task_lines
from refnet.report.mistakes.bugs import of_reader
from refnet.study.answers import answers_of
from refnet.study.causes import Faced, mistakes_in
from refnet.study.exercises import EXERCISES
from refnet.study.grades import grade as grade_for
from refnet.study.subjects import Computed, Folded

NAMED = 0.8  # the bar: of wrong answers, how many get their mistake named
# Of every how many wrong answers the mistake is looked for; of fewer in exercises where that takes long.
SEARCHED = 4
LONG = {
    "hard_sigmoid": 6,
    "hard_swish": 6,
    "conv2d": 9,
    "depthwise": 9,
    "squeeze_excite": 10,
    "separable": 14,
    "v1_block": 16,
    "inverted_residual": 18,
    "inverted_residual_se": 14,
}
ONLY_FILES = ("damage", "few_values", "refolds", "scales", "stored_weights")


def test_every_exercise_has_five_right_spellings_and_twelve_wrong_answers():
    assert set(ANSWERS) == set(EXERCISES)
    for right, wrong in ANSWERS.values():
        assert len(right) >= 5
        assert len(wrong) >= 12


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_right_answer_fails(name, seed):
    for spelling, code in right_code(name):
        assert graded(name, function_of(name, code), seed).passed, spelling


@pytest.mark.parametrize("name", EXERCISES)
def test_no_wrong_answer_passes_and_its_mistake_is_named(name):
    answers, hard, named = list(wrong_code(name)), unnamed(name), 0
    searched = answers[:: LONG.get(name, SEARCHED)]
    for what, code in answers:
        if what in hard or (what, code) not in searched:  # a search that finds nothing takes seconds
            assert is_wrong(name, code), what
            continue
        grade = graded(name, function_of(name, code))
        assert not grade.passed, what
        assert grade_lines(grade)
        assert not grade_document(grade)["passed"]
        named += bool(grade.causes or grade.slips)
    assert named >= NAMED * len(searched)


@cache
def cases_of(name, seed=0):
    """Drawn once for all answers."""
    return EXERCISES[name].cases(seed)


def graded(name, function, seed=0):
    """`grade_of`, with what is right worked out once for all answers."""
    cases = cases_of(name, seed)
    return grade_for(EXERCISES[name], cases, list(answers_of(EXERCISES[name], cases, function)))


def is_wrong(name, code):
    cases, told = cases_of(name), 0
    for case, answer in zip(cases, answers_of(EXERCISES[name], cases, function_of(name, code)), strict=False):
        told += 1
        if answer.arrays and case.subject.misfit(answer.arrays) > 1:
            return True
    return told < len(cases)  # behind an answer that tells all


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_is_right_by_the_definition_and_within_the_bounds_of_the_fast_reading(name):
    for case in cases_of(name):
        assert case.subject.misfit(case.subject.right) <= 1


@pytest.mark.parametrize("name", EXERCISES)
def test_cases_are_the_same_for_a_seed_and_others_for_another(name):
    one, again, other = (EXERCISES[name].cases(seed) for seed in (3, 3, 4))
    for a, b in zip(one, again, strict=True):
        assert a.named == b.named
        assert all(np.array_equal(x, b.arrays[key]) for key, x in a.arrays.items())
    assert any(
        a.named != c.named or [x.shape for x in a.arrays.values()] != [x.shape for x in c.arrays.values()]
        or (not a.arrays and a.given != c.given)
        for a, c in zip(one, other, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("name", EXERCISES)
def test_every_mistake_that_an_exercise_can_show_has_its_words(name):
    seen = set()
    for case in cases_of(name):
        subject = case.subject.facing(case.subject.right)
        for bug in BUGS.values():
            if bug.group in ("precision", "overflow", "ends", "preprocessing", "pictures", "solved", *ONLY_FILES):
                continue
            for change in subject.changes(bug):
                seen.add(bug.id)
                assert of_reader(change.of(bug.id), folded=isinstance(subject, Folded))
    assert seen


def test_slips_are_not_replayed_on_ports():
    assert not {bug.group for bug in REPLAYED} & {
        "slips",
        "formulas",
        "pad_rules",
        "rules",
        "damage",
        "few_values",
        "refolds",
        "scales",
        "stored_weights",
    }


def named_of(name, function):
    grade = graded(name, function)
    return [[(each.mistake.bug, each.mistake.form) for each in way] for way in grade.causes]


def depthwise(x, w, b, stride, pad, *, turned=False, biased=True, mode="constant"):
    x = np.pad(x, ((0, 0), (0, 0), *pad), mode=mode)
    view = np.lib.stride_tricks.sliding_window_view(x, w.shape[1:], axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    y = np.einsum("ncpqrs,crs->ncpq", view, w[:, ::-1, ::-1] if turned else w)
    return y + b[:, None, None] if biased else y


def depthwise_turned(*given, stride, pad, odd):
    return depthwise(*given, stride, pad, turned=stride[0] == 1 or not odd)


def test_two_mistakes_at_once_are_both_named():
    ways = named_of("depthwise", lambda *a, stride, pad: depthwise(*a, stride, pad, turned=True, biased=False))
    assert {frozenset(bug for bug, _ in way) for way in ways} == {frozenset({"kernel-flip", "bias-missing"})}


def test_a_mistake_that_shows_in_some_cases_only_must_leave_the_others_right():
    """A kernel turned for odd strides alone is no turned kernel; one turned for all is."""
    for odd, named in ((True, False), (False, True)):
        turned = partial(depthwise_turned, odd=odd)
        answers = answers_of(EXERCISES["depthwise"], cases_of("depthwise"), turned)
        faced = [Faced(case.subject, each.arrays) for case, each in zip(cases_of("depthwise"), answers, strict=True)]
        ways = [[each.mistake.bug for each in way] for way in mistakes_in(faced)]
        assert (["kernel-flip"] in ways) == named


def test_a_mistake_in_every_layer_is_said_once():
    function = function_of("inverted_residual", dict(wrong_code("inverted_residual"))["no root"])
    grade = graded("inverted_residual", function)
    assert [[(each.mistake.bug, each.everywhere) for each in way] for way in grade.causes] == [[("bn-var-std", True)]]
    assert "everywhere" in "\n".join(grade_lines(grade))


def test_the_smallest_wrong_case_is_shown_with_a_star_at_each_wrong_number():
    grade = graded("depthwise", lambda *a, stride, pad: depthwise(*a, stride, pad, turned=True))
    index = grade.numbers[0]
    assert grade.cases[index].order == min(grade.cases[i].order for i in grade.numbers)
    (off,) = grade.cases[index].subject.off(grade.answers[index].arrays)
    text = "\n".join(grade_lines(grade))
    assert f"case {index + 1}" in text
    where = np.argwhere(off)[0]
    assert text.count("*") == np.count_nonzero(off[where[0], where[1]])


FAULTS = {
    "raised": lambda x: x[99, 99],
    "type": lambda x: x.tolist(),
    "dtype": lambda x: (x * np.clip(x.astype(np.float64) / 6 + 0.5, 0, 1)).astype(np.float64),
    "shape": lambda x: np.append(x, x),
    "nonfinite": lambda x: x / np.zeros_like(x),
    "changed": lambda x: np.multiply(x, np.clip(x / 6 + 0.5, 0, 1), out=x),
    "unsteady": lambda x, calls=[]: calls.append(1) or x * len(calls),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_wrong_besides_numbers_is_said_in_a_sentence(kind):
    grade = graded("hard_swish", FAULTS[kind])
    assert not grade.passed
    assert kind in {fault.kind for _, fault in grade.faults}
    assert any(line.startswith("Case ") and line.endswith(".") for line in grade_lines(grade))


def test_right_numbers_of_another_dtype_are_said_to_be_right():
    assert "The numbers are right." in grade_lines(graded("hard_swish", FAULTS["dtype"]))


@pytest.mark.parametrize("answer", [None, 3, (1, 2, 3), (0.5, 0.5), ("a", "b"), [[1], [2]]])
def test_what_is_no_pair_of_numbers_is_said_to_be_none(answer):
    grade = graded("same_padding", lambda *a: answer)
    assert [fault.kind for _, fault in grade.faults] == ["numbers"]


class Own(np.ndarray):
    """An array of a reader's own class."""


LAID = {
    "columns first": np.asfortranarray,
    "own class": lambda y: y.view(Own),
    "masked": np.ma.array,
    "other byte order": lambda y: y.astype(y.dtype.newbyteorder()),
}


@pytest.mark.parametrize("laid", LAID)
def test_right_numbers_pass_however_they_are_laid_out(laid):
    assert refnet.exercise("hard_swish")(lambda x: LAID[laid](x * np.clip(x / 6 + 0.5, 0, 1).astype(x.dtype))).passed


class Unwritten:
    def __repr__(self):
        raise ValueError


@pytest.mark.parametrize(
    "answer", [Unwritten(), np.zeros((2, 2), complex), np.array([None]), np.ma.zeros(3), iter("a")]
)
@pytest.mark.parametrize("name", ["same_padding", "block_rows", "depthwise", "fold"])
def test_whatever_is_returned_is_told_on_one_line(name, answer, recwarn):
    grade = graded(name, lambda *a, **k: answer)
    assert not grade.passed
    assert not any("\n" in line for line in grade_lines(grade))
    assert not recwarn.list


def test_what_an_exception_says_on_several_lines_is_told_on_one():
    def hard_swish(x):
        raise ValueError("one\ntwo" * 1000)

    (line,) = [line for line in grade_lines(graded("hard_swish", hard_swish)) if line.startswith("Case")]
    assert "ValueError: one two" in line
    assert len(line) < 500


def test_pads_that_leave_no_window_are_graded_all_the_same():
    """A pad of one less than the rule's, which may be below zero."""

    def answer(size, kernel, stride, dilation):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation - size, 0)
        return total // 2, total - total // 2

    for function in (answer, lambda *given: (0, 0), lambda *given: (-3, -3)):
        assert not graded("same_padding", function).passed


def test_a_fold_that_is_one_array_is_said_to_be_one():
    grade = graded("fold", lambda w, *a, eps: w)
    assert [fault.kind for _, fault in grade.faults] == ["count"]


def test_a_function_that_cannot_be_called_so_is_refused():
    with pytest.raises(RequestError, match=r"write hard_swish\(x\)"):
        refnet.exercise("hard_swish")(lambda: 0)
    with pytest.raises(RequestError, match="give a function"):
        refnet.exercise("hard_swish")(3)


def test_an_exercise_that_is_not_there_has_its_nearest_named():
    with pytest.raises(RequestError, match="depthwise"):
        refnet.exercise("depthwize")


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_says_what_to_write(name):
    lines = task_lines(EXERCISES[name])
    assert f"def {name}({EXERCISES[name].call}):" in lines
    assert repr(refnet.exercise(name)) == "\n".join(lines)


def test_cases_of_filters_tell_every_side_from_every_other():
    """Among them are unequal strides, four different pads, kernels that are not square, several images."""
    cases = EXERCISES["conv2d"].cases()
    assert any(case.named["stride"][0] != case.named["stride"][1] for case in cases)
    assert any(len({*case.named["pad"][0], *case.named["pad"][1]}) > 2 for case in cases)
    assert any(case.arrays["w"].shape[2] != case.arrays["w"].shape[3] for case in cases)
    assert any(len(case.arrays["x"]) > 1 for case in cases)
    assert {str(case.dtype) for case in cases} == {"float32", "float64"}
    assert all(isinstance(case.subject, Computed) for case in cases)
