"""Which node each of a candidate's tensors is, by running the network on the candidate's own tensors.

From the input on, every unit is run on what the candidate has, or on what was made so far. A tensor that is what a unit
makes of its inputs is that unit's, however wrong the layers before were; and it is the point of the unit (convolution,
batch norm, activation) that it is nearest to. Where a layer is so wrong that nothing is near, the walk goes on from the
tensor of which the next layer makes another one of the candidate's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, Node, Unit, interpret
from refnet.ops import ACTIVATIONS, GATES
from refnet.pack.matching.claims import EQUAL, Claims, Known
from refnet.pack.matching.likeness import CLEAR, CLOSE, Tables, is_scaled
from refnet.pack.matching.unfolded import ChannelLine, Unfolded
from refnet.readings import fast

__all__ = ["Walked", "walk_along"]

Array = npt.NDArray[Any]

TIGHT = 0.05  # relative distance within which a tensor is what a unit makes: rounding of 8 bits leaves 0.01 to 0.03
_RIGHT = 2e-3  # the same on the first walk, and where a tensor vouches for those that it was made through
_ENOUGH = 256  # elements that a tensor must have to vouch for others
_LIKELY = 0.4  # the same for what the next layer makes, if every other choice is
_TWICE = 2.0  # so many times farther
_POINTS = 4  # of a channel, from which its slope is told
_ALIKE = 2  # tensors that must be a later point's for one of another size to be one, too
_ASKED = 32  # tensors that are asked what the next layer makes of them


class Walked(NamedTuple):
    """What was found on the way.

    Attributes
    ----------
    found : by node
    moved : nodes whose tensor is that of a later point of their unit: of a convolution that was dumped folded, or fused
    vouched : nodes without a tensor of the candidate's that are right, for what was made through them is there
    lines : by convolution, what makes of a tensor before batch norm that of the folded one, see `Unfolded`
    beside : {a tensor before batch norm that is not judged: its convolution}
    """

    found: dict[str, Known]
    moved: dict[str, str]
    vouched: frozenset[str]
    lines: dict[str, ChannelLine]
    beside: dict[str, str]


def walk_along(
    tables: Tables,
    graph: Graph,
    params: Mapping[str, Array],
    known: Mapping[str, Known],
    *,
    fixed: frozenset[str] = frozenset(),
    sure: frozenset[str] | None = None,
    folded: tuple[str, ...] = (),
) -> Walked:
    """Go through the network once.

    Parameters
    ----------
    known : tensors whose nodes are known
    fixed : of these, those that are no other node's whatever they hold
    sure : nodes for which a walk before this one vouches; at another one where nothing is near, the tensor is looked
        for from which the next layer makes another one. None on the first walk
    folded : convolutions into which batch norm was folded
    """
    walk = _Going(tables, graph, params, known, fixed, sure, folded)
    walk.begin()
    for unit in graph.units():
        walk.unit(unit)
    walk.habits()
    lines, beside = walk.unfolded.told({*walk.known, *walk.found})
    found = {node: each for node, each in walk.found.items() if node in lines or node not in walk.unfolded.lines}
    return Walked(found, walk.moved, frozenset(walk.vouched), lines, beside)


def _slot(unit: Unit, name: str) -> str:
    """Which point of which kind of units a node is: what a vendor's module makes is the same in all of these."""
    points = {node.name: point for point, node in zip(Unit._fields, unit, strict=True) if node is not None}
    norm, act = ("bare" if node is None else node.op for node in (unit.norm, unit.act))
    return f"{unit.conv.op} {norm} {act} {points.get(name, '')}"


