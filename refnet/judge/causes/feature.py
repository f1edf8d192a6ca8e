"""What can be seen in an error, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Feature"]


class Feature(NamedTuple):
    """One thing that can be seen, in values; `report` words it.

    Attributes
    ----------
    kind : where an error is: 'cut-off', 'images', 'channels', 'channel-step', 'channel-run', 'row-run', 'column-run',
        'lines', 'border'; of what form: 'ratio', 'offset', 'class-offsets', 'shift', 'permuted', 'affine'; where it is
        from: 'table', 'weights', 'own-weights' (by a mistake of files), 'biases', 'norms' (the layer's own weights, and
        other numbers of batch norm), 'algorithm', 'inner-store', 'saturated', 'limits'; of a tensor of another size:
        'input-size', 'size-follows', 'length', 'more-channels', 'fewer-channels', 'widths', 'width-follows'; of one
        that is not finite: 'not-finite'
    facts : its figures
    """

    kind: str
    facts: Mapping[str, Any]
