"""The digits that ship, as the task that NetAdapt is judged by where the user gives none: no framework is asked for.

All 1,198 scans of the training set are fitted to. Of the 599 that training never saw, every other one judges proposals,
and the rest is what is reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.network import Network
from refnet.search.head import LabelledScans, ScanSplit, proportion_right, refitted, split_scans
from refnet.search.reconstruct import layer_targets, reconstructed

__all__ = ["ScanTuning", "accuracy_held_out", "accuracy_on_scans", "adaptation_scans", "reads_scans"]

Array = npt.NDArray[Any]

_targets: dict[str, Mapping[str, Array]] = {}  # of the one network that this process tunes towards


@cache
def adaptation_scans() -> ScanSplit:
    """The digits in the parts that NetAdapt takes.

    Examples
    --------
    >>> [len(part.labels) for part in adaptation_scans()]
    [1198, 300, 299]
    """
    fitted, judged, unseen = split_scans()
    whole = LabelledScans(np.concatenate([fitted.x, judged.x]), np.concatenate([fitted.labels, judged.labels]))
    parts = (LabelledScans(unseen.x[start::2], unseen.labels[start::2]) for start in range(2))
    return ScanSplit(whole, *parts)


def reads_scans(net: Network) -> Network:
    """Refuse a network that takes other images than the scans of digits, or tells other classes; return it otherwise.

    Raises
    ------
    RequestError : it does
    """
    image, classes = split_scans().fitted.x.shape[1:], 10
    if net.graph.input_shape != image or net.graph.recipe.classes != classes:
        takes = "x".join(map(str, net.graph.input_shape))
        raise RequestError(
            f"the network takes {takes} and tells {net.graph.recipe.classes} classes, the digits are "
            f"{'x'.join(map(str, image))} of {classes}: give accuracy and fine_tune of your own, as docs/13-netadapt.md"
        )
    return net


def accuracy_on_scans(net: Network) -> float:
    """How often a network is right on the scans that proposals are judged by."""
    return proportion_right(reads_scans(net).graph, net.params, *adaptation_scans().judged)


def accuracy_held_out(net: Network) -> float:
    """How often a network is right on the scans that no choice has seen.

    Examples
    --------
    >>> from refnet.network import load
    >>> round(299 * accuracy_held_out(load()))
    294
    """
    return proportion_right(reads_scans(net).graph, net.params, *adaptation_scans().held_out)


class ScanTuning:
    """Fine-tuning in closed form: layers are moved towards a larger network's, then the last one is solved for.

    Parameters
    ----------
    net : the larger network

    Examples
    --------
    >>> from refnet.network import load
    >>> net = load()
    >>> accuracy_on_scans(ScanTuning(net)(net)) >= accuracy_on_scans(net)
    True
    """

    def __init__(self, net: Network) -> None:
        self.net = reads_scans(net)
        self.key = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in net.arrays())).hexdigest()

    def __call__(self, net: Network) -> Network:
        """The network with its weights tuned."""
        scans = adaptation_scans().fitted
        if self.key not in _targets:
            _targets.clear()
            x = scans.x.astype(self.net.dtype, copy=False)
            _targets[self.key] = layer_targets(self.net.graph, self.net.params, x)
        x = scans.x.astype(net.dtype, copy=False)
        params = reconstructed(reads_scans(net).graph, net.params, _targets[self.key], x)
        return replace(net, params=refitted(net.graph, params, x, scans.labels, norms=False))
