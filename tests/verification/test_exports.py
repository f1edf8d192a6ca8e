"""No finding on what vendors wrote: every file of a network is the network of its first file."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache

import pytest
from support import DATA

from refnet.files.checkpoint import identify
from refnet.report.verdict import sentence
from refnet.verification.verify import verify

_SPEC = importlib.util.spec_from_file_location("exports_list", DATA / "exports" / "exports.py")
_LIST = sys.modules["exports_list"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_LIST)

FIRST = {}
PAIRS = []
WRITTEN = set()
for export in _LIST.EXPORTS:  # files without biases hold other weights
    known = FIRST.setdefault((export.network, export.biases), export)
    way = str(export._replace(file="", network=""))
    if known is not export and way not in WRITTEN:  # each way of writing, of one network
        PAIRS.append((known, export))
        WRITTEN.add(way)


opened = cache(identify)  # the first file of a network is read once


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda export: export.file)
def test_every_export_is_still_its_network(exports, one, other):
    found = verify(opened(exports / one.file), opened(exports / other.file), allow=("folded", "renamed", "float16"))
    half = other.how == "tflite16"
    words = ["same network", *["batch norm folded"] * other.folded, *["rounded to float16"] * half]
    assert sentence(found).replace(", under other names", "") == ", ".join(words)
    assert not found.behaviour.wrong
    # Weights rounded to float16 may move an untrained network's two best classes past each other.
    assert half or found.behaviour.agree == found.behaviour.images
    assert not found.unhealthy
