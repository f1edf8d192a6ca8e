"""JSON from a file, parsed with distrust: of a bounded size, each name once in an object, numbers that are numbers.

A list of two bytes becomes an object of fifty, so what a text describes is counted before it is parsed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from refnet.errors import FormatError
from refnet.files.containers.archive import shown

__all__ = ["LARGEST", "bounded", "parse_json"]

LARGEST = 8 << 20  # bytes; the configuration of a network has some hundred thousand
_MOST = 400_000  # lists, objects and their entries; a network has some ten thousand
_DEEPEST = 100  # lists and objects within each other


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object as dicts, lists, texts, numbers.

    Parameters
    ----------
    what : the text is, for messages

    Raises
    ------
    FormatError : it is none, or more than this module reads
    """
    try:
        found = json.loads(bounded(data, what).decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{what} is no JSON ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(found, dict):
        raise FormatError(f"{what} is no JSON object")
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
    if level:
        raise FormatError(f"{what} has lists and objects more than {_DEEPEST} deep: refused")
    return found


def bounded(data: bytes, what: str) -> bytes:
    """The text itself, if it is short enough and describes few enough things to be parsed.

    Raises
    ------
    FormatError : it is not
    """
    if len(data) > LARGEST:
        raise FormatError(f"{what} is a text of {len(data)} bytes: no network's is longer than {LARGEST}")
    if sum(map(data.count, (b"[", b"{", b","))) > _MOST:
        raise FormatError(f"{what} describes more than {_MOST} things: no network does")
    return data


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise FormatError(f"{shown(twice)} is there twice in one JSON object: refused, one would hide the other")
    return made


def _constant(text: str) -> Any:
    raise FormatError(f"{text} stands for a number in JSON: refused")
