"""Model name, width, size and classes -> the graph: every padding a number, every weight shape known.

The names of the nodes are the same for every vendor. Squeeze-and-excite is not an operation but the nodes that it
consists of, and the linear layers of the head are pointwise convolutions on a 1x1 map, as the paper draws them.
"""

from __future__ import annotations

import difflib
import numbers
from dataclasses import replace
from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.networks.dialects import MODELS, Dialect, Model
from refnet.networks.plan import Plan, PlannedBlock, WidthRule, decoder_kernel, padding, plan, rounding_to
from refnet.networks.tables import Row, Table
from refnet.ops import OPS

__all__ = ["build", "build_planned", "find", "models", "parts"]

_WIDEST = 16  # times the paper's channels: already hundreds of millions of weights
_COARSEST = 64  # channels: no port rounds to more
_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "hard_swish": ("hard_swish", {}),
    "sigmoid": ("sigmoid", {}),
    "hard_sigmoid": ("hard_sigmoid", {"slope": 1 / 6, "offset": 0.5}),
}
_PLAIN = Dialect("", divisor=1, tenth_divisor=1, expanded="table", hidden="scaled")  # of a table of the user's own


def models() -> tuple[str, ...]:
    """The name of every model that `build` knows.

    Returns
    -------
    names : 'VENDOR/MODEL'

    Examples
    --------
    >>> [name for name in models() if "mnasnet0_5" in name]
    ['torchvision/mnasnet0_5']
    """
    return tuple(MODELS)


def find(name: str) -> Model:
    """The table and dialect under a name.

    Raises
    ------
    RequestError
        for an unknown name, with the nearest ones.
    """
    if name in MODELS:
        return MODELS[name]
    short = {known.split("/")[-1]: known for known in reversed(MODELS)}
    near = [*difflib.get_close_matches(name, MODELS, n=3), *difflib.get_close_matches(name, short, n=3)]
    known = ", ".join(dict.fromkeys(short.get(known, known) for known in near))
    raise RequestError(f"no model is called {name!r}; {f'nearest: {known}' if known else 'see refnet models'}")


def build(
    name: str | Table,
    *,
    width: float = 1.0,
    size: tuple[int, int] | int | None = None,
    classes: int | None = None,
    divisor: int | WidthRule | None = None,
) -> Graph:
    """The graph of a network.

    Parameters
    ----------
    name : one of `models()`, such as 'torchvision/mobilenet_v3_small'; or a `Table` of your own, whose integers are
        taken as they are, padded symmetrically, with eps 1e-5
    width : multiplies the number of channels; on top of the width that the name itself stands for (mnasnet_050)
    size : (height, width) of the images in pixels, or one number for both; by default the vendor's, 224 x 224
    classes : by default the vendor's
    divisor : to whose multiples widths are rounded, 0 if they are cut off, or by which rule; by default as the vendor
        does it

    Returns
    -------
    Graph

    Raises
    ------
    RequestError
        if there is no such model, if a row of a table is none, if a layer would have no channels, or if the image is
        too small for the network.

    Examples
    --------
    >>> graph = build("torchvision/mobilenet_v3_small", size=(48, 64))
    >>> graph.output, len(graph)
    ('head.flatten', 156)
    >>> rows = (Row(3, 16, 16, False, "relu", 2), Row(5, 64, 24, True, "hard_swish", 1))
    >>> print(build(Table(stem=16, rows=rows), size=(32, 32), classes=10)["block2.expand"])
    block2.expand = pointwise_conv2d(block1.project.bn, w[64, 16])
    """
    if not isinstance(name, str | Table):
        raise RequestError(f"build takes the name of a model or a Table(rows=...), not {type(name).__name__}")
    own = isinstance(name, Table)
    model = _own_model(name) if isinstance(name, Table) else find(name)
    if not (isinstance(width, numbers.Real) and 0 < width <= _WIDEST):
        raise RequestError(f"width {width!r}: take a positive number such as 0.5, at most {_WIDEST}")
    classes = model.dialect.classes if classes is None else classes
    if not (isinstance(classes, numbers.Integral) and classes > 0):
        raise RequestError(f"classes {classes!r}: take a positive whole number")
    if divisor is not None:
        if not isinstance(divisor, WidthRule):
            if not (isinstance(divisor, numbers.Integral) and 0 <= divisor <= _COARSEST):
                raise RequestError(f"divisor {divisor!r}: take a whole number from 0 to {_COARSEST}")
            divisor = WidthRule.to(int(divisor))
        model = rounding_to(model, divisor)
    dialect = model.dialect
    recipe = Recipe(
        "" if own else str(name),
        float(width),
        image_size(size, model.size),
        int(classes),
        preprocessing=dialect.preprocessing,
        labels=dialect.labels,
    )
    return _Builder(recipe, model).network(plan(model, width))


