"""A port of a quantised network against a pack of integers: each node on the port's own inputs, exact or by which rule.

There is no tolerance: integers are equal or they are not. Where they are not, the wrong rules of `bugs.integers` and
the kernels of other runtimes are tried on the port's own inputs; a rule that makes every integer of the port is what
the port does. Where several do, all are told, and in how many elements of an input of noise they would differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.integer_node import IntegerNode
from refnet.bugs.integers import INTEGER_BUGS, other_kernels
from refnet.errors import RefnetError, RequestError
from refnet.graph import SOURCE, Node
from refnet.network.quantised import QuantisedNetwork
from refnet.pack.candidate import read_candidate
from refnet.pack.integers import IntegerPack, read_integer_pack
from refnet.pack.match import match_tensors
from refnet.readings.integer.quantisation import QuantisedTensor
from refnet.readings.quantised import run_node
from refnet.threads import on_one_thread

__all__ = ["IntegerCause", "IntegerComparison", "IntegerFinding", "compare_integers"]

Array = npt.NDArray[Any]

_KERNELS = "kernels:"
_MANY = 3  # tensors by which kernels are told
_NEAR = 10  # a rule that leaves less than one in so many of the differences is told, though it does not fit


class IntegerCause(NamedTuple):
    """A rule that makes a port's integers of its own inputs.

    Attributes
    ----------
    rule : a bug of `bugs.integers`, or 'kernels:' and the name of other kernels
    left : how many elements it leaves different; 0 where it fits
    changes : how many elements it changes on these inputs
    on_noise : how many elements of an input of noise it makes otherwise than the first that fits; None for that one
    """

    rule: str
    left: int
    changes: int
    on_noise: int | None = None


class IntegerFinding(NamedTuple):
    """One node.

    Attributes
    ----------
    node, op : of the graph
    source : the candidate's name of the tensor; '' where it has none
    verdict : 'exact', 'wrong', 'inside' (the candidate has no such tensor), 'shape', 'dtype' or 'missing'
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
    everywhere : the rules that fit at every wrong node and change no node that is exact, the likeliest first
    instead : the pack's arithmetic, where the port is of other kernels and most of its tensors are exact in those; ''
    """

    kernels: str
    findings: tuple[IntegerFinding, ...]
    unmatched: tuple[str, ...]
    everywhere: tuple[str, ...] = ()
    instead: str = ""

    @property
    def holds(self) -> bool:
        """Whether every integer of the candidate is the reference's on its own inputs."""
        return not self.instead and all(finding.verdict in ("exact", "inside") for finding in self.findings)

    def wrong(self) -> list[str]:
        """Names of the nodes that are not exact, in order."""
        return [each.node for each in self.findings if each.verdict not in ("exact", "inside")]


Tensors = Mapping[str, Array]
Candidate = str | Path | Tensors | QuantisedNetwork | Callable[[Array], Tensors]


