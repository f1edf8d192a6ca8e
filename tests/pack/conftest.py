"""A golden pack of a small network."""

from __future__ import annotations

import pytest
from packs import NET, ORIGIN, X

from refnet.pack.pack import write_pack


@pytest.fixture
def pack(tmp_path):
    write_pack(NET, X, tmp_path / "pack", origin=ORIGIN, only="block1.*")
    return tmp_path / "pack"
