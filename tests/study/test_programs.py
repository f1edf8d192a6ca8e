"""Right programs of the exercises, their slips, and which of these give an answer."""

from __future__ import annotations

import numpy as np
import pytest
from data.exercises.exam import function_of, right_code

from refnet.report.mistakes.programs import slip_lines, slip_words
from refnet.study.answers import answers_of
from refnet.study.exercises import EXERCISES
from refnet.study.grades import grade_of
from refnet.study.programs.forms import PROGRAMS, programs_of, slips_of
from refnet.study.programs.search import SLACK, Shown, slips_in, told


def shown(name, function):
    cases = EXERCISES[name].cases()
    answers = answers_of(EXERCISES[name], cases, function)
    pairs = [(case, answer.arrays) for case, answer in zip(cases, answers, strict=False)]
    found = [Shown(case, arrays, case.subject.misfit(arrays) <= 1) for case, arrays in pairs]
    return sorted(found, key=lambda each: each.case.order)


def test_every_exercise_has_its_programs():
    assert set(PROGRAMS) == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_program_without_slips_is_right(name):
    for program in programs_of(name):
        for case in EXERCISES[name].cases():
            given = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in case.given.items()}
            made = program.function(*given.values(), **case.named)
            parts = made if isinstance(made, tuple) and isinstance(made[0], np.ndarray) else (made,)
            dtype = case.dtype or np.dtype(np.int64)
            assert case.subject.misfit(tuple(np.atleast_1d(np.asarray(part, dtype)) for part in parts)) <= 1


@pytest.mark.parametrize("name", EXERCISES)
def test_right_spellings_are_far_within_what_is_let_pass(name):
    """An eighth of the slack at most, so that no answer is beyond it that rounds in another order."""
    (program, *_) = programs_of(name)
    for spelling, code in right_code(name):
        for each in shown(name, function_of(name, code)):
            if each.answer[0].dtype.kind == "f":
                made = program.function(*each.given.values(), **each.case.named)
                for y, found in zip(each.answer, made if isinstance(made, tuple) else (made,), strict=True):
                    size = max(1.0, float(np.abs(found).max(initial=0)))
                    assert np.abs(y - found).max(initial=0) <= each.slack / 8 * size, spelling


@pytest.mark.parametrize("name", EXERCISES)
def test_every_slip_has_its_words(name):
    for program in slips_of(name)[::23]:
        (slip,) = told(program)
        assert "{" not in slip_words(slip).replace("{}", "")
        assert slip.before != slip.after or slip.edit.kind in ("lines", "inside", "outside")  # a line is moved


def test_a_slip_along_one_axis_is_found_along_one_and_along_both_along_both():
    def answer(both):
        def conv(x, w, b, *, stride, pad):
            turned = w[:, :, ::-1, ::-1] if both else w[:, :, ::-1]
            return function_of("conv2d", dict(right_code("conv2d"))["taps"])(x, turned, b, stride=stride, pad=pad)

        return conv

    one, two = (slips_in("conv2d", shown("conv2d", answer(both)))[0][0].edit for both in (False, True))
    assert (one.kind, one.axes) == ("name", "") or (one.kind, one.axes) == ("reversed", "")
    assert "both" in two.axes or two.new == "w[k][:, ::-1, ::-1]"


def test_a_slip_in_a_part_of_the_result_is_found_in_that_part():
    def fold(w, b, gamma, beta, mean, var, *, eps):
        s = gamma / np.sqrt(var + eps)
        bias = s * (b - mean) + beta
        bias[0] = (s * b + beta)[0]
        return w * s[:, None, None, None], bias

    slips = slips_in("fold", shown("fold", fold))
    assert (0, "first") in [way[0].edit.part for way in slips]
    assert "in the first filter only" in slip_words(slips[0][0], ("filter",))


def test_two_slips_at_once_are_found_as_two():
    def batch_norm(x, gamma, beta, mean, var, *, eps):
        gamma, beta, mean, var = (each[:, None, None] for each in (gamma, beta, mean, var))
        return (1 + gamma) * (x - mean) / np.sqrt(var + eps) - beta

    (way, *_) = slips_in("batch_norm", shown("batch_norm", batch_norm))
    assert len(way) == 2


def test_the_lines_that_a_slip_changes_are_shown():
    def pointwise(x, w, b):
        return np.einsum("nchw,kc->nkhw", x, w) * b[:, None, None]

    (way, *_) = grade_of(EXERCISES["pointwise"], pointwise).slips
    assert list(slip_lines(way[0])) == [
        "  right: y[n, k, h, v] = total + b[k]",
        "  yours: y[n, k, h, v] = total * b[k]",
    ]


def test_an_answer_that_no_slip_gives_has_none():
    assert not slips_in("hard_swish", shown("hard_swish", lambda x: np.cos(x) * x**3))


def test_an_answer_just_beyond_the_slack_is_not_explained():
    """What is let pass can fail."""

    def hard_sigmoid(x):
        return (np.clip(x / 6 + 0.25, 0, 1) * (1 + 2 * SLACK * np.finfo(x.dtype).eps)).astype(x.dtype)

    assert not slips_in("hard_sigmoid", shown("hard_sigmoid", hard_sigmoid))
