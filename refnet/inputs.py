"""What a network is run on: the file of an image, pixels, or an array that is ready; and the network at its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from refnet.errors import RefnetError, RequestError
from refnet.files.containers import npy
from refnet.files.images import cover, prepare, read_image
from refnet.network.quantised import AnyNetwork, QuantisedNetwork

__all__ = ["at_size_of", "input_of", "read_input"]

Array = npt.NDArray[Any]
_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue in a grey image: ITU-R BT.601
Net = TypeVar("Net", bound=AnyNetwork)


def read_input(net: Net, path: str | Path, size: tuple[int, int] | None = None) -> tuple[Net, Array]:
    """Read an image, or a .npy file of what is ready.

    Parameters
    ----------
    net : which is to run on it
    path : of a file that ends in .npy, or of an image
    size : (height, width) that the caller asked for; by default an array's own size is taken, and of an image that
        which leaves nothing out, if the network's vendor crops nothing

    Returns
    -------
    net : at the size of the array, or that all of the image needs
    x : (N, C, H, W) array; of an image in the network's dtype, else float32 or float64 as the file has it. Whether the
        network takes an array is for `Network.checked` to say

    Raises
    ------
    FormatError, RequestError
        if the file is unreadable, or its array holds anything but float32 or float64.
    """
    path = Path(path)
    if path.suffix != ".npy":
        if net.graph.recipe.preprocessing is None:
            return net, input_of(net, path)
        pixels = read_image(path)
        net = net if size is not None else at_whole(net, pixels)
        return net, input_of(net, pixels)
    x = npy.read(path)
    if isinstance(net, QuantisedNetwork) and x.dtype.kind in "iu":
        return net, x
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        raise RequestError(f"{path}: holds {x.dtype}; take float32 or float64, scaled as the network expects")
    return net if size is not None else at_size_of(net, x), x.astype(x.dtype.newbyteorder("="), copy=False)


def input_of(net: AnyNetwork, image: Path | Array) -> Array:
    """One image as a network takes it.

    Parameters
    ----------
    net : its recipe says how its vendor prepares images, and at which size
    image : the path of an image; its pixels, (H, W, 3) uint8; or what is ready, (C, H, W) floats

    Returns
    -------
    x : (1, C, H, W) array, dtype of the network

    Raises
    ------
    FormatError
        if the file is no image that can be read.
    RequestError
        if the image cannot be resized, or an array is not what the network takes.
    RefnetError
        if Pillow is missing; if nobody has said how images are prepared for this network.

    Examples
    --------
    >>> from refnet.network import load
    >>> input_of(load(), np.zeros((40, 50, 3), np.uint8)).shape
    (1, 3, 32, 32)
    """
    if not isinstance(image, Path) and image.dtype != np.uint8:
        return net.checked(np.array(image)[np.newaxis])  # a copy, no longer mapped from a file
    recipe = net.graph.recipe
    if recipe.preprocessing is None:
        raise RefnetError("nobody has said how images are prepared for this network: give arrays that are ready")
    pixels = read_image(image) if isinstance(image, Path) else image
    x = prepare(pixels, recipe.preprocessing, recipe.size)
    if recipe.channels == 1:
        x = np.tensordot(x, _LUMA, axes=(1, 0))[:, np.newaxis]
    return x.astype(net.dtype)


def at_whole(net: Net, pixels: Array) -> Net:
    """The network for all of an image, its shorter side as the network has it; as it is if its vendor crops."""
    recipe = net.graph.recipe
    if isinstance(net, QuantisedNetwork) or recipe.preprocessing is None or recipe.preprocessing.resize != (1, 1):
        return net
    shorter = min(recipe.size)
    return cast("Net", net.at(cover(pixels.shape[:2], (shorter, shorter))))


def at_size_of(net: Net, x: Array) -> Net:
    """The network for images of the size of an array that is ready.

    An array in the wrong layout has a size too: what is wrong with it is then its layout.

    Examples
    --------
    >>> from refnet.network import load
    >>> at_size_of(load(), np.zeros((1, 3, 48, 40), np.float32)).graph.input_shape
    (3, 48, 40)
    """
    channels = net.graph.recipe.channels
    if x.ndim not in (3, 4) or channels not in (x.shape[-3], x.shape[-1]):
        return net
    first = x.shape[-3] == channels
    return cast("Net", net.at((x.shape[-2], x.shape[-1]) if first else (x.shape[-3], x.shape[-2])))
