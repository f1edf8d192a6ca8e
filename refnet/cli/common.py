"""What commands are made of and share: sizes on the command line, which network a name or file means."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.files.containers.atomic import atomic_file
from refnet.graph import Graph
from refnet.networks.build import build
from refnet.networks.dialects import MODELS
from refnet.text import plain_lines

if TYPE_CHECKING:
    from refnet.files.checkpoint import Checkpoint
    from refnet.files.identify.notes import Note
    from refnet.network.quantised import AnyNetwork, QuantisedNetwork

__all__ = [
    "Command",
    "checkpoint_of",
    "identified",
    "jobs_argument",
    "kernels_argument",
    "model_of",
    "network_arguments",
    "network_in",
    "part_arguments",
    "part_of",
    "positive_argument",
    "print_json",
    "progress",
    "quantised_of",
    "say",
    "seconds_argument",
    "size_argument",
    "strict_argument",
    "tell_note",
    "weights_arguments",
    "with_kernels",
    "write_array",
    "write_text",
]

# A name that ends so is that of a file, there or not.
_SUFFIXES = (
    ".pth", ".pt", ".npz", ".safetensors", ".h5", ".hdf5", ".keras", ".onnx", ".tflite", ".pb", ".index", ".xml",
    ".param",
)  # fmt: skip


class Command(NamedTuple):
    """One command of the command line; the last line of its module.

    Attributes
    ----------
    name : as the user writes it, and that of the module
    line : of help
    declare : adds the command's arguments to its parser
    run : does it; returns the exit status
    """

    name: str
    line: str
    declare: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def seconds_argument(parser: argparse.ArgumentParser, line: str = "for how long to look for causes (60)") -> None:
    """Declare --seconds, of commands that look for causes or wait for something."""
    parser.add_argument("--seconds", type=_seconds, default=60.0, metavar="N", help=line)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int], object]]:
    """A bar on a terminal where there is tqdm, moved by (done, total); nothing elsewhere."""
    tqdm = _tqdm() if sys.stderr.isatty() else None
    if tqdm is None:
        yield lambda done, total: None
        return
    with tqdm(unit=unit, leave=False, delay=0.5) as bar:

        def move(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield move


def _tqdm() -> Any:
    """What draws bars, or None; a terminal alone is worth its import."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm


def print_json(value: Any) -> None:
    """Print a value for programs: one JSON document, with names as they are."""
    print(json.dumps(value, indent=2))


def say(text: str = "", *, aside: bool = False) -> None:
    """Print text for people, made fit for a terminal; `aside` from the answer, on stderr."""
    print(plain_lines(text), file=sys.stderr if aside else sys.stdout, flush=aside)