class _Going:
    def __init__(
        self,
        tables: Tables,
        graph: Graph,
        params: Mapping[str, Array],
        known: Mapping[str, Known],
        fixed: frozenset[str],
        sure: frozenset[str] | None,
        folded: tuple[str, ...],
    ) -> None:
        self.tables, self.graph, self.params, self.fixed, self.sure = tables, graph, params, fixed, sure
        self.known = dict(known)
        self.claims = Claims(tables, graph, self.known, _RIGHT if sure is None else TIGHT)
        self.found, self.free = self.claims.found, self.claims.free
        self.unfolded = Unfolded(tables, self.claims, folded, _RIGHT)
        self.moved: dict[str, str] = {}
        self.slots: dict[str, list[str]] = {}  # by point of a kind of units, the points whose values were found there
        self.nearer: dict[str, str] = {}  # by point, the later one of its unit that its tensor is nearer to
        self.far: set[str] = set()  # points whose tensors are near to no point of their unit
        self.vouched: set[str] = set()
        self.pending: dict[str, set[str]] = {SOURCE: set()}
        self.have: dict[str, Array] = {}
        self.last = {name: node.name for node in graph.nodes for name in node.inputs}

    def begin(self) -> None:
        """The input: the candidate's where it is there, else the golden one."""
        golden = self.tables.golden(SOURCE)
        if SOURCE not in self.known and SOURCE in self.tables.shapes:
            near = self.claims.near([SOURCE], {SOURCE: golden})
            if near:
                source = min(near, key=lambda name: near[name][SOURCE].distance)
                self.claims.take(SOURCE, source, near[source][SOURCE])
            elif self.sure is not None:
                self._resume(SOURCE)
        self.have[SOURCE] = np.asarray(self._usable(SOURCE, golden), np.float32)

    def unit(self, unit: Unit) -> None:
        """Run a unit, find its tensors, and go on with what the candidate has of it."""
        made = dict(self._made(unit.nodes, self.have))
        self._unfold(unit, made)
        self._move(unit, made)
        near = {**made, **dict(self._made(self._scaled(unit), {**self.have, **made}))}
        self.claims.claim([name for name in near if name not in self.known and name not in self.found], near)
        self._set_aside(unit, made)
        if self.sure is not None:
            self._look_ahead(unit)
        self._go_on(unit, made)

    def _look_ahead(self, unit: Unit) -> None:
        """Behind the last tensor that is known of a unit, the tensors that what follows tells."""
        for index, node in enumerate(unit.nodes):
            if any(other.name in self.found or other.name in self.known for other in unit.nodes[index:]):
                continue
            if node.name in (self.sure or ()) or (y := self._resume(node.name)) is None:
                continue
            behind = dict(self._made(unit.nodes[index + 1 :], {**self.have, node.name: y}))
            self.claims.claim([each for each in behind if each not in self.known and each not in self.found], behind)

    def _move(self, unit: Unit, made: Mapping[str, Array]) -> None:
        """A tensor with an earlier point's name and a later one's values, made of what the candidate has before it."""
        made = {**made, **dict(self._made(self._ending(unit), {**self.have, **made}))}
        names = [node.name for node in (*unit.nodes, *self._ending(unit)) if node.name in made]
        own: dict[str, Array] = {}
        for index, name in enumerate(names):
            later = list(itertools.takewhile(lambda other: other not in self.known, names[index + 1 :]))
            each = self.known.get(name)
            if each is None or name in self.unfolded.lines or not self.tables.fits(each.source, name):
                continue
            likes = {
                other: min(self._distance(each, other, way) for way in (made, own) if other in way)
                for other in (name, *later)
                if self.tables.fits(each.source, other)
            }
            best = min(likes, key=likes.__getitem__)
            clear = best != name and CLEAR * likes[best] + EQUAL < min(TIGHT, likes[name])
            if not clear and name == unit.conv.name and unit.norm is not None and unit.norm.name in later:
                best = unit.norm.name
                clear = self._is_scaled(each, unit, made[name]) or self._is_before_act(each, unit, unit.norm)
                clear = clear and not self.claims.near([best], made)  # else it is a sum before its bias
            if not clear and best != name and (likes[best] < TIGHT or CLEAR * likes[best] < likes[name]):
                self.nearer[name] = best  # what is stored in 8 bits is not so clear
            elif clear or likes[name] < TIGHT:
                self.slots.setdefault(_slot(unit, name), []).append(_slot(unit, best) if clear else "")
            else:
                self.far.add(name)
            if clear and name not in self.fixed:
                self.moved[name] = best
                self.known[best] = self.known.pop(name)
            elif likes[name] > _RIGHT and (y := self._usable(name, None)) is not None:
                own = dict(self._made(unit.nodes[index + 1 :], {**self.have, **made, name: y}))

    def _unfold(self, unit: Unit, made: Mapping[str, Array]) -> None:
        """Where batch norm was folded into a convolution, its name may be on what one has that was not."""
        name, each = unit.conv.name, self.known.get(unit.conv.name)
        if name not in self.unfolded.convs or name not in made or each is None or name in self.fixed:
            return
        if not self.tables.fits(each.source, name):
            return
        own = self.unfolded.named(name, each, made[name], partial(self._behind, unit))
        if own == each:
            return
        del self.known[name]
        if own is not None:
            self.found[name] = own

    def _behind(self, unit: Unit, y: Array) -> float:
        """How far an activation that is there is from what is made of a tensor before it."""
        if unit.act is None or (each := self.known.get(unit.act.name)) is None:
            return 0.0
        if not self.tables.fits(each.source, unit.act.name):
            return 0.0
        made = dict(self._made((unit.act,), {unit.conv.name: y.astype(np.float32)}))
        return self._distance(each, unit.act.name, made)

    def _set_aside(self, unit: Unit, made: Mapping[str, Array]) -> None:
        """What a convolution has before its batch norm is no other node's, under whatever name it is."""
        name = unit.conv.name
        if name not in self.unfolded.convs or name not in made or name in self.unfolded.lines:
            return
        each = self.known.get(name) or self.found.get(name)
        y = made[name] if each is None else self._usable(name, made[name])
        if y is not None and (own := self.unfolded.unnamed(name, y, lacking=each is None)) is not None:
            self.found[name] = own

    def _distance(self, each: Known, node: str, made: Mapping[str, Array]) -> float:
        return self.tables.like(each.source, node, self.tables.sample(node, made[node])).distance

    def _is_scaled(self, each: Known, unit: Unit, y: Array) -> bool:
        """Whether a tensor is what a convolution makes times the factors of its batch norm, whatever is added."""
        assert unit.norm is not None
        t = self.tables.array(each.source, unit.conv.name, each.layout)
        if y.ndim != 4 or y[:, 0].size < _POINTS or not np.isfinite(t).all():
            return False
        gamma, var = (self.params[f"{unit.norm.name}.{slot}"].astype(np.float64) for slot in ("gamma", "var"))
        return is_scaled(t, y, gamma / np.sqrt(var + unit.norm.attrs["eps"]), _RIGHT, TIGHT)

    def _is_before_act(self, each: Known, unit: Unit, norm: Node) -> bool:
        """Whether an activation that is there is made of a convolution's tensor as it is, and not normalised first."""
        if unit.act is None or (act := self.known.get(unit.act.name)) is None:
            return False
        if not self.tables.fits(act.source, unit.act.name):
            return False
        if not self._can_vouch(unit.act, self.tables.array(act.source, unit.act.name, act.layout)):
            return False
        y = self.tables.array(each.source, unit.conv.name, each.layout).astype(np.float32)
        whole = dict(self._made((norm, unit.act), {unit.conv.name: y}))
        plain = dict(self._made((unit.act,), {norm.name: y}))
        near, far = (self._distance(act, unit.act.name, made) for made in (plain, whole))
        return near <= _RIGHT and CLEAR * near + EQUAL < far

    def habits(self) -> None:
        """A tensor of another size is that of a later point of its unit, if all others that are called so are.

        So is one that is near to no point, and one that is nearer to that than to its own, if not clearly.
        """
        for unit in self.graph.units():
            for node in reversed(unit.nodes):
                each, told = self.known.get(node.name), self.slots.get(_slot(unit, node.name), [])
                astray = node.name in self.nearer or node.name in self.far
                own = not astray and each is not None and self.tables.fits(each.source, node.name)
                if each is None or node.name in self.fixed or own:
                    continue
                later = {_slot(unit, other.name): other.name for other in unit.nodes}
                place = later.get(told[0]) if len({*told}) == 1 and len(told) >= _ALIKE else None
                if place is not None and place not in self.known and place not in self.found:
                    self.moved[node.name] = place
                    self.known[place] = self.known.pop(node.name)

    def _ending(self, unit: Unit) -> tuple[Node, ...]:
        """What flattens a unit's result and makes probabilities of it, which some layers do at once."""
        chain: list[Node] = []
        reader = self.graph.only_reader(unit.output)
        while reader is not None and reader.op in ("flatten", "softmax"):
            chain.append(reader)
            reader = self.graph.only_reader(reader.name)
        return tuple(chain)

    def _scaled(self, unit: Unit) -> tuple[Node, ...]:
        """What only scales a unit's result, maybe by nearly 1: a tensor near to both is that which it is nearer to."""
        reader = self.graph.only_reader(unit.output)
        return (reader,) if reader is not None and reader.op == "affine" else ()

    def _go_on(self, unit: Unit, made: Mapping[str, Array]) -> None:
        """The unit's result, as the candidate has it or as it follows from what it has; and who is vouched for."""
        through = set().union(*(self.pending.get(name, set()) for name in unit.conv.inputs))
        values, y = dict(self.have), made.get(unit.output)
        changed = False
        for node in unit.nodes:
            each = self.found.get(node.name) or self.known.get(node.name)
            if each is None:
                through.add(node.name)
                if changed:
                    y = next((value for _, value in self._made((node,), values)), None)
            else:
                if node.name in made and self._right(each, node.name, made[node.name]):
                    if node.op == "flatten":  # the same numbers
                        self.vouched.add(node.inputs[0])
                    if self._can_vouch(node, made[node.name]):
                        self.vouched |= through
                through, changed = set(), True
                y = self._usable(node.name, made.get(node.name))
            if y is not None:
                values[node.name] = y if changed or node.name not in made else made[node.name]
                y = values[node.name]
        self.pending[unit.output] = through
        if y is not None:
            self.have[unit.output] = y
        for name in [name for name in self.have if self.last.get(name) in {node.name for node in unit.nodes}]:
            del self.have[name]

    def _can_vouch(self, node: Node, y: Array) -> bool:
        """Whether a tensor can vouch: a gate is near 1, a softmax near 0 whatever came before; a few numbers agree."""
        return node.op not in (*GATES, "softmax") and y.size >= _ENOUGH and bool(np.ptp(y))

    def _right(self, each: Known, node: str, y: Array) -> bool:
        if node in self.unfolded.lines:
            return not self.unfolded.broken
        return self.tables.fits(each.source, node) and (
            self.tables.like(each.source, node, self.tables.sample(node, y)).distance <= _RIGHT
        )

    def _usable(self, node: str, made: Array | None) -> Array | None:
        """The candidate's tensor of a node, where it has a good one; else what was made."""
        each = self.found.get(node) or self.known.get(node)
        if each is not None and self.tables.fits(each.source, node):
            array = self.tables.array(each.source, node, each.layout)
            if node in self.unfolded.lines:
                array = self.unfolded.lines[node].of(array)
            if np.isfinite(array).all():
                return array.astype(np.float32)
        return made

    def _made(self, nodes: tuple[Node, ...], have: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """What some nodes make, one after another, as far as their inputs are there."""
        values = dict(have)
        for node in nodes:
            if any(name not in values for name in node.inputs):
                return
            given = {name: values[name] for name in node.inputs}
            arrays = {
                f"{node.name}.{slot}": np.asarray(self.params[f"{node.name}.{slot}"], np.float32)
                for slot in node.params
            }
            with np.errstate(all="ignore"):
                values[node.name] = interpret(Graph(self.graph.recipe, (node,)), fast, arrays, given)
            yield node.name, values[node.name]

    def _resume(self, node: str) -> Array | None:
        """Take the free tensor of which the next layer makes another one of the candidate's, if there is one."""
        fitting = [name for name in self.free if self.tables.fits(name, node)][:_ASKED]
        offers = [(self._followed(node, name), name) for name in fitting]
        offers = sorted(offer for offer in offers if math.isfinite(offer[0]))
        if not offers:
            return None
        least, source = offers[0]
        second = offers[1][0] if len(offers) > 1 else math.inf
        likely = least <= TIGHT or (least <= _LIKELY and second >= _TWICE * least)
        if likely and not self._is_elsewhere(source, node):
            sample = self.tables.sample(node, self.tables.golden(node))
            self.claims.take(node, source, self.tables.like(source, node, sample))
            del self.claims.distance[node]
            return self._usable(node, None)
        return None

    def _is_elsewhere(self, source: str, node: str) -> bool:
        """Whether a tensor is clearly nearer to what another node should make."""
        near = self.tables.near(source, [name for name in self.tables.shapes if self.tables.fits(source, name)])
        own, least = near[node].distance, min(each.distance for each in near.values())
        return least < CLOSE and CLEAR * least < own

    def _followed(self, node: str, source: str) -> float:
        """How near what follows a node, run on a tensor, comes to another tensor of the candidate."""
        sample = self.tables.sample(node, self.tables.golden(node))
        array = self.tables.array(source, node, self.tables.like(source, node, sample).layout)
        if not np.isfinite(array).all():
            return math.inf
        have, least = {**self.have, node: array.astype(np.float32)}, math.inf
        negative = float(array.min()) < 0  # else what a ReLU makes of it is itself
        for reader in self.graph.readers()[node]:
            for name, y in self._made(self._chain(reader), have):
                same = self.graph[name].op in ACTIVATIONS and name == reader.name and not negative
                if same or self.graph[name].op == "softmax":  # which is near any other, whatever came before
                    continue
                sample = self.tables.sample(name, y)
                others = [each for each in self.free if each != source and self.tables.fits(each, name)]
                others += (
                    [self.known[name].source]
                    if name in self.known and self.tables.fits(self.known[name].source, name)
                    else []
                )
                for other in others:
                    least = min(least, self.tables.like(other, name, sample).distance)
        return least

    def _chain(self, node: Node) -> tuple[Node, ...]:
        """A node and those behind it in its unit."""
        chain = [node]
        while (reader := self.graph.only_reader(chain[-1].name)) is not None and len(chain) < len(Unit._fields):
            if len(reader.inputs) != 1 or reader.op not in ("batch_norm", *ACTIVATIONS):
                break
            chain.append(reader)
        return tuple(chain)
