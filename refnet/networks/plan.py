"""A table, a dialect and a width give the integers of one network: the widths of every layer.

Sizes of images do not come into it, except in `padding`, which is the vendors' arithmetic for one axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from refnet.errors import RequestError
from refnet.networks.dialects import Dialect, Model
from refnet.networks.tables import Row

__all__ = [
    "PADDINGS",
    "Plan",
    "PlannedBlock",
    "WidthRule",
    "decoder_kernel",
    "padding",
    "plan",
    "planned_ends",
    "round_width",
    "rounding_to",
]


class WidthRule(NamedTuple):
    """A rule by which scaled widths are rounded, see `Dialect.rounding`, and to multiples of what."""

    divisor: int
    rule: str = "nearest"

    @classmethod
    def to(cls, divisor: int) -> WidthRule:
        """To the nearest multiple of a number, no more than 10 % below; cut off to whole numbers where that is 0."""
        return cls(divisor) if divisor else cls(1, "floor")


@dataclass(frozen=True)
class PlannedBlock:
    """One block with its actual widths; `squeeze` 0 means no squeeze-and-excite."""

    kernel: int
    inputs: int
    expanded: int
    out: int
    expand: bool
    squeeze: int
    act: str
    se_act: str
    se_first: bool
    stride: int
    dilation: int
    shortcut: bool


@dataclass(frozen=True)
class Plan:
    """The widths of one network; `last`, `hidden` and `decoder` are 0 where the network has no such layer.

    `decoder` is the width of the segmentation head, which no multiplier scales; `skip` the index of the block that it
    reads too.
    """

    stem: int
    blocks: tuple[PlannedBlock, ...]
    last: int
    hidden: int
    decoder: int = 0
    skip: int = -1


def round_width(value: float, dialect: Dialect) -> int:
    """Make a scaled width an integer that the vendor would have chosen.

    'nearest' is the rule of MobileNetV2's authors: the nearest multiple of the divisor, half-way up, at least the
    divisor; one more where that loses over 10 %: 18 -> 24, 50 -> 48, 90 -> 88 for divisor 8.
    """
    divisor = dialect.divisor
    match dialect.rounding:
        case "up":
            return -(-int(value) // divisor) * divisor if value == int(value) else (int(value) // divisor + 1) * divisor
        case "floor":
            return int(value)
        case "down":
            return max(divisor, int(value) // divisor * divisor)
        case "floor-nearest":
            value = int(value)
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    if dialect.rounding == "plain":
        return nearest
    return nearest + divisor if nearest < 0.9 * value else nearest


def rounding_to(model: Model, by: WidthRule) -> Model:
    """The same with widths rounded by another rule."""
    return replace(
        model, dialect=replace(model.dialect, rounding=by.rule, divisor=by.divisor, tenth_divisor=by.divisor)
    )


def plan(model: Model, width: float = 1.0) -> Plan:
    """The widths of `model` at a width multiplier, which multiplies the one that the name stands for.

    Raises
    ------
    RequestError
        if a layer would have no channels.
    """
    model, width = _scaled(model, width)
    table = model.table
    stem = _stem(model, width)
    blocks: list[PlannedBlock] = []
    inputs, table_inputs = stem, table.stem
    for index, row in enumerate(table.rows):
        block = _block(model, width, index, row, inputs, table_inputs)
        blocks.append(block)
        inputs, table_inputs = block.out, row.out
    ends = _last(model, width, blocks[-1]), _hidden(model, width)
    made = Plan(stem, tuple(blocks), *ends, *(table.decoder or (0, -1)))
    if min(made.stem, *(block.out for block in made.blocks), *(block.expanded for block in made.blocks)) < 1:
        raise RequestError(f"width {width:g} leaves a layer without channels; take a larger one")
    return made


def planned_ends(model: Model, width: float = 1.0) -> tuple[int, int]:
    """The widths of the stem and of what the last block makes, without those between."""
    model, width = _scaled(model, width)
    return _stem(model, width), round_width(model.table.rows[-1].out * width, model.dialect)


def _scaled(model: Model, width: float) -> tuple[Model, float]:
    """A model with the divisor that it has at a width, and the width that its name and the multiplier make."""
    width = width * model.width
    if width == 0.1:
        model = replace(model, dialect=replace(model.dialect, divisor=model.dialect.tenth_divisor))
    return model, width


def _stem(model: Model, width: float) -> int:
    scaled = round_width(model.table.stem * width, model.dialect)
    match model.dialect.stem:
        case "fixed":
            return model.table.stem
        case "wide" if width < 0.75:
            return model.table.stem
    return scaled


def _block(model: Model, width: float, index: int, row: Row, inputs: int, table_inputs: int) -> PlannedBlock:
    dialect, table = model.dialect, model.table
    out = round_width(row.out * width, dialect)
    match dialect.expanded:
        case _ if not table.bottleneck:
            expanded = inputs
        case "table":
            expanded = round_width(row.expanded * width, dialect)
        case "ratio":
            expanded = round_width(inputs * row.expanded / table_inputs, dialect)
        case "ratio-floor":
            expanded = int(inputs * row.expanded / table_inputs)
    dilated = model.dilated_from is not None and index >= model.dilated_from
    expand = table.bottleneck and (dialect.expand_always or expanded != inputs)
    return PlannedBlock(
        kernel=row.kernel,
        inputs=inputs,
        expanded=expanded,
        out=out,
        expand=expand,
        squeeze=_squeeze(dialect, expanded, inputs) if row.se else 0,
        act=row.act,
        se_act=row.act if dialect.se_act == "block" else dialect.se_act,
        se_first=dialect.se_first == "always" or (dialect.se_first == "expanded" and expand),
        stride=1 if dilated else row.stride,
        dilation=2 if dilated and (dialect.dilated_first or index != model.dilated_from) else 1,
        # The configured stride decides, also where dilation took it away.
        shortcut=table.bottleneck
        and row.skip
        and row.stride == 1
        and inputs == out
        and (index > 0 or dialect.first_shortcut),
    )


def _squeeze(dialect: Dialect, expanded: int, inputs: int) -> int:
    match dialect.squeeze:
        case "quarter":
            return expanded // 4
        case "quarter-round":
            return round(expanded * 0.25)
        case "input-quarter":
            return round(inputs * 0.25)
    return round_width(expanded // 4, dialect)


def _last(model: Model, width: float, block: PlannedBlock) -> int:
    table, dialect = model.table, model.dialect
    if table.last is None:
        return 0
    match dialect.last:
        case "table":
            return round_width(table.last * width, dialect)
        case "sixfold":
            return block.out * 6
        case "expanded":
            return block.expanded
        case "grown":
            return _grown(table.last, width, dialect)
    return table.last


def _hidden(model: Model, width: float) -> int:
    table, dialect = model.table, model.dialect
    if table.hidden is None:
        return 0
    match dialect.hidden:
        case "scaled":
            return round_width(table.hidden * width, dialect)
        case "grown":
            return _grown(table.hidden, width, dialect)
    return table.hidden


def _grown(value: int, width: float, dialect: Dialect) -> int:
    return round_width(value * width, dialect) if width > 1 else value


def decoder_kernel(dialect: Dialect, sides: tuple[int, ...]) -> tuple[int, int]:
    """The kernel of the segmentation head's pool on a map of these (height, width)."""
    kernel = sides if dialect.decoder_pool is None else map(min, dialect.decoder_pool[0], sides)
    height, width = kernel
    return height, width


PADDINGS = ("symmetric", "same", "unknown-size", "after")


def padding(rule: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(before, after) along one axis of `size` points.

    'symmetric' centres the kernel whatever the size. 'same' (TensorFlow) makes the output ceil(size / stride) and puts
    an odd point after. 'unknown-size' and 'after' do as 'same' at stride 1; at stride 2 they pad as if the size
    were even, so that an odd size gives floor(size / 2): Keras V3 built without a size, and Keras V1.
    """
    reach = (kernel - 1) * dilation
    if rule == "symmetric":
        return reach // 2, reach // 2
    if rule == "unknown-size" and stride > 1:
        return kernel // 2 - 1, kernel // 2
    if rule == "after" and stride > 1:
        return 0, 1
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2
