"""Graph -> graph: the same function, written as refnet's networks are. Knows no vendor.

Each rewrite looks at nodes whose output one node reads, since what others read must stay. Where a file's array had to
be changed for it, its docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.importers.imported import ImportedGraph
from refnet.graph import Graph, Node, check
from refnet.ops import CONVOLUTIONS
from refnet.readings.shapes import shapes

__all__ = ["canonicalise"]

_SIXTH = 1 / 6
_HALF_U = 2.0**-11  # what rounding to float16 may change, relatively
_LAST = 4 * 2.0**-53  # a slope of two constants, their product, the six: four roundings of float64 at most
_HALFWAY = {"slope": _SIXTH, "offset": 0.0}


def canonicalise(imported: ImportedGraph) -> ImportedGraph:
    """Write hard sigmoids, swishes, paddings and biases as one node each.

    Raises
    ------
    FormatError : two maps are multiplied, and it is neither a gate nor an activation written out
    """
    work = _Work(imported)
    for rewrite in _REWRITES:
        while work.step(rewrite):
            pass
    made = work.result()
    sizes = shapes(made.graph)
    for node in made.graph.nodes:
        if node.op == "scale" and sizes[node.inputs[1]][1:] != (1, 1):
            raise FormatError(f"{node.name}: multiplies two maps; refnet multiplies a map by one gate a channel")
    return made


class _Work:
    """A graph under work: nodes by name in order, who reads them, their arrays."""

    def __init__(self, imported: ImportedGraph) -> None:
        self.recipe = imported.graph.recipe
        self.nodes = {node.name: node for node in imported.graph.nodes}
        self.params, self.keys, self.stored = dict(imported.params), dict(imported.keys), dict(imported.stored)
        self.output = imported.graph.output
        self.ahead: dict[str, str] = {}  # a node -> the one to go in front of it

    def step(self, rewrite: Rewrite) -> bool:
        """Apply a rewrite wherever it fits; say whether it did anywhere."""
        self.readers: dict[str, int] = {self.output: 1}
        for node in self.nodes.values():
            for name in node.inputs:
                self.readers[name] = self.readers.get(name, 0) + 1
        done = False
        for name in list(self.nodes):
            if name in self.nodes and (made := rewrite(self, self.nodes[name])):
                done = True
                self.replace(name, made)
        if self.ahead:
            self._settle()
        return done

    def replace(self, name: str, new: Node) -> None:
        """Put a node in the place of another; what it read and nobody reads any more goes."""
        old = self.nodes[name]
        self.nodes[name] = new
        for source in old.inputs:
            self.readers[source] -= 1
        for source in new.inputs:
            self.readers[source] += 1
        for source in old.inputs:
            self._drop_unread(source)

    def insert(self, new: Node, before: str) -> None:
        """Put a node in front of another, once the rewrite has been through."""
        if new.name in self.nodes:
            raise FormatError(f"{new.name}: a tensor of the file is called so too")
        self.nodes[new.name] = new
        self.ahead[before] = new.name
        for source in new.inputs:
            self.readers[source] += 1
        self.readers[new.name] = 0

    def _settle(self) -> None:
        """Bring what was inserted to its place."""
        order: list[str] = []
        late = set(self.ahead.values())
        for name in self.nodes:
            if name not in late:
                order += [self.ahead[name], name] if name in self.ahead else [name]
        self.nodes = {name: self.nodes[name] for name in order}
        self.ahead = {}

    def _drop_unread(self, name: str) -> None:
        if name in self.nodes and not self.readers.get(name, 0):
            node = self.nodes.pop(name)
            for slot in node.params:
                for table in (self.params, self.keys, self.stored):
                    table.pop(f"{name}.{slot}", None)
            for source in node.inputs:
                self.readers[source] -= 1
                self._drop_unread(source)

    def before(self, node: Node, *ops: str, place: int = 0) -> Node | None:
        """The node that makes an input, if it is of one of these operations and nobody else reads it."""
        made = self.nodes.get(node.inputs[place])
        return made if made is not None and made.op in ops and self.readers[made.name] == 1 else None

    def held(self, node: Node, slot: str) -> bool:
        """Whether a parameter comes from the file."""
        return f"{node.name}.{slot}" in self.keys

    def carry(self, source: Node, slot: str, target: Node, into: str) -> None:
        """Give a node a parameter of another."""
        for table in (self.params, self.keys, self.stored):
            value: Any = table.get(f"{source.name}.{slot}")
            if value is None:
                table.pop(f"{target.name}.{into}", None)
            else:
                table[f"{target.name}.{into}"] = value

    def result(self) -> ImportedGraph:
        graph = check(Graph(self.recipe, tuple(self.nodes.values())))
        return ImportedGraph.of(graph, self.params, self.keys, self.stored)


Rewrite = Callable[[_Work, Node], Node | None]


def _affine_of_affine(work: _Work, node: Node) -> Node | None:
    """(x s + o) t + p = x (s t) + (o t + p)."""
    first = work.before(node, "affine") if node.op == "affine" else None
    if first is None:
        return None
    slope, offset = node.attrs["slope"], node.attrs["offset"]
    attrs = {"slope": first.attrs["slope"] * slope, "offset": first.attrs["offset"] * slope + offset}
    return replace(node, inputs=first.inputs, attrs=attrs)


def _clipped_then_scaled(work: _Work, node: Node) -> Node | None:
    """relu6(x) / 6 is a hard sigmoid of slope 1/6 and no offset; relu6(x) t is 6 t times one."""
    act = work.before(node, "relu6") if _is_sixth(node) else None
    return None if act is None else _sixfold(work, node, Node(node.name, "hard_sigmoid", act.inputs, attrs=_HALFWAY))


def _is_sixth(node: Node) -> bool:
    """Whether a node divides by 6, or by what is left of 6 in float16, or in slim's 0.16667."""
    return node.op == "affine" and not node.attrs["offset"] and abs(6 * node.attrs["slope"] - 1) <= _HALF_U


