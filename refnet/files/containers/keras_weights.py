"""Which layer of a Keras model a weight belongs to, by what files call it; one name for each: '<path>/<variable>'.

Files name weights after their layers ('conv1/kernel:0'), behind scopes that depend on how and when a model was built
('sequential_4/sequential_3/dense/kernel'), or number them layer by layer and class by class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from refnet.files.containers.keras_config import KerasLayer, KerasModel

__all__ = ["group_name", "layer_groups", "own_name", "owners"]

_RENAMED = {"depthwise_kernel": "kernel"}  # TF-Keras 2 -> Keras 3, of a depthwise convolution
_MOST_SCOPES = 64
_MOST_TWINS = 64  # layers of one name, in different models


def own_name(weight: str) -> tuple[str, str]:
    """The layer with its scopes, and the variable as Keras 3 calls it, of a weight's name.

    Examples
    --------
    >>> own_name("conv1/depthwise_kernel:0")
    ('conv1', 'kernel')
    """
    scopes, _, variable = weight.removesuffix(":0").rpartition("/")
    return scopes, _RENAMED.get(variable, variable)


def owners(weights: Iterable[str], layers: Iterable[KerasLayer]) -> dict[str, str]:
    """The path of the layer that each weight belongs to, where exactly one fits.

    Parameters
    ----------
    weights : names of theirs
    layers : those that it may be
    """
    by_name: dict[str, list[str]] = {}
    for layer in layers:
        by_name.setdefault(layer.name, []).append(layer.path)
    found = {}
    for weight in weights:
        scopes, _ = own_name(weight)
        paths = _candidates(scopes, by_name) or _candidates(re.sub(r"_\d+$", "", scopes), by_name)
        shared = {path: _shared(path, scopes) for path in paths[:_MOST_TWINS]}
        most = max(shared.values(), default=0)
        best = [path for path, count in shared.items() if count == most]
        if len(best) == 1 and len(paths) <= _MOST_TWINS:
            found[weight] = best[0]
    return found


def _candidates(scopes: str, by_name: Mapping[str, list[str]]) -> list[str]:
    """The paths of the layers of the longest name that a weight's scopes end in; a name may have slashes in it."""
    parts = scopes.split("/", _MOST_SCOPES)
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((by_name[end] for end in ends if end in by_name), [])


def _shared(path: str, scopes: str) -> int:
    """How many parts two paths have in common at their ends."""
    count = 0
    for one, other in zip(reversed(path.split("/")), reversed(scopes.split("/")), strict=False):
        if one != other:
            break
        count += 1
    return count


def layer_groups(model: KerasModel, above: str = "") -> dict[str, KerasLayer]:
    """The layer of each group of a .weights.h5 file: Keras numbers layers of one class in their order in a model."""
    counts: dict[str, int] = {}
    found = {}
    for layer in model.layers:
        kind = group_name(layer.kind)
        counts[kind] = count = counts.get(kind, -1) + 1
        group = f"{above}layers/{kind}_{count}" if count else f"{above}layers/{kind}"
        found[group] = layer
        if layer.inner is not None:
            found |= layer_groups(layer.inner, f"{group}/")
    return found


def group_name(kind: str) -> str:
    """The group that Keras gives a layer of a class.

    Examples
    --------
    >>> group_name("DepthwiseConv2D"), group_name("BatchNormalization")
    ('depthwise_conv2d', 'batch_normalization')
    """
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
