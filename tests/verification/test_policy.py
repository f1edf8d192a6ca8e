"""What a policy allows is said in words."""

from __future__ import annotations

import pytest

from refnet import RequestError
from refnet.verification.policy import DEFAULT, policy


def test_a_policy_is_its_words_in_their_order_or_what_is_meant_by_default():
    assert policy(None) == DEFAULT == ("folded", "renamed", "rearranged", "softmax")
    assert policy(" float16 ,folded,") == ("folded", "float16")
    assert policy("none") == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("folded,flat", "--allow: 'flat' is none of folded, renamed, rearranged, softmax, float32"),
        ("none,folded", "is no list of differences; say none alone"),
        ("", "'' is no list of differences"),
        (" , ", "is no list of differences"),
    ],
)
def test_a_policy_that_says_nothing_is_refused(text, complaint):
    with pytest.raises(RequestError, match=complaint):
        policy(text)
