"""How far runs of one network lie apart: the yardstick where only end outputs exist.

No bound holds through a whole network and says anything, so refnet runs it several times, honestly but in other
summation orders, with batch norm folded and not, and takes the largest distance between two runs. That is
refnet's own spread; it is a measurement, not a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.network import Network
from refnet.networks.rewrite import norms
from refnet.readings.orders import ORDERS
from refnet.shares import at_once

__all__ = ["spread"]


def spread(net: Network, x: npt.NDArray[Any], last: str, orders: Mapping[str, Any] = ORDERS) -> float:
    """The largest distance between two runs, over all elements of one tensor.

    Parameters
    ----------
    net : a network, not folded
    x : its input
    last : the tensor to compare, such as 'head.flatten'
    orders : the executions to run

    Returns
    -------
    float, in units of the tensor
    """
    inside = {norm.name: conv for conv, norm in norms(net.graph).items()}

    def made(each: Network, name: str, rules: Any) -> npt.NDArray[np.float64]:
        return np.asarray(next(y for node, y in each.steps(x, rules) if node.name == name), np.float64)

    both = ((net, last), (net.fold(), inside.get(last, last)))
    runs = at_once([partial(made, *one, rules) for one in both for rules in orders.values()])
    return float((np.maximum.reduce(runs) - np.minimum.reduce(runs)).max())