def _sixfold(work: _Work, node: Node, made: Node) -> Node:
    """`made` in the place of `node`; what the factor of `node` is more or less than 1/6 stays behind it."""
    factor = 6 * node.attrs["slope"]
    if abs(factor - 1) <= _LAST:
        return made
    work.insert(replace(made, name=f"{node.name}.unscaled"), node.name)
    return Node(node.name, "affine", (f"{node.name}.unscaled",), attrs={"slope": factor, "offset": 0.0})


def _affine_then_hard_sigmoid(work: _Work, node: Node) -> Node | None:
    """A hard sigmoid of x s + o."""
    first = work.before(node, "affine") if node.op == "hard_sigmoid" else None
    if first is None:
        return None
    slope, offset = node.attrs["slope"], node.attrs["offset"]
    attrs = {"slope": slope * first.attrs["slope"], "offset": slope * first.attrs["offset"] + offset}
    return replace(node, inputs=first.inputs, attrs=attrs)


def _bias_in_hard_sigmoid(work: _Work, node: Node) -> Node | None:
    """The 3 of relu6(x + 3) / 6, which converters add to the bias of the convolution before it, comes back from there.

    Changes the bias: b - 3, in float32. Done only where (b - 3) + 3 is the file's b, so that nothing is lost.
    """
    if node.op != "hard_sigmoid" or node.attrs != _HALFWAY:
        return None
    conv = work.before(node, *CONVOLUTIONS)
    if conv is None or "b" not in conv.params:
        return None
    b = work.params[f"{conv.name}.b"]
    moved = b - b.dtype.type(3)
    if not np.array_equal(moved + b.dtype.type(3), b):
        return None
    work.params[f"{conv.name}.b"] = moved
    return replace(node, attrs={"slope": _SIXTH, "offset": 0.5})


def _pairs(node: Node) -> Iterator[tuple[str, int]]:
    """The two ways to see a product: (x, where the other factor is)."""
    if node.op == "scale":
        yield node.inputs[0], 1
        yield node.inputs[1], 0