def write_text(path: str | Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def write_array(path: str | Path, x: npt.NDArray[Any]) -> None:
    """Write a .npy file whole or not at all."""
    with atomic_file(path) as file:
        np.save(file, x, allow_pickle=False)


def size_argument(text: str) -> tuple[int, int]:
    """Read 'H,W' (or 'HxW', or one number for both).

    Raises
    ------
    argparse.ArgumentTypeError
        if it is none of these.
    """
    parts = text.replace("x", ",").split(",")
    if len(parts) not in (1, 2) or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not H,W in pixels, such as 224,224")
    return int(parts[0]), int(parts[-1])


def strict_argument(parser: argparse.ArgumentParser) -> None:
    """Declare --strict, of commands that take a checkpoint."""
    parser.add_argument("--strict", action="store_true", help="refuse a checkpoint that is not exactly a known network")


def positive_argument(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def jobs_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare --jobs, of commands whose work splits over processes."""
    parser.add_argument(
        "--jobs",
        type=positive_argument,
        metavar="N",
        help=f"processes that share {what} (as many as there are cores, where that pays); same result",
    )


def network_arguments(
    parser: argparse.ArgumentParser, network: str = "name of a model, or path of a checkpoint"
) -> None:
    """Declare the network, --model, --width and --size, of commands that take the name of a model or a checkpoint."""
    parser.add_argument("network", help=network)
    parser.add_argument("--model", help="with a checkpoint: which network it is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="width multiplier")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size of the images in pixels")


def weights_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --weights, --model, --width and --size, of commands that run the digits network if no other is given."""
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint; by default the digits network that ships")
    parser.add_argument("--model", help="which network the checkpoint is, where the file cannot tell")
    parser.add_argument("--width", type=float, help="its width multiplier, likewise")
    parser.add_argument("--size", type=size_argument, metavar="H,W", help="size to run at; by default the vendor's")


def part_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --output, --prefix and --head, of commands that take a checkpoint."""
    parser.add_argument("--output", metavar="NODE,...", help="the tensors that the network is to return; it ends there")
    parser.add_argument("--prefix", help="of a file with names alone: take what is under names that begin so")
    parser.add_argument(
        "--head", metavar="LAYERS", help="likewise: the layers of its own head, such as linear,relu,linear"
    )


def kernels_argument(parser: argparse.ArgumentParser) -> None:
    """Declare --kernels, of commands that run networks of integers."""
    parser.add_argument(
        "--kernels", metavar="NAME", help="of a file of integers: whose arithmetic, such as tflite, xnnpack or qnnpack"
    )


def with_kernels(net: AnyNetwork, kernels: str | None) -> AnyNetwork:
    """A network of integers in the arithmetic that the user asked for.

    Raises
    ------
    RequestError
        if there is no such arithmetic, or the network is one of floats.
    """
    from refnet.network.quantised import QuantisedNetwork

    if kernels is None:
        return net
    if not isinstance(net, QuantisedNetwork):
        raise RequestError("--kernels goes with a file of integers, and this network is one of floats")
    return net.under(kernels)


def part_of(options: argparse.Namespace) -> dict[str, Any]:
    """What `part_arguments` declares, as `load` and `identify` take it."""
    output = None if options.output is None else tuple(options.output.split(","))
    return {"prefix": options.prefix, "head": options.head, "output": output}


def network_in(path: str | Path | None, **asked: Any) -> AnyNetwork:
    """The network in a file, as `load` takes it; in what it may be another than the file's is said aside."""
    from refnet.network import load

    return load(path, **asked, tell=tell_note)


def tell_note(note: Note) -> None:
    """Say aside in what the network that was read may be another than the file's."""
    from refnet.report.notes import UNSURE, note_lines

    if note.kind in UNSURE:
        say(f"note: {note_lines([note])[0]}", aside=True)


def checkpoint_of(options: argparse.Namespace) -> AnyNetwork | None:
    """The network in the checkpoint that `options.network` is the path of; None where it is the name of a model."""
    asked = _asked(options)
    if asked is None:
        return None
    return network_in(options.network, **asked, strict=options.strict)


def identified(options: argparse.Namespace) -> Checkpoint | None:
    """What the file at `options.network` is, fit to be run or not; None where that is the name of a model."""
    asked = _asked(options)
    if asked is None:
        return None
    from refnet.files.checkpoint import identify

    return identify(options.network, **asked)


def quantised_of(options: argparse.Namespace) -> QuantisedNetwork | None:
    """The network of integers in the file at `options.network`; None where that is none."""
    asked = _asked(options)
    if asked is None:
        return None
    from refnet.files.quantised import read_quantised
    from refnet.network.quantised import QuantisedNetwork

    found = read_quantised(options.network, **{key: asked[key] for key in ("model", "width", "size")})
    if found is None:
        return None
    net = QuantisedNetwork(*found)
    return net if asked["output"] is None else net.returning(asked["output"])


def _asked(options: argparse.Namespace) -> dict[str, Any] | None:
    """What the user says that a checkpoint is; None where `options.network` is no file."""
    path = Path(options.network)
    there = (
        path.exists() or path.with_name(f"{path.name}.index").exists()
    )  # TensorFlow's checkpoints go by their prefix
    if not path.is_file() and (options.network in MODELS or not (there or path.suffix in _SUFFIXES)):
        return None
    if getattr(options, "classes", None) is not None:
        raise RequestError("--classes goes with the name of a model: a checkpoint has its own")
    return {"model": options.model, "width": options.width, "size": options.size, **part_of(options)}


def model_of(options: argparse.Namespace) -> Graph:
    """The graph of the model that `options.network` names, at the width, size and classes asked for."""
    width = 1.0 if options.width is None else options.width
    return build(options.network, width=width, size=options.size, classes=getattr(options, "classes", None))
