"""Where the tests' data is, and the facts about every public model."""

from __future__ import annotations

import json
from pathlib import Path

DATA = Path(__file__).parent / "data"
CHECKOUT = Path(__file__).resolve().parent.parent
FACTS = json.loads((DATA / "facts.json").read_text())["models"]


def facts_id(fact: dict) -> str:
    """How a model of the facts is called in a test's name."""
    return f"{fact['name']}-{fact['width']:g}"
