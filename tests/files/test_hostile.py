"""A small sample of hostile packs, candidates and files through the commands, and of structured mutants.

Two thousand of each: python tests/fuzz.py packs --count 2000
"""

from __future__ import annotations

import pytest
from fuzz import fuzz
from fuzz_commands import fuzz_commands
from fuzz_worker import COMMANDS, FINE

from refnet.files import shipped


@pytest.mark.parametrize("kind", COMMANDS)
def test_commands_refuse_or_answer(kind, tmp_path):
    outcomes = fuzz_commands(kind, tmp_path, 4, seed=1)
    assert outcomes.total() == 4
    assert set(outcomes) <= set(FINE), outcomes


def test_an_archive_that_is_well_formed_and_lies_is_refused_or_read_as_it_says():
    """Every third one is; those of other formats are among the damaged files that each format's own tests have."""
    outcomes = fuzz("npz", [shipped.path("digits_weights.npz")], 9, seed=3)
    assert outcomes.total() == 9
    assert set(outcomes) <= set(FINE), outcomes
