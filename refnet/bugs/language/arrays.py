"""The arrays of a network unit by unit: a convolution with the batch norm behind it, and the fold of both.

Bugs of arrays are written once, over these: a run of a port replays them, and a file's arrays are matched against
them. An exporter folds in float32, in one of several orders; `Expected` is the fold in float64 with how far an honest
one may lie from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node, Unit
from refnet.readings.orders import rounded
from refnet.readings.precision import FLOATS

__all__ = ["FOLDED_BIAS", "MADE_OF", "Expected", "UnitArrays", "unit_arrays"]

Array = npt.NDArray[Any]

_TINY = FLOATS["float32"].underflow
_WEIGHT, _BIAS = 7, 9  # roundings on the longest path, see `UnitArrays.folded`
_FACTOR, _ADDEND = 6, 8  # and see `UnitArrays.worked_out`

FOLDED_BIAS = "b folded"  # of what is seen of a unit before the fold

# By array of a folded convolution, those that it is made of.
MADE_OF: Mapping[str, tuple[str, ...]] = {
    "w": ("w", "gamma", "var"),
    "b": ("b", "gamma", "beta", "mean", "var"),
}


class Expected(NamedTuple):
    """What a tensor should be, in float64, and how far an honest one may lie from it, element by element."""

    value: Array
    slack: Array

    @classmethod
    def exactly(cls, value: Array) -> Expected:
        """No rounding is expected."""
        return cls(value, np.broadcast_to(0.0, value.shape))

    @classmethod
    def of(cls, array: Array | Expected) -> Expected:
        """An array that is exact, or what it is expected to be."""
        return array if isinstance(array, Expected) else cls.exactly(array)

    def map(self, move: Callable[[Array], Array]) -> Expected:
        """The same with its elements laid out in another way."""
        return Expected(move(self.value), move(self.slack))


@dataclass(frozen=True, eq=False)
class UnitArrays:
    """A convolution and the batch norm behind it, or either alone, with their arrays.

    Attributes
    ----------
    unit : the nodes
    tensors : by slot, in float64: 'w', 'b' of the convolution; 'gamma', 'beta', 'mean', 'var' of the batch norm; those
        that a file lacks are not there
    seen : by slot, the arrays of a file that should hold these; empty where nothing is to be explained
    slot : the one of `seen` that is to be explained
    others : by name, what every other unit of the network should be in that file
    steps : by the names of params, the quantisation steps of what that file stores as integers, to meet its shape
    classifies : whether the unit gives the classes
    """

    unit: Unit
    tensors: Mapping[str, Expected]
    seen: Mapping[str, Array] = field(default_factory=dict)
    slot: str = ""
    others: Mapping[str, Callable[[], Mapping[str, Expected]]] = field(default_factory=dict)
    steps: Mapping[str, Array] = field(default_factory=dict)
    classifies: bool = False

    def __contains__(self, slot: str) -> bool:
        return slot in self.tensors

    def __getitem__(self, slot: str) -> Array:
        return self.tensors[slot].value

    @property
    def name(self) -> str:
        """The name of the convolution, or of a batch norm that follows none."""
        return self.unit.conv.name

    @property
    def op(self) -> str:
        """The operation of that node."""
        return self.unit.conv.op

    @property
    def norm(self) -> Node | None:
        """The batch norm, behind a convolution or alone."""
        return self.unit.conv if self.op == "batch_norm" else self.unit.norm

    @property
    def foldable(self) -> bool:
        """Whether there is a batch norm to be worked into a convolution."""
        return self.unit.norm is not None

    @property
    def eps(self) -> float:
        """That of the batch norm."""
        return float(self.norm.attrs["eps"]) if self.norm is not None else 0.0

    @cached_property
    def names(self) -> dict[str, str]:
        """By slot, the params' names, also of those that a file lacks."""
        return {slot: f"{node.name}.{slot}" for node in self.unit.nodes for slot in node.params}

    @property
    def slopes(self) -> dict[str, Expected]:
        """Those of the activation, which no fold touches."""
        held = {} if self.unit.act is None else self.unit.act.params
        return {slot: self.tensors[slot] for slot in held if slot in self.tensors}

    def shape(self, slot: str) -> tuple[int, ...]:
        """Of an array as a file has it, or as it should be where no file is looked at."""
        shape: tuple[int, ...] = (self.seen[slot] if slot in self.seen else self[slot]).shape
        return shape

    @property
    def factor(self) -> Array:
        """What each output channel is multiplied by: gamma / sqrt(var + eps), (K,)."""
        with np.errstate(all="ignore"):
            factor: Array = self["gamma"] / np.sqrt(self["var"] + self.eps)
        return factor

    @property
    def bias(self) -> Array:
        """The convolution's own bias, zeros where it has none."""
        return self["b"] if "b" in self else np.zeros(len(self["w"]))

    def having(
        self, arrays: Mapping[str, Array | Expected], nodes: Mapping[str, tuple[Node, ...]]
    ) -> UnitArrays | None:
        """The same with some arrays, by the names of params, and the batch norm's node replaced.

        A batch norm in whose place another operation stands is gone, and its arrays with it. None where an array has
        another shape, so that nothing can be folded.
        """
        slots = {name: slot for slot, name in self.names.items()}
        new = {slots[name]: Expected.of(array) for name, array in arrays.items()}
        if any(each.value.shape != self[slot].shape for slot, each in new.items()):
            return None
        made, norm = {**self.tensors, **new}, self.unit.norm
        if norm is not None and norm.name in nodes:
            (norm,) = nodes[norm.name]
        if norm is None or norm.op != "batch_norm":
            gone = {} if self.unit.norm is None else self.unit.norm.params
            norm, made = None, {slot: each for slot, each in made.items() if slot not in gone}
        return replace(self, unit=self.unit._replace(norm=norm), tensors=made)

    def folded(self, store: str = "float32") -> UnitArrays:
        """The convolution alone, with the batch norm worked in: w' = s w and b' = s (b - mean) + beta.

        Here s = gamma / sqrt(var + eps). Every order of working this out in a format leaves each term multiplied by at
        most K factors 1 + d, abs(d) <= u, and so within gamma_K = K u / (1 - K u) times the sum of absolute terms
        (Higham, Accuracy and Stability of Numerical Algorithms, sec. 3.1). eps as a float32 and var + eps round once
        each, half as much after the root; the root, its reciprocal and the product with gamma once each: 4. A
        reciprocal root from a table and one Newton step, as in Eigen, may be 2 ulp = 4 u off where root and reciprocal
        are 2: 6. Times w: K = 7. The bias: b - mean and the product, or two products: 7, then two sums: K = 9, of terms
        abs(s b), abs(s mean) and abs(beta).
        """
        w, alone = self["w"], self._biased._replace(norm=None)
        if not self.foldable:
            return replace(self, unit=alone, tensors={"b": Expected.exactly(self.bias), **self.tensors})
        s, zero = self.factor, Expected.exactly(np.zeros(len(w)))
        mean, beta = (self.tensors.get(slot, zero).value for slot in ("mean", "beta"))
        with np.errstate(all="ignore"):
            weight = w * s.reshape(-1, *(1,) * (w.ndim - 1))
            bias = s * (self.bias - mean) + beta
            terms = np.abs(s * self.bias) + np.abs(s * mean) + np.abs(beta)
            before = [np.abs((self.tensors[slot].slack.T * s).T) for slot in ("w", "b") if slot in self]  # of `behind`
        tiny = FLOATS[store].underflow
        made = {
            "w": Expected(weight, _gamma(_WEIGHT, store) * np.abs(weight) + tiny + before[0]),
            "b": Expected(bias, _gamma(_BIAS, store) * terms + 3 * tiny + sum(before[1:])),
        }
        return replace(self, unit=alone, tensors={**made, **self.slopes})

    def folded_in(self, store: str) -> UnitArrays:
        """The same in a shorter format, to which the arrays are rounded first, as casting a module to it does."""
        with np.errstate(over="ignore"):
            cast = {slot: each._replace(value=rounded(each.value, store)) for slot, each in self.tensors.items()}
        return replace(self, tensors=cast).folded(store)

    @property
    def _biased(self) -> Unit:
        """The nodes, the convolution with a bias."""
        conv = self.unit.conv
        return self.unit._replace(conv=replace(conv, params={**conv.params, "b": (len(self["w"]),)}))

    def behind(self, norm: UnitArrays) -> UnitArrays:
        """The convolution with the batch norm ahead of it worked in: w' = w s and b' = b + sum of w (beta - mean s).

        Here s = gamma / sqrt(var + eps), by channel of the input, and the sum is over all that a filter reads.
        Roundings as in `folded`: 7 of a weight; of the bias 8 of beta - mean s, 1 of the product with w, and as many
        of the sum as it has terms, the bias among them.
        """
        w, groups = self["w"], self.unit.conv.attrs.get("groups", 1)
        if self.op == "depthwise_conv2d":
            w, groups = w[:, None], len(w)
        s, held = norm.factor, norm.worked_out().tensors["beta"]
        size = np.abs(s * norm["mean"]) + np.abs(norm["beta"])
        of_filter = [np.repeat(each.reshape(groups, -1), len(w) // groups, axis=0) for each in (s, held.value, size)]
        s, addend, terms = (each.reshape(w.shape[:2] + (1,) * (w.ndim - 2)) for each in of_filter)
        inner = tuple(range(1, w.ndim))
        with np.errstate(all="ignore"):
            weight = (w * s).reshape(self["w"].shape)
            bias = self.bias + (w * addend).sum(axis=inner)
            terms = np.abs(self.bias) + np.abs(w * terms).sum(axis=inner)
        K = _ADDEND + 1 + w[0].size
        made = {
            "w": Expected(weight, _gamma(_WEIGHT) * np.abs(weight) + _TINY),
            "b": Expected(bias, _gamma(K) * terms + K * _TINY),
        }
        return replace(self, unit=self._biased, tensors={**self.tensors, **made})

    def worked_out(self) -> UnitArrays:
        """The same with its batch norm as x s + (beta - mean s), s = gamma / sqrt(var + eps).

        Roundings as in `folded`: 6 of the factor; of the addend 6 of the factor, the product and the sum.
        """
        s, K = self.factor, len(self["gamma"])
        with np.errstate(all="ignore"):
            addend = self["beta"] - s * self["mean"]
            terms = np.abs(s * self["mean"]) + np.abs(self["beta"])
        made = {
            "gamma": Expected(s, _gamma(_FACTOR) * np.abs(s) + _TINY),
            "beta": Expected(addend, _gamma(_ADDEND) * terms + 2 * _TINY),
            "mean": Expected.exactly(np.zeros(K)),
            "var": Expected.exactly(np.ones(K)),
        }
        assert self.norm is not None
        norm = replace(self.norm, attrs={**self.norm.attrs, "eps": 0.0})
        unit = self.unit._replace(norm=norm) if self.foldable else self.unit._replace(conv=norm)
        return replace(self, unit=unit, tensors={**self.tensors, **made})

    def in_steps(self) -> UnitArrays | None:
        """The unit with what is to be explained, and what should be there, as integers of the file's own steps.

        None where these are the same for all elements, or there are none.
        """
        steps, wanted = self.steps.get(self.names[self.slot]), self.tensors[self.slot]
        if steps is None or not np.ptp(steps) or steps.shape != wanted.value.shape:
            return None
        others = {name: partial(self._other_in_steps, name) for name in self.others}
        tensors = {**self.tensors, self.slot: Expected(wanted.value / steps, wanted.slack / steps)}
        return replace(self, tensors=tensors, seen={self.slot: self.seen[self.slot] / steps}, others=others)

    def _other_in_steps(self, name: str) -> Mapping[str, Expected]:
        made = {}
        for slot, held in self.others[name]().items():
            steps = self.steps.get(f"{name}.{slot}")
            if steps is not None and steps.shape == held.value.shape:
                made[slot] = Expected(held.value / steps, held.slack / steps)
        return made

    def unfolding(self, wanted: Expected) -> UnitArrays:
        """The unit with what is seen of its folded weights brought back before the fold, where that can be done.

        What is seen of its folded bias stays as it is, as `FOLDED_BIAS`.

        Parameters
        ----------
        wanted : the folded weights; their slack is brought back too
        """
        s, seen = self.factor.reshape(-1, *(1,) * (self["w"].ndim - 1)), self.seen.get("w")
        if seen is None or seen.shape != wanted.value.shape or not np.all(np.isfinite(s) & (s != 0)):
            return replace(self, seen={})
        weights = Expected(self["w"], wanted.slack / np.abs(s))
        kept = {"w": seen / s} | ({FOLDED_BIAS: self.seen["b"]} if "b" in self.seen else {})
        return replace(self, seen=kept, tensors={**self.tensors, "w": weights})


def _gamma(K: int, store: str = "float32") -> float:
    """Of an exporter's arithmetic, which is float32 or wider if nothing else is said."""
    u = FLOATS[store].u
    return K * u / (1 - K * u)


def unit_arrays(
    graph: Graph, params: Mapping[str, Array], classifier: str = "", slack: Mapping[str, Array] | None = None
) -> Iterator[UnitArrays]:
    """Every unit that has arrays, in order.

    Parameters
    ----------
    params : by 'node.slot'; a file may lack some
    classifier : the convolution that gives the classes
    slack : by the same names, how far a port's own may lie from them; those that are not there are exact
    """
    loose = slack or {}
    for unit in graph.units():
        nodes = [node for node in unit.nodes if node.params]
        with np.errstate(invalid="ignore"):  # bytes that are no numbers may be NaN that signal
            tensors = {
                slot: Expected(exact, loose[name]) if name in loose else Expected.exactly(exact)
                for node in nodes
                for slot in node.params
                if (name := f"{node.name}.{slot}") in params
                for exact in (np.asarray(params[name], np.float64),)
            }
        if nodes:
            yield UnitArrays(unit, tensors, classifies=unit.conv.name == classifier)
