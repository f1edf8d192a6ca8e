"""What nodes are called: a vendor's name of a tensor, made fit to be the name of a file, once."""

from __future__ import annotations

import re

__all__ = ["clean_name", "first_name", "free_name"]

_LONGEST = 80  # letters of a node's name, which becomes a file's


def first_name(name: str) -> str:
    """TFLite joins the names of all operations that it has fused into one."""
    return next((part for part in name.split(";") if part), "tensor")


def clean_name(name: str) -> str:
    """A vendor's name with dots in place of what no file is called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", ".", first_name(name)).strip(".")[-_LONGEST:].strip(".") or "tensor"


def free_name(name: str, taken: set[str]) -> str:
    """A clean name that is not among those taken, to which it is added."""
    clean = made = clean_name(name)
    count = 1
    while made in taken:
        count += 1
        made = f"{clean}.{count}"
    taken.add(made)
    return made
