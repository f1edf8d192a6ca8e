"""How much of an error an effect could explain."""

import numpy as np
import pytest

from refnet.judge.causes.sketch import explained


def test_an_effect_whose_squares_float32_cannot_hold_explains_what_lies_along_it() -> None:
    error = np.array([3.0, 4.0], np.float32)
    assert explained(error, np.array([3e25, 4e25], np.float32)) == pytest.approx(1.0)


def test_an_effect_across_an_error_explains_nothing_of_it() -> None:
    assert explained(np.array([3.0, 4.0]), np.array([-4.0, 3.0])) == 0.0
