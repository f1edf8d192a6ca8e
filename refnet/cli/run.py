"""refnet run: the classes that a network sees in an image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.cli.common import as_is_argument, load_array, print_json, size_argument
from refnet.errors import RequestError
from refnet.files import shipped
from refnet.files.digits import digits
from refnet.files.images import read_input
from refnet.files.labels import class_names
from refnet.network import Network, load
from refnet.networks.dialects import MODELS
from refnet.readings import fast

Array = npt.NDArray[Any]

_PHOTOGRAPH = "chelsea.png"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", nargs="?", help="an image, or a .npy array (N, C, H, W) ready for the network")
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint; by default the digits network that ships")
    parser.add_argument("--model", help="which network the checkpoint is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="its width multiplier, likewise")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size to run at; by default the vendor's")
    as_is_argument(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to show (5)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image."""
    if options.top < 1:
        raise RequestError(f"--top {options.top}: take at least 1")
    net = load(options.weights, model=options.model, width=options.width, size=options.size, as_is=options.as_is)
    net, x, what = _input(options, net)
    probabilities = _probabilities(net, x)
    names = _names(net)
    images = [
        [(int(k), names[k], float(row[k])) for k in np.argsort(-row, kind="stable")[: options.top]]
        for row in probabilities
    ]
    recipe = net.graph.recipe
    if options.json:
        keys = ("class", "name", "probability")
        ranked = [[dict(zip(keys, entry, strict=True)) for entry in entries] for entries in images]
        print_json({"model": recipe.model, "width": recipe.width, "input": what, "images": ranked})
        return 0
    print(f"{recipe.model}, width {recipe.width:g}, {' x '.join(map(str, x.shape))}: {what}")
    for index, entries in enumerate(images):
        if len(images) > 1:
            print(f"image {index}")
        for k, name, probability in entries:
            print(f"{k:>6}  {probability:7.2%}  {name}")
    return 0


def _input(options: argparse.Namespace, net: Network) -> tuple[Network, Array, str]:
    """The array to run, the network at its size and precision, and what the array is."""
    preprocessing = MODELS[net.graph.recipe.model].dialect.preprocessing
    size = net.graph.recipe.size
    if options.input is None and options.weights is None:
        index, x, label = digits().example()
        return net, x, f"scan {index} of the digits, a {label}"
    if options.input is None:
        photograph = read_input(shipped.path(_PHOTOGRAPH), preprocessing, size)
        return net, photograph.astype(net.dtype), f"{_PHOTOGRAPH}, a photograph of a cat that ships with refnet"
    path = Path(options.input)
    if path.suffix != ".npy":
        return net, read_input(path, preprocessing, size).astype(net.dtype), path.name
    x = load_array(path)
    if options.size is None and x.ndim == 4 and x.shape[1] == net.graph.recipe.channels:
        net = net.at((x.shape[2], x.shape[3]))
    return net.astype(x.dtype), x, path.name


def _probabilities(net: Network, x: Array) -> Array:
    y = net(x)
    return y if net.graph[net.graph.output].op == "softmax" else fast.softmax(y)


def _names(net: Network) -> tuple[str, ...]:
    recipe = net.graph.recipe
    names = class_names(MODELS[recipe.model].dialect.labels)
    return names if len(names) == recipe.classes else tuple(f"class {k}" for k in range(recipe.classes))
