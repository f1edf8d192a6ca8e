"""What stands before the names that a vendor gives, where a network was saved as a part of something else.

`model.features.0.0.weight` in a Lightning checkpoint, `module.` of DataParallel, `backbone.0.0.weight` where the part
is torchvision's `features` itself: a prefix is the one under which most of a vendor's names are in the file, and none
is known beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

__all__ = ["NO_PREFIX", "Prefix", "prefixes"]

_LEAST = 0.5  # of the names under a prefix must be the vendor's
_FEWEST = 20  # names of a network, a folded one without its head too
# A network has 700 names, a detector around it a few times as many: what has more is not looked through.
_MOST_NAMES, _MOST_PREFIXES = 20_000, 100
_ENDS = re.compile(r"[./]")  # behind the parts of a vendor's name: PyTorch's and TensorFlow's


class Prefix(NamedTuple):
    """How the names of a file begin, and how the vendor's do in their place.

    Attributes
    ----------
    own : in the file: 'model.', 'backbone.'
    vendor : in the vendor's names: '' or, where the file holds only a part of the vendor's network, 'features.'
    """

    own: str
    vendor: str

    def to_vendor(self, key: str) -> str:
        """A name of the file as the vendor's; one that does not begin so is left as it is."""
        return self.vendor + key.removeprefix(self.own) if key.startswith(self.own) else key

    def to_own(self, key: str) -> str:
        """A vendor's name as the file's would be."""
        return self.own + key.removeprefix(self.vendor) if key.startswith(self.vendor) else key


NO_PREFIX = Prefix("", "")


def prefixes(arrays: Mapping[str, Any], networks: Iterable[Sequence[str]]) -> list[Prefix]:
    """The prefixes under which most of a vendor's names are in a file: several where it holds several networks alike.

    Parameters
    ----------
    arrays : by the file's names
    networks : the names of each network that could be meant, the first of them that of its first convolution
    """
    if len(arrays) > _MOST_NAMES:
        return []
    alike: dict[str, list[Sequence[str]]] = {}
    for names in networks:
        alike.setdefault(names[0], []).append(names)
    found: dict[Prefix, int] = {}
    for first, each in alike.items():
        for prefix in islice(_candidates(arrays, first), _MOST_PREFIXES):
            held = {prefix.to_vendor(key) for key in arrays if key.startswith(prefix.own)}
            most = max(len(held.intersection(names)) for names in each)
            found[prefix] = max(found.get(prefix, 0), most)
    likely = {one: count for one, count in found.items() if count >= max(_FEWEST, _LEAST * _size(one, arrays))}
    most = max(likely.values(), default=0)
    return [one for one, count in likely.items() if count == most]


def _size(prefix: Prefix, keys: Collection[str]) -> int:
    """How many names of a file begin so."""
    return sum(key.startswith(prefix.own) for key in keys)


def _candidates(keys: Collection[str], first: str) -> Iterator[Prefix]:
    """Every prefix under which the name of the first convolution is in a file."""
    # At least two parts are left, else every '.weight' would do.
    for at in [0, *(match.end() for match in _ENDS.finditer(first))][:-1]:
        ending = first[at:]
        for key in keys:
            own = key.removesuffix(ending)
            # 'net.features.' for 'features.' is 'net.' for nothing.
            if key.endswith(ending) and (not own or _ENDS.match(own[-1])) and (not at or not own.endswith(first[:at])):
                yield Prefix(own, first[:at])