def build_planned(name: str, width: float, classes: int, widths: Plan) -> Graph:
    """A known network's graph with the blocks and widths of a plan."""
    model, known = find(name), build(name, width=width, classes=classes)
    return _Builder(known.recipe, model).network(widths)


def _own_model(table: Table) -> Model:
    """A table of the user's own under the plainest habits.

    Raises
    ------
    RequestError
        naming the row that is none.
    """
    if not isinstance(table.rows, tuple | list) or isinstance(table.rows, Row):
        raise RequestError(f"rows is {type(table.rows).__name__}: give a tuple of rows, (Row(...), Row(...))")
    if not table.rows:
        raise RequestError("the table has no rows: give at least one, Row(kernel, expanded, out, se, act, stride)")
    rows = tuple(_checked_row(number, row) for number, row in enumerate(table.rows, 1))
    for what, act in (("stem_act", table.stem_act), ("act", table.act)):
        if act not in _ACTIVATIONS:
            raise RequestError(f"{what} {act!r} is none of {', '.join(_ACTIVATIONS)}")
    for what, wide in (("stem", table.stem), ("last", table.last), ("hidden", table.hidden)):
        if wide is not None and not (isinstance(wide, numbers.Integral) and wide > 0):
            raise RequestError(f"{what} {wide!r} is no whole number above 0")
    return Model(replace(table, rows=rows), replace(_PLAIN, last="table" if table.last else _PLAIN.last))


def _checked_row(number: int, row: object) -> Row:
    """A row of a table, or the sentence that says what is wrong with it."""
    needed, known = len(Row._fields) - len(Row._field_defaults), ", ".join(Row._fields)
    if not isinstance(row, tuple | list):
        raise RequestError(f"row {number} is {type(row).__name__}: give Row({known})")
    if not needed <= len(row) <= len(Row._fields):
        raise RequestError(f"row {number} has {len(row)} entries, not {needed} or {len(Row._fields)}: {known}")
    each = Row(*row)
    counts = {"kernel": each.kernel, "expanded": each.expanded, "out": each.out, "stride": each.stride}
    for what, value in counts.items():
        if not (isinstance(value, numbers.Integral) and not isinstance(value, bool) and value > 0):
            raise RequestError(f"row {number}: {what} {value!r} is no whole number above 0")
    if not isinstance(each.se, bool | np.bool):
        said = "the squeeze is a quarter of the expanded channels"
        raise RequestError(f"row {number}: se {each.se!r} is neither True nor False; {said}")
    if not isinstance(each.act, str) or each.act not in _ACTIVATIONS:
        raise RequestError(f"row {number}: act {each.act!r} is none of {', '.join(_ACTIVATIONS)}")
    if not isinstance(each.skip, bool | np.bool):
        raise RequestError(f"row {number}: skip {each.skip!r} is neither True nor False")
    return each


def parts(name: str, width: float, classes: int) -> dict[str, str]:
    """The part of a network that each of its nodes stands in, whatever the images' size: 'stem', 'block3', 'head'."""
    model = find(name)
    builder = _Builder(Recipe(name, width, model.size, classes), model)
    builder.network(plan(model, width))
    return builder.parts


def image_size(size: tuple[int, int] | int | None, default: tuple[int, int]) -> tuple[int, int]:
    """(height, width) from what a caller gave.

    Raises
    ------
    RequestError
        unless it is one or two positive whole numbers.
    """
    if size is None:
        return default
    pair = (size, size) if isinstance(size, numbers.Integral) else tuple(size)  # type: ignore[arg-type]
    if len(pair) != 2 or not all(isinstance(side, numbers.Integral) and side > 0 for side in pair):
        raise RequestError(f"size {size!r}: take (height, width) in pixels")
    return int(pair[0]), int(pair[1])


