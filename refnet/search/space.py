"""The factorised hierarchical space of networks: what may be chosen for each stage, and a choice as a table.

All blocks of a stage are alike, and each stage chooses for itself: that is the factorisation (MnasNet, arXiv
1807.11626, sec. 4.1). A point of the space is the number of an option for each decision, stage by stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from refnet.networks.tables import Row, Table

__all__ = [
    "DIGITS",
    "MNASNET",
    "Decision",
    "Point",
    "Space",
    "Stage",
    "StageChoice",
    "decisions",
    "stage_choices",
    "table_of",
]

Point = tuple[int, ...]


class Stage(NamedTuple):
    """The options of one stage, the same for all of its blocks.

    Attributes
    ----------
    stride : of its first block; nothing to choose
    filters : widths of its output
    layers : how many blocks
    operation : how many times a block widens its input before the depthwise convolution; 1 is a separable convolution
        with a linear end, more an inverted residual
    kernel : of the depthwise convolution
    se : squeeze-and-excite, to a quarter
    skip : whether blocks that keep their shape have a shortcut
    """

    stride: int
    filters: tuple[int, ...]
    layers: tuple[int, ...]
    operation: tuple[int, ...] = (1, 3, 6)
    kernel: tuple[int, ...] = (3, 5)
    se: tuple[bool, ...] = (False, True)
    skip: tuple[bool, ...] = (True, False)


@dataclass(frozen=True)
class Space:
    """A network whose stages are open.

    Attributes
    ----------
    stages : in order
    stem, stem_act, last, hidden, act : as in a `Table`; act of blocks too
    """

    stages: tuple[Stage, ...]
    stem: int
    stem_act: str = "relu"
    last: int | None = None
    hidden: int | None = None
    act: str = "relu"


class StageChoice(NamedTuple):
    """What was chosen for a stage."""

    operation: int
    kernel: int
    se: bool
    skip: bool
    filters: int
    layers: int


class Decision(NamedTuple):
    """One choice that a point makes.

    Attributes
    ----------
    stage : from 1 on
    what : is chosen, a name in `StageChoice`
    options : to choose from
    """

    stage: int
    what: str
    options: tuple[Any, ...]


# MobileNetV2's widths times 3/4, 1 and 5/4 in multiples of eight, and the widths of B1 and A1 (192, 112); V2's numbers
# of blocks and one less or more. V2 (with ReLU), MnasNet-B1 and MnasNet-A1 are points of it.
MNASNET = Space(
    stages=(
        Stage(1, (8, 16, 24), (1, 2)),
        Stage(2, (16, 24, 32), (1, 2, 3)),
        Stage(2, (24, 32, 40), (2, 3, 4)),
        Stage(2, (48, 64, 80), (3, 4, 5)),
        Stage(1, (72, 96, 112, 120), (2, 3, 4)),
        Stage(2, (120, 160, 192, 200), (2, 3, 4)),
        Stage(1, (240, 320, 400), (1, 2)),
    ),
    stem=32,
    last=1280,
)

# For images of 32 x 32 points, small enough that a search takes minutes.
DIGITS = Space(
    stages=(
        Stage(1, (8, 12, 16), (1, 2)),
        Stage(2, (16, 24, 32), (1, 2, 3)),
        Stage(2, (32, 48, 64), (1, 2, 3)),
        Stage(1, (64, 96, 128), (1, 2)),
    ),
    stem=8,
)


def decisions(space: Space) -> tuple[Decision, ...]:
    """What a point of the space decides, in its order.

    Examples
    --------
    >>> decisions(DIGITS)[4]
    Decision(stage=1, what='filters', options=(8, 12, 16))
    >>> import math
    >>> f"{math.prod(len(decision.options) for decision in decisions(MNASNET)):.1e}"
    '1.7e+16'
    """
    return tuple(
        Decision(number, what, getattr(stage, what))
        for number, stage in enumerate(space.stages, 1)
        for what in StageChoice._fields
    )


def stage_choices(space: Space, point: Point) -> tuple[StageChoice, ...]:
    """What a point chooses for each stage.

    Parameters
    ----------
    point : of `space`: as many numbers of options as it has decisions

    Examples
    --------
    >>> stage_choices(DIGITS, (0,) * 24)[0]
    StageChoice(operation=1, kernel=3, se=False, skip=True, filters=8, layers=1)
    """
    options = [decision.options[index] for decision, index in zip(decisions(space), point, strict=True)]
    each = len(StageChoice._fields)
    return tuple(StageChoice(*options[at : at + each]) for at in range(0, len(options), each))


def table_of(space: Space, point: Point) -> Table:
    """The table of a point, which `build` takes."""
    rows, width = [], space.stem
    choices = stage_choices(space, point)
    for stage, choice in zip(space.stages, choices, strict=True):
        for block in range(choice.layers):
            expanded, stride = choice.operation * width, stage.stride if block == 0 else 1
            rows.append(Row(choice.kernel, expanded, choice.filters, choice.se, space.act, stride, choice.skip))
            width = choice.filters
    return Table(
        source="a search",
        stem=space.stem,
        stem_act=space.stem_act,
        rows=tuple(rows),
        stages=tuple(choice.layers for choice in choices),
        last=space.last,
        hidden=space.hidden,
        act=space.act,
    )
