"""A port of a quantised network against a pack of integers: each node on the port's own inputs, exact or by which rule.

There is no tolerance: integers are equal or they are not. Where they are not, the wrong rules of `bugs.integers` and
the kernels of other runtimes are tried on the port's own inputs; a rule that makes every integer of the port is what
the port does. Where several do, all are told, and in how many elements of an input of noise they would differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.integers.catalogue import INPUT_BUGS
from refnet.bugs.integers.inputs import guesses
from refnet.bugs.integers.node import IntegerNode
from refnet.errors import RequestError
from refnet.graph import SOURCE, Node
from refnet.judge.integers.floats import real_limits
from refnet.judge.integers.rules import KERNELS, IntegerCause, agrees, causes_of, causes_of_input
from refnet.judge.integers.tensors import (
    GoldenIntegers,
    HeldIntegers,
    before_softmax,
    integers_in_order,
    match_integers,
)
from refnet.judge.integers.through import ALL, causes_through, inputs_through
from refnet.judge.verdicts import is_left_off
from refnet.network.quantised import QuantisedNetwork
from refnet.pack.candidate import read_candidate
from refnet.pack.integers import IntegerPack, read_integer_pack
from refnet.readings.integer.quantisation import QuantisedTensor
from refnet.readings.quantised import run_node
from refnet.threads import on_one_thread

__all__ = ["RIGHT", "IntegerComparison", "IntegerFinding", "compare_integers"]

Array = npt.NDArray[Any]

RIGHT = ("exact", "rounding", "inside")  # verdicts that fail nothing

_IN_FLOATS = ("onnxruntime", "onnxruntime_avx2")  # whose QDQ files may run as they stand, in floats
_MANY = 3  # tensors by which kernels are told


class IntegerFinding(NamedTuple):
    """One node.

    Attributes
    ----------
    node, op : of the graph
    source : the candidate's name of the tensor; '' where it has none
    verdict : 'exact', 'rounding' (floats, or integers that floats were rounded to, as another order of sums makes
        them), 'wrong', 'inside' (the candidate has no such tensor), 'shape', 'dtype' or 'missing'
    different, elements : how many integers, of how many
    most : the largest difference, in steps
    found, known : an integer of the candidate and the reference's, at `place`
    causes : rules that fit, the likeliest first; where none does, those that are near
    """

    node: str
    op: str
    source: str
    verdict: str
    different: int = 0
    elements: int = 0
    most: int = 0
    place: tuple[int, ...] = ()
    found: float = 0
    known: float = 0
    causes: tuple[IntegerCause, ...] = ()


@dataclass(frozen=True)
class IntegerComparison:
    """What was found.

    Attributes
    ----------
    kernels : whose arithmetic the findings are in: the pack's, but for `instead`
    findings : one for each node, in order
    unmatched : the candidate's names that are no node's
    everywhere : the rules that fit at every wrong node that any rule fits, the likeliest first; those that change no
        node that is exact, if there are such
    whole : whether the first of them changes no node that is exact
    partial : whether tensors that are missing are accepted
    instead : the pack's arithmetic, where the port is of other kernels and most of its tensors are exact in those; ''
    """

    kernels: str
    findings: tuple[IntegerFinding, ...]
    unmatched: tuple[str, ...]
    everywhere: tuple[str, ...] = ()
    instead: str = ""
    whole: bool = True
    partial: bool = False

    @property
    def holds(self) -> bool:
        """Whether every integer of the candidate is the reference's on its own inputs."""
        return not self.instead and not self.wrong()

    def wrong(self) -> list[str]:
        """Names of the nodes that are not exact, in order."""
        right = (*RIGHT, "missing") if self.partial else RIGHT
        return [each.node for each in self.findings if each.verdict not in right]


Tensors = Mapping[str, Array]
Candidate = str | Path | Tensors | QuantisedNetwork | Callable[[Array], Tensors]