class _Builder:
    """Appends nodes; `self.x` is the tensor made last, `self.shape` its (C, H, W)."""

    def __init__(self, recipe: Recipe, model: Model) -> None:
        self.recipe, self.dialect, self.table = recipe, model.dialect, model.table
        self.nodes: list[Node] = []
        self.part, self.parts = "stem", dict[str, str]()
        self.x = SOURCE
        self.shape: tuple[int, ...] = (recipe.channels, *recipe.size)
        self.ends: list[tuple[str, tuple[int, ...]]] = []  # of each block: its output and that one's shape

    def network(self, widths: Plan) -> Graph:
        dialect, table = self.dialect, self.table
        if dialect.rescale is not None:
            slope, offset = dialect.rescale
            self.node("stem.rescale", "affine", slope=slope, offset=offset)
        self.convolution("stem.conv", widths.stem, kernel=3, stride=2, rule=dialect.stem_pad)
        self.norm_and_act("stem", table.stem_act)
        for index, block in enumerate(widths.blocks):
            self.part = f"block{index + 1}"
            self.block(self.part, block)
            self.ends.append((self.x, self.shape))
        self.part = "head"
        if widths.last:
            self.pointwise("head.conv", widths.last, bias=dialect.conv_bias)
            self.norm_and_act("head", table.act)
        if widths.decoder:
            self.decoder(widths.decoder, *self.ends[widths.skip])
        else:
            self.classifier(widths)
        return Graph(self.recipe, tuple(self.nodes))

    def classifier(self, widths: Plan) -> None:
        dialect, table = self.dialect, self.table
        self.global_pool("head.pool")
        if widths.hidden:
            self.pointwise("head.hidden", widths.hidden, bias=dialect.hidden_bias)
            self.act("head.hidden.act", table.act)
        self.pointwise("head.logits", self.recipe.classes, bias=True)
        self.node("head.flatten", "flatten")
        if dialect.softmax:
            self.node("output", "softmax")

    def decoder(self, width: int, skip: str, skip_shape: tuple[int, ...]) -> None:
        """LR-ASPP: a map gated by what a coarse look at it says, enlarged, and joined by an earlier, finer map."""
        (high, shape), dialect, classes = (self.x, self.shape), self.dialect, self.recipe.classes
        self.pool("head.pool", decoder_kernel(dialect, shape[1:]), (dialect.decoder_pool or (0, (1, 1)))[1])
        self.pointwise("head.squeeze", width, bias=False)
        self.act("head.gate", "sigmoid")
        if dialect.decoder_pool is not None:
            self.resize("head.gate.resize", shape)
        gate, (self.x, self.shape) = self.x, (high, shape)
        self.pointwise("head.reduce", width, bias=False)
        self.norm("head.reduce.bn", dialect.decoder_eps)
        self.act("head.reduce.act", "relu")
        self.node("head.scale", "scale", self.x, gate)
        self.resize("head.scale.resize", skip_shape)
        self.pointwise("head.high", classes, bias=True)
        fine, (self.x, self.shape) = self.x, (skip, skip_shape)
        self.pointwise("head.low", classes, bias=True)
        self.node("head.add", "add", self.x, fine)
        self.resize("head.resize", (self.recipe.channels, *self.recipe.size))

    def block(self, name: str, block: PlannedBlock) -> None:
        entry, dialect, table = self.x, self.dialect, self.table
        if block.expand:
            self.pointwise(f"{name}.expand", block.expanded, bias=dialect.conv_bias)
            self.norm_and_act(f"{name}.expand", block.act)
        self.depthwise(f"{name}.depthwise", block)
        self.norm(f"{name}.depthwise.bn")
        if not block.se_first:
            self.act(f"{name}.depthwise.act", block.act)
        if block.squeeze:
            self.squeeze_and_excite(f"{name}.se", block)
        if block.se_first:
            self.act(f"{name}.depthwise.act", block.act)
        self.pointwise(f"{name}.project", block.out, bias=dialect.conv_bias)
        self.norm(f"{name}.project.bn")
        if not table.bottleneck:
            self.act(f"{name}.project.act", block.act)
        if block.shortcut:
            self.node(f"{name}.add", "add", entry, self.x)

    def squeeze_and_excite(self, name: str, block: PlannedBlock) -> None:
        x, shape, dialect = self.x, self.shape, self.dialect
        self.global_pool(f"{name}.pool")
        self.pointwise(f"{name}.reduce", block.squeeze, bias=dialect.se_bias)
        self.act(f"{name}.reduce.act", block.se_act)
        self.pointwise(f"{name}.expand", block.expanded, bias=dialect.se_bias)
        self.act(f"{name}.gate", dialect.gate)
        self.shape = shape
        self.node(f"{name}.scale", "scale", x, self.x)

    def norm_and_act(self, part: str, act: str) -> None:
        self.norm(f"{part}.bn")
        self.act(f"{part}.act", act)

    def norm(self, name: str, eps: float | None = None) -> None:
        eps, vector = self.dialect.eps if eps is None else eps, (self.shape[0],)
        self.node(name, "batch_norm", eps=eps, gamma=vector, beta=vector, mean=vector, var=vector)

    def act(self, name: str, act: str) -> None:
        op, attrs = _ACTIVATIONS[act]
        self.node(name, op, **attrs)

    def global_pool(self, name: str) -> None:
        _, height, width = self.shape
        self.pool(name, (height, width), (1, 1))

    def pool(self, name: str, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        self.node(name, "avg_pool2d", kernel=kernel, stride=stride, pad=((0, 0), (0, 0)))
        places = ((side - k) // s + 1 for side, k, s in zip(self.shape[1:], kernel, stride, strict=True))
        self.shape = (self.shape[0], *places)

    def resize(self, name: str, like: tuple[int, ...]) -> None:
        self.node(name, "resize_bilinear", size=like[1:], align_corners=False)
        self.shape = (self.shape[0], *like[1:])

    def pointwise(self, name: str, channels: int, *, bias: bool) -> None:
        w = (channels, self.shape[0])
        self.node(name, "pointwise_conv2d", w=w, **_bias(channels, bias))
        self.shape = (channels, *self.shape[1:])

    def convolution(self, name: str, channels: int, *, kernel: int, stride: int, rule: str) -> None:
        w = (channels, self.shape[0], kernel, kernel)
        attrs = self.geometry(name, rule, kernel, stride, 1)
        self.node(name, "conv2d", w=w, **_bias(channels, self.dialect.conv_bias), **attrs)
        self.shape = (channels, *self.shape[1:])

    def depthwise(self, name: str, block: PlannedBlock) -> None:
        channels = self.shape[0]
        w = (channels, block.kernel, block.kernel)
        attrs = self.geometry(name, self.dialect.pad, block.kernel, block.stride, block.dilation)
        self.node(name, "depthwise_conv2d", w=w, **_bias(channels, self.dialect.conv_bias), **attrs)

    def geometry(self, name: str, rule: str, kernel: int, stride: int, dilation: int) -> dict[str, Any]:
        """The attributes of a convolution of the present map; also moves `self.shape` to its output's size."""
        pad = tuple(padding(rule, side, kernel, stride, dilation) for side in self.shape[1:])
        sides = [
            (side + before + after - (kernel - 1) * dilation - 1) // stride + 1
            for side, (before, after) in zip(self.shape[1:], pad, strict=True)
        ]
        if min(sides) < 1:
            height, width = self.recipe.size
            raise RequestError(
                f"size {height},{width} is too small for {self.recipe.model or 'the table'}: nothing is left of {name}"
            )
        self.shape = (self.shape[0], sides[0], sides[1])
        return {"stride": (stride, stride), "pad": pad, "dilation": (dilation, dilation)}

    def node(self, name: str, op: str, *inputs: str, **rest: Any) -> None:
        """Append a node that reads `inputs`, by default the tensor made last."""
        params: dict[str, tuple[int, ...]] = {slot: rest.pop(slot) for slot in OPS[op].params if slot in rest}
        self.nodes.append(Node(name, op, inputs or (self.x,), params, rest))
        self.parts[name] = self.part
        self.x = name


def _bias(channels: int, bias: bool) -> dict[str, tuple[int, ...]]:
    return {"b": (channels,)} if bias else {}
