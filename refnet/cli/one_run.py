"""What commands that look into one run of a network share: which network, and which image."""

from __future__ import annotations

import argparse
from typing import Any

import numpy.typing as npt

from refnet.cli.common import network_in, part_arguments, part_of, strict_argument, weights_arguments
from refnet.errors import RequestError
from refnet.files.digits import digits
from refnet.inputs import read_input
from refnet.network import Network
from refnet.network.quantised import QuantisedNetwork

__all__ = ["look_arguments", "looked_at"]


def look_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --input, --weights, and what says which network the weights are."""
    parser.add_argument("--input", metavar="FILE", help="an image or a .npy array; by default a scan of a digit")
    weights_arguments(parser)
    strict_argument(parser)
    part_arguments(parser)


def looked_at(options: argparse.Namespace) -> tuple[Network, npt.NDArray[Any]]:
    """The network and the array that it is run on, in one precision.

    Raises
    ------
    RequestError
        if the network is one of integers, or no image is given for weights of the user's own.
    """
    which = {"model": options.model, "width": options.width, "size": options.size, "strict": options.strict}
    loaded = network_in(options.weights, **which, **part_of(options))
    if isinstance(loaded, QuantisedNetwork):
        raise RequestError("take a network of floats: this is one of integers")
    net: Network = loaded
    if options.input is None and options.weights is None:
        _, x, _ = digits().example()
    elif options.input is None:
        raise RequestError("say on which image: --input FILE")
    else:
        net, x = read_input(net, options.input, options.size)
    net = net.astype(x.dtype)
    return net, net.checked(x)
