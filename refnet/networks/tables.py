"""The papers' tables, as rows of the papers' own integers.

Nothing is computed here that the papers do not compute: no widths, no paddings, no vendor's habits. Those are
in `dialects`; `plan` puts the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = [
    "Decoder",
    "Row",
    "Table",
    "minimalistic",
    "original_last_stage",
    "reduced_tail",
    "segmenting",
    "wide_stem",
    "with_activation",
]


class Row(NamedTuple):
    """One block: depthwise kernel, expanded width, output width, squeeze-and-excite, activation, stride, shortcut.

    A block that may have a shortcut has one where it keeps its shape.

    Examples
    --------
    >>> Row(kernel=3, expanded=72, out=24, se=False, act="relu", stride=2).out
    24
    """

    kernel: int
    expanded: int
    out: int
    se: bool
    act: str
    stride: int
    skip: bool = True


class Decoder(NamedTuple):
    """The LR-ASPP head: width of its branches, and which block's output it reads beside the last convolution's."""

    width: int
    skip: int


@dataclass(frozen=True)
class Table:
    """A network at width 1.

    Attributes
    ----------
    source : paper and table
    stem, stem_act : the 3x3 stride-2 convolution that every network starts with
    rows : the blocks
    stages : how many consecutive blocks the paper draws together; their sum is the number of rows
    last : width of the last 1x1 convolution before the pool, or None
    hidden : width of the hidden layer after the pool, or None
    act : activation of `last` and `hidden`
    bottleneck : True for blocks with a linear projection and shortcuts (V2 and later), False for V1's plain
        separable convolutions, which have an activation after the pointwise half too and no shortcut
    decoder : the head of a network that gives each pixel a class; None for a classifier

    Examples
    --------
    >>> Table(stem=16, rows=(Row(3, 16, 16, False, "relu", 2),)).stem_act
    'relu6'
    """

    source: str = ""
    stem: int = 16
    stem_act: str = "relu6"
    rows: tuple[Row, ...] = ()
    stages: tuple[int, ...] = ()
    last: int | None = None
    hidden: int | None = None
    act: str = "relu6"
    bottleneck: bool = True
    decoder: Decoder | None = None


def _separable(pairs: tuple[tuple[int, int], ...]) -> tuple[Row, ...]:
    """V1's rows (output width, stride): the depthwise half keeps the width of its input."""
    inputs = (32, *(out for out, _ in pairs))
    return tuple(Row(3, inputs[i], out, False, "relu6", stride) for i, (out, stride) in enumerate(pairs))


def _repeated(stem: int, act: str, stages: tuple[tuple[int, int, int, int, int, bool], ...]) -> tuple[Row, ...]:
    """Rows (kernel, factor t, output width c, repeats n, stride s, SE); the stride is the first repeat's."""
    rows: list[Row] = []
    width = stem
    for kernel, factor, out, repeats, stride, se in stages:
        for repeat in range(repeats):
            rows.append(Row(kernel, factor * width, out, se, act, stride if repeat == 0 else 1))
            width = out
    return tuple(rows)


V1 = Table(
    source="Howard et al., MobileNets, arXiv 1704.04861, table 1",
    stem=32,
    stem_act="relu6",
    rows=_separable(
        ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1)),
    ),
    stages=(1, 2, 2, 6, 2),
    last=None,
    hidden=None,
    act="relu6",
    bottleneck=False,
)

_V2_STAGES = (
    # kernel, t, c, n, s, SE
    (3, 1, 16, 1, 1, False),
    (3, 6, 24, 2, 2, False),
    (3, 6, 32, 3, 2, False),
    (3, 6, 64, 4, 2, False),
    (3, 6, 96, 3, 1, False),
    (3, 6, 160, 3, 2, False),
    (3, 6, 320, 1, 1, False),
)
V2 = Table(
    source="Sandler et al., MobileNetV2, arXiv 1801.04381, table 2",
    stem=32,
    stem_act="relu6",
    rows=_repeated(32, "relu6", _V2_STAGES),
    stages=(1, 2, 3, 4, 3, 3, 1),
    last=1280,
    hidden=None,
    act="relu6",
)

