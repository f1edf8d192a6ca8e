"""refnet run: what a network says of an image: classes, numbers, maps."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from refnet.cli.common import (
    Command,
    kernels_argument,
    network_in,
    part_arguments,
    part_of,
    print_json,
    say,
    strict_argument,
    weights_arguments,
    with_kernels,
    write_array,
)
from refnet.errors import RequestError
from refnet.evaluation.answers import Answer, answers
from refnet.files import shipped
from refnet.files.containers import npz
from refnet.files.containers.atomic import writable
from refnet.files.digits import digits
from refnet.files.images import write_picture
from refnet.files.labels import names_of_classes, read_names
from refnet.inputs import read_input
from refnet.network.quantised import AnyNetwork, QuantisedNetwork
from refnet.networks.preprocessing import NAMED, UNIT, Preprocessing
from refnet.report.answers import answer_document, answer_lines, map_pixels, mask_pixels, ranked
from refnet.report.integers import arithmetic_sentence
from refnet.text import plain

Array = npt.NDArray[Any]

_PHOTOGRAPH = "chelsea.png"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="?", help="an image, or a .npy array (N, C, H, W) ready for the network")
    weights_arguments(parser)
    kernels_argument(parser)
    strict_argument(parser)
    part_arguments(parser)
    parser.add_argument(
        "--preprocess", choices=NAMED, help="how pixels become numbers; by default as the file or its vendor says"
    )
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line; by default the file's")
    parser.add_argument(
        "-o",
        "--write",
        metavar="FILE",
        help="write the outputs: .npy, .npz, or .png of a map; classes of pixels lie over the image",
    )
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to show (5)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print what each output says of each image; of a classifier the most probable classes."""
    if options.top < 1:
        raise RequestError(f"--top {options.top}: take at least 1")
    if options.write:
        _writable(options.write, options.input, options.weights, options.labels)
    which = {"model": options.model, "width": options.width, "size": options.size, "strict": options.strict}
    net = with_kernels(network_in(options.weights, **which, **part_of(options)), options.kernels)
    net = _as_asked(options, net)
    net, x, what, prepared = _input(options, net)
    found = answers(net, x)
    recipe = net.graph.recipe
    names = names_of_classes(recipe)
    if options.write:
        _write(Path(options.write), found, recipe.preprocessing, x)
    if options.json:
        keys = ("class", "name", "probability")
        images = [
            [dict(zip(keys, entry, strict=True)) for entry in each] for each in ranked(found[0], names, options.top)
        ]
        rest = {"prepared": prepared, "outputs": [answer_document(answer) for answer in found]}
        kernels = {"kernels": net.kernels} if isinstance(net, QuantisedNetwork) else {}
        print_json({"model": recipe.model, "width": recipe.width, "input": what, "images": images, **kernels, **rest})
        return 0
    say(f"{recipe}, {' x '.join(map(str, x.shape))}: {plain(what)}")
    if prepared:
        say(f"prepared: {prepared}")
    if isinstance(net, QuantisedNetwork):
        say(f"computed: in the {arithmetic_sentence(net.kernels, asked=options.kernels is not None)}")
    for answer in found:
        say("\n".join(answer_lines(answer, names, options.top, alone=len(found) == 1)))
    return 0


def _as_asked(options: argparse.Namespace, net: AnyNetwork) -> AnyNetwork:
    """The network with the preparation of images and the names of classes that the user asks for.

    Of a network that nobody has said it of, pixels from 0 to 1 are assumed, which is printed.
    """
    recipe = net.graph.recipe
    prepared = NAMED[options.preprocess] if options.preprocess else recipe.preprocessing
    if prepared is None:
        prepared = replace(UNIT, origin=f"assumed: {UNIT.origin}; --preprocess says another way")
    labels = recipe.labels
    if options.labels:
        labels = read_names(options.labels)
        if len(labels) != recipe.classes:
            raise RequestError(f"{options.labels}: names {len(labels)} classes, the network has {recipe.classes}")
    return replace(net, graph=replace(net.graph, recipe=replace(recipe, preprocessing=prepared, labels=labels)))


def _input(options: argparse.Namespace, net: AnyNetwork) -> tuple[AnyNetwork, Array, str, str]:
    """The array to run, the network at its size and precision, what the array is, and how an image was prepared."""
    if options.input is None and options.weights is None:
        index, x, label = digits().example()
        return net, x, f"scan {index} of the digits, a {label}", ""
    pre = net.graph.recipe.preprocessing
    prepared = "" if pre is None else pre.origin
    if options.input is None:
        net, photograph = read_input(net, shipped.path(_PHOTOGRAPH), options.size)
        return net, photograph, f"{_PHOTOGRAPH}, a photograph of a cat that ships with refnet", prepared
    path = Path(options.input)
    net, x = read_input(net, path, options.size)
    if path.suffix == ".npy":
        prepared = ""
    if isinstance(net, QuantisedNetwork):
        return net, net.reals(x), path.name, prepared
    return net if x.dtype == net.dtype else net.astype(x.dtype), x, path.name, prepared


def _writable(path: str, *inputs: str | None) -> None:
    if Path(path).suffix not in (".npy", ".npz", ".png"):
        raise RequestError(f"{path}: outputs are written as .npy (one), .npz (all) or .png (a map)")
    writable(path, *inputs)


def _write(path: Path, found: list[Answer], pre: Preprocessing | None, x: Array) -> None:
    """All outputs as an .npz, the only one as an .npy, a map as a picture."""
    if path.suffix == ".npz":
        npz.write(path, {answer.name: answer.values for answer in found})
        return
    if len(found) > 1:
        raise RequestError(f"{path}: the network has {len(found)} outputs: write an .npz, or take one with --output")
    if path.suffix == ".npy":
        write_array(path, found[0].values)
    else:
        if found[0].kind not in ("map", "mask"):
            raise RequestError(f"{path}: the output is no map: write an .npy")
        over = found[0].kind == "mask" and pre is not None and x.shape[1] == 3
        values = found[0].values
        write_picture(path, mask_pixels(values, pre.undo(x)) if over and pre is not None else map_pixels(values))


COMMAND = Command("run", "say what a network computes from an image or an array", _arguments, _run)
