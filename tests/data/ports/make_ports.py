"""Write ports.json and *.npz: honest PyTorch ports of two small networks, and what they dump with a mistake in them.

Usage: python make_ports.py. Needs PyTorch and a C compiler. This is the exam for refnet's diagnosis, so it was written
without looking at it: refnet gives the graph (names, order), random weights, a random input and, for the assertions,
the float64 trace. Every layer of the ports is written in honest_ports.py, and every mistake in port_mistakes.py, in
PyTorch or in layers.c.

A port is a class with one method per kind of layer. A mistake is a function that takes a port and gives a subclass with
one method written wrongly, for the layers called `here`; two mistakes are one such function after the other.

What is saved
-------------
Only float32 tensors under refnet's names, in NCHW, as the port dumped them. Style "all" has every node; style "fused"
has what a fused runtime has: no convolution and no batch norm that an activation follows. A tensor that does not exist
in the wrong port, or that has no counterpart in the reference (`hidden` below), is not there.

To keep the files small, most are partial: the tensors from the first wrong layer to the end of the block after next
(`after` says otherwise), and those dumped tensors that these are computed from, so that every segment's inputs are
there. With two mistakes: the windows of both. The network's input is never saved: it is refnet.random_input(graph,
batch), also for the ports that turn it into something else first. `size` and `batch` differ from port to port: mistakes
in early layers, where maps are large, are shown on smaller images. Batch statistics need batch 2.

What is asserted
----------------
The honest ports (PyTorch; C; folded) agree with refnet's float64 trace, largest difference over largest value, to 4e-5
in every tensor at every size used (V3 to 2e-6; V2's float32 noise grows to 2e-5 in block 17). Each saved tensor of a
wrong port is computed again in float64 from the saved tensors nearest before it: for each mistake some segment that
holds a wrong node must disagree, and segments without a wrong node must agree. (Not asked of the two NHWC ports, whose
network is right.)
"""

import json
import platform

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from honest_ports import CLASSES, HERE, LIMIT, OWN, V2, V2_MODEL, V3, V3_MODEL, folded, in_c
from port_checks import WEIGHTED, check_honest, check_wrong, chosen, fused_names, setting
from port_mistakes import (
    MEAN,
    STD,
    act_after_pool,
    activated_by,
    background_first,
    black_border,
    channels_swapped,
    dilated,
    eps_is,
    fold_gamma_only,
    fold_without_mean,
    gated_by,
    halves_swapped,
    input_is,
    kernel_transposed,
    loaded,
    matrix_transposed,
    nhwc,
    no_act,
    no_bn,
    no_gamma,
    no_se,
    no_shortcut,
    one_based,
    one_in_c,
    option_a_shortcut,
    read_as_rsc,
    reflect,
    relu_after_add,
    relu_before,
    relu_on,
    se_before_act,
    stored_as,
    stride_in_expand,
    swapped,
    tf_same,
    training_mode,
    training_mode_at,
    var_for_std,
    weights_as,
    weights_int8,
    with_softmax,
    without,
)

import refnet

# ------------------------------------------------------------------------------------------------------- the ports

G2, G3 = (refnet.build(model, width=width, size=(48, 64), classes=CLASSES) for model, width in (V2_MODEL, V3_MODEL))


def nodes(graph, *ops, like=""):
    return [node.name for node in graph.nodes if (not ops or node.op in ops) and like in node.name]


def strided(graph):
    return [node.name for node in graph.nodes if node.attrs.get("stride") == (2, 2)]


DW2 = nodes(G2, "depthwise_conv2d")
HSWISH, GATES = nodes(G3, "hard_swish"), nodes(G3, "hard_sigmoid")
HAS_SE = [f"block{i}" for i in (1, *range(4, 12))]
MIDDLE = [name for name in HSWISH if name.startswith(("block4", "block5", "block6"))]
SAME = ["pad-same", "stride-phase"]  # the same function where both sides are even
INPUT = ["stem.conv"]  # what reads the input

PORTS = []


def port(file, cls, style, size, what, *mistakes, batch=2, hidden=(), after=2, whole=False):
    """`mistakes`: (places, ids that name it). `hidden`: what the port has no counterpart of, or does not show."""
    PORTS.append(locals())


def swish(x):
    return x * torch.sigmoid(x)


