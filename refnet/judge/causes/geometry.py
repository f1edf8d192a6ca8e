"""Strides and pads of several layers that are other ones by one mistake, which each layer shows in a way of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.parts import Parts
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.varying import kind_of

__all__ = ["fillings_joined", "pads_joined", "strides_joined"]

_NONE, _SUM = (1, 1), ("shortcut-missing",)
_MIRRORED = {f"edge{rule}": f"symmetric{rule}" for rule in ("", " same")}  # forms that one point does not tell apart
_PADS, _AMOUNT = ("pad-same", "pad-lower", "pad-split"), "pad-amount"


class _Changed(NamedTuple):
    """A stride that a tensor of another size shows: at which node, and whether it is left out or added."""

    tensor: str
    node: str
    stride: tuple[int, int]
    is_added: bool


def strides_joined(
    causes: Mapping[str, list[Cause]], misshapen: Collection[str], parts: Parts
) -> dict[str, list[Cause]]:
    """The causes, those of tensors that one mistake of strides explains being that one.

    Parameters
    ----------
    causes : by tensor, the likeliest first
    misshapen : the tensors of another size, in order
    """
    found = [(name, causes[name][0]) for name in misshapen if causes.get(name)]
    changed = [each for name, first in found if (each := _changed(name, first)) is not None]
    made, taken = dict(causes), set[str]()

    def say(mistake: Mistake, *tensors: str) -> None:
        cause = Cause((mistake,), causes[tensors[0]][0].judgement)
        made.update({name: [cause] for name in tensors})
        taken.update(tensors)

    for one, other in pairwise(changed):
        if one.tensor not in taken and one.is_added != other.is_added and one.stride == other.stride:
            form = "earlier" if one.is_added else _distance(parts, one.node, other.node)
            sums = {b.add.name for b in parts.blocks if b.depthwise.name == other.node and b.add is not None}
            odd = [each for each in sums & {*misshapen} if not causes.get(each) or causes[each][0].ids == _SUM]
            say(Mistake("stride-moved", one.node, form, {"layer": other.node}), one.tensor, other.tensor, *odd)
    for each in changed:
        if each.tensor not in taken and not each.is_added and (spread := _spread(causes, parts, each)):
            facts = {"layer": each.node, "rate": max(each.stride)}
            say(Mistake("output-stride", each.node, "dense", facts), each.tensor, *spread)
    return made


def pads_joined(causes: Mapping[str, list[Cause]]) -> dict[str, list[Cause]]:
    """The causes, pads that begin elsewhere by as much in all layers being one mistake where their rules differ.

    A rule of one axis alone has other numbers for each kernel, and on some maps those of another rule.
    """
    causes = _one_padding(_amounts_joined(causes))
    first = {name: found[0] for name, found in causes.items() if found and len(found[0].mistakes) == 1}
    pads = {name: each for name, each in first.items() if each.mistakes[0].bug in _PADS}
    shifts = {name: _shift(each.mistakes[0]) for name, each in pads.items()}
    if len({kind_of(each.mistakes[0]) for each in pads.values()}) < 2 or len({*shifts.values()}) != 1:
        return dict(causes)
    made = dict(causes)
    for name, each in pads.items():
        (own,) = each.mistakes
        shifted = Mistake("pad-split", own.node, "shifted", {**own.facts, "later": shifts[name]})
        made[name] = [each._replace(mistakes=(shifted,))]
    return made


def fillings_joined(causes: Mapping[str, list[Cause]]) -> dict[str, list[Cause]]:
    """The causes, where wider borders mirror the edge too: one point that repeats it is the same mistake."""
    filled = {name: each[0] for name, each in causes.items() if each and each[0].ids == ("pad-value",)}
    made = dict(causes)
    for form, other in _MIRRORED.items():
        like = [name for name, each in filled.items() if each.mistakes[0].form == form]
        for name in like if any(each.mistakes[0].form == other for each in filled.values()) else ():
            (own,) = filled[name].mistakes
            if max(map(max, own.facts["found"])) == 1 and not any(filled[name].extents):
                made[name] = [filled[name]._replace(mistakes=(own._replace(form=other),)), *causes[name][1:]]
    return made


def _amounts_joined(causes: Mapping[str, list[Cause]]) -> dict[str, list[Cause]]:
    """The causes, pads that are larger or smaller by as much on each side being one mistake where kernels differ."""
    made = dict(causes)
    of = {name: found for name, found in causes.items() if found and found[0].ids == (_AMOUNT,)}
    if len({kind_of(found[0].mistakes[0]) for found in of.values()}) < 2:
        return made
    ways = {
        name: {_more(each.mistakes[0]): each for each in found if each.ids == (_AMOUNT,)} for name, found in of.items()
    }
    common = set.intersection(*({*each} for each in ways.values()))
    if common:
        by = min(common, key=lambda each: sum(map(abs, each)))
        for name, each in ways.items():
            (own,) = each[by].mistakes
            made[name] = [each[by]._replace(mistakes=(own._replace(form="by as much"),))]
    return made


def _one_padding(causes: Mapping[str, list[Cause]]) -> dict[str, list[Cause]]:
    """The causes, the same padding in all layers being one mistake where it keeps the size of some maps alone."""
    of = {name: found for name, found in causes.items() if found and {*found[0].ids} <= {*_PADS, _AMOUNT}}
    ways = {name: {_padding(each): each for each in reversed(found)} for name, found in of.items()}
    amounts = [found[0] for found in of.values() if found[0].ids == (_AMOUNT,)]
    shared = next((each for each in amounts if all(_padding(each) in those for those in ways.values())), None)
    if shared is None or len(amounts) == len(of):
        return dict(causes)
    made, pad, form = dict(causes), _padding(shared), shared.mistakes[0].form
    for name, each in ways.items():
        (own,) = each[pad].mistakes
        made[name] = [each[pad]._replace(mistakes=(own._replace(bug=_AMOUNT, form=form),))]
    return made


def _padding(cause: Cause) -> object:
    """The padding that a port has in a layer's place, if that alone is the cause."""
    return cause.mistakes[0].facts.get("found") if len(cause.mistakes) == 1 else None


