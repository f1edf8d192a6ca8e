"""The bugs that make a port differ from its reference: one table for diagnosis, scorecard and detectability.

Each hypothesis is an id, a sentence, where it was seen, and a function from a segment to the other ways of running it.
Some change the shape of a result, and explain a tensor whose verdict is `shape`. What is not here: bugs of the LR-ASPP
head (a fixed pool, another branch, the classifier after upsampling), since no network that can be built has that head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from refnet.bugs import blocks, ends, geometry, maps, norms
from refnet.bugs.segments import Segment, Variation

__all__ = ["HYPOTHESES", "Hypothesis"]


class Hypothesis(NamedTuple):
    """One bug that ports have.

    Attributes
    ----------
    id : short, 'pad-same'
    sentence : what the port does
    link : where a port did it, or ''
    vary : from a segment to the other ways of running it; none where the bug cannot be there
    precision : True where the bug is one of precision, which explains small errors of any kind: such a cause is
        accepted only where no other fits
    """

    id: str
    sentence: str
    link: str
    vary: Callable[[Segment], Iterator[Variation]]
    precision: bool = False


def _seen(thread: str) -> str:
    """The address of an issue thread, from 'owner/repository#number'."""
    repository, _, number = thread.partition("#")
    return f"https://github.com/{repository}/issues/{number}"


_TABLE = (
    # Geometry and weights
    Hypothesis(
        "pad-same",
        "TF SAME for symmetric padding, or the reverse",
        _seen("taehoonlee/tensornets#25"),
        geometry.pad_same,
    ),
    Hypothesis("pad-lower", "SAME_LOWER for SAME_UPPER", _seen("microsoft/onnxruntime#9370"), geometry.pad_lower),
    Hypothesis(
        "pad-value", "padding filled with something other than zero", _seen("apache/tvm#4807"), geometry.pad_value
    ),
    Hypothesis("kernel-flip", "the kernel turned by 180 degrees", _seen("keras-team/keras#3015"), geometry.kernel_flip),
    Hypothesis(
        "kernel-transpose",
        "kernel height and width exchanged",
        _seen("huggingface/transformers#18597"),
        geometry.kernel_transpose,
    ),
    Hypothesis(
        "depthwise-axes",
        "depthwise weights read in the wrong axis order",
        _seen("AlexanderLutsenko/nobuco#2"),
        geometry.depthwise_axes,
    ),
    Hypothesis(
        "weights-transpose",
        "inputs and outputs of weights exchanged",
        _seen("microsoft/MMdnn#250"),
        geometry.weights_transpose,
    ),
    Hypothesis("channel-permute", "channels exchanged", _seen("gmalivenko/pytorch2keras#42"), geometry.channel_permute),
    Hypothesis(
        "channels-last", "NHWC numbers under an NCHW shape", _seen("PINTO0309/onnx2tf#317"), geometry.channels_last
    ),
    Hypothesis(
        "stride-place", "the stride in the wrong layer", _seen("shicai/MobileNet-Caffe#67"), geometry.stride_place
    ),
    Hypothesis("stride-phase", "sampling starts at pixel 1, not 0", "", geometry.stride_phase),
    Hypothesis("dilation", "dilation dropped or added", _seen("pytorch/vision#7956"), geometry.dilation),
    Hypothesis("pool-count", "an average that counts padding", _seen("onnx/onnx-tensorrt#663"), maps.pool_count),
    Hypothesis("pool-ceil", "a number of windows rounded up, or down", _seen("onnx/onnx#4958"), maps.pool_ceil),
    Hypothesis("resize-corners", "other alignment of corners", _seen("pytorch/pytorch#10604"), maps.resize_corners),
    Hypothesis("flatten-order", "flattened channels last", _seen("keras-team/keras#9696"), maps.flatten_order),
    # Batch norm
    Hypothesis("bn-eps", "another eps in batch norm", _seen("Tencent/ncnn#218"), norms.eps),
    Hypothesis("bn-batch-stats", "statistics of the batch", _seen("pytorch/pytorch#35644"), norms.batch_stats),
    Hypothesis("bn-fix-gamma", "stored gamma ignored", _seen("apache/mxnet#15717"), norms.fix_gamma),
    Hypothesis("bn-missing", "batch norm skipped", "", norms.missing),
    Hypothesis("bn-var-std", "variance used as the standard deviation", "", norms.var_std),
    Hypothesis("bn-fold-axis", "folded along the wrong axis", _seen("CODAIT/graph_def_editor#15"), norms.fold_axis),
    Hypothesis("bn-fold-bias", "the fold forgets part of the bias", "", norms.fold_bias),
    Hypothesis("bn-swapped", "arrays of batch norm exchanged on import", "", norms.swapped),
    # Blocks and activations
    Hypothesis("hsigmoid-slope", "0.2 x + 0.5 for x / 6 + 0.5", _seen("tensorflow/models#9303"), blocks.hsigmoid_slope),
    Hypothesis(
        "hsigmoid-half", "(x + 1) / 2 for x / 6 + 0.5", _seen("open-mmlab/mmpretrain#193"), blocks.hsigmoid_half
    ),
    Hypothesis(
        "hsigmoid-beta0", "the hard sigmoid's offset dropped", _seen("OAID/Tengine#1122"), blocks.hsigmoid_beta0
    ),
    Hypothesis("gate-sigmoid", "true for hard sigmoid, or the reverse", "", blocks.gate_sigmoid),
    Hypothesis("gate-hswish", "hard swish as the gate", "", blocks.gate_hswish),
    Hypothesis("hswish-swish", "true for hard swish", "", blocks.hswish_swish),
    Hypothesis("hswish-nodiv", "hard swish without the sixth, or with a rounded one", "", blocks.hswish_nodiv),
    Hypothesis(
        "relu6-relu", "ReLU for ReLU6, or the reverse", _seen("tonylins/pytorch-mobilenet-v2#10"), blocks.relu6_relu
    ),
    Hypothesis("act-swap", "ReLU for hard swish, or the reverse", "", blocks.act_swap),
    Hypothesis("act-missing", "an activation left out", "", blocks.act_missing),
    Hypothesis(
        "act-on-linear",
        "an activation on the linear bottleneck",
        _seen("tensorflow/tensorflow#50835"),
        blocks.act_on_linear,
    ),
    Hypothesis(
        "se-order",
        "squeeze-and-excite on the other side of the activation",
        _seen("open-mmlab/mmpretrain#193"),
        blocks.se_order,
    ),
    Hypothesis(
        "se-missing", "squeeze-and-excite left out", _seen("jixing0415/caffe-mobilenet-v3#2"), blocks.se_missing
    ),
    Hypothesis("se-width", "another squeeze width", _seen("keras-team/keras-cv#1756"), blocks.se_width),
    Hypothesis("se-bias", "biases of squeeze-and-excite left out", "", blocks.se_bias),
    Hypothesis("shortcut-missing", "the shortcut left out", "", blocks.shortcut_missing),
    Hypothesis(
        "shortcut-extra", "a shortcut where there is none", _seen("kuangliu/pytorch-cifar#133"), blocks.shortcut_extra
    ),
    Hypothesis("shortcut-late", "an activation around the shortcut's sum", "", blocks.shortcut_late),
    Hypothesis("expand-extra", "an expansion where the factor is 1", _seen("dmlc/gluon-cv#773"), blocks.expand_extra),
    Hypothesis("head-bn", "batch norm added in the head", _seen("xiaolai-sqlai/mobilenetv3#23"), blocks.head_bn),
    Hypothesis("head-act-pool", "the head's activation after the pool", "", blocks.head_act_pool),
    Hypothesis("head-hidden-act", "another activation in the hidden head layer", "", blocks.head_hidden_act),
    Hypothesis("bias-missing", "a bias dropped", "", blocks.bias_missing),
    # Input and output
    Hypothesis("input-range", "pixels in another range", _seen("tensorflow/tensorflow#46105"), ends.input_range),
    Hypothesis("input-meanstd", "mean and standard deviation left out or applied twice", "", ends.input_meanstd),
    Hypothesis("input-bgr", "colours in reverse order", _seen("endernewton/tf-faster-rcnn#310"), ends.input_bgr),
    Hypothesis("input-resize", "the image resampled otherwise", _seen("pytorch/vision#6506"), ends.input_resize),
    Hypothesis("input-hw", "height and width exchanged", "", ends.input_hw),
    Hypothesis("classes-shift", "classes off by one", _seen("rockchip-linux/rknn-toolkit2#241"), ends.classes_shift),
    Hypothesis("softmax-twice", "softmax once too often, or not at all", "", ends.softmax_twice),
    # Precision
    Hypothesis("weights-fp16", "weights rounded to float16 or bfloat16", "", ends.weights_fp16, True),
    Hypothesis(
        "weights-int8",
        "weights quantised to 8 bits",
        _seen("Edgecortix-Inc/pytorch_quantization#5"),
        ends.weights_int8,
        True,
    ),
    Hypothesis(
        "fp16-storage", "values rounded to float16 or bfloat16", _seen("Tencent/ncnn#2965"), ends.fp16_storage, True
    ),
    Hypothesis(
        "fp16-accumulate", "sums kept in float16", _seen("google-ai-edge/LiteRT#9249"), ends.fp16_accumulate, True
    ),
)

HYPOTHESES: Mapping[str, Hypothesis] = {hypothesis.id: hypothesis for hypothesis in _TABLE}
