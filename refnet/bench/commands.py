"""Time everyday commands: each as a user runs it, in a Python of its own, on files that are made for it here.

What counts is processor time: the clock says what else the machine does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refnet import child
from refnet.errors import RequestError
from refnet.files.write import write_weights
from refnet.interrupts import on_the_way
from refnet.network import Network
from refnet.networks.build import build
from refnet.networks.random import random_params
from refnet.pack.pack import write_pack
from refnet.pack.probe import probe
from refnet.shares import cores

__all__ = ["CommandTime", "time_commands"]

_MODEL = "torchvision/mobilenet_v3_large"
_OFF = 1.01  # what three tensors of the port that is compared are multiplied by, which no bug does

# By name, what is run in the folder of `_make`; the exit status of `compare` is 1, since that port is wrong.
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "summary": ("summary", "{model}"),
    "golden": ("golden", "{model}", "-o", "made", "--size", "{size}"),
    "golden, no report": ("golden", "{model}", "-o", "made", "--size", "{size}", "--no-detectability"),
    "probe": ("probe", "{model}", "--size", "{size}"),
    "compare, right": ("compare", "pack", "right.npz"),
    "compare, three layers wrong": ("compare", "pack", "wrong.npz"),
    "verify": ("verify", "copy.npz", "--against", "weights.npz"),
    "verify, folded": ("verify", "folded.npz", "--against", "weights.npz"),
    "convert": ("convert", "weights.npz", "made.npz", "--fold"),
    "check": ("check",),
}


class CommandTime(NamedTuple):
    """One command's figures, of every run.

    Attributes
    ----------
    command : what was run
    processor : seconds on all cores, of the system too; 0 where the system does not tell
    clock : seconds
    busy_processor, busy_clock : the same while a loop keeps each core busy; empty where that was not asked for
    """

    name: str
    command: str
    processor: list[float]
    clock: list[float]
    busy_processor: list[float]
    busy_clock: list[float]


def time_commands(
    *, model: str = _MODEL, size: tuple[int, int] | None = None, rounds: int = 3, busy: bool = False
) -> list[CommandTime]:
    """Time each everyday command in turns, round after round.

    Parameters
    ----------
    model : the network that the commands are about
    size : of its images, by default the vendor's
    rounds : how often each is run
    busy : whether each is run once more a round, while a loop of another program keeps each core busy

    Raises
    ------
    RequestError
        if there is no such network, or a command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = build(model, size=size)
        with on_the_way():
            _make(Network(graph, random_params(graph)), Path(folder))
        words = {"model": model, "size": "{},{}".format(*graph.recipe.size)}
        argvs = {name: tuple(word.format(**words) for word in argv) for name, argv in _COMMANDS.items()}
        rows = {name: CommandTime(name, " ".join(("refnet", *argv)), [], [], [], []) for name, argv in argvs.items()}
        for _ in range(rounds):
            for name, argv in argvs.items():
                processor, clock = _timed(argv, folder)
                rows[name].processor.append(processor)
                rows[name].clock.append(clock)
                if busy:
                    with _loops():
                        processor, clock = _timed(argv, folder)
                    rows[name].busy_processor.append(processor)
                    rows[name].busy_clock.append(clock)
    return list(rows.values())


def _make(net: Network, folder: Path) -> None:
    """A golden pack, a port of it that is right, one with three wrong layers; weights twice as they are, and folded."""
    x = probe(net.graph, 2)
    write_pack(net, x, folder / "pack")
    tensors: dict[str, Any] = net.trace(x)
    np.savez(folder / "right.npz", **tensors)
    units = [unit.output for unit in net.graph.units()]
    wrong = {name: tensors[name] * np.float32(_OFF) for name in units[1 :: max(1, len(units) // 3)][:3]}
    np.savez(folder / "wrong.npz", **{**tensors, **wrong})
    for name in ("weights.npz", "copy.npz"):
        write_weights(net.graph, net.params, folder / name)
    write_weights(net.graph, net.params, folder / "folded.npz", fold=True)


@contextmanager
def _loops() -> Iterator[None]:
    """A program that does nothing but work on each core, while this one is there."""
    code = "import os; parent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(10_000))"
    with ExitStack() as stack:
        for _ in range(cores()):
            loop = stack.enter_context(subprocess.Popen(child.python("-c", code)))
            stack.callback(loop.kill)
        yield


def _timed(argv: Sequence[str], folder: str) -> tuple[float, float]:
    shutil.rmtree(Path(folder, "made"), ignore_errors=True)
    Path(folder, "made.npz").unlink(missing_ok=True)
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        child.python("-m", "refnet", *argv),
        cwd=folder,
        env=child.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    clock, after = time.perf_counter() - started, os.times()
    if done.returncode not in (0, 1):
        raise RequestError(f"refnet {' '.join(argv)}: failed: {(done.stderr.strip().splitlines() or ['nothing'])[-1]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, clock
