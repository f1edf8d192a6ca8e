"""A network is data: a list of named nodes.

This file holds the two types everything else reads (`Node`, `Graph`), the edits that make one graph of another, and
`walk`, which runs any reading of a graph: a reading is a module with one function per operation of `ops.OPS`, spelled
as the operation is. The file knows no arithmetic, no vendor and no file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from refnet.errors import GraphError
from refnet.networks.preprocessing import Preprocessing
from refnet.ops import ATTRIBUTES, CONVOLUTIONS, OPS, OPTIONAL, POOLS

__all__ = ["SOURCE", "Graph", "Node", "Recipe", "Unit", "check", "check_order", "interpret", "is_global", "walk"]

SOURCE = "input"  # the name of the array that a network is given

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operation of a network and the tensor it makes; both have the same name.

    Attributes
    ----------
    name : dotted, 'block3.depthwise.bn'; fit to be a file name
    op : a key of `OPS`
    inputs : names of earlier nodes, or 'input'
    params : the arrays it needs, {'w': shape}; in a params dict they are called 'block3.depthwise.w'
    attrs : plain numbers, strings and nested tuples of them

    Examples
    --------
    >>> print(Node("stem.scale", "affine", ("stem.conv",), attrs={"slope": 2.0, "offset": 0.5}))
    stem.scale = affine(stem.conv, slope=2.0, offset=0.5)
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    params: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        params = [f"{slot}{list(shape)}" for slot, shape in self.params.items()]
        attrs = [f"{key}={value}" for key, value in self.attrs.items()]
        return f"{self.name} = {self.op}({', '.join([*self.inputs, *params, *attrs])})"


@dataclass(frozen=True)
class Recipe:
    """What `build` was asked for, so that the same network can be built again at another size.

    Attributes
    ----------
    model : name of the known network, '' for one that is not known
    width : width multiplier
    size : (height, width) of the images
    classes : numbers that the network returns for an image
    channels : of an image
    preprocessing : from an image's pixels to the network's input; None where nobody has said
    labels : the class names, or what `files.labels` calls them; '' where nobody has said

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> recipe = build("refnet/digits").recipe
    >>> recipe.size, recipe.classes, recipe.labels
    ((32, 32), 10, 'digits')
    """

    model: str
    width: float
    size: tuple[int, int]
    classes: int
    channels: int = 3
    preprocessing: Preprocessing | None = None
    labels: str | tuple[str, ...] = ""

    def __str__(self) -> str:
        return f"{self.model}, width {self.width:g}" if self.model else "a network of its own"


class Unit(NamedTuple):
    """A convolution with the batch norm and the activation behind it, which many runtimes compute in one go.

    Each reads the one before it, and nothing else does. A node that belongs to no convolution is a unit by itself, in
    the place of the convolution.
    """

    conv: Node
    norm: Node | None = None
    act: Node | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Those that are there, in order."""
        return tuple(node for node in self if node is not None)

    @property
    def output(self) -> str:
        """The tensor that the nodes behind the unit read."""
        return self.nodes[-1].name


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order, and the recipe that they were built from.

    Attributes
    ----------
    recipe : what it was built from
    nodes : each reads earlier ones, or the input
    returns : the tensors that calling the network returns; nothing stands for the last node's

    Examples
    --------
    >>> graph = Graph(Recipe("", 1.0, (8, 8), classes=10), (Node("stem.act", "relu", ("input",)),))
    >>> len(graph), graph.output, "stem.act" in graph
    (1, 'stem.act', True)
    """

    recipe: Recipe
    nodes: tuple[Node, ...]
    returns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.nodes and self.returns == (self.nodes[-1].name,):
            object.__setattr__(self, "returns", ())  # one way to say it, so that equal graphs are equal

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        height, width = self.recipe.size
        head = f"{self.recipe}: input[N, {self.recipe.channels}, {height}, {width}]"
        tail = [f"returns {', '.join(self.returns)}"] if self.returns else []
        return "\n".join([head, *map(str, self.nodes), *tail])

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the fields, not what was looked up in them."""
        return {"recipe": self.recipe, "nodes": self.nodes, "returns": self.returns}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the tensors that calling a network returns."""
        return self.returns or (self.nodes[-1].name,)

    @property
    def output(self) -> str:
        """The first of `outputs`; the only one of every known network."""
        return self.outputs[0]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        return (self.recipe.channels, *self.recipe.size)

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """The nodes by name, in order."""
        return {node.name: node for node in self.nodes}

    def params(self) -> dict[str, Shape]:
        """Name and shape of every array that the nodes need, in order."""
        return {f"{node.name}.{slot}": shape for node in self.nodes for slot, shape in node.params.items()}

    @cached_property
    def _readers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {SOURCE: [], **{node.name: [] for node in self.nodes}}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found

    def readers(self) -> Mapping[str, list[Node]]:
        """The nodes that read each tensor, the input's included."""
        return self._readers

    def only_reader(self, name: str) -> Node | None:
        """The node that a tensor is made for: it reads it, once, nothing else does, and it is no output."""
        readers = self._readers[name]
        alone = len(readers) == 1 and readers[0].inputs.count(name) == 1 and name not in self.outputs
        return readers[0] if alone else None

    @property
    def rescaling(self) -> tuple[float, float] | None:
        """(slope, offset) by which the network itself rescales what it is given; None where it does not."""
        first = self.only_reader(SOURCE)
        return None if first is None or first.op != "affine" else (first.attrs["slope"], first.attrs["offset"])

    def unscaled(self, x: Any) -> Any:
        """What the network must be given for its own rescaling, if it has one, to make x of it."""
        slope, offset = self.rescaling or (1.0, 0.0)
        return (x - offset) * float(f"{1 / slope:.6g}") if slope else x  # 127.5: float32 tells no more digits

    def units(self, keep: Collection[str] = ()) -> list[Unit]:
        """Every node once: convolutions with what follows them, all others by themselves.

        Parameters
        ----------
        keep : names of tensors that are wanted, so that what follows them is no longer of their unit
        """
        return self._cut_at(frozenset(keep)) if keep else list(self._units)

    @cached_property
    def _units(self) -> tuple[Unit, ...]:
        return tuple(self._cut_at(frozenset()))

    def _cut_at(self, wanted: frozenset[str]) -> list[Unit]:
        found: list[Unit] = []
        inside: set[str] = set()
        for node in (each for each in self.nodes if each.name not in inside):
            norm = act = None
            if node.op in CONVOLUTIONS:
                norm = self._followed_by(node, ("norm",), wanted)
                act = self._followed_by(norm or node, ("activation", "gate"), wanted)
            found.append(Unit(node, norm, act))
            inside |= {each.name for each in found[-1].nodes}
        return found

    def fused(self, keep: Collection[str] = ()) -> tuple[str, ...]:
        """The tensors that a runtime keeps which fuses every unit, in order; `keep` as in `units`."""
        ends = {unit.output for unit in self.units(keep)}
        return tuple(name for name in self.by_name if name in ends)

    def _followed_by(self, node: Node, kinds: tuple[str, ...], wanted: Collection[str]) -> Node | None:
        """The only reader of a node, if it is of these kinds."""
        reader = self.only_reader(node.name)
        return reader if reader is not None and node.name not in wanted and OPS[reader.op].kind in kinds else None

    # ---------------------------------------------------------------------------------------------------------- edits

    def replaced(self, name: str, *new: Node) -> Graph:
        """One node's place taken by others, or by none; what the last of them is called is what its readers need."""
        return self.rewritten({name: new})

    def rewritten(self, places: Mapping[str, Iterable[Node]]) -> Graph:
        """The places of several nodes taken by others; see `replaced`."""
        nodes = [made for node in self.nodes for made in places.get(node.name, (node,))]
        return Graph(self.recipe, tuple(nodes), self.returns)

    def renamed(self, names: Mapping[str, str]) -> Graph:
        """Nodes, and what reads them, under other names; those that `names` leaves out keep theirs."""
        nodes = [
            replace(node, name=names.get(node.name, node.name), inputs=tuple(names.get(x, x) for x in node.inputs))
            for node in self.nodes
        ]
        return Graph(self.recipe, tuple(nodes), tuple(names.get(name, name) for name in self.returns))

    def without(self, sources: Mapping[str, str]) -> Graph:
        """Some nodes taken out: whoever reads one reads the tensor that it stands for, by name in `sources`."""

        def origin(name: str) -> str:
            while name in sources:
                name = sources[name]
            return name

        kept = (node for node in self.nodes if node.name not in sources)
        read = ((node, tuple(map(origin, node.inputs))) for node in kept)
        nodes = [node if node.inputs == inputs else replace(node, inputs=inputs) for node, inputs in read]
        return Graph(self.recipe, tuple(nodes), tuple(dict.fromkeys(map(origin, self.returns))))

    def inserted(self, new: Node, *, after: str) -> Graph:
        """A node put behind another, or behind the input; whoever read that one reads the new one."""
        place = 0 if after == SOURCE else 1 + next(i for i, node in enumerate(self.nodes) if node.name == after)
        later = Graph(self.recipe, self.nodes[place:], self.returns).renamed({after: new.name})
        return Graph(self.recipe, (*self.nodes[:place], new, *later.nodes), later.returns)

    def leading_to(self, *ends: str, starts: Collection[str] = (SOURCE,)) -> Graph:
        """The nodes between some tensors and later ones, as a graph of its own that returns the later ones.

        Parameters
        ----------
        ends : the tensors that the part makes
        starts : tensors taken as given; the walk back from `ends` stops at them

        Raises
        ------
        GraphError
            when the walk back reaches a tensor that nothing makes (the input, if it is not among `starts`).
        """
        wanted: set[str] = set()
        stack = list(ends)
        while stack:
            name = stack.pop()
            if name in wanted or (name in starts and name not in ends):
                continue
            if name not in self.by_name:
                raise GraphError(f"{ends[0]}: needs {name!r}, which is not given")
            wanted.add(name)
            stack.extend(self.by_name[name].inputs)
        return Graph(self.recipe, tuple(node for node in self.nodes if node.name in wanted), ends)


