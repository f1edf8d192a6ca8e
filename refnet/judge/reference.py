"""What a candidate is compared with: a network, its golden tensors, and what is known of its input besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from refnet.graph import Graph
from refnet.pack.folded import fold_slack
from refnet.pack.pack import Pack

__all__ = ["Reference"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reference:
    """What a candidate is compared with.

    Attributes
    ----------
    graph, params : the network
    golden : loads one of its tensors, the input's included, by name; NCHW
    stored : the names that `golden` knows
    image : the pixels that the input was made of, (H, W, 3) uint8, where they are known
    decoded : what else may be made of that picture's file, by how
    centred : the candidate's tensors that are known up to a number for each image
    slack : by param, how far a port's own may lie from it, where batch norm was folded into it
    """

    graph: Graph
    params: Mapping[str, Array]
    golden: Callable[[str], Array]
    stored: tuple[str, ...]
    image: Array | None = None
    decoded: Mapping[str, Array] = field(default_factory=dict)
    centred: frozenset[str] = frozenset()
    slack: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, params: Mapping[str, Array], golden: Mapping[str, Array]) -> Reference:
        """A network with its golden tensors by name, the input's included."""
        return cls(graph, params, golden.__getitem__, tuple(golden))

    @classmethod
    def of_pack(cls, pack: Pack) -> Reference:
        """The network of a golden pack with the tensors that it stores, each read when it is asked for."""
        return cls(pack.graph, pack.params, pack.tensor, pack.names, slack=fold_slack(pack))