_B1_STAGES = (
    (3, 1, 16, 1, 1, False),
    (3, 3, 24, 3, 2, False),
    (5, 3, 40, 3, 2, False),
    (5, 6, 80, 3, 2, False),
    (3, 6, 96, 2, 1, False),
    (5, 6, 192, 4, 2, False),
    (3, 6, 320, 1, 1, False),
)
MNASNET_B1 = Table(
    source="Tan et al., MnasNet, arXiv 1807.11626, the B1 search result (no squeeze-and-excite)",
    stem=32,
    stem_act="relu",
    rows=_repeated(32, "relu", _B1_STAGES),
    stages=(1, 3, 3, 3, 2, 4, 1),
    last=1280,
    hidden=None,
    act="relu",
)

_A1_STAGES = (
    (3, 1, 16, 1, 1, False),
    (3, 6, 24, 2, 2, False),
    (5, 3, 40, 3, 2, True),
    (3, 6, 80, 4, 2, False),
    (3, 6, 112, 2, 1, True),
    (5, 6, 160, 3, 2, True),
    (3, 6, 320, 1, 1, False),
)
MNASNET_A1 = Table(
    source="Tan et al., MnasNet, arXiv 1807.11626, figure 7",
    stem=32,
    stem_act="relu",
    rows=_repeated(32, "relu", _A1_STAGES),
    stages=(1, 2, 3, 4, 2, 3, 1),
    last=1280,
    hidden=None,
    act="relu",
)

_SMALL_STAGES = (
    (3, 1, 8, 1, 1, False),
    (3, 3, 16, 1, 2, False),
    (3, 6, 16, 2, 2, False),
    (5, 6, 32, 4, 2, True),
    (3, 6, 32, 3, 1, True),
    (5, 6, 88, 3, 2, True),
    (3, 6, 144, 1, 1, False),
)
MNASNET_SMALL = Table(
    source="Tan et al., MnasNet, the authors' mnasnet_small",
    stem=8,
    stem_act="relu",
    rows=_repeated(8, "relu", _SMALL_STAGES),
    stages=(1, 1, 2, 4, 3, 3, 1),
    last=1280,
    hidden=None,
    act="relu",
)

_RE, _HS = "relu", "hard_swish"

V3_LARGE = Table(
    source="Howard et al., Searching for MobileNetV3, arXiv 1905.02244v5, table 1",
    stem=16,
    stem_act=_HS,
    rows=(
        Row(3, 16, 16, False, _RE, 1),
        Row(3, 64, 24, False, _RE, 2),
        Row(3, 72, 24, False, _RE, 1),
        Row(5, 72, 40, True, _RE, 2),
        Row(5, 120, 40, True, _RE, 1),
        Row(5, 120, 40, True, _RE, 1),
        Row(3, 240, 80, False, _HS, 2),
        Row(3, 200, 80, False, _HS, 1),
        Row(3, 184, 80, False, _HS, 1),
        Row(3, 184, 80, False, _HS, 1),
        Row(3, 480, 112, True, _HS, 1),
        Row(3, 672, 112, True, _HS, 1),
        Row(5, 672, 160, True, _HS, 2),
        Row(5, 960, 160, True, _HS, 1),
        Row(5, 960, 160, True, _HS, 1),
    ),
    stages=(1, 2, 3, 4, 2, 3),
    last=960,
    hidden=1280,
    act=_HS,
)

V3_SMALL = Table(
    # The tick for SE on the last 1x1 convolution is left out, as in every implementation.
    source="Howard et al., Searching for MobileNetV3, arXiv 1905.02244v5, table 2",
    stem=16,
    stem_act=_HS,
    rows=(
        Row(3, 16, 16, True, _RE, 2),
        Row(3, 72, 24, False, _RE, 2),
        Row(3, 88, 24, False, _RE, 1),
        Row(5, 96, 40, True, _HS, 2),
        Row(5, 240, 40, True, _HS, 1),
        Row(5, 240, 40, True, _HS, 1),
        Row(5, 120, 48, True, _HS, 1),
        Row(5, 144, 48, True, _HS, 1),
        Row(5, 288, 96, True, _HS, 2),
        Row(5, 576, 96, True, _HS, 1),
        Row(5, 576, 96, True, _HS, 1),
    ),
    stages=(1, 2, 3, 2, 3),
    last=576,
    hidden=1024,
    act=_HS,
)


