"""The digits that ship, as the task that a search is judged by where the user gives none: no framework is asked for."""

from __future__ import annotations

from dataclasses import replace

from refnet.errors import RequestError
from refnet.network import Network
from refnet.search.head import proportion_right, refitted, split_scans

__all__ = ["accuracy_held_out", "accuracy_on_scans", "fine_tuned_on_scans", "reads_scans"]


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
    """How often a network is right on the scans that choices are made by, see `ScanSplit`."""
    return proportion_right(reads_scans(net).graph, net.params, *split_scans().judged)


def accuracy_held_out(net: Network) -> float:
    """How often a network is right on the scans that no choice has seen.

    Examples
    --------
    >>> from refnet.network import load
    >>> round(599 * accuracy_held_out(load()))
    593
    """
    return proportion_right(reads_scans(net).graph, net.params, *split_scans().held_out)


def fine_tuned_on_scans(net: Network) -> Network:
    """Fine-tuning in closed form: batch norm measured anew, the last layer solved for, on scans to fit to.

    Examples
    --------
    >>> from refnet.network import load
    >>> round(599 * accuracy_held_out(fine_tuned_on_scans(load())))
    597
    """
    return replace(net, params=refitted(reads_scans(net).graph, net.params, *split_scans().fitted))
