"""refnet quantise: a network of floats as one of integers, calibrated on images."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.cli.common import Command, network_in, part_arguments, part_of, print_json, say, size_argument
from refnet.errors import RequestError
from refnet.files.containers.atomic import free, writable
from refnet.files.digits import digits
from refnet.files.integers_npz import write_integers_npz
from refnet.inputs import input_of, read_input
from refnet.network.quantised import QuantisedNetwork, in_floats
from refnet.network.quantising import RANGES, quantise, signal_to_noise
from refnet.pack.integer_arrays import INTEGER_FORMATS
from refnet.pack.integers import write_integer_pack
from refnet.text import plain, table

Array = npt.NDArray[Any]

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
_MOST = 200  # images that are enough to find ranges
_ROWS = 12


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", nargs="?", help="a checkpoint; by default the digits network that ships")
    parser.add_argument(
        "--calibrate",
        metavar="FOLDER",
        help="images, in folders or not; or a .npy array (N, C, H, W) ready for the network",
    )
    parser.add_argument(
        "-o", "--write", dest="target", metavar="OUT", required=True,
        help="an .npz, which refnet load reads; any other name is that of a pack of integers of the first image",
    )  # fmt: skip
    parser.add_argument("--ranges", choices=tuple(RANGES), default="minmax", help="how ranges are found (minmax)")
    parser.add_argument("--per-tensor", action="store_true", help="one scale for all filters of a convolution")
    parser.add_argument("--most", type=int, default=_MOST, metavar="N", help=f"images that are looked at ({_MOST})")
    parser.add_argument(
        "--format", choices=INTEGER_FORMATS, default="npy", help="of a pack: how arrays are stored (npy)"
    )
    parser.add_argument("--accumulators", action="store_true", help="of a pack: sums before they are rescaled, too")
    parser.add_argument("--model", help="which network the checkpoint is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="its width multiplier, likewise")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of the images; by default the vendor's")
    part_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Write the network of integers; print how far it is from that of floats."""
    if options.most < 1:
        raise RequestError(f"--most {options.most}: take at least 1")
    if Path(options.target).suffix == ".npz":
        writable(options.target, options.weights, options.calibrate)
    else:
        free(options.target)
    which = {"model": options.model, "width": options.width, "size": options.size, **part_of(options)}
    net = in_floats(network_in(options.weights, **which)).astype(np.float32)
    images = _images(options, net)
    integers = quantise(net, images, ranges=options.ranges, by_filter=not options.per_tensor)
    x = images[0]
    every = np.concatenate(images)
    real, made = net(every), integers(every)
    ratios = signal_to_noise(integers, net.fold(), x)
    agree = int((real.reshape(len(every), -1).argmax(1) == made.reshape(len(every), -1).argmax(1)).sum())
    document = {
        "output": options.target, "images": len(every), "ranges": options.ranges, "nodes": len(integers.graph),
        "weights": "tensor" if options.per_tensor else "filter", "same_class": agree,
        "signal_to_noise": {name: ratio if math.isfinite(ratio) else None for name, ratio in ratios.items()},
    }  # fmt: skip
    _write(options, integers, x)
    if options.json:
        print_json(document)
        return 0
    worst = sorted(ratios.items(), key=lambda item: item[1])[:_ROWS]
    say(table(("worst layers", "signal to noise"), [(name, f"{ratio:.1f} dB") for name, ratio in worst], left=1))
    say()
    how = f"int8, weights by {document['weights']}, ranges by {options.ranges} of {len(every)} images"
    say(f"{integers.graph.recipe}: {how}")
    say(f"the same class of {agree} of {len(every)} images; written to {plain(options.target)}")
    return 0


def _write(options: argparse.Namespace, integers: QuantisedNetwork, x: Array) -> None:
    """The output; last of all, so that a command that is ended before has none."""
    if Path(options.target).suffix == ".npz":
        write_integers_npz(options.target, integers.graph, integers.params, integers.quantised, integers.kernels)
        return
    file = Path(options.weights or "refnet/digits").name
    origin = {"weights": {"kind": "quantised", "file": file, "ranges": options.ranges}}
    form, sums = options.format, options.accumulators
    write_integer_pack(integers, x[:1], options.target, form=form, accumulators=sums, origin=origin)


def _images(options: argparse.Namespace, net: Any) -> list[Array]:
    """Batches to calibrate on."""
    if options.calibrate is None:
        if options.weights is not None:
            raise RequestError("which images? Give a folder of them: --calibrate FOLDER")
        return [digits().inputs()[: options.most]]
    path = Path(options.calibrate)
    if path.suffix == ".npy":
        _, x = read_input(net, path, options.size)
        return [net.checked(x.astype(np.float32)[: options.most])]
    files = (
        sorted(file for file in path.rglob("*") if file.suffix.lower() in _IMAGES and file.is_file())
        if path.is_dir()
        else []
    )
    if not files:
        raise RequestError(f"{path}: is no folder with images in it")
    return [input_of(net, file) for file in files[: options.most]]


COMMAND = Command("quantise", "make a network of integers of one of floats, calibrated on images", _arguments, _run)