def _swish(work: _Work, node: Node) -> Node | None:
    """x times a sigmoid of x, hard or not."""
    for x, place in _pairs(node):
        gate = work.before(node, "sigmoid", "hard_sigmoid", place=place)
        if gate is None or gate.inputs != (x,):
            continue
        if gate.op == "sigmoid":
            return Node(node.name, "swish", (x,))
        if gate.attrs == {"slope": _SIXTH, "offset": 0.5}:
            return Node(node.name, "hard_swish", (x,))
    return None


def _factor_of_swish(work: _Work, node: Node) -> Node | None:
    """x times s times a hard sigmoid of x is s times a hard swish."""
    for x, place in _pairs(node):
        factor = work.before(node, "affine", place=place)
        gate = work.before(factor, "hard_sigmoid") if factor is not None and not factor.attrs["offset"] else None
        if factor is not None and gate is not None and gate.inputs == (x,) and gate.attrs["offset"] == 0.5:
            product = Node(f"{node.name}.unscaled", "scale", (x, gate.name))
            work.insert(product, node.name)
            return Node(node.name, "affine", (product.name,), attrs=factor.attrs)
    return None


def _product_then_sixth(work: _Work, node: Node) -> Node | None:
    """x relu6(x + 3) / 6, in this order."""
    product = work.before(node, "scale") if _is_sixth(node) else None
    if product is None:
        return None
    for x, place in _pairs(product):
        act = work.before(product, "relu6", place=place)
        shifted = work.before(act, "affine") if act is not None else None
        if shifted is not None and shifted.inputs == (x,) and shifted.attrs == {"slope": 1.0, "offset": 3.0}:
            return _sixfold(work, node, Node(node.name, "hard_swish", (x,)))
    return None


def _pad_then_window(work: _Work, node: Node) -> Node | None:
    """Zeros around a map are part of the convolution that reads it."""
    around = work.before(node, "pad") if node.op in ("conv2d", "depthwise_conv2d") else None
    if around is None or around.attrs["mode"] != "constant" or around.attrs["value"]:
        return None
    sides = zip(around.attrs["pad"], node.attrs["pad"], strict=True)
    pad = tuple((a + c, b + d) for (a, b), (c, d) in sides)
    return replace(node, inputs=around.inputs, attrs={**node.attrs, "pad": pad})


def _parts_of_norm(work: _Work, node: Node) -> Node | None:
    """A factor for each channel, then an addend for each: one batch norm."""
    if not _is_part(work, node, "beta"):
        return None
    first = work.before(node, "batch_norm")
    if first is None or not _is_part(work, first, "gamma"):
        return None
    work.carry(first, "gamma", node, "gamma")
    return replace(node, inputs=first.inputs)


def _bias(work: _Work, node: Node) -> Node | None:
    """An addend for each channel after a convolution without bias is its bias."""
    if not _is_part(work, node, "beta"):
        return None
    conv = work.before(node, *CONVOLUTIONS)
    if conv is None or "b" in conv.params:
        return None
    work.carry(conv, "w", node, "w")
    work.carry(node, "beta", node, "b")
    for slot in node.params:
        for table in (work.params, work.keys, work.stored):
            table.pop(f"{node.name}.{slot}", None)
    params = {"w": conv.params["w"], "b": node.params["beta"]}
    return Node(node.name, conv.op, conv.inputs, params, conv.attrs)


def _is_part(work: _Work, node: Node, slot: str) -> bool:
    """Whether a batch norm is only a factor ('gamma') or an addend ('beta') for each channel."""
    if node.op != "batch_norm" or node.attrs["eps"]:
        return False
    neutral: dict[str, float] = {"gamma": 1, "beta": 0, "mean": 0, "var": 1}
    return all(
        other == slot or (not work.held(node, other) and bool(np.all(work.params[f"{node.name}.{other}"] == value)))
        for other, value in neutral.items()
    )


_REWRITES: tuple[Rewrite, ...] = (
    _parts_of_norm,
    _bias,
    _pad_then_window,
    _product_then_sixth,
    _clipped_then_scaled,
    _affine_then_hard_sigmoid,
    _bias_in_hard_sigmoid,
    _factor_of_swish,
    _swish,
    _affine_of_affine,
)