# fmt: off
port("v2_same", tf_same(V2, "block4.depthwise"), "all", (24, 32),
     "TF's SAME padding in the depthwise layer of block 4 (stride 2)", (["block4.depthwise"], SAME), batch=1)
port("v3_same_everywhere", tf_same(V3, *strided(G3)), "fused", (32, 48),
     "TF's SAME padding in every layer of stride 2", (strided(G3), SAME), batch=1)
port("v3_reflect", reflect(V3, "block3.depthwise"), "all", (32, 48),
     "the depthwise layer of block 3 is padded by reflection", (["block3.depthwise"], "pad-value"), batch=1)
port("v2_black_border", black_border(V2), "all", (24, 32),
     "the image is padded with black pixels before it is normalised, so that the stem's border is -mean/std",
     (["stem.conv"], "pad-value"), batch=1, after=1)
port("v3_clamp", one_in_c("depthwise_clamp", "block2.depthwise")(V3), "fused", (32, 48),
     "the C loop of the depthwise layer of block 2 clamps indices outside the map, which repeats the edge",
     (["block2.depthwise"], "pad-value"))
port("v3_phase", one_in_c("depthwise_phase", "block4.depthwise")(V3), "fused", (48, 64),
     "the C loop of the depthwise layer of block 4 centres its window at 2i + 1", (["block4.depthwise"], SAME), batch=1)
port("v2_dilation", dilated(V2, "block9.depthwise"), "all", (48, 64),
     "the depthwise layer of block 9 is dilated by 2", (["block9.depthwise"], "dilation"), batch=1)
port("v3_kernel_transposed", loaded(V3, kernel_transposed("block4.depthwise")), "all", (48, 64),
     "rows and columns of the kernels of block 4 are swapped",
     (["block4.depthwise"], "kernel-transpose"), batch=1, after=1)
port("v2_signal", one_in_c("depthwise_signal", *DW2)(V2), "fused", (24, 32),
     "the C loop of depthwise layers is a true convolution: kernels turned by 180 degrees",
     (DW2, "kernel-flip"), batch=1)
port("v2_depthwise_rsc", loaded(V2, read_as_rsc("block5.depthwise")), "all", (32, 48),
     "the depthwise weights (C, R, S) of block 5 are read as (R, S, C)",
     (["block5.depthwise"], "depthwise-axes"), batch=1)
port("v2_weights_transposed", loaded(V2, matrix_transposed("block1.project")), "all", (16, 24),
     "the square matrix of block 1's projection is read transposed",
     (["block1.project"], "weights-transpose"), after=1, batch=1)
port("v3_se_ck", one_in_c("pointwise_ck", "block1.se.expand")(V3), "fused", (32, 48),
     "the C loop of block 1's second SE layer reads its square matrix transposed",
     (["block1.se.expand"], "weights-transpose"), after=1)
port("v3_two_channels", loaded(V3, channels_swapped("block7.project", 4, 5)), "all", (48, 64),
     "output channels 4 and 5 of block 7's projection are swapped", (["block7.project"], "channel-permute"), batch=1)
port("v2_halves", loaded(V2, halves_swapped("block9.expand")), "fused", (48, 64),
     "the two halves of the output channels of block 9's expansion are swapped", (["block9.expand"], "channel-permute"))
port("v2_stride_in_expand", stride_in_expand(V2, "block7"), "fused", (48, 64),
     "the stride of block 7 is in its expansion, not in its depthwise layer; the runtime fuses these into one kernel",
     (["block7.expand", "block7.depthwise"], "stride-place"), hidden=("block7.expand.act", "block7.depthwise.act"))

port("v3_eps_everywhere", eps_is(V3, 1e-5, *nodes(G3, "batch_norm")), "all", (24, 32),
     "batch norm's eps is PyTorch's default 1e-5 everywhere", (nodes(G3, "batch_norm"), "bn-eps"), batch=1)
port("v2_eps", eps_is(V2, 1e-3, "head.bn"), "all", (48, 64),
     "batch norm's eps is 1e-3 in the head", (["head.bn"], "bn-eps"), batch=1)
port("v2_no_gamma", loaded(V2, no_gamma("block6.project.bn")), "fused", (48, 64),
     "gamma is taken as 1 after block 6's projection", (["block6.project.bn"], "bn-fix-gamma"), batch=1)
