"""Measure peers in turns: each in a process of its own, one at a time, round after round."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import numpy as np

from refnet import child
from refnet.bench.peers import PEERS, VARIABLES
from refnet.errors import RequestError
from refnet.machine import blas_kernels, package_versions, processor

__all__ = ["Measured", "Workload", "machine", "measure"]

_PAUSE = 0.15  # seconds before a turn, in which threads that spin for more work may go to sleep; 0.01 is too short
_WARM = 1.0  # seconds of runs before 15 rounds or more, in which a runtime finds out how it is quickest


class Workload(NamedTuple):
    """What is run: random weights and images, by `random_params` and `random_input`; no threads: as each has them."""

    model: str
    width: float
    size: tuple[int, int] | None
    batch: int
    threads: int | None


class Measured(NamedTuple):
    """One peer's figures for a workload.

    Attributes
    ----------
    seconds : of every timed run of the whole batch, in the order of rounds
    ratio, ratios : refnet's median over the peer's; and its quartiles over the rounds
    first : seconds of the first call, with all that prepares it
    peak : bytes, the most memory that the process took until then
    differs : the largest difference of an output from refnet's, in units of refnet's largest
    """

    peer: str
    seconds: list[float]
    ratio: float
    ratios: tuple[float, float]
    first: float
    peak: int
    differs: float

    @property
    def median(self) -> float:
        """Of the timed runs."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the timed runs."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)


class _Process:
    """A peer that waits for its turn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            child.python("-m", "refnet.bench.peers", name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child.environment(**VARIABLES.get(name, {})),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.requests.close()
        self.answers.close()
        self.process.wait()

    def ask(self, **request: Any) -> Any:
        """Send a request and wait for its answer.

        Raises
        ------
        RequestError
            if the peer died; what it said is on stderr.
        """
        try:
            print(json.dumps(request), file=self.requests, flush=True)
            answer = self.answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RequestError(f"{self.name}: failed, see above; leave it out with --against")
        return json.loads(answer)


def measure(workload: Workload, peers: Sequence[str], *, rounds: int = 15, seconds: float = 30.0) -> list[Measured]:
    """Time peers on a workload, refnet first.

    Parameters
    ----------
    peers : keys of `PEERS`, besides refnet
    rounds : how often each has its turn of three timed runs, at least twice
    seconds : after which no further round begins
    """
    with ExitStack() as stack:
        names = ["refnet", *peers]
        processes, starts = [], []
        for name in names:  # one by one: what imports meanwhile would take a core
            time.sleep(_PAUSE)
            processes.append(stack.enter_context(_Process(name)))
            starts.append(processes[-1].ask(**workload._asdict(), warm=_WARM * min(1.0, rounds / 15)))
        times: list[list[list[float]]] = [[] for _ in names]
        began = time.perf_counter()
        for done in range(max(2, rounds)):
            if done >= 2 and time.perf_counter() - began > seconds:
                break
            for process, start, rows in zip(processes, starts, times, strict=True):
                time.sleep(_PAUSE)
                rows.append(process.ask(runs=3 if start["first"] < 1 else 1)["seconds"])
    ours = np.array(starts[0]["output"])
    by_round = [np.array([np.median(row) for row in rows]) for rows in times]
    return [
        Measured(
            name,
            [each for row in rows for each in row],
            float(np.median(np.concatenate(times[0])) / np.median(np.concatenate(rows))),
            tuple(np.quantile(by_round[0] / own, (0.25, 0.75)).tolist()),
            start["first"],
            start["peak"],
            float(np.abs(np.array(start["output"]) - ours).max() / np.abs(ours).max()),
        )
        for name, rows, own, start in zip(names, times, by_round, starts, strict=True)
    ]


def machine(peers: Sequence[str]) -> dict[str, Any]:
    """What was measured on, and the versions of what was measured."""
    packages = dict.fromkeys(["numpy", "scipy", "refnet", *(p for name in peers for p in PEERS[name].packages)])
    versions = {name: number or "not installed as a package" for name, number in package_versions([*packages]).items()}
    return {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version(), **versions} | {
        "blas": blas_kernels()
    }
