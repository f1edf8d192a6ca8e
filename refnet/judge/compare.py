"""A port against a golden pack: match its tensors to nodes, and judge them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.probabilities import are_saturated
from refnet.errors import RefnetError, RequestError
from refnet.files.checkpoint import identify
from refnet.files.images import decodings, read_image
from refnet.graph import SOURCE, Graph
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.cause import Cause
from refnet.judge.declared import Declared, ShownArithmetic
from refnet.judge.dumps.calibrated import without_calibrated
from refnet.judge.dumps.dropped import with_dropped
from refnet.judge.dumps.ends import LOGARITHMS, PROBABILITIES, labels_alone, with_ends, with_softmax
from refnet.judge.dumps.fitted import fitted_slack
from refnet.judge.dumps.otherwise import HeldOtherwise, as_meant
from refnet.judge.dumps.real_tensors import RealTensors, TensorScale
from refnet.judge.dumps.second_dump import Unsteady, unsteady
from refnet.judge.dumps.unit_vectors import without_unit_vectors
from refnet.judge.prepared import preprocessing_of, scale_of
from refnet.judge.tensors import Finding, Judged, Reference, judge_tensors
from refnet.judge.undeclared import TF32, is_explained, with_coarse_weights, would_hold_in
from refnet.network import Network
from refnet.pack.candidate import read_candidate
from refnet.pack.encodings import Encoding, bytes_in_floats, bytes_of_a_kind, in_few_steps, raw_numbers, same_images
from refnet.pack.matching.extras import Extra, extras
from refnet.pack.matching.layouts import plain_orders
from refnet.pack.matching.match import Assignment, MatchedTensor, match_tensors
from refnet.pack.pack import Pack, read_pack
from refnet.pack.printed import written_as
from refnet.readings.bounds.algorithms import ALGORITHMS
from refnet.readings.precision import WEIGHTS
from refnet.readings.shapes import shapes
from refnet.runtimes.models import is_model, run_model
from refnet.threads import on_one_thread

__all__ = ["Comparison", "TensorScale", "compare"]

Array = npt.NDArray[Any]
_MUCH = 16  # times a node's size: no bug in the table makes a result so large, so its values are not read

_LABELS = (
    "{}: holds the likeliest class of each {}, of which {:.4g} % are the pack's: that says little of how it was "
    "computed; dump the numbers of all classes, and what lies before them"
)

Candidate = str | Path | Mapping[str, Array] | Callable[[Array], Mapping[str, Array]]


class Comparison(NamedTuple):
    """What was found, and which of the candidate's tensors was taken for which node.

    `shown` says what its arrays show of its arithmetic; `unsteady` which of its tensors were others when it was run
    again; `encodings` how its files hold numbers, where they do not say it; `stepped` which of its wrong tensors are
    what integers of 8 bits stand for, where most are not; `otherwise` which it holds in another order of channels,
    scaled or moved, and takes back; `saturated` which are probabilities of 0 and 1 alone, behind nodes that no other
    tensor shows; `not_finite` which of those that match nothing hold infinities or NaN;
    `unlike_picture` the file of a picture of which the pack's input was made in no way that refnet knows.
    """

    judged: Judged
    matching: Assignment
    reference: Reference
    shown: ShownArithmetic
    unsteady: tuple[Unsteady, ...] = ()
    encodings: tuple[Encoding, ...] = ()
    stepped: tuple[str, ...] = ()
    otherwise: tuple[HeldOtherwise, ...] = ()
    saturated: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()
    unlike_picture: str = ""

    @property
    def holds(self) -> bool:
        """Whether the candidate is the reference, up to rounding, and finite in all that it has."""
        return self.judged.holds and not self.not_finite

    def wrong(self) -> list[str]:
        """Names of the candidate's tensors that rounding does not explain, in order."""
        return self.judged.wrong()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each golden tensor, in order."""
        return self.judged.findings

    @property
    def causes(self) -> Mapping[str, list[Cause]]:
        """By the name of a tensor, what explains it."""
        return self.judged.causes


@on_one_thread
def compare(
    pack: str | Path | Pack,
    candidate: Candidate,
    *,
    names: Mapping[str, str] | None = None,
    precision: str | None = None,
    accumulate: str | None = None,
    algorithm: str | None = None,
    scales: Mapping[str, TensorScale] | None = None,
    weights: str | None = None,
    partial: bool = False,
    explain: bool = True,
    image: str | Path | None = None,
    again: str | Path | Mapping[str, Array] | None = None,
    seconds: float = 60.0,
    spent: float = 0.0,
    tell: Callable[[int, int], object] | None = None,
    verdicts: Callable[[Judged], object] = lambda _: None,
) -> Comparison:
    """Judge every tensor of a port on its own inputs, and say why the wrong ones are.

    Parameters
    ----------
    pack : a golden pack or its path
    candidate : a folder of .npy or raw floats, an .npz, a .safetensors file; an .onnx or .tflite file, which its own
        runtime runs on the pack's input; a dict {name: array}, or a callable that is given the pack's input
        (N, C, H, W) and returns such a dict
    names : candidate's name -> node name; other names are matched by equality, then by content
    precision, accumulate : 'float32', 'tf32', 'float16', 'bfloat16' of stored tensors and of sums; by default as stored
    algorithm : how the port computes convolutions where it does by a fast algorithm: one of
        `readings.bounds.algorithms.ALGORITHMS`
    scales : by the candidate's name, of integer tensors; half a step per store joins the bound
    weights : 'int8' where the port's are integers and the pack's are not: half a step of each joins the bound; of a
        .tflite file that is plain from the file
    partial : accept golden tensors that no segment covers
    explain : look for causes
    image : the picture that the pack's input was made of, to tell how a port resizes it
    again : a second dump of the same port on the same input; what differs between both is in `Comparison.unsteady`
    seconds, spent : how long it may take, and how much of that has passed before; verdicts are given in any case, and
        causes are looked for while there is time. Ctrl-C ends the search too. How far it got is in `judged.search`
    tell : is given how many ways were looked at and how many there are, as the search goes on
    verdicts : is given the verdicts, without causes, before these are looked for

    Returns
    -------
    Comparison

    Raises
    ------
    RequestError, FormatError
        if nothing matches, if a name of `names` does not exist, or if a file is unreadable.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from refnet import build, load, probe, write_pack
    >>> net = load()
    >>> folder = tempfile.mkdtemp() + "/pack"
    >>> write_pack(net, probe(net.graph), folder, origin={"input": "the probe"})
    >>> tensors = net.trace(probe(net.graph))  # what a port would dump
    >>> compare(folder, tensors).holds
    True
    >>> act = "block2.depthwise.act"
    >>> found = compare(folder, {**tensors, act: np.maximum(tensors["block2.depthwise.bn"], 0) + 0.5})
    >>> found.holds, found.wrong()[0]
    (False, 'block2.depthwise.act')
    """
    if not seconds > 0:
        raise RequestError(f"seconds is {seconds}: take a number above 0")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise RequestError(f"algorithm {algorithm!r}: take one of {', '.join(ALGORITHMS)}")
    budget = SearchBudget(seconds, tell, spent=spent)
    pack = pack if isinstance(pack, Pack) else read_pack(pack)
    port = _opened(candidate, pack.tensor(SOURCE), scales or {}, weights)
    pack, real, encodings = _as_numbers(port, pack, names or {})
    graph, full, matching = _matched(pack, real, names, port.structure)
    reference = _reference(pack, graph, matching, image)
    arrays = {node: _read(found, real.shapes[found.source], full[node]) for node, found in matching.tensors.items()}
    fitted = fitted_slack(reference, arrays, matching.unfolded)
    reference = replace(reference, slack={**reference.slack, **fitted})
    plain = {node: y for node, y in arrays.items() if matching.tensors[node].source not in port.scales}
    made = [y for node, y in plain.items() if node != SOURCE and y.shape == full[node]]  # another may be far larger
    levels = WEIGHTS[port.weights] if port.weights else 0
    declared = Declared(precision, accumulate, algorithm or "", levels, written_as(made))
    shown = declared.of(reference, matching, arrays, real)
    meant, otherwise = (arrays, []) if port.scales or shown.steps else as_meant(reference, arrays)
    options: dict[str, Any] = {"partial": partial, "explain": explain, "budget": budget}
    found = judge_tensors(reference, meant, precision=shown.precision, tell=verdicts, **options)
    if shown.coarse and not (explain and is_explained(found)):
        shown, found = with_coarse_weights(shown, found, reference, meant, options)
    if explain and precision is None and accumulate is None and would_hold_in(TF32, found, reference, meant):
        shown = shown._replace(factors="tf32")
    if port.runs and all(finding.judgement.yardstick == "bound" for finding in found.findings):
        matching = matching._replace(unmatched=[])  # a runtime's inner tensors: every segment was judged without them
    finite = cache(lambda name: bool(np.isfinite(real[name]).all()))
    matching = _beside(matching, real, found, reference, full, finite)
    other = read_candidate(again) if isinstance(again, str | Path) else again
    moved = tuple(unsteady(port.tensors, other, matching, graph)) if other is not None else ()
    if others := {each.node for each in moved if each.kind != "order"}:
        found = _without_precision(found, others)
    written = {each.printed for each in shown.precision.values() if each.printed is not None}
    encodings += [Encoding(each.kind, {"count": each.places}) for each in written]
    return Comparison(
        found,
        matching,
        reference,
        shown,
        unsteady=moved,
        encodings=tuple(encodings),
        stepped=() if shown.steps else tuple(_in_steps(found, plain)),
        otherwise=tuple(otherwise),
        saturated=tuple(_saturated(found, graph, arrays)),
        not_finite=tuple(name for name in matching.unmatched if name in real.shapes and not finite(name)),
        unlike_picture=str(image) if image is not None and reference.image is None else "",
    )


def _in_steps(found: Judged, plain: Mapping[str, Array]) -> Iterator[str]:
    """The wrong tensors, of those that are no integers, that are what integers of 8 bits stand for."""
    wrong = (each.name for each in found.findings if each.judgement.verdict == "wrong")
    return (name for name in wrong if name in plain and in_few_steps(plain[name]))


def _saturated(found: Judged, graph: Graph, arrays: Mapping[str, Array]) -> Iterator[str]:
    """The probabilities of 0 and 1 alone, of which no other tensor shows what lies before them."""
    alone = (each for each in found.findings if each.judgement.yardstick != "bound" and len(each.segment) > 1)
    return (each.name for each in alone if graph[each.name].op == "softmax" and are_saturated(arrays[each.name]))


def _without_precision(found: Judged, nodes: Set[str]) -> Judged:
    """The same without causes that explain errors of any kind, at tensors that are others in each run."""
    kept = {
        name: [one for one in causes if not (name in nodes and all(BUGS[bug].group == "precision" for bug in one.ids))]
        for name, causes in found.causes.items()
    }
    return replace(found, causes=kept)


class _Port(NamedTuple):
    """A candidate that was read, or run by its own runtime.

    `scales` are those of its integers, `weights` what its weights are stored in; `structure` tells which node each
    tensor of a model's file is.
    """

    tensors: Mapping[str, Array]
    scales: Mapping[str, TensorScale]
    weights: str | None
    structure: Callable[[], Mapping[str, str]] | None = None
    runs: bool = False


def _opened(candidate: Candidate, x: Array, scales: Mapping[str, TensorScale], weights: str | None) -> _Port:
    """Read a candidate's files, run a model's file, or call what gives its tensors; x is the pack's input."""
    if isinstance(candidate, str | Path) and is_model(candidate):
        tensors, own, stored = run_model(candidate, x)
        scales = {**{name: TensorScale(*scale) for name, scale in own.items()}, **scales}
        port = _Port(tensors, scales, weights or stored, _structure_of(candidate), runs=True)
    elif isinstance(candidate, str | Path):
        port = _Port(read_candidate(candidate), scales, weights)
    else:
        port = _Port(candidate(x) if callable(candidate) else candidate, scales, weights)
    if unknown := [name for name in scales if name not in port.tensors]:
        have = ", ".join(list(port.tensors)[:5])
        raise RequestError(f"scales: the candidate has no tensor {unknown[0]!r}; it has {have}")
    return port