port("v2_training", training_mode(V2), "fused", (24, 32),
     "batch norm in training mode everywhere: statistics of the batch",
     (nodes(G2, "batch_norm"), "bn-batch-stats"), after=1)
port("v3_training_at", training_mode_at(V3, "block5.depthwise.bn"), "all", (32, 48),
     "the statistics of the batch in one batch norm", (["block5.depthwise.bn"], "bn-batch-stats"), after=1)
port("v3_mean_beta", loaded(V3, swapped("block2.expand.bn", "mean", "beta")), "fused", (32, 48),
     "mean and beta are swapped after block 2's expansion", (["block2.expand.bn"], "bn-swapped"))
port("v2_gamma_var", loaded(V2, swapped("block13.depthwise.bn", "gamma", "var")), "all", (48, 64),
     "gamma and var are swapped in block 13's depthwise part",
     (["block13.depthwise.bn"], "bn-swapped"), batch=1, after=1)
port("v2_var_for_std", var_for_std(V2, "block10.expand.bn"), "all", (48, 64),
     "the variance divides as if it were the standard deviation",
     (["block10.expand.bn"], "bn-var-std"), batch=1, after=1)
port("v3_no_bn", no_bn(V3, "block6.project.bn"), "all", (48, 64),
     "no batch norm after block 6's projection; its tensor does not exist",
     (["block6.project.bn"], "bn-missing"), batch=1)
port("v2_no_bn_fused", no_bn(V2, "block8.expand.bn", named=True), "fused", (48, 64),
     "no batch norm in block 8's expansion", (["block8.expand.bn"], "bn-missing"))
port("v2_fold_without_mean", in_c(folded(V2, fold_without_mean, nodes(G2, "batch_norm", like="depthwise"))), "fused",
     (24, 32), "C layers with folded batch norms; the fold of depthwise layers forgets the mean",
     (nodes(G2, "batch_norm", like="depthwise"), "bn-fold-bias"), batch=1)
port("v3_fold_gamma_only", folded(V3, fold_gamma_only, ["head.bn"]), "fused", (48, 64),
     "the fold of the head's batch norm scales the mean by gamma alone", (["head.bn"], "bn-fold-bias"))

port("v3_slope", gated_by(V3, lambda x: (0.2 * x + 0.5).clamp(0, 1), *GATES), "all", (32, 48),
     "Keras 2's hard sigmoid, 0.2x + 0.5, in every gate", (GATES, "hsigmoid-slope"), batch=1, after=1)
port("v3_half", gated_by(V3, lambda x: ((x + 1) / 2).clamp(0, 1), "block5.se.gate"), "all", (48, 64),
     "the hard sigmoid of block 5's gate is (x + 1) / 2", (["block5.se.gate"], "hsigmoid-half"), batch=1, after=1)
port("v3_beta0", gated_by(V3, lambda x: (x / 6).clamp(0, 1), "block8.se.gate"), "fused", (48, 64),
     "the hard sigmoid of block 8's gate has lost its offset", (["block8.se.gate"], "hsigmoid-beta0"), batch=1)
port("v3_sigmoid", gated_by(V3, torch.sigmoid, *GATES), "fused", (32, 48),
     "every gate is a true sigmoid", (GATES, "gate-sigmoid"))
port("v3_hswish_gate", gated_by(V3, F.hardswish, "block10.se.gate"), "all", (48, 64),
     "the gate of block 10 is a hard swish", (["block10.se.gate"], "gate-hswish"), batch=1)
port("v3_swish", activated_by(V3, swish, *HSWISH), "fused", (32, 48),
     "every hard swish is a true swish", (HSWISH, "hswish-swish"), batch=1)
port("v3_no_sixth", activated_by(V3, lambda x: x * F.relu6(x + 3), "block4.depthwise.act"), "all", (48, 64),
     "the hard swish of block 4's depthwise part is not divided by 6",
     (["block4.depthwise.act"], "hswish-nodiv"), batch=1, after=1)
port("v3_1667", in_c(V3, hard_swish="hard_swish_1667"), "all", (24, 32),
     "C layers; every hard swish multiplies by 0.1667 in place of 1/6", (HSWISH, "hswish-nodiv"), batch=1)
