"""What test_shares divides over processes, which import it from here by its name."""

from __future__ import annotations

import os
import time


def share_of(given, share, of):
    """What a test asks for by a word: an answer, an error, an end, or a long wait."""
    word = given if isinstance(given, str) else ""
    if word == "fails" and share:
        raise ValueError("share 1 fails")
    if word == "interrupted" and not share:
        raise KeyboardInterrupt
    if word == "cannot be sent":
        return lambda: share
    if word == "dies" and os.getpid() != int(os.environ["REFNET_TEST_OWNER"]):
        os._exit(3)
    if word in ("interrupted", "waits"):
        time.sleep(60 if share else 1)
    return share, of, os.getpid(), given