@on_one_thread
def compare_integers(
    pack: str | Path | IntegerPack,
    candidate: Candidate,
    *,
    names: Mapping[str, str] | None = None,
    partial: bool = False,
    explain: bool = True,
) -> IntegerComparison:
    """Judge a port's integers, node by node, each on the port's own inputs.

    Parameters
    ----------
    pack : a pack of integers or its path
    candidate : a folder of .npy or raw files, an .npz or .safetensors file; a dict {name: integers}; a network of
        integers, which is run; or a callable that is given the pack's input (N, C, H, W) and returns such a dict
    names : candidate's name -> node name; other names are matched by equality, then by content
    partial : accept that the last tensors are missing
    explain : look for rules

    Raises
    ------
    RequestError, FormatError
        if nothing matches, or a file is unreadable.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import refnet
    >>> x = refnet.probe(refnet.load().graph)[1:]
    >>> net = refnet.quantise(refnet.load(), [x])
    >>> with TemporaryDirectory() as folder:
    ...     refnet.write_integer_pack(net, x, f"{folder}/pack")
    ...     right = compare_integers(f"{folder}/pack", net.trace)
    ...     other = compare_integers(f"{folder}/pack", net.under("xnnpack"))
    >>> right.holds, other.holds, "kernels:xnnpack" in other.everywhere
    (True, False, True)
    """
    pack = pack if isinstance(pack, IntegerPack) else read_integer_pack(pack)
    net, x = pack.net, pack.tensor(SOURCE)
    if isinstance(candidate, QuantisedNetwork):
        candidate = candidate.trace(x)
    elif callable(candidate):
        candidate = candidate(x)
    tensors = read_candidate(candidate) if isinstance(candidate, str | Path) else candidate
    golden = GoldenIntegers(pack, tensors)
    found, unmatched = match_integers(tensors, golden, names or {})
    if not names:
        found, unmatched = integers_in_order(tensors, golden, found, unmatched, lambda way: _right(net, golden, way))
    if not found:
        raise RequestError(f"nothing in the candidate is any tensor of the pack ({', '.join(list(tensors)[:4])} ...)")
    made = _judged(_Judge(net, golden, found, explain), unmatched, partial=partial)
    if not _is_told(made) and (logits := before_softmax(golden, found)) is not None:
        moved = _judged(_Judge(net, golden, logits, explain), unmatched, partial=partial)
        made, found = (moved, logits) if _is_told(moved) else (made, found)
    if made.everywhere:
        return made
    for kernels in _kernels_of(made.findings):
        other = _judged(_Judge(net.under(kernels), golden, found, explain), unmatched, net.kernels, partial=partial)
        if 2 * len(other.wrong()) <= len(made.wrong()):
            return other
    return made


def _judged(judge: _Judge, unmatched: Iterable[str], instead: str = "", *, partial: bool) -> IntegerComparison:
    """What is found in one arithmetic."""
    findings = tuple(judge.findings())
    everywhere = tuple(judge.everywhere(findings))
    whole = judge.leaves_exact(everywhere[:1])
    return IntegerComparison(judge.net.kernels, findings, tuple(unmatched), everywhere, instead, whole, partial)


def _is_told(made: IntegerComparison) -> bool:
    """Whether every tensor is right, or is explained by a rule."""
    wrong = [each for each in made.findings if each.verdict == "wrong"]
    return all(any(not cause.left for cause in each.causes) for each in wrong)


def _right(net: QuantisedNetwork, golden: GoldenIntegers, found: HeldIntegers) -> int:
    """How many of the candidate's tensors are right, exactly or but for rounding."""
    return sum(each.verdict in ("exact", "rounding") for each in _Judge(net, golden, found, False).findings())


def _kernels_of(findings: Iterable[IntegerFinding]) -> list[str]:
    """The kernels that make most of the tensors that are not exact, where there are many: a bug may lie beside."""
    wrong = [each for each in findings if each.verdict == "wrong"]
    counts = Counter(
        cause.rule.removeprefix(KERNELS)
        for each in wrong
        for cause in each.causes
        if not cause.left and cause.rule.startswith(KERNELS)
    )
    return [name for name, count in counts.most_common(2) if count >= _MANY and 2 * count >= len(wrong)]