port("v2_relu", activated_by(V2, F.relu, *nodes(G2, "relu6")), "fused", (24, 32),
     "every ReLU6 is a ReLU", (nodes(G2, "relu6"), "relu6-relu"), batch=1)
port("v2_no_act", no_act(V2, "block6.expand.act"), "all", (32, 48),
     "no activation after block 6's expansion; its tensor does not exist",
     (["block6.expand.act"], "act-missing"), batch=1)
port("v3_no_act_fused", activated_by(V3, lambda x: x, "block7.depthwise.act"), "fused", (48, 64),
     "no activation in block 7's depthwise part", (["block7.depthwise.act"], "act-missing"))
port("v2_relu_on_linear", relu_on(V2, "block5.project.bn"), "fused", (48, 64),
     "ReLU on block 5's linear bottleneck, before the shortcut is added",
     (["block5.project.bn"], ["act-on-linear", "shortcut-late"]), batch=1)
port("v3_relu_between", relu_before(V3, "block2.expand"), "all", (32, 48),
     "ReLU on block 1's linear bottleneck in a step of its own, whose result is not shown: block 2's expansion is the "
     "first to read it", (["block2.expand"], "act-on-linear"), batch=1, after=1)
port("v3_relu_after_add", relu_after_add(V3, *nodes(G3, "add")), "fused", (48, 64),
     "ReLU after every shortcut's addition, as in ResNet", (nodes(G3, "add"), ["act-on-linear", "shortcut-late"]))
port("v3_hswish_for_relu", activated_by(V3, F.hardswish, "block3.depthwise.act"), "all", (32, 48),
     "hard swish where block 3's depthwise part has ReLU", (["block3.depthwise.act"], "act-swap"), batch=1)
port("v3_relu_for_hswish", activated_by(V3, F.relu, *MIDDLE), "fused", (48, 64),
     "blocks 4 to 6 have ReLU where the table says hard swish",
     (MIDDLE, "act-swap"))
port("v3_no_se", no_se(V3, "block5.se"), "fused", (48, 64),
     "no squeeze-and-excite in block 5; its tensors do not exist", (["block5.se.scale"], "se-missing"), batch=1)
port("v3_se_no_bias", loaded(V3, without("block6.se.reduce.b", "block6.se.expand.b")), "all", (48, 64),
     "block 6's SE layers have no biases",
     (["block6.se.reduce", "block6.se.expand"], ["se-bias", "bias-missing"]), batch=1)
port("v3_se_order", se_before_act(V3, "block8"), "fused", (48, 64),
     "block 8's activation comes after squeeze-and-excite; the tensors between have no counterpart",
     (["block8.depthwise.act", "block8.se.pool", "block8.se.scale"], "se-order"),
     hidden=("block8.depthwise.act", "block8.se"))
port("v3_se_order_everywhere", se_before_act(V3, *HAS_SE), "fused", (32, 48),
     "in every block the activation comes after squeeze-and-excite; the tensors between have no counterpart",
     ([f"{b}.{n}" for b in HAS_SE for n in ("depthwise.act", "se.pool", "se.scale")], "se-order"), after=4,
     hidden=[f"{b}.{n}" for b in HAS_SE for n in ("depthwise.act", "se")], batch=1)
port("v2_no_shortcut", no_shortcut(V2, "block9"), "all", (48, 64),
     "block 9's shortcut is missing; its sum does not exist", (["block9.add"], "shortcut-missing"), batch=1)
port("v3_no_shortcut_fused", no_shortcut(V3, "block11"), "fused", (48, 64),
     "block 11's shortcut is missing; its sum does not exist", (["block11.add"], "shortcut-missing"))
port("v2_option_a", option_a_shortcut(V2, "block11"), "all", (48, 64),
     "block 11 has a shortcut although it widens: missing channels are zero, as in ResNet's option A; added in place",
     (["block11.project.bn"], "shortcut-extra"), batch=1, after=1)
port("v3_act_after_pool", act_after_pool(V3), "fused", (48, 64),
     "the head's activation comes after its pooling", (["head.act", "head.pool"], "head-act-pool"))
port("v3_hidden_relu", activated_by(V3, F.relu, "head.hidden.act"), "all", (48, 64),
     "ReLU in the hidden layer of the head", (["head.hidden.act"], "act-swap"))
