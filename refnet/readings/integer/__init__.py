"""Quantised networks, bit for bit: what integer kernels compute, as readings.

`quantisation` says what an integer stands for, `fixedpoint` and `gemmlowp` hold the roundings, and two executions share
nothing else: `loops`, scalar loops that are the definition, and `fast`, whole arrays. Each has `KERNELS`, tables of
rules by name:

=================== ========================================================================================
tflite              TensorFlow Lite's reference kernels: TensorFlow 2.20 and later, LiteRT 1.3.0 and later
tflite_2_19         TensorFlow 2.13 to 2.19, LiteRT to 1.2.0, tflite-runtime 2.14: FULLY_CONNECTED by a multiplier
tflite_2_12         TensorFlow 2.12: the older MEAN besides
tflite_optimised    the builtin kernels on x86 without a delegate
tflite_hybrid       the reference kernels of dynamic-range files: float32 in and out, weights int8; no `to`
xnnpack             what the interpreter hands to XNNPACK on x86
tflite_micro        tflite-micro, int8
cmsis_nn            CMSIS-NN in tflite-micro: the same integers (read in its source, not run)
cmsis_nn_single     the same built with CMSIS_NN_USE_SINGLE_ROUNDING (read in its source, not run)
onnxruntime         QLinear operators on x86 with VNNI, and elsewhere where sums do not saturate
onnxruntime_avx2    the same without VNNI: sums of uint8 by int8 saturate in pairs at int16
onnxruntime_dynamic its dynamic quantisation: float32 in and out, activations uint8 in between; no `to`
fbgemm              PyTorch's engine fbgemm with VNNI; fbgemm and x86 with activations of 7 bits and without VNNI
fbgemm_avx2         PyTorch's engines fbgemm and x86 without VNNI
x86_vnni            PyTorch's engine x86 with VNNI
qnnpack             PyTorch's engine qnnpack
=================== ========================================================================================

A rule is called as float readings are, ``rule(*inputs, *params, **attrs)``, with one thing more, `to`, the quantisation
of the tensor that it makes; what flows are `QuantisedTensor`. Arrays are (N, C, H, W), filters (K, C, R, S), (K, R, S)
and (K, C), scales of weights belong to the first axis. Biases are bare integers (real numbers for PyTorch). Operations
that a network has and a runtime does not are not in its table.

Rules are spelled as `ops.OPS` spells the operations. Where runtimes have several kernels of one operation, a rule
bears the runtime's word: `fully_connected` (a `pointwise_conv2d` on a 1x1 map), `mean` (an `avg_pool2d` of whole maps),
`sub` and `concatenation`, which no operation is yet, `quantize`, `dequantize`, `requantize`. So a graph that is run in
integers names, beside each node, the rule that its file asks for and the quantisation of its tensor. An activation
behind a convolution that a file fused is the option `act` of the convolution's rule: only what comes behind it is a
tensor.

Examples
--------
A quantised network is a graph, the quantisation of each tensor that its file stores, and the integers of its weights.
`units` keeps apart what has a tensor of its own; then its walk is

>>> def walk(graph, rules, params, given, quantised, spelled):  # doctest: +SKIP
...     values = dict(given)  # {"input": QuantisedTensor}
...     for unit in graph.units(keep=quantised):
...         node = unit.conv
...         rule = getattr(rules, spelled.get(node.name, node.op))
...         slots = [params.get(f"{node.name}.{slot}") for slot in OPS[node.op].params]
...         options = {**node.attrs, **({"act": unit.act.op} if unit.act else {}), "to": quantised[unit.output]}
...         values[unit.output] = rule(*(values[name] for name in node.inputs), *slots, **options)
...         yield unit, values[unit.output]

One convolution by hand: one pixel, one weight, 2 * (50 - 10) + 7 = 87 sums of 0.5 * 0.25 are 10.875, and 0.3 a step.

>>> import numpy as np
>>> from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
>>> x = QuantisedTensor(np.full((1, 1, 1, 1), 50, np.int8), Quantisation(0.5, 10, None, "int8"))
>>> w = QuantisedTensor(np.full((1, 1), 2, np.int8), Quantisation([0.25], [0], 0, "int8"))
>>> from refnet.readings.integer.loops import KERNELS
>>> y = KERNELS["tflite"].pointwise_conv2d(x, w, np.array([7]), to=Quantisation(0.3, -5, None, "int8"))
>>> y.values.item()  # 36.25 steps, and the zero point
31
"""
