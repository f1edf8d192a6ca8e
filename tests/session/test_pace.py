"""When an image is divided between two processes: where that was measured to pay."""

from __future__ import annotations

import pytest

from refnet.session.pace import Pace


def paced(alone, together=(), *, same=True) -> Pace:
    """After runs alone that took so many milliseconds, and then runs with a worker."""
    pace = Pace()
    for milliseconds in alone:
        pace.ran_alone(milliseconds / 1000)
    for number, milliseconds in enumerate(together):
        if number:
            pace.ran_together(milliseconds / 1000)
        else:
            pace.tried(milliseconds / 1000, same=same)
    return pace


def rested(pace: Pace, milliseconds=10) -> int:
    """How many runs alone there are until the next trial."""
    count = 0
    while not pace.to_try and count < 1000:
        pace.ran_alone(milliseconds / 1000)
        count += 1
    return count


@pytest.mark.parametrize(
    ("alone", "wanted"),
    [([10] * 24, False), ([10] * 26, True), ([0.9] * 300, False), ([1.1] * 300, True)],
    ids=["few", "many", "short", "many of them"],
)
def test_a_worker_is_wanted_after_a_quarter_of_a_second_of_runs_that_are_not_short(alone, wanted):
    assert paced(alone).wants_worker == wanted


@pytest.mark.parametrize(
    ("trials", "kept"),
    [([12, 11, *[8] * 200], 202), ([8] * 10 + [11] * 200, 34), ([9.8] * 200, 67), ([9.3] * 200, 200)],
    ids=["quicker", "slower since", "hardly quicker", "a little quicker"],
)
def test_a_worker_is_kept_as_long_as_it_saves_time(trials, kept):
    pace = paced([10] * 8)
    pace.tried(trials[0] / 1000)
    count = 1
    for milliseconds in trials[1:]:
        if pace.together:
            pace.ran_together(milliseconds / 1000)
            count += 1
    assert count == kept


def test_other_bits_end_it_for_good():
    pace = paced([10] * 8, [7], same=False)
    assert not pace.together
    assert rested(pace) == 1000


def test_a_run_that_is_given_up_ends_it_for_a_while_unless_a_worker_has_saved_more():
    pace = paced([10] * 8, [6] * 2)
    assert pace.patience == pytest.approx(0.018)
    pace.ran_together(0.018, ran=False)
    assert pace.together  # 12 ms were lent, and 7 saved
    pace.ran_together(0.018, ran=False)
    assert not pace.together
    assert rested(pace) == 1


def test_a_run_that_takes_long_without_waiting_is_no_end():
    pace = paced([10] * 8, [6] * 20)
    pace.ran_together(0.025)
    assert pace.together


def test_of_what_a_worker_has_saved_eight_runs_count_so_that_a_busy_machine_is_soon_seen():
    pace, waited = paced([10] * 8, [6] * 1000), 0
    while pace.together:
        pace.ran_together(pace.patience, ran=False)
        waited += 1
    assert waited == 3


def test_it_is_tried_less_and_less_often_on_a_busy_machine_and_as_often_as_before_on_a_quiet_one():
    pace, rests = paced([10] * 8, [6] * 8), []
    for _ in range(6):
        pace.ran_together(1, ran=False)
        rests.append(rested(pace))
        pace.tried(0.006)
    assert rests == [1, 4, 16, 64, 256, 256]
    for _ in range(20):
        pace.ran_together(0.006)
    pace.ran_together(1, ran=False)
    assert rested(pace) == 1


def test_without_its_workers_a_session_begins_again():
    pace = paced([10] * 30, [6] * 8)
    pace.leave()
    assert not pace.together
    pace.ran_alone(0.01)
    assert not pace.wants_worker