def is_global(node: Node, image: Shape) -> bool:
    """Whether a pool takes in a whole map, (C, H, W)."""
    return node.op in POOLS and node.attrs["kernel"] == image[1:] and not any(map(any, node.attrs["pad"]))


def check(graph: Graph) -> Graph:
    """Refuse a graph that breaks the rules of its operations, or of `check_order`; return it otherwise.

    Whether shapes agree is for `readings.shapes.well_formed` to say.
    """
    for node in graph.nodes:
        op = OPS.get(node.op)
        if op is None:
            raise GraphError(f"{node.name}: no operation is called {node.op!r}; they are {', '.join(OPS)}")
        if len(node.inputs) < op.inputs or (len(node.inputs) > op.inputs and not op.many):
            wanted = f"{op.inputs} {'or more ' * op.many}"
            raise GraphError(f"{node.name}: {node.op} reads {wanted}tensor(s), not {len(node.inputs)}")
        required = [slot for slot in op.params if slot not in OPTIONAL]
        if not set(required) <= set(node.params) <= set(op.params):
            raise GraphError(f"{node.name}: {node.op} takes the parameters {op.params}, not {tuple(node.params)}")
        if set(node.attrs) != set(op.attrs):
            raise GraphError(f"{node.name}: {node.op} takes the attributes {op.attrs}, not {tuple(node.attrs)}")
        for key, value in node.attrs.items():
            if not ATTRIBUTES[key](value):
                raise GraphError(f"{node.name}: {key} is {str(value)[:60]}: {node.op} does not run on that")
    return check_order(graph)


