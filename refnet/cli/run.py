"""refnet run: the classes that a network sees in an image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.cli.common import (
    Command,
    kernels_argument,
    part_arguments,
    part_of,
    print_json,
    say,
    size_argument,
    strict_argument,
    with_kernels,
)
from refnet.errors import RequestError
from refnet.files import shipped
from refnet.files.digits import digits
from refnet.files.labels import names_of_classes
from refnet.inputs import input_of, read_input
from refnet.network import load
from refnet.network.quantised import AnyNetwork, QuantisedNetwork
from refnet.readings import fast
from refnet.text import plain

Array = npt.NDArray[Any]

_PHOTOGRAPH = "chelsea.png"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="?", help="an image, or a .npy array (N, C, H, W) ready for the network")
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint; by default the digits network that ships")
    parser.add_argument("--model", help="which network the checkpoint is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="its width multiplier, likewise")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size to run at; by default the vendor's")
    kernels_argument(parser)
    strict_argument(parser)
    part_arguments(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to show (5)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image."""
    if options.top < 1:
        raise RequestError(f"--top {options.top}: take at least 1")
    which = {"model": options.model, "width": options.width, "size": options.size, "strict": options.strict}
    net = with_kernels(load(options.weights, **which, **part_of(options)), options.kernels)
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
    say(f"{recipe.model}, width {recipe.width:g}, {' x '.join(map(str, x.shape))}: {plain(what)}")
    for index, entries in enumerate(images):
        if len(images) > 1:
            say(f"image {index}")
        for k, name, probability in entries:
            say(f"{k:>6}  {probability:7.2%}  {name}")
    return 0


def _input(options: argparse.Namespace, net: AnyNetwork) -> tuple[AnyNetwork, Array, str]:
    """The array to run, the network at its size and precision, and what the array is."""
    if options.input is None and options.weights is None:
        index, x, label = digits().example()
        return net, x, f"scan {index} of the digits, a {label}"
    if options.input is None:
        photograph = input_of(net, shipped.path(_PHOTOGRAPH))
        return net, photograph, f"{_PHOTOGRAPH}, a photograph of a cat that ships with refnet"
    net, x = read_input(net, options.input, options.size)
    if isinstance(net, QuantisedNetwork):
        return net, net.reals(x), Path(options.input).name
    return net if x.dtype == net.dtype else net.astype(x.dtype), x, Path(options.input).name


def _probabilities(net: AnyNetwork, x: Array) -> Array:
    y = net(x)
    return y if net.graph[net.graph.output].op == "softmax" else fast.softmax(y)


def _names(net: AnyNetwork) -> tuple[str, ...]:
    recipe = net.graph.recipe
    return names_of_classes(recipe) or tuple(f"class {k}" for k in range(recipe.classes))


COMMAND = Command("run", "classify an image or an array", _arguments, _run)