@on_one_thread
def compare_integers(
    pack: str | Path | IntegerPack,
    candidate: Candidate,
    *,
    names: Mapping[str, str] | None = None,
    explain: bool = True,
) -> IntegerComparison:
    """Judge a port's integers, node by node, each on the port's own inputs.

    Parameters
    ----------
    pack : a pack of integers or its path
    candidate : a folder of .npy or raw files, an .npz or .safetensors file; a dict {name: integers}; a network of
        integers, which is run; or a callable that is given the pack's input (N, C, H, W) and returns such a dict
    names : candidate's name -> node name; other names are matched by equality, then by content
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
    golden = _GoldenIntegers(pack)
    found, unmatched = _matched(tensors, golden, names or {})
    if not found:
        raise RequestError(f"nothing in the candidate is any tensor of the pack ({', '.join(list(tensors)[:4])} ...)")
    judge = _Judge(net, golden, found, explain)
    findings = tuple(judge.findings())
    everywhere = tuple(judge.everywhere(findings))
    made = IntegerComparison(net.kernels, findings, tuple(unmatched), everywhere)
    if everywhere:
        return made
    for kernels in _kernels_of(findings):
        judge = _Judge(net.under(kernels), golden, found, explain)
        findings = tuple(judge.findings())
        other = IntegerComparison(kernels, findings, tuple(unmatched), tuple(judge.everywhere(findings)), net.kernels)
        if 2 * len(other.wrong()) <= len(made.wrong()):
            return other
    return made


def _kernels_of(findings: Iterable[IntegerFinding]) -> list[str]:
    """The kernels that make most of the tensors that are not exact, where there are many: a bug may lie beside."""
    wrong = [each for each in findings if each.verdict == "wrong"]
    counts = Counter(
        cause.rule.removeprefix(_KERNELS)
        for each in wrong
        for cause in each.causes
        if not cause.left and cause.rule.startswith(_KERNELS)
    )
    return [name for name, count in counts.most_common(2) if count >= _MANY and 2 * count >= len(wrong)]


class _GoldenIntegers:
    """The tensors of a pack; those that it does not store are computed, once."""

    def __init__(self, pack: IntegerPack) -> None:
        self.pack = pack
        self.tensors = {SOURCE: pack.tensor(SOURCE), **pack.net.trace(pack.tensor(SOURCE))}

    def tensor(self, name: str) -> Array:
        """One tensor as floats, by which it is recognised."""
        return self.tensors[name].astype(np.float32)


def _matched(
    tensors: Tensors, golden: _GoldenIntegers, names: Mapping[str, str]
) -> tuple[dict[str, tuple[str, Array]], list[str]]:
    """By node the candidate's name and its array as (N, C, H, W); the names that are no node's."""
    keys = {entry.get("key"): node for node, entry in golden.pack.manifest["tensors"].items() if entry.get("key")}
    # A name may be one node's and the file's of another node's tensor: a candidate has mostly the ones or the others.
    ours = sum(name in golden.tensors for name in tensors) >= sum(name in keys for name in tensors)
    theirs = {name: keys[name] for name in tensors if name in keys and not (ours and name in golden.tensors)}
    told = {name: node for name, node in theirs.items() if node not in names.values()} | dict(names)
    shapes = {name: y.shape for name, y in golden.tensors.items()}
    matching = match_tensors(_Floats(tensors), shapes, golden.tensor, names=told)
    found = {}
    for node, each in matching.tensors.items():
        whole = each.array
        dtype = np.asarray(tensors[each.source]).dtype
        found[node] = (each.source, whole.astype(dtype) if dtype.kind in "iu" else whole)
    return found, matching.unmatched


class _Floats(Mapping[str, Array]):
    """Tensors as floats, which hold integers of up to 24 bits exactly."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.shapes = {name: np.shape(tensors[name]) for name in tensors}

    def __getitem__(self, name: str) -> Array:
        return np.asarray(self.tensors[name]).astype(np.float32)

    def __iter__(self) -> Any:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