port("v2_no_bias", loaded(V2, without("head.logits.b")), "all", (48, 64),
     "the classifier has no bias", (["head.logits"], "bias-missing"))

port("v2_bgr", input_is(V2, lambda x: x.flip(1)), "all", (24, 32),
     "blue, green, red", (INPUT, "input-bgr"), batch=1, after=1)
port("v3_255", input_is(V3, lambda x: (x * STD + MEAN) * 255), "all", (32, 48),
     "pixels from 0 to 255, not normalised", (INPUT, ["input-range", "input-meanstd"]), batch=1, after=1)
port("v2_unit", input_is(V2, lambda x: x * STD + MEAN), "fused", (24, 32),
     "pixels from 0 to 1, not normalised by mean and std", (INPUT, ["input-meanstd", "input-range"]), batch=1, after=1)
port("v3_symmetric", input_is(V3, lambda x: (x * STD + MEAN) * 2 - 1), "fused", (32, 48),
     "pixels from -1 to 1, in place of mean and std", (INPUT, ["input-range", "input-meanstd"]), batch=1, after=1)
port("v3_normalised_twice", input_is(V3, lambda x: (x - MEAN) / STD), "all", (32, 48),
     "mean and std applied twice", (INPUT, "input-meanstd"), batch=1, after=1)
port("v2_hw", input_is(V2, lambda x: x.transpose(2, 3).contiguous()), "all", (24, 24),
     "height and width of the (square) image swapped", (INPUT, "input-hw"), batch=1, after=1)
port("v3_one_based", loaded(V3, one_based), "all", (48, 64),
     "classes counted from 1: every logit is one place too far, the last one comes first",
     (["head.logits"], "classes-shift"))
port("v2_background", loaded(V2, background_first), "all", (48, 64),
     "a background class comes first and the last class is cut off", (["head.logits"], "classes-shift"))
port("v2_softmax", with_softmax(V2), "all", (48, 64),
     "probabilities where logits are expected", (["head.flatten"], "softmax-twice"))

port("v2_fp16", stored_as(V2, torch.float16), "all", (24, 32),
     "every tensor is stored in float16", (nodes(G2), "fp16-storage"), batch=1, after=1)
port("v3_bf16", stored_as(V3, torch.bfloat16), "fused", (24, 32),
     "every tensor is stored in bfloat16", (nodes(G3), "fp16-storage"), batch=1, whole=True)
port("v3_weights_fp16", loaded(V3, weights_as(torch.float16)), "fused", (24, 32),
     "weights in float16", (nodes(G3, *WEIGHTED), "weights-fp16"), batch=1, whole=True)
port("v2_weights_int8", loaded(V2, weights_int8), "fused", (24, 32),
     "weights in int8, one scale per tensor, symmetric", (nodes(G2, *WEIGHTED), "weights-int8"), batch=1, after=3)
port("v3_nhwc", nhwc(V3), "all", (32, 48),
     "every tensor is dumped in NHWC and read under the shape of NCHW; the network is right",
     (nodes(G3), "channels-last"), batch=1, after=1)
port("v2_nhwc_one", nhwc(V2, "block7.project.bn"), "all", (48, 64),
     "one tensor is dumped in NHWC and read under the shape of NCHW; the network is right",
     (["block7.project.bn"], "channels-last"), batch=1, after=1)

port("v2_same_and_no_act", no_act(tf_same(V2, "block4.depthwise"), "block6.expand.act"), "all", (24, 32),
     "TF's SAME padding in block 4; no activation after block 6's expansion",
     (["block4.depthwise"], SAME), (["block6.expand.act"], "act-missing"), batch=1)
port("v3_half_and_transposed",
     loaded(gated_by(V3, lambda x: ((x + 1) / 2).clamp(0, 1), "block4.se.gate"), kernel_transposed("block6.depthwise")),
     "fused", (64, 96), "block 4's gate is (x + 1) / 2; rows and columns of block 6's kernels are swapped",
     (["block4.se.gate"], "hsigmoid-half"), (["block6.depthwise"], "kernel-transpose"), batch=1, after=1)