class _Judge:
    """Goes through the nodes with the candidate's tensors, and the reference's of them where it has none."""

    def __init__(
        self, net: QuantisedNetwork, golden: GoldenIntegers, found: Mapping[str, tuple[str, Array]], explain: bool
    ) -> None:
        self.net, self.golden, self.found, self.explain = net, golden, found, explain
        self.values: dict[str, Any] = {}
        self.exact: list[IntegerNode] = []
        self.made: set[str] = set()  # nodes of floats that the candidate does not have

    def everywhere(self, findings: tuple[IntegerFinding, ...]) -> list[str]:
        """The rules that fit at every wrong node; of several those that make the exact nodes what they are, too."""
        wrong = [each for each in findings if each.verdict == "wrong" and each.causes and each.node != SOURCE]
        if not wrong or not self.explain:
            return []
        fits = ({cause.rule for cause in each.causes if not cause.left and cause.at in ("", ALL)} for each in wrong)
        common = set.intersection(*fits)
        rules = list(dict.fromkeys(cause.rule for cause in wrong[0].causes if cause.rule in common))
        return [rule for rule in rules if self.leaves_exact((rule,))] or rules

    def leaves_exact(self, rules: Iterable[str]) -> bool:
        """Whether rules change no node that is exact."""
        return all(agrees(rule, node) for rule in rules for node in self.exact)

    def findings(self) -> Iterable[IntegerFinding]:
        """One for each node, in order; before them one for the input, if a port has another."""
        if (given := self._given()) is not None:
            yield given
        self.values[SOURCE] = self._tensor(SOURCE, self._own(SOURCE, self.golden.tensors[SOURCE]))
        last = {name for name in self.found if name != SOURCE}
        for node in self.net.graph.nodes:
            inputs = [self.values[name] for name in node.inputs]
            q = self.net.quantised.get(node.name)
            y = self._made(node, inputs)
            reference = y.values if isinstance(y, QuantisedTensor) else np.asarray(y)
            finding = self._finding(node, inputs, reference)
            fits = finding.verdict in ("exact", "rounding", "wrong")
            self.values[node.name] = self._tensor(node.name, self.found[node.name][1]) if fits else y
            if not fits and q is None:
                self.made.add(node.name)
            last.discard(node.name)
            lacks = finding.verdict == "inside" and not last and node.name in self.net.graph.outputs
            if lacks and not is_left_off(self.net.graph, node.name, self.found):
                finding = finding._replace(verdict="missing")
            yield finding

    def _made(self, node: Node, inputs: list[Any]) -> Any:
        """What a node makes; what the reference has where kernels abort on such integers."""
        try:
            return run_node(node, inputs, self.net.params, self.net.quantised.get(node.name), self.net.kernels)
        except RequestError:
            return self._tensor(node.name, self.golden.tensors[node.name])

    def _given(self) -> IntegerFinding | None:
        """What a port was given, if that is not what it should be."""
        source, mine = self.found.get(SOURCE, ("", self.golden.tensors[SOURCE]))
        x = self.golden.tensors[SOURCE]
        if (mine.shape, mine.dtype) != (x.shape, x.dtype) or _is_same(mine, x):
            return None
        finding = IntegerFinding(SOURCE, "", source, "wrong", elements=x.size)
        tried = {rule: bug(x, mine) for rule, bug in INPUT_BUGS.items()} if self.explain else {}
        changes = int((mine != x).sum())
        fits = [IntegerCause(rule, 0, changes) for rule, y in tried.items() if y is not None and _is_same(y, mine)]
        return _apart(finding, mine, x, tuple(fits[:1]))

    def _own(self, name: str, otherwise: Array) -> Array:
        array = self.found[name][1] if name in self.found else otherwise
        return array if (array.shape, array.dtype) == (otherwise.shape, otherwise.dtype) else otherwise

    def _tensor(self, name: str, array: Array) -> Any:
        q = self.net.quantised.get(name)
        return array if q is None else QuantisedTensor(np.ascontiguousarray(array), q)

    def _finding(self, node: Node, inputs: list[Any], reference: Array) -> IntegerFinding:
        if node.name not in self.found:
            return IntegerFinding(node.name, node.op, "", "inside", elements=reference.size)
        source, mine = self.found[node.name]
        finding = IntegerFinding(node.name, node.op, source, "exact", elements=reference.size)
        if mine.shape != reference.shape:
            return finding._replace(verdict="shape")
        if mine.dtype != reference.dtype:
            return finding._replace(verdict="dtype")
        apart = mine != reference
        work = self._work(node, inputs, mine)
        if not apart.any():
            if work is not None:
                self.exact.append(work)
            return finding
        if self._is_rounding(node, mine):
            return finding._replace(verdict="rounding", different=int(apart.sum()))
        return _apart(finding, mine, reference, tuple(self._causes(work, mine)) if work is not None else ())

    def _causes(self, work: IntegerNode, mine: Array) -> list[IntegerCause]:
        """The rules that make a node's integers; where none fits, and the input is not dumped, what is wrong in it."""
        causes = causes_of(work, mine)
        if any(not cause.left for cause in causes):
            return causes
        if len(span := self._span(work.node)) > 1:
            values = {**self.values, work.node.name: QuantisedTensor(work.reference, work.to)}
            causes = causes_through(self.net, span, values, mine) or causes
        if SOURCE in self.found or not all(cause.left for cause in causes):
            return causes
        fed = causes_of_input(work, self._fed(work.node), mine)
        if len(span) > 1 and all(cause.left for cause in fed) and _begin(span):
            given = ((rule, self._tensor(SOURCE, y)) for rule, y in self._guesses())
            fed = inputs_through(self.net, span, values, given, mine) or fed
        return fed or causes

    def _guesses(self) -> Iterator[tuple[str, Array]]:
        """What a port may have been given that does not say it, by rule."""
        made = guesses(self.golden.tensors[SOURCE], self.net.quantised.get(SOURCE))
        return ((rule, np.ascontiguousarray(y)) for rule, y in made)

    def _fed(self, node: Node) -> Iterator[tuple[str, Any]]:
        """What a first layer may have read in a port that does not say it, by rule: another input, or its integers."""
        inputs, name = self._guesses(), node.inputs[0]
        maker = self.net.graph.by_name.get(name)
        if node.inputs == (SOURCE,):
            yield from ((rule, self._tensor(SOURCE, y)) for rule, y in inputs)
        elif maker is not None and maker.op == "quantize" and maker.inputs == (SOURCE,) and name not in self.found:
            yield from ((rule, self._made(maker, [y])) for rule, y in inputs)
            held = self.net.quantised[name]
            yield from ((rule, self._tensor(name, y)) for rule, y in guesses(self.values[name].values, held))

    def _span(self, node: Node) -> tuple[Node, ...]:
        """A node with those before it that the candidate does not have."""
        starts = {name for name in self.found if name in self.values and name != node.name}
        return self.net.graph.leading_to(node.name, starts=starts | {SOURCE}).nodes

    def _is_rounding(self, node: Node, mine: Array) -> bool:
        """Whether a tensor is what floats make of it in some order: its own, or those that were rounded to integers."""
        floats = node.name not in self.net.quantised or node.op == "quantize" or self.net.kernels in _IN_FLOATS
        limits = real_limits(self.net, node, self.values, self.made) if floats else None
        return limits is not None and limits.hold(mine)

    def _work(self, node: Node, inputs: list[Any], mine: Array) -> IntegerNode | None:
        """A node for rules to be tried on; None where it makes floats, or none are looked for."""
        q = self.net.quantised.get(node.name)
        if not self.explain or q is None:
            return None
        held = {slot: self.net.params[f"{node.name}.{slot}"] for slot in node.params}
        return IntegerNode(node, tuple(inputs), held, q, self.net.kernels, mine)


def _begin(span: Sequence[Node]) -> bool:
    """Whether nodes read the network's input, and else what they make themselves."""
    return {name for node in span for name in node.inputs} - {node.name for node in span} == {SOURCE}


def _apart(finding: IntegerFinding, mine: Array, known: Array, causes: tuple[IntegerCause, ...]) -> IntegerFinding:
    """A finding of a tensor that is wrong: how far, and where most."""
    steps = np.abs(mine.astype(np.float64) - known.astype(np.float64))
    place = tuple(map(int, np.unravel_index(int(steps.argmax()), steps.shape)))
    return finding._replace(
        verdict="wrong", different=int((mine != known).sum()), most=int(steps.max()), place=place,
        found=float(mine[place]), known=float(known[place]), causes=causes,
    )  # fmt: skip


def _is_same(x: Array, y: Array) -> bool:
    """Whether integers are equal, or floats but for a rounding of each."""
    if x.dtype.kind in "iu":
        return np.array_equal(x, y)
    return bool((np.abs(x - y) <= np.finfo(np.float32).eps * np.abs(y)).all())
