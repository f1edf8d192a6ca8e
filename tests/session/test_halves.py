"""An image in two halves: what each makes, whoever makes it and in whichever order, is bit for bit the same."""

from __future__ import annotations

import numpy as np
import pytest
from halved import made_alone, made_in_halves
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import own_graphs

from refnet import build, random_input, random_params
from refnet.session.halves import Half, halves, in_vectors

FAMILIES = (
    "timm/mobilenetv1_100",
    "torchvision/mobilenet_v2",
    "timm/semnasnet_100",
    "torchvision/mobilenet_v3_large",
    "torchvision/mobilenet_v3_small",
    "kuan-wang/mobilenetv3_small",
)


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("first", [0, 1])
def test_halves_of_every_family_make_the_bits_of_the_whole(model, first):
    """224 pixels, so that all that a network does at its usual size is there."""
    graph = build(model)
    params, x = random_params(graph), random_input(graph, 1)
    whole = made_alone(graph, params, x)
    for name, y in made_in_halves(graph, params, x, first).items():
        assert np.array_equal(y, whole[name])


@settings(max_examples=60, deadline=None)
@given(own_graphs(), st.integers(0, 1), st.data())
def test_halves_of_any_graph_make_the_bits_of_the_whole(made, first, data):
    graph, params = made
    keep = data.draw(st.lists(st.sampled_from([node.name for node in graph.nodes]), unique=True))
    x = np.random.default_rng(0).standard_normal((1, *graph.input_shape))
    whole = made_alone(graph, params, x, keep)
    for name, y in made_in_halves(graph, params, x, first, keep).items():
        assert np.array_equal(y, whole[name], equal_nan=True)


@pytest.mark.parametrize("total", [*range(1, 20), 47, 48, 72, 127, 128, 144, 960, 1000])
def test_two_halves_are_the_whole_and_about_as_large(total):
    for unit in (1, in_vectors(total)):
        first, second = halves(total, unit)
        assert (first.start, first.stop, second.stop) == (0, second.start, total)
        assert first.stop % unit == 0
        assert abs(2 * first.stop - total) <= unit


def test_a_half_waits_until_the_other_one_has_come_as_far():
    waits = []

    def patience():
        waits.append(len(waits))
        if len(waits) == 3:
            second.meet(1)  # where the first one is already

    first, second = Half(0, patience), Half(1, lambda: None)
    second.places = first.places
    first.meetings = second.meetings = 1
    first.meet(1)
    assert waits == [0, 1, 2]
    assert not first.other_is_done or second.before == 0
    first.end()
    assert first.other_is_done
    second.end()
    assert first.before == second.before == 1
    first.places[0] = 2
    second.meet(1)  # the first one has come to the next run's meeting
    assert second.before == 1


def test_a_half_that_gives_up_lets_the_other_one_run_to_its_end():
    def give_up():
        raise TimeoutError

    first, second = Half(0, give_up), Half(1, lambda: pytest.fail("it waits"))
    second.places = first.places
    first.meetings = second.meetings = 5
    with pytest.raises(TimeoutError):
        first.meet(1)
    first.end()
    assert not first.other_is_done
    for meeting in range(1, 6):
        second.meet(meeting)
    second.end()
    assert first.other_is_done
