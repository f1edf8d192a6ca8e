"""What can be seen in an error, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Feature"]


class Feature(NamedTuple):
    """One thing that can be seen, in values; `report` words it.

    Attributes
    ----------
    kind : 'cut-off', 'images', 'channels', 'channel-step', 'channel-run', 'lines', 'border', 'ratio', 'affine',
        'shift', 'permuted', 'offset', 'table', 'saturated', 'weights', or 'algorithm' where a fast algorithm of
        convolution rounds so
    facts : its figures
    """

    kind: str
    facts: Mapping[str, Any]
