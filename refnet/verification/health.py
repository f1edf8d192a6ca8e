"""What is wrong, or about to be, with the weights of one file by themselves.

Some findings fail a file: NaN, infinity, a negative variance. Others are only listed: they are in many good networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays, unit_arrays
from refnet.bugs.language.parts import Parts
from refnet.files.checkpoint import Checkpoint
from refnet.readings.precision import FLOATS
from refnet.verification.findings import HealthFinding
from refnet.verification.training import untrained

__all__ = ["examine", "of_twin"]

Array = npt.NDArray[Any]

_HALF_MAX = FLOATS["float16"].largest
_LOST = 1 / FLOATS["float32"].u  # so many times larger, a number leaves nothing of another in a float32 sum
_PRUNED = 0.05  # of the weights of a layer that are zero: training leaves none
_BY_SIZE = 20.0  # weights that should lie nearer to zero than any does, if those that are zero were any
_CONSTANT = 4  # elements that a tensor must have to be called constant


class _Check(NamedTuple):
    """What is looked for: whether it fails a file, and which elements of an array are such."""

    fails: bool
    of: Callable[[Array, str, str], Array | None]


def _nan(x: Array, slot: str, stored: str) -> Array:
    return np.isnan(x)


def _infinite(x: Array, slot: str, stored: str) -> Array:
    return np.isinf(x)


def _negative(x: Array, slot: str, stored: str) -> Array | None:
    return np.less(x, 0) if slot == "var" else None


def _zero_variance(x: Array, slot: str, stored: str) -> Array | None:
    return np.equal(x, 0) if slot == "var" else None


def _denormal(x: Array, slot: str, stored: str) -> Array:
    return np.not_equal(x, 0) & (np.abs(x) < FLOATS.get(stored, FLOATS["float32"]).normal)


def _beyond_half(x: Array, slot: str, stored: str) -> Array:
    return np.isfinite(x) & (np.abs(x) > _HALF_MAX)


def _constant(x: Array, slot: str, stored: str) -> Array | None:
    """All elements the same, unless they are zero: a bias of zeros is ordinary, weights of zeros are dead channels."""
    if x.size < _CONSTANT or not np.isfinite(x.flat[0]) or (x.flat[0] == 0 and slot != "var"):
        return None
    return np.ones(1, bool) if (x == x.flat[0]).all() else None


def _absurd(x: Array, slot: str, stored: str) -> Array | None:
    """Few elements beside which all others are lost in a float32 sum: 2^24 times what nine in ten are below.

    Few, one in a thousand: weight decay leaves nearly all channels of some good layers next to nothing.
    """
    size = np.abs(x[np.isfinite(x)])
    if size.size < _CONSTANT:
        return None
    if np.count_nonzero(size * _LOST >= size.max()) > size.size // 10 + 2:  # nine in ten are not below
        return None
    most = float(np.quantile(size, 0.9, method="lower"))
    large: Array = np.isfinite(x) & (np.abs(x) > _LOST * most)
    return large if most and large.sum() <= max(1, x.size // 1000) else None


_CHECKS: Mapping[str, _Check] = {
    "nan": _Check(True, _nan),
    "inf": _Check(True, _infinite),
    "negative-variance": _Check(True, _negative),
    "zero-variance": _Check(False, _zero_variance),
    "denormal": _Check(False, _denormal),
    "float16-overflow": _Check(False, _beyond_half),
    "constant": _Check(False, _constant),
    "absurd": _Check(False, _absurd),
}


def examine(file: Checkpoint, trace: Mapping[str, Array] | None = None) -> list[HealthFinding]:
    """Look at every array of a file, at its units, and at the tensors that a probe input gave.

    Parameters
    ----------
    trace : {node: tensor} of a run, to look for overflow ahead and for channels that stay silent
    """
    slots = {f"{node.name}.{slot}": slot for node in file.graph.nodes for slot in node.params}
    found = [finding for name in file.params for finding in _of_array(file, name, slots.get(name, ""))]
    units = list(unit_arrays(file.graph, file.params, Parts(file.graph).classifier))
    for unit in units:
        found += [*_dead(file, unit), *_stuck(file, unit), *_pruned(file, unit)]
    told = list(untrained(file, units))
    if any(each.kind == "untrained-norms" for each in told):  # which says of all variances that they are 1
        ones = {name for name, slot in slots.items() if slot == "var" and np.all(file.params[name] == 1)}
        found = [each for each in found if each.kind != "constant" or each.name not in ones]
    found += told
    run = list(_of_run(file, trace)) if trace is not None else []
    lost = {each.name for each in run if each.kind == "not-finite"}
    owners = {f"{node.name}.{slot}" for node in file.graph.nodes if node.name in lost for slot in node.params}
    found = [replace(each, fails=True) if each.kind == "absurd" and each.name in owners else each for each in found]
    return [*found, *run]


def of_twin(findings: Iterable[HealthFinding], file: Checkpoint) -> list[HealthFinding]:
    """What is found in a file that has the graph, the arrays and the run of another, from what was found there."""
    return [replace(each, file=file.path, key=each.key and file.keys.get(each.name, "")) for each in findings]


def _of_array(file: Checkpoint, name: str, slot: str) -> Iterator[HealthFinding]:
    array, stored = file.params[name], file.stored.get(name, "float32")
    for kind, check in _CHECKS.items():
        with np.errstate(all="ignore"):
            mask = check.of(array, slot, stored)
        if mask is None or not mask.any():
            continue
        constant = kind == "constant"
        count, first = (array.size, ()) if constant else (int(mask.sum()), _index(mask))
        value = float(array.flat[0]) if constant else 0.0
        yield HealthFinding(file.path, name, file.keys.get(name, ""), kind, check.fails, count, first, value=value)


def _index(mask: Array) -> tuple[int, ...]:
    """Of the first element."""
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _dead(file: Checkpoint, unit: UnitArrays) -> Iterator[HealthFinding]:
    """Output channels that are the same for every input: filters of zeros, or gamma zero.

    Training leaves such channels inside a network, but no class without weights and bias.
    """
    for slot in ("w", "gamma"):
        if slot in unit:
            rows = unit[slot].reshape(len(unit[slot]), -1)
            dead = np.asarray(~rows.any(axis=1))
            if unit.classifies and slot == "w":
                unwritten = dead & (unit["b"] == 0 if "b" in unit else True)
                yield from _silent(file, unit.names[slot], unwritten, "class")
                dead = dead & ~unwritten
            yield from _silent(file, unit.names[slot], dead, slot)


def _stuck(file: Checkpoint, unit: UnitArrays) -> Iterator[HealthFinding]:
    """Channels that a ReLU behind batch norm would need more than 6 deviations to let anything through.

    Behind batch norm a channel has mean beta and deviation abs(gamma) on the training data.
    """
    if unit.norm is None or "gamma" not in unit or "beta" not in unit:
        return
    if any(node.op in ("relu", "relu6") for node in file.graph.readers().get(unit.norm.name, [])):
        gamma, beta = unit["gamma"], unit["beta"]
        stuck = np.asarray((beta < -6 * np.abs(gamma)) & (gamma != 0))
        yield from _silent(file, unit.names["beta"], stuck, "beta")


def _pruned(file: Checkpoint, unit: UnitArrays) -> Iterator[HealthFinding]:
    """Weights of which many are zero: whole classes, so many of each group, the smallest ones, or others.

    Of n others of size s, spread as by chance, about 0.8 n m / s are smaller than m, which is small beside s.
    """
    name = unit.names.get("w", "")
    if "w" not in unit or np.dtype(file.stored.get(name, "float32")).kind != "f":
        return
    rows = unit["w"].reshape(len(unit["w"]), -1)
    gone, whole = rows == 0, ~rows.any(axis=1)
    inside = gone[~whole]
    share = float(inside.mean()) if inside.size else 0.0
    classes = whole & (unit["b"] != 0) if unit.classifies and "b" in unit else np.zeros_like(whole)  # see `_dead`
    if float(classes.mean()) > _PRUNED:
        yield _as_pruned(file, name, int(classes.sum()), "classes", float(classes.mean()))
    if share <= _PRUNED or inside.sum() < _CONSTANT:
        return
    size, kept = np.abs(rows[~whole]), np.abs(rows[rows != 0])
    below = 0.8 * kept.size * float(kept.min()) / float(np.sqrt(np.mean(kept**2)))
    groups = (group for group in (4, 2) if size.shape[1] % group == 0)
    counts = (np.unique((size == 0).reshape(-1, group).sum(axis=1)) for group in groups)
    form = "groups" if any(len(each) == 1 for each in counts) else "smallest" if below > _BY_SIZE else "some"
    yield _as_pruned(file, name, int(inside.sum()), form, share)


def _as_pruned(file: Checkpoint, name: str, count: int, form: str, share: float) -> HealthFinding:
    return HealthFinding(file.path, name, file.keys.get(name, ""), "pruned", False, count, (), form, 100 * share)


def _silent(file: Checkpoint, name: str, channels: Array, form: str) -> Iterator[HealthFinding]:
    if channels.any():
        key, count = file.keys.get(name, ""), int(channels.sum())
        yield HealthFinding(file.path, name, key, "dead-channel", form == "class", count, _index(channels), form)


def _of_run(file: Checkpoint, trace: Mapping[str, Array]) -> Iterator[HealthFinding]:
    """What a probe shows: values that are no numbers, values that float16 cannot hold."""
    seen = False
    for node in file.graph.nodes:
        y = trace.get(node.name)
        if y is None:
            continue
        bad = ~np.isfinite(y)
        if bad.any() and not seen:  # what comes after it is a consequence
            seen = True
            yield HealthFinding(file.path, node.name, "", "not-finite", True, int(bad.sum()), _index(bad), "run")
        beyond = np.isfinite(y) & (np.abs(y) > _HALF_MAX)
        if beyond.any():
            count, most = int(beyond.sum()), float(np.abs(y[beyond]).max())
            first = _index(beyond)
            yield HealthFinding(file.path, node.name, "", "float16-overflow", False, count, first, "run", most)
