"""refnet golden: every intermediate tensor of a network, as a golden pack."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.detectability import detectability_begun
from refnet.cli.common import (
    Command,
    checkpoint_of,
    jobs_argument,
    kernels_argument,
    model_of,
    part_arguments,
    print_json,
    quantised_of,
    say,
    size_argument,
    strict_argument,
)
from refnet.cli.integers import golden_integers
from refnet.errors import RequestError
from refnet.files.containers.atomic import free
from refnet.inputs import read_input
from refnet.network import Network
from refnet.network.quantised import in_floats
from refnet.networks.random import random_params
from refnet.pack.pack import DTYPES, FORMATS, LAYOUTS, write_pack
from refnet.pack.probe import probe
from refnet.report.mistakes.bugs import detectability_rows
from refnet.shares import cores
from refnet.text import plain

Array = npt.NDArray[Any]
Origin = dict[str, Any]

_MIB = 2**20
_WORTH_JOBS, _MOST_JOBS = 2 * 3 * 128 * 128, 4  # numbers of an input; more processes than that find little to share


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", help="name of a model (its weights are drawn from their names), or a checkpoint")
    parser.add_argument("--input", metavar="FILE", help="an image, or a .npy array (N, C, H, W) ready for the network")
    parser.add_argument("-o", "--pack", metavar="PACK", required=True, help="the folder to write; it must not exist")
    parser.add_argument("--model", help="with a checkpoint: which network it is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="width multiplier")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size in pixels; an array has its own")
    strict_argument(parser)
    part_arguments(parser)
    parser.add_argument("--classes", type=int, help="number of classes, with the name of a model")
    parser.add_argument("--batch", type=int, metavar="N", help="how many images of the probe, without --input (2)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="what values are rounded to (float32)")
    parser.add_argument("--layout", choices=LAYOUTS, default="nchw", help="axes of the tensors (nchw)")
    parser.add_argument("--fold", action="store_true", help="fold batch norm into the convolutions first")
    parser.add_argument("--only", metavar="GLOB", help="store only these tensors, such as 'block3.*'")
    kernels_argument(parser)
    parser.add_argument(
        "--accumulators", action="store_true", help="of a file of integers: the sums before they are rescaled, too"
    )
    parser.add_argument(
        "--float", action="store_true", help="of a file of integers: the network of floats that it is of"
    )
    parser.add_argument("--format", choices=FORMATS, default="npy", help="how arrays are stored (npy)")
    parser.add_argument(
        "--no-detectability",
        action="store_true",
        help="leave out what this input could show of each bug, which takes longer than the rest",
    )
    jobs_argument(parser, "what this input could show")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Write the pack and say what is in it."""
    free(options.pack)
    integers = None if options.float else quantised_of(options)
    if integers is not None:
        return golden_integers(integers, options, _of_file(options))
    if options.kernels is not None or options.accumulators:
        raise RequestError("--kernels and --accumulators go with a file of integers")
    net, weights = _network(options)
    net, x, source = _input(options, net)
    if options.fold:
        net = net.fold()
    with nullcontext(dict) if options.no_detectability else _detectability(net, x, _jobs(options, x)) as last:
        write_pack(
            net,
            x,
            options.pack,
            dtype=options.dtype,
            layout=options.layout,
            only=options.only,
            format=options.format,
            origin={"weights": weights, "input": source, "folded": options.fold},
            last=last,
        )
    _report(options, net, x)
    return 0


def _jobs(options: argparse.Namespace, x: Array) -> int:
    """How many processes: of small images another one takes longer to start than it saves."""
    if options.jobs is not None:
        return int(options.jobs)
    return min(_MOST_JOBS, cores()) if x.size >= _WORTH_JOBS else 1


@contextmanager
def _detectability(net: Network, x: Array, jobs: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """What this input with these weights could show of each bug, for the manifest: looked for while it is written."""
    with detectability_begun(net.astype(np.float32), x.astype(np.float32), jobs=jobs) as rest:
        yield lambda: {"detectability": detectability_rows(rest())}


def _network(options: argparse.Namespace) -> tuple[Network, Origin]:
    """The network with its weights, and where they are from."""
    trained = checkpoint_of(options)
    if trained is not None:
        return in_floats(trained), _of_file(options)
    if options.model is not None:
        raise RequestError(f"--model goes with a checkpoint, and there is no file {options.network}")
    graph = model_of(options)
    return Network(graph, random_params(graph)), {"kind": "random", "made_by": "refnet.random_params"}


def _of_file(options: argparse.Namespace) -> Origin:
    path = Path(options.network)
    return {"kind": "trained", "file": path.name, "sha256": _sha256(path)}


def _input(options: argparse.Namespace, net: Network) -> tuple[Network, Array, Origin]:
    """The network at the size of its input, the input, and where that is from."""
    if options.batch is not None and (options.input is not None or options.batch < 1):
        raise RequestError(f"--batch {options.batch}: take at least 1, and leave it out with --input")
    if options.input is None:
        return (net, *_default_input(net, 2 if options.batch is None else options.batch))
    path = Path(options.input)
    net, x = read_input(net, path, options.size)
    kind = "array" if path.suffix == ".npy" else "image"
    return net, x, {"kind": kind, "file": path.name, "sha256": _sha256(path)}


def _default_input(net: Network, batch: int) -> tuple[Array, Origin]:
    """What the network is given where the user gives nothing."""
    return probe(net.graph, batch), {"kind": "probe", "made_by": "refnet.probe"}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _report(options: argparse.Namespace, net: Network, x: Array) -> None:
    """Print what was written, from the pack itself."""
    folder = Path(options.pack)
    manifest = json.loads((folder / "manifest.json").read_text())
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    counts = {kind: len(manifest[kind]) for kind in ("tensors", "params")}
    if options.json:
        facts = {key: manifest[key] for key in ("format", "recipe", "layout", "dtype", "storage", "origin")}
        facts["recipe"] = {key: facts["recipe"][key] for key in ("model", "width", "size", "classes", "channels")}
        print_json({"pack": options.pack, **facts, "input": list(x.shape), **counts, "bytes": size})
        return
    recipe = net.graph.recipe
    say(
        f"{recipe}, {' x '.join(map(str, x.shape))}: {counts['tensors']} tensors and "
        f"{counts['params']} params as {manifest['dtype']}, {manifest['layout']}, {manifest['storage']}: "
        f"{size / _MIB:.1f} MiB in {plain(options.pack)}"
    )


COMMAND = Command("golden", "write every intermediate tensor of a network as a golden pack", _arguments, _run)
