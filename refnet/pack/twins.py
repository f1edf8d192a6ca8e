"""A port that folds batch norm and dumps what it has under both names, the convolution's and the batch norm's.

Where batch norm is folded there is no tensor between both. Code that replaces the batch norm by nothing, as PyTorch's
fusion does, hands over the same numbers again, and so does an activation that was fused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph

__all__ = ["folded_twins"]

_FEWEST = 3  # layers: of fewer, a dump that took a tensor too late is as likely


class _DumpedTensor(Protocol):
    @property
    def array(self) -> npt.NDArray[Any]: ...

    @property
    def layout(self) -> str: ...


def folded_twins(graph: Graph, tensors: Mapping[str, _DumpedTensor]) -> tuple[str, ...]:
    """The nodes whose tensor is that of the batch norm, or activation, behind them; () unless all convolutions are so.

    Parameters
    ----------
    tensors : by node

    Examples
    --------
    >>> from refnet import build
    >>> from refnet.pack.match import MatchedTensor
    >>> y = MatchedTensor(lambda: np.ones(3), "y", "nchw", "name")
    >>> names = [f"block{i}.expand{end}" for i in (2, 3, 4) for end in ("", ".bn")]
    >>> folded_twins(build("torchvision/mobilenet_v2"), dict.fromkeys(names, y))
    ('block2.expand', 'block3.expand', 'block4.expand')
    """
    found: list[str] = []
    layers = 0
    for unit in graph.units():
        if unit.norm is None or unit.conv.name not in tensors or unit.norm.name not in tensors:
            continue
        if "unknown" in (tensors[unit.conv.name].layout, tensors[unit.norm.name].layout):
            return ()
        norm = tensors[unit.norm.name].array
        if not np.array_equal(tensors[unit.conv.name].array, norm):
            return ()
        layers += 1
        found.append(unit.conv.name)
        if unit.act is not None and unit.act.name in tensors and np.array_equal(norm, tensors[unit.act.name].array):
            found.append(unit.norm.name)
    return tuple(found) if layers >= _FEWEST else ()
