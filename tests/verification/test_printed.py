"""Weights that were written as text with few digits, as arrays of C headers are."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, random_params, verify
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.precision import Printed

GRAPH = build("keras/MobileNet", width=0.25, size=(32, 32), classes=10)
PARAMS = random_params(GRAPH)
FORMS = [Printed("decimals", 6), Printed("decimals", 4), Printed("digits", 4)]


def saved(path, params, form=None, only=None):
    made = {
        name: w if form is None or (only and name != only) else form.rounded(w.astype(np.float64)).astype(np.float32)
        for name, w in params.items()
    }
    np.savez(path, **made)
    return path


def found(original, copy):
    values = verify(original, copy, model="keras/MobileNet").values
    return {(each.kind, each.mistake.facts.get("places")) for each in values}


@pytest.mark.parametrize("form", FORMS)
def test_how_many_digits_were_written_is_told(tmp_path, form):
    plain, printed = saved(tmp_path / "a.npz", PARAMS), saved(tmp_path / "b.npz", PARAMS, form)
    assert found(plain, printed) == {("printed", form.places)}
    assert found(printed, plain) == {("printed", form.places)}


def test_of_a_folded_copy_too(tmp_path):
    _, folded = fold_batch_norm(GRAPH, PARAMS)
    plain = saved(tmp_path / "a.npz", PARAMS)
    printed = saved(tmp_path / "b.npz", folded, Printed("decimals", 5))
    assert found(plain, printed) == {("printed", 5)}


def test_of_one_array_alone(tmp_path):
    plain = saved(tmp_path / "a.npz", PARAMS)
    printed = saved(tmp_path / "b.npz", PARAMS, Printed("decimals", 4), only="block3.project.w")
    (wrong,) = [each for each in verify(plain, printed).values if each.kind != "bit-equal"]
    assert (wrong.kind, wrong.mistake.facts["places"]) == ("printed", 4)


def test_other_weights_with_few_digits_are_not_called_printed(tmp_path):
    other = {name: w[::-1] for name, w in PARAMS.items()}
    plain, printed = saved(tmp_path / "a.npz", PARAMS), saved(tmp_path / "b.npz", other, Printed("decimals", 4))
    assert "printed" not in {each.kind for each in verify(plain, printed).values}
