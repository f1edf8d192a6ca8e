"""Which differences between two files are meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from refnet.errors import RequestError

__all__ = ["DEFAULT", "WORDS", "policy"]

WORDS: Mapping[str, str] = {
    "folded": "batch norm worked into the convolutions",
    "renamed": "weights under another vendor's names",
    "rearranged": "channels in another order, or scaled, which the layers behind take back",
    "softmax": "probabilities at the end of one file, and the logits that they are made of at that of the other",
    "float32": "weights rounded from float64 to float32",
    "float16": "weights rounded to float16",
    "bfloat16": "weights rounded to bfloat16",
    "int8": "weights quantised to 8 bits",
    "structure": "another operation, attribute or size",
}
DEFAULT = ("folded", "renamed", "rearranged", "softmax")


def policy(text: str | None) -> tuple[str, ...]:
    """Read 'folded,float16'; 'none' allows nothing.

    Raises
    ------
    RequestError
        for a word that is not one of `WORDS`.
    """
    if text is None:
        return DEFAULT
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in (*WORDS, "none")]:
        raise RequestError(f"--allow: {unknown[0]!r} is none of {', '.join((*WORDS, 'none'))}")
    if not words or ("none" in words and len(words) > 1):
        raise RequestError(f"--allow: {text!r} is no list of differences; say none alone to allow nothing")
    return tuple(word for word in _known(words))


def _known(words: Iterable[str]) -> list[str]:
    return [word for word in WORDS if word in words]
