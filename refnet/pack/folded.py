"""How far a port's own folded weights may lie from those of a folded pack.

A port that folds batch norm itself does it in float32, in one of several orders; one that does not fold at all runs
batch norm behind the convolution. Both compute what the pack has, with other roundings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE
from refnet.pack.pack import Pack
from refnet.readings.carried import gamma
from refnet.readings.precision import FLOATS

__all__ = ["fold_slack"]

Array = npt.NDArray[Any]

# Roundings on the longest path of a weight and of a bias: 7 and 9 in a fold (`bugs.arrays.UnitArrays.folded`), on terms
# as large the store of the convolution and 6 in the batch norm where nothing is folded; and the pack's own.
_WEIGHT, _BIAS = 8, 10


def fold_slack(pack: Pack) -> Mapping[str, Array]:
    """By param of a convolution into which batch norm was folded, how far a port's own may lie from it."""
    u, found = FLOATS["float32"].u, dict[str, Array]()
    for conv, terms in pack.manifest.get("folded", {}).items():
        if conv == SOURCE or conv not in pack.graph or f"{conv}.b" not in pack.params:
            continue
        w, b = (np.abs(np.asarray(pack.params[f"{conv}.{slot}"], np.float64)) for slot in ("w", "b"))
        found[f"{conv}.w"] = gamma(_WEIGHT, u) * w
        found[f"{conv}.b"] = gamma(_BIAS, u) * np.maximum(np.asarray(terms, np.float64), b)
    return found
