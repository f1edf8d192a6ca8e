"""What vendors made of the papers' tables: padding, rounding of widths, batch-norm eps, squeeze-and-excite, head.

A `Dialect` is a vendor's habits, named by plain words that `plan` and `build` act on; `MODELS` says which table
each public model name takes, in which dialect. Every fact was read from the vendor's source and checked by
running it; the tests hold the outcome against the vendors' own modules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from refnet.networks import preprocessing as pre
from refnet.networks import tables
from refnet.networks.preprocessing import Preprocessing
from refnet.networks.tables import (
    Table,
    minimalistic,
    original_last_stage,
    reduced_tail,
    segmenting,
    wide_stem,
    with_activation,
)

__all__ = ["MODELS", "Dialect", "Model"]


@dataclass(frozen=True)
class Dialect:
    """A vendor's reading of a table.

    Attributes
    ----------
    vendor : whose; also names the scheme of weight names
    eps : of every batch norm outside the segmentation head
    stem_pad, pad : padding rule of the stem and of the depthwise convolutions, see `plan.padding`:
        'symmetric', 'same' (TensorFlow's), 'unknown-size' (Keras' correct_pad without a size), 'after' ((0, 1))
    rounding : of a scaled width: 'nearest' multiple of `divisor` but not below 90 %, 'plain' (also below), 'up',
        'down', 'floor' (to an integer), 'floor-nearest' (one after the other)
    tenth_divisor : the divisor at width 0.1
    expanded : 'table' scales the table's width; 'ratio' keeps the table's ratio to the block's actual input;
        'ratio-floor' does so without rounding to the divisor
    stem : 'scaled', 'fixed', or 'wide' (scaled, but not below the table's width for a width under 0.75)
    last : the last 1x1 convolution: 'table' scaled, 'sixfold' the last block's output, 'expanded' as the last
        block, 'grown' (scaled only for a width above 1), 'fixed'
    hidden : the hidden head layer: 'scaled', 'grown', 'fixed'
    squeeze : width of the squeeze layer: 'divisible' (a quarter of the expanded width, to a multiple of 8),
        'quarter' (floor), 'quarter-round', 'input-quarter' (of the block's input, rounded)
    gate : operation of the squeeze-and-excite gate
    se_act : activation of the squeeze layer, 'relu' or 'block' (the block's own)
    se_bias : whether the two layers of squeeze-and-excite have biases
    se_first : where squeeze-and-excite precedes the depthwise activation: 'never', 'expanded' (in blocks with an
        expansion), 'always'
    conv_bias : whether convolutions that a batch norm follows have a bias all the same
    expand_always : whether the expansion is there even when it does not widen
    first_shortcut : whether the first block may have a shortcut
    hidden_bias : whether the hidden head layer has a bias
    rescale : (slope, offset) that the network itself applies to its input, or None
    decoder_eps : of the batch norm of the segmentation head
    decoder_pool : (kernel, stride) of the pool in the segmentation head, the kernel no larger than the map; None for a
        global pool
    dilated_first : whether the block whose stride is traded for dilation is dilated itself, or only those behind it
    softmax : whether the network ends in softmax
    classes : how many, unless asked otherwise
    labels : name of the class names, see `files.labels`
    preprocessing : from an image's pixels to the network's input
    """

    vendor: str
    eps: float = 1e-5
    stem_pad: str = "symmetric"
    pad: str = "symmetric"
    rounding: str = "nearest"
    divisor: int = 8
    tenth_divisor: int = 8
    expanded: str = "ratio"
    stem: str = "scaled"
    last: str = "grown"
    hidden: str = "fixed"
    squeeze: str = "divisible"
    gate: str = "hard_sigmoid"
    se_act: str = "relu"
    se_bias: bool = True
    se_first: str = "never"
    conv_bias: bool = False
    expand_always: bool = False
    first_shortcut: bool = True
    hidden_bias: bool = True
    rescale: tuple[float, float] | None = None
    decoder_eps: float = 1e-5
    decoder_pool: tuple[tuple[int, int], tuple[int, int]] | None = None
    dilated_first: bool = True
    softmax: bool = False
    classes: int = 1000
    labels: str = "imagenet"
    preprocessing: Preprocessing = pre.TORCHVISION_V1


@dataclass(frozen=True)
class Model:
    """A table in a dialect, under a public name.

    Attributes
    ----------
    width : the width multiplier that the name itself stands for
    size : (H, W) that the network is built for unless asked otherwise
    dilated_from : index of the first block whose stride is traded for dilation 2, or None
    variant : whether it has a plain network's names and shapes, or computes like one: a file that may be either is
        taken for the plain one
    """

    table: Table
    dialect: Dialect
    width: float = 1.0
    size: tuple[int, int] = (224, 224)
    dilated_from: int | None = None
    variant: bool = False


_TORCHVISION = Dialect("torchvision")
_TORCHVISION_V3 = replace(_TORCHVISION, eps=1e-3, expanded="table", last="sixfold", hidden="scaled")
_TORCHVISION_MNASNET = replace(_TORCHVISION, last="fixed", first_shortcut=False)
_TORCHVISION_232 = replace(_TORCHVISION_MNASNET, preprocessing=pre.TORCHVISION_V2)

_TORCHVISION_LRASPP = replace(_TORCHVISION_V3, classes=21, labels="voc", preprocessing=pre.TORCHVISION_SEGMENTATION)

_TIMM = Dialect("timm", preprocessing=pre.TIMM_BICUBIC)
_TIMM_V1 = replace(_TIMM, preprocessing=pre.TIMM_BICUBIC_HALF)
_TIMM_MNASNET_SMALL = replace(_TIMM, last="fixed", squeeze="input-quarter", gate="sigmoid")
_TIMM_MNASNET = replace(_TIMM_MNASNET_SMALL, first_shortcut=False)
_TIMM_V3 = replace(_TIMM, stem="wide", last="table")
_TIMM_RW = replace(_TIMM_V3, eps=1e-3, squeeze="quarter-round", se_act="block", first_shortcut=False, hidden_bias=False)
_TIMM_TF = replace(_TIMM_V3, eps=1e-3, stem_pad="same", pad="same", preprocessing=pre.TIMM_BILINEAR_HALF)

_KERAS = Dialect("keras", eps=1e-3, stem_pad="same", pad="same", softmax=True, preprocessing=pre.KERAS)
_KERAS_V1 = replace(_KERAS, pad="after", rounding="floor")
_KERAS_V2 = replace(_KERAS, rounding="floor-nearest")
_KERAS_V3_RAW = replace(_KERAS, stem="fixed", last="sixfold", hidden="grown")
_KERAS_V3 = replace(
    # Keras rounds 1/127.5 to float32 whatever the precision of the network.
    _KERAS_V3_RAW,
    rescale=(0.007843137718737125, -1.0),
    preprocessing=pre.KERAS_RAW,
)
_KERAS_V3_ANYSIZE = replace(_KERAS_V3, pad="unknown-size")

_D_LI14 = Dialect("d-li14", tenth_divisor=4)
_D_LI14_V3 = replace(_D_LI14, tenth_divisor=8, last="expanded", hidden="grown", se_first="expanded")

_KUAN_WANG = Dialect(
    "kuan-wang",
    rounding="up",
    expanded="table",
    stem="fixed",
    last="table",
    hidden="grown",
    squeeze="quarter",
    se_bias=False,
    se_first="always",
    expand_always=True,
)

_ARTICLE_TORCH = Dialect(
    "article",
    expanded="ratio-floor",
    last="sixfold",
    gate="hard_swish",
    conv_bias=True,
    expand_always=True,
    preprocessing=pre.ARTICLE,
)
_ARTICLE_KERAS = replace(_ARTICLE_TORCH, vendor="article-keras", eps=1e-3, stem_pad="same", pad="same", softmax=True)

_PAPER = Dialect(
    # TF-slim, the authors' own code. Its gate constant 0.16667 is the paper's exact 1/6 here.
    "paper",
    eps=1e-3,
    stem_pad="same",
    pad="same",
    hidden="grown",
    classes=1001,
    labels="imagenet+background",
    preprocessing=pre.PAPER,
)
_PAPER_V1 = replace(_PAPER, rounding="floor")
_PAPER_V3 = replace(_PAPER, last="table")
_PAPER_LRASPP = replace(
    # Figure 10 draws the pool for Cityscapes' 1024 x 2048, where it makes 1 x 4 of a map of 64 x 128.
    _PAPER_V3,
    vendor="paper-segmentation",
    decoder_eps=1e-3,
    decoder_pool=((49, 49), (16, 20)),
    dilated_first=False,
    classes=19,
    labels="cityscapes",
    preprocessing=pre.PAPER_SEGMENTATION,
)
_TRANSFORMERS_V1 = replace(_PAPER_V1, vendor="transformers")
_TRANSFORMERS_V2 = replace(_PAPER, vendor="transformers", first_shortcut=False)

_REFNET = replace(_TORCHVISION_V3, vendor="refnet", classes=10, labels="digits", preprocessing=pre.DIGITS)

_KUAN_WANG_SMALL = replace(tables.V3_SMALL, hidden=1280)  # a 1280-wide head in both sizes


def _torchvision_v3(size: str, table: Table) -> dict[str, Model]:
    name, tail, first = f"torchvision/mobilenet_v3_{size}", reduced_tail(table), len(table.rows) - table.stages[-1]
    return {
        name: Model(table, _TORCHVISION_V3),
        f"{name}@dilated": Model(table, _TORCHVISION_V3, dilated_from=first, variant=True),
        f"{name}@reduced_tail": Model(tail, _TORCHVISION_V3),
        f"{name}@reduced_tail+dilated": Model(tail, _TORCHVISION_V3, dilated_from=first, variant=True),
    }


def _paper_lraspp(size: str, table: Table, skip: int) -> dict[str, Model]:
    """The paper's segmentation networks: widths after the last stride halved, on a map of a sixteenth."""
    first = len(table.rows) - table.stages[-1]
    segmenter = segmenting(reduced_tail(table), skip)
    return {f"paper/lraspp_mobilenet_v3_{size}": Model(segmenter, _PAPER_LRASPP, 1.0, (1024, 2048), first)}


def _named_widths(stem: str, table: Table, dialect: Dialect, percents: tuple[int, ...]) -> dict[str, Model]:
    """timm's names, which carry the width in percent: mnasnet_050."""
    return {f"timm/{stem}_{percent:03d}": Model(table, dialect, percent / 100) for percent in percents}


def _keras_v3(size: str, table: Table) -> dict[str, Model]:
    name = f"keras/MobileNetV3{size}"
    return {
        name: Model(table, _KERAS_V3),
        f"{name}@raw": Model(table, _KERAS_V3_RAW),
        f"{name}@anysize": Model(table, _KERAS_V3_ANYSIZE),
        f"{name}_minimalistic": Model(minimalistic(table), _KERAS_V3),
    }


_LARGE, _SMALL = tables.V3_LARGE, tables.V3_SMALL

MODELS: dict[str, Model] = {
    "refnet/digits": Model(_SMALL, _REFNET, width=0.35, size=(32, 32)),
    "torchvision/mobilenet_v2": Model(tables.V2, _TORCHVISION),
    "torchvision/mobilenet_v2@quantizable": Model(with_activation(tables.V2, "relu"), _TORCHVISION, variant=True),
    **_torchvision_v3("large", _LARGE),
    **_torchvision_v3("small", _SMALL),
    "torchvision/lraspp_mobilenet_v3_large": Model(
        segmenting(_LARGE, skip=3), _TORCHVISION_LRASPP, size=(520, 520), dilated_from=12
    ),
    "torchvision/mnasnet0_5": Model(tables.MNASNET_B1, _TORCHVISION_MNASNET, width=0.5),
    "torchvision/mnasnet0_75": Model(tables.MNASNET_B1, _TORCHVISION_232, width=0.75),
    "torchvision/mnasnet1_0": Model(tables.MNASNET_B1, _TORCHVISION_MNASNET),
    "torchvision/mnasnet1_3": Model(tables.MNASNET_B1, _TORCHVISION_232, width=1.3),
    **_named_widths("mobilenetv1", tables.V1, _TIMM_V1, (100,)),
    **_named_widths("mobilenetv1", tables.V1, replace(_TIMM_V1, preprocessing=pre.TIMM_BICUBIC_HALF_90), (125,)),
    **_named_widths("mobilenetv2", tables.V2, _TIMM, (50, 100, 140)),
    **_named_widths("mnasnet", tables.MNASNET_B1, _TIMM_MNASNET, (50, 75, 100, 140)),
    **_named_widths("semnasnet", tables.MNASNET_A1, _TIMM_MNASNET, (50, 75, 100, 140)),
    "timm/mnasnet_small": Model(tables.MNASNET_SMALL, _TIMM_MNASNET_SMALL),
    **_named_widths("mobilenetv3_large", _LARGE, _TIMM_V3, (75, 100)),
    **_named_widths("mobilenetv3_small", _SMALL, _TIMM_V3, (50, 75, 100)),
    "timm/mobilenetv3_rw": Model(_LARGE, _TIMM_RW),
    **_named_widths("tf_mobilenetv3_large", _LARGE, _TIMM_TF, (75, 100)),
    **_named_widths("tf_mobilenetv3_small", _SMALL, _TIMM_TF, (75, 100)),
    **_named_widths("tf_mobilenetv3_large_minimal", minimalistic(_LARGE), _TIMM_TF, (100,)),
    **_named_widths("tf_mobilenetv3_small_minimal", minimalistic(_SMALL), _TIMM_TF, (100,)),
    "keras/MobileNet": Model(tables.V1, _KERAS_V1),
    "keras/MobileNetV2": Model(tables.V2, _KERAS_V2),
    **_keras_v3("Large", _LARGE),
    **_keras_v3("Small", _SMALL),
    "d-li14/mobilenetv2": Model(tables.V2, _D_LI14),
    "d-li14/mobilenetv3_large": Model(_LARGE, _D_LI14_V3),
    "d-li14/mobilenetv3_small": Model(_SMALL, _D_LI14_V3),
    "kuan-wang/mobilenetv3_large": Model(_LARGE, _KUAN_WANG),
    "kuan-wang/mobilenetv3_small": Model(_KUAN_WANG_SMALL, _KUAN_WANG),
    "marvis/mobilenet_v1": Model(with_activation(tables.V1, "relu"), Dialect("marvis", rounding="floor")),
    "article/torch_large": Model(tables.ARTICLE_TORCH_LARGE, _ARTICLE_TORCH),
    "article/torch_small": Model(tables.ARTICLE_TORCH_SMALL, _ARTICLE_TORCH),
    "article/keras_large": Model(tables.ARTICLE_KERAS_LARGE, _ARTICLE_KERAS),
    "article/keras_small": Model(tables.ARTICLE_KERAS_SMALL, _ARTICLE_KERAS),
    "paper/mobilenet_v1": Model(tables.V1, _PAPER_V1),
    "paper/mobilenet_v2": Model(tables.V2, _PAPER),
    "transformers/mobilenet_v1": Model(tables.V1, _TRANSFORMERS_V1, variant=True),
    "transformers/mobilenet_v2": Model(tables.V2, _TRANSFORMERS_V2, variant=True),
    "paper/mobilenet_v3_large": Model(_LARGE, _PAPER_V3),
    "paper/mobilenet_v3_small": Model(_SMALL, _PAPER_V3),
    "paper/mobilenet_v3_large@original_last_stage": Model(original_last_stage(_LARGE), _PAPER_V3),
    "paper/mobilenet_v3_large@wide_stem": Model(wide_stem(_LARGE), _PAPER_V3),
    "paper/mobilenet_v3_large@original_last_stage+wide_stem": Model(wide_stem(original_last_stage(_LARGE)), _PAPER_V3),
    **_paper_lraspp("large", _LARGE, skip=3),
    **_paper_lraspp("small", _SMALL, skip=1),
    "paper/mobilenet_v3_large_minimalistic": Model(minimalistic(_LARGE), _PAPER_V3),
    "paper/mobilenet_v3_small_minimalistic": Model(minimalistic(_SMALL), _PAPER_V3),
}
