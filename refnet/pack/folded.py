"""How far a port's own folded weights may lie from those of a folded pack.

A port that folds batch norm itself does it in float32, in one of several orders; one that does not fold at all runs
batch norm behind the convolution. Both compute what the pack has, with other roundings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE
from refnet.networks.folded import folded_convolutions
from refnet.pack.pack import Pack
from refnet.readings.carried import gamma
from refnet.readings.precision import FLOATS

__all__ = ["fold_slack"]

Array = npt.NDArray[Any]

# Roundings on the longest path of a weight and of a bias: 7 and 9 in a fold (`UnitArrays.folded`), on terms
# as large the store of the convolution and 6 in the batch norm where nothing is folded; and the pack's own.
_WEIGHT, _BIAS = 8, 10
# A pack of a network that came folded does not know the terms that cancelled in a bias. They are mean and beta, hence
# at most as large as twice what the weights make of inputs of this size in random signs, and the bias. Tuned, on the
# table in tests/pack/test_folded.py: the least whole number of times that no trained network exceeds.
_TERMS = 2


def fold_slack(pack: Pack) -> Mapping[str, Array]:
    """By param of a convolution into which batch norm was folded, how far a port's own may lie from it."""
    u, found = FLOATS["float32"].u, dict[str, Array]()
    told = pack.manifest.get("folded", {})
    for conv, terms in (told or dict(_likely_terms(pack))).items():
        if conv == SOURCE or conv not in pack.graph or f"{conv}.b" not in pack.params:
            continue
        w, b = (np.abs(np.asarray(pack.params[f"{conv}.{slot}"], np.float64)) for slot in ("w", "b"))
        found[f"{conv}.w"] = gamma(_WEIGHT, u) * w
        found[f"{conv}.b"] = gamma(_BIAS, u) * np.maximum(np.asarray(terms, np.float64), b)
    return found


def _likely_terms(pack: Pack) -> Iterator[tuple[str, Array]]:
    """How large the terms were that cancelled in the biases of a network that came folded."""
    for conv in folded_convolutions(pack.graph):
        (source,) = pack.graph[conv].inputs
        if source in pack.names:
            w, b = (np.asarray(pack.params[f"{conv}.{slot}"], np.float64) for slot in ("w", "b"))
            most = float(np.abs(pack.tensor(source)).max(initial=0.0))
            yield conv, _TERMS * most * np.linalg.norm(w.reshape(len(w), -1), axis=1) + np.abs(b)