def with_activation(table: Table, act: str) -> Table:
    """The same table with another activation throughout."""
    rows = tuple(row._replace(act=act) for row in table.rows)
    return replace(table, rows=rows, stem_act=act, act=act)


def minimalistic(table: Table) -> Table:
    """The same table with 3x3 kernels, ReLU and no squeeze-and-excite throughout (arXiv 1905.02244, sec. 6.1)."""
    rows = tuple(row._replace(kernel=3, se=False, act=_RE) for row in table.rows)
    return replace(table, rows=rows, stem_act=_RE, act=_RE)


def reduced_tail(table: Table) -> Table:
    """V3 with the widths after the last stride halved, for backbones (arXiv 1905.02244, sec. 6.3)."""
    first = len(table.rows) - table.stages[-1]  # keeps its expanded width, which belongs to the map before it
    tail = [row._replace(expanded=row.expanded // 2, out=row.out // 2) for row in table.rows[first:]]
    tail[0] = tail[0]._replace(expanded=table.rows[first].expanded)
    return replace(
        table,
        rows=(*table.rows[:first], *tail),
        last=None if table.last is None else table.last // 2,
        hidden=None if table.hidden is None else table.hidden // 2,
    )


def segmenting(table: Table, skip: int) -> Table:
    """V3 with the LR-ASPP head instead of the classifier's (arXiv 1905.02244, sec. 6.4 and fig. 10)."""
    source = "Howard et al., Searching for MobileNetV3, arXiv 1905.02244v5, figure 10"
    return replace(table, source=source, hidden=None, decoder=Decoder(128, skip))


def original_last_stage(table: Table) -> Table:
    """V3 with the last stage that its search began with: one block more, and the pool last (arXiv 1905.02244, fig. 5).

    The block expands the last width c sixfold and projects to 2 c; a 1x1 convolution makes what the classifier reads.
    """
    act, out = table.act, table.rows[-1].out
    return replace(
        table,
        source="Howard et al., Searching for MobileNetV3, arXiv 1905.02244v5, figure 5, above",
        rows=(*table.rows, Row(3, 6 * out, 2 * out, False, act, 1)),
        stages=(*table.stages, 1),
        last=table.hidden,
        hidden=None,
    )


def wide_stem(table: Table) -> Table:
    """V3 with V2's stem: 32 channels and ReLU, which 16 with hard swish are as good as (arXiv 1905.02244, sec. 5.1)."""
    first = table.rows[0]
    rows = (first._replace(expanded=first.expanded * 2), *table.rows[1:])
    return replace(table, stem=2 * table.stem, stem_act=_RE, rows=rows)


def _listing(table: Table, stem_act: str, widths: dict[int, int]) -> Table:
    """The article's listings: other expanded widths, and RE and HS exchanged (ReLU6 standing for ReLU)."""
    exchanged = {_RE: _HS, _HS: "relu6"}
    rows = [row._replace(act=exchanged[row.act]) for row in table.rows]
    for block, expanded in widths.items():
        rows[block] = rows[block]._replace(expanded=expanded)
    return replace(table, source="the article's listing", stem_act=stem_act, rows=tuple(rows))


ARTICLE_TORCH_LARGE = _listing(V3_LARGE, "relu6", {8: 192, 9: 192})
ARTICLE_TORCH_SMALL = _listing(V3_SMALL, "relu6", {1: 64})
ARTICLE_KERAS_LARGE = _listing(V3_LARGE, _HS, {8: 192, 9: 192})
ARTICLE_KERAS_SMALL = _listing(V3_SMALL, _HS, {1: 64})