def _as_numbers(port: _Port, pack: Pack, names: Mapping[str, str]) -> tuple[Pack, RealTensors, list[Encoding]]:
    """A port's tensors as real numbers of the pack's images, and how its files hold them where they do not say it."""
    sides, batch = shapes(pack.graph), len(pack.tensor(SOURCE))
    meant = {**{name: (batch, *side) for name, side in sides.items()}, **dict.fromkeys(names, ())}
    tensors = bytes_in_floats(port.tensors, port.scales)
    tensors, kinds = bytes_of_a_kind(tensors, {name: scale.zero_point for name, scale in port.scales.items()})
    tensors, encodings = raw_numbers(tensors, [batch * math.prod(side) for side in sides.values()])
    real = RealTensors(tensors, port.scales, meant)
    pack, tensors, images = same_images(pack, tensors, real.shapes, sides)
    return pack, RealTensors(tensors, port.scales, meant) if images else real, encodings + kinds + images


def _matched(
    pack: Pack,
    real: RealTensors,
    names: Mapping[str, str] | None,
    structure: Callable[[], Mapping[str, str]] | None,
) -> tuple[Graph, dict[str, tuple[int, ...]], Assignment]:
    """The graph that the tensors are of, the shape of each of its nodes, and which tensor is which node."""
    batch = len(pack.tensor(SOURCE))
    graph = with_softmax(pack.graph, real, real.shapes, batch)
    full = {name: (batch, *shape) for name, shape in shapes(graph).items()}
    golden, network = _Golden(pack, graph), Network(graph, pack.params)
    matching = match_tensors(real, full, golden.tensor, names=names, network=network, structure=structure)
    added = graph is not pack.graph
    matching = with_ends(graph, matching, real, real.shapes, full, golden.tensor, added=added)
    matching = with_dropped(graph, matching, real, full)
    matching = without_unit_vectors(network, matching, full, golden.tensor)
    matching = without_calibrated(graph, matching, real)
    graph = graph if PROBABILITIES in matching.tensors else pack.graph
    if not matching.tensors:
        if (labels := labels_alone(graph, real.tensors, golden.tensor)) is not None:
            raise RequestError(_LABELS.format(*labels))
        if real.unread:
            raise RequestError(next(iter(real.unread.values())))
        first = ", ".join(list(real.tensors)[:4])
        raise RequestError(f"nothing in the candidate is any tensor of the pack ({first} ...); name them with --map")
    return graph, full, matching


