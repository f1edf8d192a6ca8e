"""Weights that were written as text with few digits, as arrays of C headers are."""

from __future__ import annotations

import numpy as np
import pytest
from exporting import beginning, checkpoint

from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.precision import Printed
from refnet.verification.verify import verify

GRAPH, PARAMS = beginning("v1", "block6.project.act")
FORMS = [Printed("decimals", 6), Printed("decimals", 4), Printed("digits", 4)]


def printed(params, form, only=None):
    return {
        name: w if only and name != only else form.rounded(w.astype(np.float64)).astype(np.float32)
        for name, w in params.items()
    }


def found(one, other):
    return {(each.kind, each.mistake.facts.get("places")) for each in verify(one, other).values}


@pytest.mark.parametrize("form", FORMS)
def test_how_many_digits_were_written_is_told(form):
    plain, copy = checkpoint(GRAPH, PARAMS), checkpoint(GRAPH, printed(PARAMS, form), "copy")
    assert found(plain, copy) == {("printed", form.places)}
    assert found(copy, plain) == {("printed", form.places)}


def test_of_a_folded_copy_too():
    graph, folded = fold_batch_norm(GRAPH, PARAMS)
    copy = checkpoint(graph, printed(folded, Printed("decimals", 5)), "copy")
    assert found(checkpoint(GRAPH, PARAMS), copy) == {("printed", 5)}


def test_of_one_array_alone():
    copy = checkpoint(GRAPH, printed(PARAMS, Printed("decimals", 4), only="block3.project.w"), "copy")
    (wrong,) = [each for each in verify(checkpoint(GRAPH, PARAMS), copy).values if each.kind != "bit-equal"]
    assert (wrong.kind, wrong.mistake.facts["places"]) == ("printed", 4)


def test_other_weights_with_few_digits_are_not_called_printed():
    other = printed({name: w[::-1] for name, w in PARAMS.items()}, Printed("decimals", 4))
    values = verify(checkpoint(GRAPH, PARAMS), checkpoint(GRAPH, other, "copy")).values
    assert "printed" not in {each.kind for each in values}