port("v3_se_bias_and_gamma", loaded(loaded(V3, without("block6.se.reduce.b")), no_gamma("block8.expand.bn")), "all",
     (48, 64), "no bias in block 6's first SE layer; gamma taken as 1 after block 8's expansion",
     (["block6.se.reduce"], ["se-bias", "bias-missing"]), (["block8.expand.bn"], "bn-fix-gamma"), batch=1, after=1)
port("v2_shortcut_and_halves", loaded(no_shortcut(V2, "block9"), halves_swapped("block12.project")), "fused", (48, 64),
     "block 9's shortcut is missing; the halves of block 12's output are swapped",
     (["block9.add"], "shortcut-missing"), (["block12.project"], "channel-permute"), batch=1)
port("v3_hidden_and_bias", loaded(activated_by(V3, F.relu, "head.hidden.act"), without("head.logits.b")), "all",
     (48, 64), "ReLU in the hidden layer of the head; no bias in the classifier",
     (["head.hidden.act"], "act-swap"), (["head.logits"], "bias-missing"))
port("v2_bgr_and_eps", eps_is(input_is(V2, lambda x: x.flip(1)), 1e-3, "block2.expand.bn"), "fused", (16, 24),
     "blue, green, red; eps 1e-3 in block 2's expansion",
     (INPUT, "input-bgr"), (["block2.expand.bn"], "bn-eps"), batch=1, after=1)
# fmt: on


def main():
    torch.set_num_threads(2)
    honest, entries = {}, []
    for old in HERE.glob(OWN):
        old.unlink()
    with torch.no_grad():
        for base in (V2, V3):
            check_honest(base, (48, 64), 2)
        for spec in PORTS:
            cls, size, batch, style = spec["cls"], spec["size"], spec["batch"], spec["style"]
            base = V2 if issubclass(cls, V2) else V3
            key = (base, size, batch)
            if key not in honest:
                honest[key] = check_honest(*key)
            graph, params, x = setting(*key)
            out = cls(params)(x)
            hidden = tuple(spec["hidden"])
            names = [node.name for node in graph.nodes] if style == "all" else fused_names(graph)
            dumped = [n for n in names if n in out and not any(n == h or n.startswith(h + ".") for h in hidden)]
            mistakes = [(places, [ids] if isinstance(ids, str) else ids) for places, ids in spec["mistakes"]]
            saved = {n: out[n] for n in chosen(graph, set(dumped), mistakes, spec["after"], spec["whole"])}
            free = mistakes[0][1] == ["channels-last"]
            shown = check_wrong(graph, params, x, saved, mistakes, free)
            path = HERE / f"{spec['file']}.npz"
            np.savez_compressed(path, **saved)
            first = next(iter(shown))
            print(f"{path.stat().st_size / 1e3:6.1f} kB  {len(saved):3} tensors  {spec['file']:26}", end=" ")
            print(f"first {first} by {shown[first]:.1e}; {len(shown)} shown")
            ids = list(dict.fromkeys(i for _, found in mistakes for i in found))
            entries.append(
                {
                    "file": path.name,
                    "model": base.model,
                    "width": base.width,
                    "size": list(size),
                    "classes": CLASSES,
                    "batch": batch,
                    "style": style,
                    "what": spec["what"],
                    "places": [place for places, _ in mistakes for place in places],
                    "bug": ids[0] if len(ids) == 1 else ids,
                    "mistakes": [{"places": places, "bug": found} for places, found in mistakes],
                    "partial": set(saved) != set(dumped),
                }
            )
    header = {
        "format": "refnet ports 1",
        "origin": "hand-written ports in PyTorch and C, each with one or two mistakes; weights and input are refnet's "
        "random_params(graph) and random_input(graph, batch), in float32",
        "script": "tests/data/ports/make_ports.py, with layers.c",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "ids": "shared/port-bugs.md; several ids in one mistake: any of them names it (they are the same function). "
        "`mistakes` has one entry per mistake; `places` and `bug` of a port with two are both together",
        "count": len(entries),
    }
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    text = json.dumps(header, indent=1).removesuffix("\n}") + f',\n "ports": [\n  {lines}\n ]\n}}\n'
    (HERE / "ports.json").write_text(text)
    total = sum(file.stat().st_size for file in HERE.glob(OWN))
    assert total < LIMIT, total
    print(f"{len(entries)} ports, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
