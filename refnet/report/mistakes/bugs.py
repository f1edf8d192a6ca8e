"""What a mistake is called in words: of a port, and of the arrays of a file. One table each, by bug and form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from refnet.bugs.detectability import Detectability
from refnet.bugs.language.changes import PART, Mistake
from refnet.report.mistakes.damage import FILE_WORDS, FOLDED_WORDS
from refnet.report.mistakes.facts import fact_words
from refnet.report.mistakes.inputs import PREPROCESSING
from refnet.report.mistakes.late import LATE_WORDS, OTHER, part_words
from refnet.report.mistakes.layers import LAYER_WORDS
from refnet.report.mistakes.narrower import NARROWER_WORDS
from refnet.report.mistakes.slips import SLIPS
from refnet.report.mistakes.stored import STORED

__all__ = ["ALONE", "detectability_rows", "of_file", "of_port", "of_reader"]

_Words = Mapping[str, str | Mapping[str, str]]

ALONE = frozenset({"se-width", "sum-overflow"})  # by a sentence of their own: no run equals the reference then

# What a port does, to follow 'it equals the reference when'. A bug has one sentence, or one for each of its forms.
# What is said of a file in the same words is in FILE_WORDS alone.
_PORT: _Words = {**LAYER_WORDS, **PREPROCESSING, **STORED, **LATE_WORDS, **NARROWER_WORDS, **SLIPS}

_RELAID = ("kernel-transpose", "depthwise-axes", "weights-transpose", "kernel-flip", "channel-permute")


def of_port(mistake: Mistake) -> str:
    """What a port does: 'eps is 1e-05 instead of 0.001'."""
    said = _worded(_PORT if _is_in(_PORT, mistake) else FILE_WORDS, mistake)
    if "by_rule" in mistake.facts:
        form, *facts = mistake.facts["by_rule"]
        order = {"side": mistake.facts["arrays"], **dict(facts)}
        said = _worded(FILE_WORDS, Mistake("channel-permute", mistake.node, form, order))
    if PART not in mistake.facts:
        return said
    kind, facts = mistake.facts[PART]
    return f"{said}, in {part_words(kind, dict(facts))} alone"


def of_file(mistake: Mistake, *, folded: bool = False, before: bool = False) -> str:
    """What has happened to an array: 'batch norm was folded with eps 1e-05 instead of 0.001'.

    Parameters
    ----------
    folded : whether batch norm was folded into the array
    before : whether it had happened before that
    """
    words = _worded(FOLDED_WORDS if folded and _is_in(FOLDED_WORDS, mistake) else FILE_WORDS, mistake)
    return f"{words}, before batch norm was folded" if before and mistake.bug in _RELAID else words


def of_reader(mistake: Mistake, *, folded: bool = False) -> str:
    """What a reader's function does; of a fold, as of a file, where files have the mistake."""
    of_files = _is_in(FOLDED_WORDS, mistake) or _is_in(FILE_WORDS, mistake)
    return of_file(mistake, folded=True) if folded and of_files else of_port(mistake)


def _is_in(table: _Words, mistake: Mistake) -> bool:
    """Whether a table has words for a form of a bug."""
    words = table.get(mistake.bug, {})
    return isinstance(words, str) or mistake.form in words or OTHER in words


def _worded(table: _Words, mistake: Mistake) -> str:
    words = table[mistake.bug]
    if not isinstance(words, str):
        words = words[mistake.form if mistake.form in words else OTHER]
    return words.format(**{key: fact_words(key, value) for key, value in mistake.facts.items()})


def detectability_rows(found: Iterable[Detectability]) -> list[dict[str, Any]]:
    """What an input could show, for programs: {'id', 'sentence', 'places', 'visible', 'hidden': [place, ...]}."""
    return [
        {
            "id": each.bug.id,
            "sentence": each.bug.sentence,
            "places": each.places,
            "visible": each.places - len(each.hidden),
            "hidden": [f"{mistake.node}: {of_port(mistake)}" for mistake in each.hidden],
        }
        for each in found
    ]