def _reference(pack: Pack, graph: Graph, matching: Assignment, image: str | Path | None) -> Reference:
    """What the tensors are judged by."""
    centred = frozenset(node for node, each in matching.tensors.items() if each.layout == LOGARITHMS)
    x, recipe = pack.tensor(SOURCE), graph.recipe
    pixels = None if image is None else read_image(image)
    rule = scale_of(x, recipe.preprocessing) if pixels is None else preprocessing_of(pixels, x, recipe.preprocessing)
    if pixels is not None and rule is None:  # then the picture tells nothing
        image, pixels, rule = None, None, scale_of(x, recipe.preprocessing)
    reference = replace(Reference.of_pack(pack), graph=replace(graph, recipe=replace(recipe, preprocessing=rule)))
    decoded = {} if image is None else decodings(image)
    return replace(reference, centred=centred, image=pixels, decoded=decoded)


def _structure_of(path: str | Path) -> Callable[[], Mapping[str, str]]:
    """What tells which node each tensor of a model's file is, as far as that is a network that refnet knows."""

    def told() -> Mapping[str, str]:
        try:
            found = identify(path)
        except RefnetError:  # it runs all the same
            return {}
        return {} if found.standing.kind == "own" else found.names

    return told


def _beside(
    matching: Assignment,
    real: RealTensors,
    found: Judged,
    reference: Reference,
    full: Mapping[str, tuple[int, ...]],
    finite: Callable[[str], bool],
) -> Assignment:
    """What is left over, told apart: what adds nothing, and what may be a missing tensor, or is not finite."""
    lacking = [each.name for each in found.findings if each.judgement.verdict == "missing"]
    own = {SOURCE: lambda: reference.golden(SOURCE)}  # which a port may dump with a border alone
    own |= {node: each.load for node, each in matching.tensors.items() if each.layout != "unknown"}
    beside = list(extras(matching.unmatched, real, own, full))
    unknown = [each.source for each in beside if each.kind == "unknown"]
    unmatched = [
        name
        for name in unknown
        if any(plain_orders(real.shapes[name], full[node]) for node in lacking) or not finite(name)
    ]
    unread = [Extra(name, "unread", reason=reason) for name, reason in real.unread.items()]
    unmatched += [each.source for each in unread if each.source in lacking]
    kept = matching.extras + tuple(each for each in (*beside, *unread) if each.source not in unmatched)
    return matching._replace(unmatched=unmatched, extras=kept)


class _Golden:
    """A pack's tensors; those that it does not store are computed again, once, should a name need them."""

    def __init__(self, pack: Pack, graph: Graph) -> None:
        self.pack, self.graph = pack, graph
        self.computed: dict[str, Array] = {}

    def tensor(self, name: str) -> Array:
        """One tensor, stored or not."""
        if name in self.pack.names:
            return self.pack.tensor(name)
        if not self.computed:
            net = Network(self.graph, {key: y.astype(np.float64) for key, y in self.pack.params.items()})
            trace = net.trace(self.pack.tensor(SOURCE).astype(np.float64))
            self.computed = {key: y.astype(np.float32) for key, y in trace.items() if key not in self.pack.names}
        return self.computed[name]


def _read(found: MatchedTensor, shape: tuple[int, ...], node: tuple[int, ...]) -> Array:
    """A candidate's tensor; of one that is far larger than the node's, and so of another shape, the shape alone."""
    if math.prod(shape) > _MUCH * math.prod(node):
        return np.broadcast_to(np.float32(0), shape)
    return np.asarray(found.array)
