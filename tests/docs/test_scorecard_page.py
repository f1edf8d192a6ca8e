"""The page of the scorecard: every bug has its place on it, and each figure counts what its parts hold."""

from __future__ import annotations

import json

import pytest
from support import CHECKOUT

from refnet.bugs.catalogue import REPLAYED
from refnet.judge.scorecard import FAMILIES
from refnet.judge.sweep import DUMPS, SYSTEMATIC


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(CHECKOUT / "docs")
    monkeypatch.syspath_prepend(CHECKOUT / "tests/data/ports")
    import make_scorecard

    return make_scorecard


@pytest.fixture
def kept(tmp_path):
    """Parts in which every bug was named, but for one that is tied in V2 and one that is hidden at V1's end."""
    ids = [bug.id for bug in REPLAYED]
    for name in FAMILIES:
        rows = [[name, bug, f"`{bug}`", True, True, True, "named"] for bug in ids]
        if name == "V2":
            rows[0][-1] = "tied"
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": rows, "pairs": 19, "honest": 32, "alarms": 1}))
    for name in SYSTEMATIC:
        for dump in DUMPS:
            lost = (name, dump) == ("V1", "logits")
            rows = [[name, bug, "", dump, "missed" if lost and bug == ids[0] else "named"] for bug in ids]
            (tmp_path / f"{name}, {dump}.json").write_text(json.dumps({"rows": rows}))
    rows = [["port", "what is wrong", bug, True, bug != ids[-1]] for bug in ids]
    (tmp_path / "ports.json").write_text(json.dumps({"rows": rows}))
    return tmp_path


def test_the_page_counts_what_is_kept(script, kept):
    count, inputs = len(REPLAYED), sum(bug.group in script.INPUTS for bug in REPLAYED)
    lines = script.page(kept).splitlines()
    assert f"| V2 | {count} | {count} | {count} | {count} | {count - 1} | 1 | 0 | 19 | 1 |" in lines
    assert f"| V1 | {count} of {count} | {count} of {count} | {count - 1} of {count} | {inputs} of {inputs} |" in lines
    assert f"- `{REPLAYED[0].id}`, end only: missed: V1" in lines
    assert f"| all | {count} | {count} | {count - 1} |" in lines
    assert "- `port`: what is wrong" in lines