class _Judge:
    """Goes through the nodes with the candidate's tensors, and the reference's of them where it has none."""

    def __init__(
        self, net: QuantisedNetwork, golden: _GoldenIntegers, found: Mapping[str, tuple[str, Array]], explain: bool
    ) -> None:
        self.net, self.golden, self.found, self.explain = net, golden, found, explain
        self.values: dict[str, Any] = {}
        self.exact: list[IntegerNode] = []

    def everywhere(self, findings: tuple[IntegerFinding, ...]) -> list[str]:
        """The rules that fit at every wrong node; of several those that make the exact nodes what they are, too."""
        wrong = [each for each in findings if each.verdict == "wrong" and each.causes]
        if not wrong or not self.explain:
            return []
        common = set.intersection(*({cause.rule for cause in each.causes if not cause.left} for each in wrong))
        rules = [cause.rule for cause in wrong[0].causes if cause.rule in common]
        kept = [rule for rule in rules if all(_agrees(rule, node) for node in self.exact)]
        return kept or rules

    def findings(self) -> Iterable[IntegerFinding]:
        """One for each node, in order."""
        self.values[SOURCE] = self._tensor(SOURCE, self._own(SOURCE, self.golden.tensors[SOURCE]))
        last = {name for name in self.found if name != SOURCE}
        for node in self.net.graph.nodes:
            inputs = [self.values[name] for name in node.inputs]
            q = self.net.quantised.get(node.name)
            y = run_node(node, inputs, self.net.params, q, self.net.kernels)
            reference = y.values if isinstance(y, QuantisedTensor) else np.asarray(y)
            finding = self._finding(node, inputs, reference)
            fits = finding.verdict in ("exact", "wrong")
            self.values[node.name] = self._tensor(node.name, self.found[node.name][1]) if fits else y
            last.discard(node.name)
            if finding.verdict == "inside" and not last and node.name in self.net.graph.outputs:
                finding = finding._replace(verdict="missing")
            yield finding

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
        work = self._work(node, inputs)
        if not apart.any():
            if work is not None:
                self.exact.append(work)
            return finding
        steps = np.abs(mine.astype(np.float64) - reference.astype(np.float64))
        place = tuple(map(int, np.unravel_index(int(steps.argmax()), steps.shape)))
        causes = tuple(_causes(work, mine)) if work is not None else ()
        return finding._replace(
            verdict="wrong", different=int(apart.sum()), most=int(steps.max()), place=place,
            found=float(mine[place]), known=float(reference[place]), causes=causes,
        )  # fmt: skip

    def _work(self, node: Node, inputs: list[Any]) -> IntegerNode | None:
        """A node for rules to be tried on; None where it makes floats, or none are looked for."""
        q = self.net.quantised.get(node.name)
        if not self.explain or q is None:
            return None
        held = {slot: self.net.params[f"{node.name}.{slot}"] for slot in node.params}
        return IntegerNode(node, tuple(inputs), held, q, self.net.kernels)


def _agrees(rule: str, node: IntegerNode) -> bool:
    """Whether a rule makes of a node what the reference does."""
    try:
        kernels = rule.removeprefix(_KERNELS)
        y = node.under(kernels) if kernels != rule else INTEGER_BUGS[rule](node)
    except (RefnetError, ValueError):
        return True
    return y is None or np.array_equal(y, node.reference)


def _tried(node: IntegerNode) -> dict[str, Array]:
    """What each rule makes of a node, where that is something else than the reference."""
    made: dict[str, Array] = {}
    for name, bug in INTEGER_BUGS.items() if node.of_integers else ():
        try:
            y = bug(node)
        except (RefnetError, ValueError):
            continue
        if y is not None and y.shape == node.reference.shape and not np.array_equal(y, node.reference):
            made[name] = y
    return made | {_KERNELS + name: y for name, y in other_kernels(node).items()}


def _causes(node: IntegerNode, mine: Array) -> list[IntegerCause]:
    """The rules that make a port's integers; where none does, those that come near."""
    different = int((mine != node.reference).sum())
    tried = {
        rule: IntegerCause(rule, int((y != mine).sum()), int((y != node.reference).sum()))
        for rule, y in _tried(node).items()
    }
    fits = [cause for cause in tried.values() if not cause.left]
    if not fits:
        near = sorted(tried.values(), key=lambda cause: cause.left)
        return [cause for cause in near[:2] if cause.left * _NEAR <= different]
    return fits if len(fits) == 1 else _told_apart(node, fits)


def _told_apart(node: IntegerNode, fits: list[IntegerCause]) -> list[IntegerCause]:
    """In how many elements the rules that fit differ from the first of them on an input of noise."""
    rng = np.random.default_rng(0)
    if not node.of_integers:
        return fits
    noise = tuple(
        QuantisedTensor(
            rng.integers(x.quantisation.low, x.quantisation.high + 1, x.values.shape).astype(x.values.dtype),
            x.quantisation,
        )
        for x in node.inputs
    )
    noisy = replace(node, inputs=noise)
    made = _tried(noisy)
    first = made.get(fits[0].rule, noisy.reference)
    others = [
        cause._replace(on_noise=int((made.get(cause.rule, noisy.reference) != first).sum())) for cause in fits[1:]
    ]
    return [fits[0], *others]
