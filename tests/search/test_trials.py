"""A search as a whole: its budget, its log, going on after a kill, its front, and judgements that fail."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet import FormatError, RequestError
from refnet.search.layers import layers, multiply_adds
from refnet.search.objective import HARD, SMALL, reward_of
from refnet.search.proposers import PROPOSERS
from refnet.search.space import Space, Stage
from refnet.search.trials import SearchTrial, best_trial, front, search_space

SPACE = Space(stages=(Stage(2, (8, 12), (1, 2)), Stage(2, (12, 16), (1, 2), operation=(1, 3))), stem=8)


def accuracy(graph):
    return 1 - 1 / len(layers(graph))


def latency(graph):
    return multiply_adds(graph) / 1e5


def searched(**changed):
    asked = {"target": 2.0, "budget": 30, "size": (16, 16), "classes": 10, **changed}
    return search_space(SPACE, asked.pop("accuracy", accuracy), asked.pop("latency", latency), **asked)


@pytest.mark.parametrize("by", PROPOSERS)
def test_a_search_spends_its_budget_and_rewards_by_the_formula(by):
    trials = searched(by=by, exponents=SMALL)
    assert [trial.number for trial in trials] == list(range(1, 31))
    assert all(trial.reward == reward_of(trial.accuracy, trial.ms, 2.0, SMALL) for trial in trials)
    assert best_trial(trials).reward == max(trial.reward for trial in trials)


def test_a_point_is_judged_once():
    asked = []
    space = Space((Stage(2, (8, 12), (1,), (1,), (3,)),), stem=8)
    trials = search_space(space, lambda g: asked.append(g) or 0.5, latency, target=1, budget=40, size=(8, 8), classes=3)
    assert len(trials) == 40
    assert len(asked) == len({trial.point for trial in trials}) <= 8


@pytest.mark.parametrize("by", PROPOSERS)
@pytest.mark.parametrize("killed_at", [1, 9, 30])
def test_a_killed_search_goes_on_to_the_same_end(by, killed_at, tmp_path):
    whole, log = searched(by=by, log=tmp_path / "whole.jsonl"), tmp_path / "log.jsonl"

    def killed(trial):
        if trial.number == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(by=by, log=log, after_trial=killed)
    log.write_bytes(log.read_bytes() + b'{"trial": 99, "poi')  # and cut short while it wrote
    assert searched(by=by, log=log, resume=True) == whole
    assert log.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_search_that_came_to_its_end_goes_on_with_a_larger_budget(tmp_path):
    searched(budget=20, log=tmp_path / "log.jsonl")
    assert searched(budget=30, log=tmp_path / "log.jsonl", resume=True) == searched(budget=30)


def test_a_search_killed_while_its_log_began_begins_again(tmp_path):
    searched(budget=1, log=tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes()[:20])
    searched(budget=1, log=tmp_path / "b.jsonl", resume=True)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_a_line_of_the_log_says_what_was_chosen(tmp_path):
    (trial,) = searched(budget=1, log=tmp_path / "log.jsonl")
    said, line = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert said["target_ms"] == 2.0
    assert (line["trial"], tuple(line["point"]), line["ms"]) == (1, trial.point, trial.ms)
    assert [stage["filters"] in (8, 12, 16) for stage in line["stages"]] == [True, True]


@pytest.mark.parametrize(
    ("changed", "other"),
    [
        ({"target": 3.0}, "target_ms"),
        ({"seed": 1}, "seed"),
        ({"exponents": HARD}, "exponents"),
        ({"by": "random"}, "by"),
    ],
)
def test_the_log_of_another_search_is_refused_and_kept(changed, other, tmp_path):
    log = tmp_path / "log.jsonl"
    searched(budget=3, log=log)
    before = log.read_bytes()
    with pytest.raises(RequestError, match=f"of a search with other {other}"):
        searched(budget=3, log=log, resume=True, **changed)
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello\n", "no JSON"),
        ("hello", "no log of a search"),
        ('{"format": "refnet latency table 1"}\n', "its format is 'refnet latency table 1'"),
        ("[1]\n", "no JSON object"),
    ],
)
def test_a_file_that_is_no_log_is_refused_and_kept(text, said, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(text)
    with pytest.raises(FormatError, match=said):
        searched(log=log, resume=True)
    assert log.read_text() == text


@pytest.mark.parametrize(
    "damage", ['{"trial": 2}', "{", '{"trial": 2, "point": [0], "accuracy": 1, "ms": 1, "reward": 1}']
)
def test_a_damaged_line_is_refused(damage, tmp_path):
    log = tmp_path / "log.jsonl"
    searched(budget=3, log=log)
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:2], damage, *lines[3:], ""]))
    with pytest.raises((FormatError, RequestError), match=r"log\.jsonl"):
        searched(budget=3, log=log, resume=True)


def test_a_log_is_neither_overwritten_nor_made_up(tmp_path):
    with pytest.raises(RequestError, match="no such log to go on with"):
        searched(log=tmp_path / "log.jsonl", resume=True)
    searched(budget=1, log=tmp_path / "log.jsonl")
    with pytest.raises(RequestError, match="exists already; --resume goes on with it"):
        searched(log=tmp_path / "log.jsonl")


def fails(graph):
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize("what", ["accuracy", "latency"])
@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (lambda graph: math.nan, "is nan"),
        (lambda graph: -1.0, r"is -1\.0"),
        (lambda graph: "fast", "no {what}: ValueError"),
        (lambda graph: None, "no {what}: TypeError"),
        (fails, "no {what}: ZeroDivisionError: by nothing"),
    ],
)
def test_a_judgement_that_fails_names_the_trial_and_keeps_the_log(what, judge, said, tmp_path):
    good, calls = {"accuracy": accuracy, "latency": latency}[what], []

    def fails_at_last(graph):
        calls.append(graph)
        return good(graph) if len(calls) < 4 else judge(graph)

    with pytest.raises(RequestError, match=rf"^trial \d+ \(\d x \d+ of kernel \d.*{said.format(what=what)}") as refused:
        searched(log=tmp_path / "log.jsonl", **{what: fails_at_last})
    assert "\n" not in str(refused.value)
    number = int(str(refused.value).split()[1])
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == number  # what it is of, and the trials before
    assert len(searched(log=tmp_path / "log.jsonl", resume=True)) == 30


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": 0}, "the target is 0"),
        ({"target": -1.0}, "the target is -1"),
        ({"target": math.nan}, "the target is nan"),
        ({"budget": 0}, "the budget is 0"),
        ({"by": "luck"}, "nothing proposes by 'luck': take controller, evolution, random"),
    ],
)
def test_what_is_no_search_is_refused_before_it_begins(changed, said, tmp_path):
    with pytest.raises(RequestError, match=said):
        searched(log=tmp_path / "log.jsonl", **changed)
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(judged):
    trials = [SearchTrial(number, (number,), share / 5, float(ms), 0.0) for number, (share, ms) in enumerate(judged, 1)]
    found = front(trials)
    assert found == sorted(found, key=lambda trial: trial.ms)
    for trial in trials:
        beaten = any(
            o.accuracy >= trial.accuracy and o.ms <= trial.ms and (o.accuracy, -o.ms) != (trial.accuracy, -trial.ms)
            for o in trials
        )
        first = all((o.accuracy, o.ms) != (trial.accuracy, trial.ms) for o in trials[: trial.number - 1])
        assert (trial in found) == (not beaten and first)
