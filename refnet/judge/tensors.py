"""A candidate's tensors against a reference: every segment judged on the candidate's own inputs to it.

An innocent layer behind a wrong one stays innocent, because it is given what the wrong one made. A candidate may lack
tensors: the nodes between two tensors that it has are one segment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, cut
from refnet.graph import SOURCE
from refnet.judge.causes.budget import Search, SearchBudget
from refnet.judge.causes.cause import Cause, fits_any_error
from refnet.judge.causes.chance import chances_joined
from refnet.judge.causes.describe import describe, of_other_weights
from refnet.judge.causes.diagnose import Diagnosis
from refnet.judge.causes.fast_algorithms import alike, by_fast_algorithms
from refnet.judge.causes.feature import Feature
from refnet.judge.causes.fused_stores import inner_stores
from refnet.judge.causes.geometry import fillings_joined, pads_joined, strides_joined
from refnet.judge.causes.infinite import beginning, overflown
from refnet.judge.causes.patterns import Pattern, patterns
from refnet.judge.causes.search import Evidence, agreed, evidence
from refnet.judge.causes.search import explain as explain_all
from refnet.judge.causes.sizes import misshapen, of_all, of_sizes
from refnet.judge.causes.stores import is_filed, is_stored, of_common_store, of_common_weights, stored_alike
from refnet.judge.causes.widths import of_widths
from refnet.judge.dumps.dumped import OF_DUMPS
from refnet.judge.dumps.fed import made_by
from refnet.judge.judging import Finding, Judging
from refnet.judge.reference import Reference
from refnet.judge.verdicts import failing_verdicts
from refnet.readings.bounds import Precision

__all__ = ["Finding", "Judged", "Reference", "judge_tensors"]

# Of the time until verdicts are out, how much it takes to write them: 0.05 to 0.08 on networks at 224 x 224.
_WRITING = 0.1
# Of the time of a verdict, how much what follows the search takes: 0.8 to 1.0 of many errors, and half of that more for
# other programs; of a long segment one or two runs, of three and a part of a bound.
_SEEN, _NEAREST = 1.5, 1.0
_ROOM = ("algorithm", "inner-store")  # what can be seen that has room for an error

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Judged:
    """What was found.

    Attributes
    ----------
    findings : one for each golden tensor, in order
    causes : by the name of the tensor, what explains it
    features : by the name of the tensor, what can be seen where nothing explains it
    holds : whether the candidate is the reference, up to rounding
    patterns : what several of the causes have in common, the most frequent first
    evidence : by the name of a tensor that many nodes make, how sure its causes are
    stored : by the name of a tensor of integers, how its numbers may be rounded where that is not to the nearest
    misdumped : tensors, in order, that are wrong in the dump alone: what follows was made of the right numbers
    search : how far the search for causes got
    apart : tensors, in order, that are right of what stands before their inputs, but not of these: runs of their own
    partial : whether golden tensors that no segment covers are accepted
    """

    findings: tuple[Finding, ...]
    causes: Mapping[str, list[Cause]]
    features: Mapping[str, tuple[Feature, ...]]
    holds: bool
    patterns: tuple[Pattern, ...] = ()
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    misdumped: tuple[str, ...] = ()
    stored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    search: Search = field(default_factory=Search)
    apart: tuple[str, ...] = ()
    partial: bool = False

    def wrong(self) -> list[str]:
        """Names of the candidate's tensors that rounding does not explain, in order; not those that only follow."""
        failing = failing_verdicts(partial=True)
        return [each.name for each in self.findings if each.judgement.verdict in failing and not each.follows]


def judge_tensors(
    reference: Reference,
    tensors: Mapping[str, Array],
    *,
    precision: Precision | Mapping[str, Precision] | None = None,
    partial: bool = False,
    explain: bool = True,
    dumped: bool = True,
    budget: SearchBudget | None = None,
    tell: Callable[[Judged], object] = lambda _: None,
) -> Judged:
    """Judge every tensor of a candidate and say why the wrong ones are.

    Parameters
    ----------
    tensors : the candidate's, by node name, in NCHW; 'input' may be among them
    precision : that the candidate declares, for all or by name; by default each tensor's own dtype
    partial : accept that some golden tensors are covered by no segment
    explain : look for causes
    dumped : whether a port wrote the tensors: perhaps rounded from wider ones, perhaps channels last. False for runs
        of refnet's own, where neither can be: then what is surely right has a verdict, in far less time, and no figures
    budget : of the search for causes, begun before the verdicts, which are given in any case; by default endless
    tell : is given the verdicts before causes are looked for

    Returns
    -------
    Judged
    """
    budget = budget or SearchBudget()
    judging = Judging(reference, tensors, precision, dumped)
    judging.all()
    findings = tuple(judging.findings[name] for name in (SOURCE, *reference.graph.by_name) if name in judging.findings)
    bad = {each.judgement.verdict for each in findings} & failing_verdicts(partial=partial)
    misdumped = tuple(each.name for each in findings if each.name in judging.misdumped)
    judged = Judged(
        findings, {}, {}, not bad, misdumped=misdumped, stored=judging.stored, apart=judging.apart, partial=partial
    )
    if not explain:
        return judged
    tell(judged)
    budget.keep(sum(_behind(judging, made_by(s)) for s, _ in judging.failing), _WRITING * budget.spent)
    return _explained(judged, judging, budget)