def _more(mistake: Mistake) -> tuple[int, ...]:
    """By how many points each side is padded more."""
    pairs = zip(mistake.facts["found"], mistake.facts["known"], strict=True)
    return tuple(one - other for found, known in pairs for one, other in zip(found, known, strict=True))


def _shift(mistake: Mistake) -> tuple[int, int]:
    """By how many rows and columns sampling begins later."""
    rows, columns = (
        known[0] - found[0] for known, found in zip(mistake.facts["known"], mistake.facts["found"], strict=True)
    )
    return rows, columns


def _changed(name: str, cause: Cause) -> _Changed | None:
    """The stride that alone explains a tensor, if one does."""
    if len(cause.mistakes) != 1 or cause.ids != ("stride-changed",):
        return None
    (mistake,) = cause.mistakes
    found, known = mistake.facts["found"], mistake.facts["known"]
    if _NONE not in (found, known):
        return None
    return _Changed(name, mistake.node, known if found == _NONE else found, known == _NONE)


def _distance(parts: Parts, one: str, other: str) -> str:
    """Whether the second of two layers is in the block behind that of the first."""
    return "next" if parts.block_of(other) == parts.block_of(one) + 1 else "later"


def _spread(causes: Mapping[str, list[Cause]], parts: Parts, left: _Changed) -> list[str]:
    """The tensors whose kernels are spread by a stride that is left out, if all kernels from there on are."""
    by_node = {m.node: (name, m) for name, found in causes.items() if found for m in found[0].mistakes}
    later = list(_kernels_behind(parts, left.node))
    shown = [by_node[node] for node in later if node in by_node]
    if len(shown) < len(later) or any(
        (m.bug, m.facts.get("found")) != ("dilation", max(left.stride)) for _, m in shown
    ):
        return []
    return [name for name, _ in shown]


def _kernels_behind(parts: Parts, first: str) -> Iterator[str]:
    """The depthwise layers behind a node that have more than one point."""
    names = [node.name for node in parts.graph.nodes]
    for node in parts.graph.nodes[names.index(first) + 1 :]:
        if node.op == "depthwise_conv2d" and node.params["w"][-1] > 1:
            yield node.name
