"""Measure what each idea of the session brings, and how time grows; print Markdown.

    PYTHONPATH=. python docs/make_speed.py

Takes about a minute on a machine that does nothing else. docs/05-speed.md has what it printed, and
make_speed_pictures.py draws it.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import refnet
from refnet.session import Session
from refnet.session.program import BUFFER

MODELS = {name: f"torchvision/mobilenet_{name}" for name in ("v3_large", "v3_small", "v2")}
ROUNDS = 15
HUGE = 10**12


def interleaved(runs: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds of each run, in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            run()  # the others have emptied the caches
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) * 1e3 for name, each in times.items()}


@contextlib.contextmanager
def altered(**constants: Any) -> Iterator[None]:
    """The session's modules with some of their constants replaced: `module__NAME=value`."""
    before = {}
    for key, value in constants.items():
        module_name, _, name = key.partition("__")
        module = sys.modules[f"refnet.session.{module_name}"]
        before[module, name] = getattr(module, name)
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def maximum_and_minimum(z: Any, low: Any, high: Any, into: Any) -> None:
    """What clip does, in the two passes of `fast`."""
    np.maximum(z, low, out=into)
    np.minimum(into, high, out=into)


def steps() -> None:
    """The table of ideas: each row is the session without one of them."""
    rows: dict[str, dict[str, float]] = {}
    for short, name in MODELS.items():
        graph = refnet.build(name)
        params, x = refnet.random_params(graph), refnet.random_input(graph, batch=1)
        net = refnet.Network(graph, params)
        folded = net.fold()
        without = {
            "the session": {},
            "... without tiles: whole maps": {f"{name}__TILE": HUGE for name in ("program", "residual", "stem")},
            "... without long runs: channels only": {"taps__KERNEL": 1},
            "... without columns by phase at stride 2": {"taps__PHASED": 0},
            "... without clip: maximum, then minimum": {"writer__clip": maximum_and_minimum},
            "... without rows by themselves": {f"{name}__LONG": HUGE for name in ("residual", "stem", "writer")},
            "... with all columns of a head at once": {"writer__COLUMNS": HUGE},
            "... with NumPy's buffers": {"program__BUFFER": 8192},
        }
        runs: dict[str, Callable[[], Any]] = {
            "`readings.fast`, node by node": partial(last, net, x),
            "`readings.fast`, batch norm folded": partial(last, folded, x),
        }
        for title, constants in without.items():
            with altered(**constants):
                session = Session(graph, params, threads=1)
                session._programs.move()
            runs[title] = partial(changed, constants, session, x)
        for title, ms in interleaved(runs).items():
            rows.setdefault(title, {})[short] = ms
    print("| | " + " | ".join(MODELS) + " |\n|---|" + "---:|" * len(MODELS))
    for title, by_model in rows.items():
        print(f"| {title} | " + " | ".join(f"{ms:.1f}" for ms in by_model.values()) + " |")


def changed(constants: dict[str, Any], session: Session, x: Any) -> Any:
    """A run under constants that are read by the run itself."""
    with altered(**{key: value for key, value in constants.items() if key == "program__BUFFER"}):
        return session(x)


def last(net: refnet.Network, x: Any) -> Any:
    """The last tensor, node by node."""
    ((_, y),) = deque(net.steps(x), maxlen=1)
    return y


def operations() -> None:
    """Where the time goes, call by call."""
    print("\n| | " + " | ".join(MODELS) + " |\n|---|" + "---:|" * len(MODELS))
    table: dict[str, list[str]] = {}
    for name in MODELS.values():
        graph = refnet.build(name)
        session = Session(graph, refnet.random_params(graph), threads=1)
        session(refnet.random_input(graph, batch=1))
        session._programs.move()
        calls, before = session._programs.of(1).early, np.setbufsize(BUFFER)
        best = [float("inf")] * len(calls)
        for _ in range(ROUNDS):
            for index, (call, args) in enumerate(calls):
                started = time.perf_counter()
                call(*args)
                best[index] = min(best[index], time.perf_counter() - started)
        np.setbufsize(before)
        spent: defaultdict[str, float] = defaultdict(float)
        count: Counter[str] = Counter()
        for (call, _), seconds in zip(calls, best, strict=True):
            kind = WORDS.get(getattr(getattr(call, "func", call), "__name__", ""), "the rest")
            spent[kind] += seconds
            count[kind] += 1
        for kind in dict.fromkeys(WORDS.values()):
            table.setdefault(kind, []).append(f"{spent[kind] * 1e3:.2f} ({count[kind]})")
    for kind, cells in table.items():
        print(f"| {kind} | " + " | ".join(cells) + " |")


WORDS = {
    "matmul": "`matmul`: pointwise, pools, stem, head",
    "c_einsum": "`einsum`: depthwise",
    "add": "`add`: biases, shortcuts, hard swish, phases",
    "clip": "`clip`: activations",
    "multiply": "`multiply`: hard swish, gates",
    "copyto": "copies and borders",
    "fill": "copies and borders",
    "": "the rest",
}


def growth() -> None:
    """Milliseconds against batch, pixels and width, as tables."""
    name = MODELS["v3_large"]

    def point(batch: int = 1, size: int = 224, width: float = 1.0) -> float:
        graph = refnet.build(name, size=size, width=width)
        session = Session(graph, refnet.random_params(graph), threads=1)
        x = refnet.random_input(graph, batch=batch)
        return interleaved({"": lambda: session(x)}, rounds=7)[""]

    batches, sides, widths = (1, 2, 4, 8, 16), (96, 160, 224, 288, 352, 448), (0.35, 0.5, 0.75, 1.0, 1.4)
    tables = {
        "images": [(n, point(batch=n)) for n in batches],
        "thousand pixels": [(side**2 / 1e3, point(size=side)) for side in sides],
        "width": [(width, point(width=width)) for width in widths],
    }
    for what, points in tables.items():
        print(f"\n| {what} | {' | '.join(f'{x:g}' for x, _ in points)} |\n|---|{'---:|' * len(points)}")
        print(f"| ms | {' | '.join(f'{y:.1f}' for _, y in points)} |")


if __name__ == "__main__":
    with threadpool_limits(1):
        steps()
        with np.errstate(all="ignore"):  # a call that works in place is measured on what it left behind
            operations()
        growth()
