"""Counting, against sorting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.evaluation.scores import ClassScore, Confusion, Scores, predicted, ranks


@st.composite
def judged(draw):
    """(outputs, labels), with many ties."""
    N, classes = draw(st.integers(1, 8)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    outputs = rng.integers(0, draw(st.integers(1, 9)), (N, classes)).astype(np.float32)
    return outputs, rng.integers(0, classes, N)


def by_sorting(outputs, labels):
    """The places of the labels, by sorting each row as a person would."""
    rows = [sorted(range(len(row)), key=lambda k, row=row: (-row[k], k)) for row in outputs.tolist()]
    return [row.index(label) for row, label in zip(rows, labels.tolist(), strict=True)]


@given(judged())
def test_ranks_are_places_after_sorting(case):
    assert ranks(*case).tolist() == by_sorting(*case)


@given(judged(), st.integers(1, 3))
def test_counts_do_not_depend_on_batches_or_their_order(case, size):
    outputs, labels = case
    places = by_sorting(outputs, labels)
    scores = Scores(outputs.shape[1], k=2)
    for start in reversed(range(0, len(labels), size)):
        scores.add(outputs[start : start + size], labels[start : start + size])
    assert scores.top1 == sum(place == 0 for place in places)
    assert scores.topk == sum(place < min(2, outputs.shape[1]) for place in places)
    assert scores.judged == len(labels) == sum(row.images for row in scores.by_class())
    assert sum(pair.images for pair in scores.confusions()) == len(labels) - scores.top1


def test_classes_and_confusions_are_told_apart():
    scores = Scores(3)
    scores.add(np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 0]], np.array([0, 0, 0, 1, 1]))
    assert scores.k == 3
    assert scores.by_class() == [ClassScore(0, 3, 1, 3), ClassScore(1, 2, 1, 2)]
    assert scores.confusions() == [Confusion(0, 1, 2), Confusion(1, 0, 1)]
    assert scores.confusions(1) == [Confusion(0, 1, 2)]


def test_an_image_without_output_is_neither_right_nor_wrong():
    scores = Scores(2)
    scores.add(np.array([[np.nan, np.nan], [1, 0]], np.float32), np.array([0, 1]))
    assert (scores.images, scores.failed, scores.judged, scores.top1) == (2, 1, 1, 0)
    assert scores.by_class() == [ClassScore(1, 1, 0, 1)]
    assert predicted(np.array([[np.nan, np.nan], [1, 0]])).tolist() == [-1, 0]


@pytest.mark.parametrize(("labels", "step"), [([0, 1, 2, 3], 1), ([2, 3, 4, 5], -1), ([1, 2, 3, 4], 0)])
def test_labels_that_are_one_off_are_noticed(labels, step):
    scores = Scores(6)
    scores.add(np.eye(6, dtype=np.float32)[[1, 2, 3, 4]], np.array(labels))
    assert scores.shift() == step


def test_an_even_spread_of_mistakes_is_no_shift():
    scores = Scores(4)
    scores.add(np.eye(4, dtype=np.float32)[[0, 1, 2, 3]], np.array([1, 3, 1, 0]))
    assert scores.shift() == 0
