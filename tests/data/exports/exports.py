"""Which vendors' files exports.tar.xz holds: networks, containers, options. The scripts that make them share this list.

The names say what is what: `v3_small-new20-folded.onnx` is PyTorch's newer exporter (`old`, `new`) at opset 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["EXPORTS", "NETWORKS", "Export", "Network"]

SIZE = (33, 49)


class Network(NamedTuple):
    """A vendor's network, so narrow that all files together stay small. Its weights are `random_params`."""

    model: str
    width: float
    classes: int = 7
    size: tuple[int, int] = SIZE


NETWORKS: Mapping[str, Network] = {
    "v1": Network("timm/mobilenetv1_100", 0.1),
    "v2": Network("torchvision/mobilenet_v2", 0.05),
    "mnasnet_b1": Network("torchvision/mnasnet1_0", 0.05),
    "mnasnet_a1": Network("timm/semnasnet_100", 0.05),
    "v3_large": Network("torchvision/mobilenet_v3_large", 0.07),
    "v3_small": Network("torchvision/mobilenet_v3_small", 0.1),
    "timm_v3": Network("timm/mobilenetv3_small_100", 0.05),
    "timm_tf": Network("timm/tf_mobilenetv3_small_100", 0.05),
    "d_li14": Network("d-li14/mobilenetv3_small", 0.05),
    "keras_v1": Network("keras/MobileNet", 0.1),
    "keras_v2": Network("keras/MobileNetV2", 0.05),
    "keras_v3_small": Network("keras/MobileNetV3Small", 0.05),
    "keras_v3_large": Network("keras/MobileNetV3Large", 0.05, classes=5),
}


class Export(NamedTuple):
    """One file.

    Attributes
    ----------
    file : its name in the archive
    network : a key of `NETWORKS`
    how : the vendor's way of writing it: 'pth', 'legacy', 'channels_last', 'safetensors', 'onnx', 'keras', 'h5',
        'weights', 'tf_keras', 'tf_keras_weights', 'tflite', 'tflite16'
    opset, dynamo : of PyTorch's ONNX exporters; dynamo is the newer one
    folded : whether batch norm is worked into the convolutions
    options : further arguments of the exporter
    tensors : whether the vendor's float32 tensors are saved too
    biases : whether biases that are not of batch norms are random; zero ones are equal, and an exporter merges them
        (the older) or drops them (the newer)
    """

    file: str
    network: str
    how: str
    opset: int = 20
    dynamo: bool = False
    folded: bool = False
    options: Mapping[str, object] = {}
    tensors: bool = False
    biases: bool = True


_UNFOLDED: Mapping[bool, Mapping[str, object]] = {False: {"do_constant_folding": False}, True: {"optimize": False}}

_ANY_BATCH: Mapping[bool, Mapping[str, object]] = {
    False: {"dynamic_axes": {"image": {0: "batch"}}, "input_names": ["image"], "output_names": ["logits"]},
    True: {"dynamic_shapes": ({0: "batch"},), "input_names": ["image"], "output_names": ["logits"]},
}


def _onnx(network: str, dynamo: bool, opset: int, folded: bool, tensors: bool = False) -> Export:
    name = f"{network}-{'new' if dynamo else 'old'}{opset}-{'folded' if folded else 'unfolded'}.onnx"
    return Export(name, network, "onnx", opset, dynamo, folded, {} if folded else _UNFOLDED[dynamo], tensors)


def _every_onnx(network: str, tensors: bool) -> list[Export]:
    name = f"{network}-old20-preserve.onnx"
    return [
        *(_onnx(network, dynamo, 20, folded, tensors) for dynamo in (False, True) for folded in (False, True)),
        *(_onnx(network, False, 11, folded) for folded in (False, True)),
        _onnx(network, True, 18, True),  # below 18 the newer exporter writes 18
        Export(name, network, "onnx", options={"training": "PRESERVE"}),
    ]


def _torch(network: str, *hows: str) -> list[Export]:
    suffix = {"safetensors": ".safetensors", "pth": ".pth"}
    return [Export(f"{network}{suffix.get(how, f'-{how}.pth')}", network, how) for how in hows]


def _keras(network: str, *hows: str, tensors: str = "") -> list[Export]:
    suffix = {
        "keras": ".keras",
        "h5": ".h5",
        "weights": ".weights.h5",
        "tf_keras": "-tf_keras.h5",
        "tf_keras_weights": "-tf_keras_weights.h5",
        "tflite": ".tflite",
        "tflite16": "-float16.tflite",
    }
    return [
        Export(network + suffix[how], network, how, folded=how.startswith("tflite"), tensors=how in tensors.split())
        for how in hows
    ]


_TORCH = ("pth", "legacy", "channels_last", "safetensors")
_KERAS = ("keras", "h5", "weights", "tf_keras", "tf_keras_weights", "tflite", "tflite16")

EXPORTS: tuple[Export, ...] = (
    *_torch("v1", *_TORCH),
    _onnx("v1", False, 20, True),
    _onnx("v1", True, 20, False),
    *_torch("v2", *_TORCH),
    *_every_onnx("v2", tensors=False),
    *_torch("mnasnet_b1", *_TORCH),
    _onnx("mnasnet_b1", True, 20, True),
    _onnx("mnasnet_b1", False, 20, False),
    *_torch("mnasnet_a1", *_TORCH),
    _onnx("mnasnet_a1", False, 20, True),
    _onnx("mnasnet_a1", True, 20, False),
    *_torch("v3_large", *_TORCH),
    _onnx("v3_large", True, 20, True),
    _onnx("v3_large", False, 11, False),
    *_torch("v3_small", *_TORCH),
    *_every_onnx("v3_small", tensors=True),
    Export("v3_small-external.onnx", "v3_small", "onnx", dynamo=True, folded=True, options={"external_data": True}),
    Export("v3_small-old20-anybatch.onnx", "v3_small", "onnx", folded=True, options=_ANY_BATCH[False]),
    Export("v3_small-new20-anybatch.onnx", "v3_small", "onnx", dynamo=True, folded=True, options=_ANY_BATCH[True]),
    Export("v3_small-old20-zeros.onnx", "v3_small", "onnx", options=_UNFOLDED[False], biases=False),
    Export("v3_small-new20-zeros.onnx", "v3_small", "onnx", dynamo=True, folded=True, biases=False),
    Export("v3_small-inputs.onnx", "v3_small", "onnx", folded=True, options={"keep_initializers_as_inputs": True}),
    *_torch("timm_v3", *_TORCH),
    _onnx("timm_v3", False, 20, False),
    _onnx("timm_v3", True, 20, False),
    *_torch("timm_tf", "pth", "safetensors"),
    _onnx("timm_tf", False, 20, False),
    _onnx("timm_tf", True, 20, True),
    *_torch("d_li14", "pth"),
    _onnx("d_li14", False, 20, False),
    _onnx("d_li14", False, 11, False),
    _onnx("d_li14", True, 20, False),
    *_keras("keras_v1", *_KERAS),
    *_keras("keras_v2", *_KERAS),
    *_keras("keras_v3_small", *_KERAS, tensors="keras tflite tflite16"),
    *_keras("keras_v3_large", *(how for how in _KERAS if how != "tflite")),
)
