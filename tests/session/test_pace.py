"""When an image is divided between two processes: where that was measured to pay."""

from __future__ import annotations

import itertools

import pytest

from refnet.session.pace import Pace

SECONDS = itertools.count(1000)  # of a clock, at which runs begin that follow a pause


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


def after_pauses(pace: Pace, alone, together=()) -> Pace:
    """The same after runs that each begin a second after the last one."""
    for milliseconds in alone:
        pace.begin(next(SECONDS))
        pace.ran_alone(milliseconds / 1000)
    for milliseconds in together:
        pace.begin(next(SECONDS))
        assert pace.together
        pace.ran_together(milliseconds / 1000)
    return pace


def test_runs_after_a_pause_that_take_long_are_no_end_for_those_that_follow_each_other():
    pace = after_pauses(paced([10] * 8, [6] * 8), [50])
    pace.tried(0.006)
    after_pauses(pace, [], [40] * 20)
    pace.begin(pace._ended + 0.01)
    assert pace.together
    assert pace.patience == pytest.approx(0.018)


def test_after_a_pause_a_worker_is_kept_where_it_saves_time_there():
    pace = after_pauses(paced([10] * 8, [6] * 8), [50])
    assert pace.to_try
    pace.tried(0.006)  # the same image once more tells nothing of one after a pause
    after_pauses(pace, [], [55, 60, 58])
    pace.begin(next(SECONDS))
    pace.ran_together(0.140)  # 100 ms were lent, 70 are left
    assert not pace.together
    pace.begin(pace._ended + 0.01)
    assert pace.together


def test_a_run_after_a_pause_may_take_three_times_the_slowest_one_alone():
    pace = after_pauses(paced([10] * 8), [30, 50, 40])
    assert pace.patience == pytest.approx(0.15)


def test_a_trial_after_a_pause_that_is_given_up_is_lost():
    pace = after_pauses(paced([10] * 8), [50])
    pace.tried(0.15, ran=False)
    assert not pace.together


def test_a_program_that_pauses_after_each_image_has_a_worker_too():
    assert after_pauses(Pace(), [20] * 13).wants_worker
