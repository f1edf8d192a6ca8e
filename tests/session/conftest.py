"""Sessions whose tiles are small."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def tile(monkeypatch):
    """Sets how many elements are worked on at once."""

    def limited(size):
        for name in ("program", "residual", "stem"):
            monkeypatch.setattr(sys.modules[f"refnet.session.{name}"], "TILE", size)
        monkeypatch.setattr(sys.modules["refnet.session.residual"], "ROWS", 1)

    return limited