def _explained(judged: Judged, judging: Judging, budget: SearchBudget) -> Judged:
    """The same with what explains each wrong tensor, as far as the budget goes."""
    failing = {made_by(s): (s, p) for s, p in judging.failing}
    shaped = of_all({s.end: shapes for s, p in judging.misshapen if (shapes := misshapen(s, p))})
    parts, wrong = Parts(judging.reference.graph), [segment for segment, _ in failing.values()]
    widths = of_widths(parts, judging.tensors, judging.misshapen, shaped, wrong)
    algorithms = by_fast_algorithms(failing, budget)
    fast = alike(algorithms)
    sticks = {name: judging.findings[name].judgement.yardstick for name in failing}
    searched = {name: own for name, own in failing.items() if name not in fast and name not in widths.features}
    found = {name: Diagnosis(*own, budget, sticks[name], algorithms.get(name)) for name, own in searched.items()}
    explain_all(tuple(found.values()), budget)
    causes = agreed({name: one.found for name, one in found.items()}, judging.beside)
    causes = of_common_weights(of_common_store(causes, failing), failing)
    causes |= {name: [cause] for name, cause in judging.cut_off.items()}
    causes |= {name: own for name, own in shaped.items() if name not in widths.names}
    causes = strides_joined(
        pads_joined(chances_joined(causes)),
        [segment.end for segment, _ in judging.misshapen],
        judging.parts,
    )
    causes |= {s.end: sums for s, p in judging.overflown if (sums := overflown(s, p, budget))}
    open_ = {name: own for name, own in failing.items() if not causes.get(name) and name not in widths.features}
    features = {**widths.features, **dict(_seen(open_, found, algorithms, judging, budget))}
    coarse = {name for name, one in causes.items() if one and all(map(fits_any_error, one))}
    features = of_other_weights(features, coarse, failing)
    causes |= {name: [] for name in coarse if name in features}
    inner = inner_stores(failing, causes)
    features, causes = features | inner, causes | {name: [] for name in inner}
    left = [each for each in judging.misshapen if each[0].end not in widths.names]
    features |= of_sizes(judging.reference.graph, judging.tensors, left, causes)
    features |= {segment.end: (beginning(segment),) for segment, _ in judging.overflown}
    own = [each.name for each in judged.findings if each.name in judging.tensors]
    source = {SOURCE: judging.given[SOURCE]}
    right = {name: segment for name, segment in judging.finite.items() if judging.findings[name].judgement.holds}
    whole = cut(judging.parts, judging.params, judging.reference.graph.output, source, judged=False)
    sure = {name: made for name, one in found.items() if (made := evidence(one, causes[name])) is not None}
    causes = fillings_joined(causes)
    causes |= {name: _dumped_first(causes[name]) for name in judged.misdumped if name in causes}
    ordered = {each.name: causes[each.name] for each in judged.findings if each.name in causes}
    return replace(
        judged,
        findings=tuple(_softened(each, features.get(each.name, ())) for each in judged.findings),
        causes=causes,
        features=features,
        misdumped=tuple(name for name in judged.misdumped if not _is_computed(causes.get(name, []))),
        patterns=patterns(ordered, whole, own, judged.stored, stored_alike(causes, right)),
        evidence=sure,
        search=budget.search,
    )


def _is_computed(causes: list[Cause]) -> bool:
    """Whether what explains a tensor is in what follows too: a store, or other weights."""
    return is_stored(causes) or is_filed(causes)


def _dumped_first(causes: list[Cause]) -> list[Cause]:
    """The causes of a tensor of which the dump alone errs: first those that a dump has without the port."""
    return sorted(causes, key=lambda cause: not {*cause.ids} <= {*OF_DUMPS})


def _behind(judging: Judging, name: str) -> float:
    """Seconds for what is done of a wrong tensor behind the search, by those of the verdict on it.

    To say what can be seen in an error takes about as long; of a long segment what is nearest is judged, by no more
    runs than the verdict took.
    """
    return judging.took[name] * (_SEEN if judging.findings[name].judgement.yardstick == "bound" else _NEAREST)


def _seen(
    unexplained: Mapping[str, tuple[Segment, Precision]],
    found: Mapping[str, Diagnosis],
    algorithms: Mapping[str, tuple[str, ...]],
    judging: Judging,
    budget: SearchBudget,
) -> Iterator[tuple[str, tuple[Feature, ...]]]:
    """What can be seen in errors, of as many of them as there is time for.

    Each is taken to last as long as its verdict did; or longer, as those before it did together.
    """
    begun, judged = time.monotonic(), 0.0
    for name, own in unexplained.items():
        pace = max((time.monotonic() - begun) / judged, 1.0) if judged else 1.0
        if judging.findings[name].judgement.yardstick == "bound" and not budget.has(pace * judging.took[name]):
            budget.leave_unseen()
            continue
        yield name, found[name].features if name in found else describe(*own, algorithms=algorithms[name])
        judged += judging.took[name]


def _softened(finding: Finding, features: tuple[Feature, ...]) -> Finding:
    """Beyond what plain sums leave, but within what a fast algorithm does, or a store that nobody knows of: suspect."""
    if finding.judgement.verdict != "wrong" or not any(each.kind in _ROOM for each in features):
        return finding
    return finding._replace(judgement=finding.judgement._replace(verdict="suspect"))