def check_order(graph: Graph) -> Graph:
    """Refuse a graph, of whatever operations, that cannot be run in order: GraphError names the node; return others."""
    if not graph.nodes:
        raise GraphError("the graph has no nodes")
    seen = {SOURCE}
    for node in graph.nodes:
        if node.name in seen:
            raise GraphError(f"{node.name}: the name is used twice")
        if undefined := [name for name in node.inputs if name not in seen]:
            raise GraphError(f"{node.name}: reads {undefined[0]!r}, which no earlier node makes")
        seen.add(node.name)
    for place, name in enumerate(graph.returns):
        if name not in seen - {SOURCE}:
            raise GraphError(f"the graph returns {name!r}, which no node makes")
        if name in graph.returns[:place]:
            raise GraphError(f"the graph returns {name!r} twice")
    return graph


def walk(
    graph: Graph, rules: Any, params: Mapping[str, Any], given: Mapping[str, Any], *, keep: bool = False
) -> Iterator[tuple[Node, Any]]:
    """Read a graph with a table of rules: yield each node and what its rule made, in order.

    For a node of operation `op` this calls ``rules.op(*inputs, *parameters, **attributes)``, a parameter that
    the node goes without being None. What flows along the edges is up to the rules: arrays, shapes, error bounds.

    Parameters
    ----------
    rules : anything with one attribute per operation, usually a module
    params : by 'node.slot'
    given : values to start from, by name; {'input': x} for the whole network. A node that is given is not run.
    keep : keep every value alive; otherwise each is let go after its last reader, so that memory stays low

    Examples
    --------
    >>> from refnet.readings import fast
    >>> for node, y in walk(graph, fast, params, {"input": x}):  # doctest: +SKIP
    ...     np.save(node.name, y)
    """
    values = dict(given)
    run = [node for node in graph.nodes if node.name not in given]
    last_reader = {name: node.name for node in run for name in node.inputs}
    for node in run:
        rule = getattr(rules, node.op)
        arrays = [values[name] for name in node.inputs]
        weights = [params[f"{node.name}.{slot}"] if slot in node.params else None for slot in OPS[node.op].params]
        values[node.name] = rule(*arrays, *weights, **node.attrs)
        del arrays
        yield node, values[node.name]
        if not keep:
            for name in (*node.inputs, node.name):
                if last_reader.get(name, node.name) == node.name:
                    values.pop(name, None)


def interpret(graph: Graph, rules: Any, params: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """What the graph returns under a table of rules: one value, or of several outputs {name: value} in their order.

    Arguments are those of `walk`.
    """
    outputs = graph.outputs
    found = {name: given[name] for name in outputs if name in given}
    for node, value in walk(graph, rules, params, given):
        if node.name in outputs:
            found[node.name] = value
    return found[outputs[0]] if len(outputs) == 1 else {name: found[name] for name in outputs}
