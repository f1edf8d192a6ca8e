"""Save every tensor inside the vendors' own modules, for one small network of each family.

    PYTHONPATH=. python weights/make_traces.py torch      needs torch, torchvision and timm
    PYTHONPATH=. python weights/make_traces.py keras      needs keras and tensorflow-cpu

Two runs, because the two stacks seldom live in one environment. Each writes, beside this script, `trace_<short>.npz`
for the networks of `configurations.TRACES` that are its own: for every node of refnet's graph, in order, the vendor's
tensor in a float64 and in a float32 run, `float64|block1.depthwise` and `float32|block1.depthwise`; before them
`float64|input` and `float32|input`; last `meta`, which says what made the file. Tensors are in refnet's layout, NCHW.

Every tensor is captured from the vendor's forward pass; none is computed here. To find a hook in the wrong place, the
script refuses to write a float64 tensor that is not refnet's own to 1e-9 of the largest element. No test runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from configurations import BATCH, CLASSES, TRACES, Trace, import_torchvision, versions, write

from refnet.files.schemes import SCHEMES
from refnet.graph import SOURCE, Graph, walk
from refnet.networks.build import build, find
from refnet.networks.random import random_input, random_params
from refnet.readings import fast

Tensors = dict[str, npt.NDArray[Any]]

AGREEMENT = 1e-9  # of the largest element; rounding stays far below, the neighbouring tensor far above
PACKAGES = {
    "torchvision": ("torch", "torchvision"),
    "timm": ("torch", "torchvision", "timm"),
    "keras": ("keras", "tensorflow-cpu"),
}


# ---------------------------------------------------------------- PyTorch

READS, MAKES = "reads", "makes"  # a tensor is what a module reads, or what it makes
ACTIVATION = {  # what each vendor calls the activation beside a layer
    "torchvision": {"se.reduce": "activation", "se.expand": "scale_activation"},
    "timm": {"se.reduce": "act1", "se.expand": "gate", "head.hidden": "act2"},
}


def torch_module(trace: Trace) -> Any:
    """The vendor's module in a narrow width, which timm's public functions and mnasnet's do not offer."""
    from make_outputs_torch import module

    torchvision = import_torchvision()
    if trace.model.startswith("torchvision/mnasnet"):
        return torchvision.models.MNASNet(find(trace.model).width * trace.width, num_classes=CLASSES)
    if trace.model.startswith("torchvision/"):
        return module(trace.model, trace.width, num_classes=CLASSES)

    from timm.models import _efficientnet_builder, efficientnet, mobilenetv3

    tensorflow = {"bn_eps": _efficientnet_builder.BN_EPS_TF_DEFAULT, "pad_type": "same"}
    generate, options = {  # as timm's functions of these names have it, but for the width
        "mobilenetv1_100": (efficientnet._gen_mobilenet_v1, {}),
        "semnasnet_050": (efficientnet._gen_mnasnet_a1, {}),
        "tf_mobilenetv3_small_minimal_100": (mobilenetv3._gen_mobilenet_v3, tensorflow),
    }[trace.model.removeprefix("timm/")]
    name, width = trace.model.removeprefix("timm/"), find(trace.model).width * trace.width
    return generate(name, channel_multiplier=width, num_classes=CLASSES, **options)


def torch_places(graph: Graph, net: Any) -> dict[str, tuple[str, str]]:
    """For every node the path of a module, and whether the node's tensor is what that module reads or makes."""
    vendor = graph.recipe.model.split("/")[0]
    paths = SCHEMES[vendor].modules(graph)
    readers = graph.readers()
    places = {}
    for node in graph.nodes:
        before = node.inputs[-1]
        match node.op:
            case "batch_norm" if vendor == "timm":
                places[node.name] = f"{paths[node.name]}.act", READS  # timm's batch norm makes the activation too
            case _ if node.params:
                places[node.name] = paths[node.name], MAKES
            case "avg_pool2d":  # no module everywhere
                places[node.name] = paths[readers[node.name][0].name], READS
            case "scale":
                path = paths[node.name.replace("scale", "reduce")]
                places[node.name] = path.rpartition(".")[0], MAKES
            case "add":
                places[node.name] = enclosing(net, paths[before]), MAKES
            case "flatten":
                places[node.name] = "", MAKES  # the whole network
            case _:
                places[node.name] = activation(vendor, before, paths[before]), MAKES
    return places


def activation(vendor: str, before: str, path: str) -> str:
    """Path of the module that activates what node `before`, of this path, makes."""
    parent, _, last = path.rpartition(".")
    for ending, name in ACTIVATION[vendor].items():
        if before.endswith(ending):
            return f"{parent}.{name}".removeprefix(".")
    return f"{path}.act" if vendor == "timm" else f"{parent}.{int(last) + 1}"


def enclosing(net: Any, path: str) -> str:
    """Path of the block that a module is in: the block makes the residual sum.

    Raises
    ------
    SystemExit
        if the module is in no such block.
    """
    block = path
    while block:
        if type(net.get_submodule(block)).__name__.endswith(("InvertedResidual", "DepthwiseSeparableConv")):
            return block
        block = block.rpartition(".")[0]
    raise SystemExit(f"{path}: in no block that could make a residual sum")


def torch_tensors(trace: Trace, graph: Graph, dtype: str) -> Tensors:
    """Every node's tensor, from hooks on the vendor's modules."""
    import torch
    from make_outputs_torch import THREADS, fill

    torch.set_num_threads(THREADS)
    net = fill(torch_module(trace), graph).to(getattr(torch, dtype))
    seen: dict[tuple[str, str], Any] = {}

    def watch(path: str, side: str) -> None:
        def hook(_module: Any, read: tuple[Any, ...], made: Any = None) -> None:
            # cloned, because activations overwrite what they read
            seen[path, side] = (read[0] if side == READS else made).clone()

        part = net.get_submodule(path)
        (part.register_forward_pre_hook if side == READS else part.register_forward_hook)(hook)

    places = torch_places(graph, net)
    for path, side in set(places.values()):
        watch(path, side)
    with torch.inference_mode():
        net(torch.from_numpy(random_input(graph, BATCH, dtype)))
    return {name: seen[place].numpy() for name, place in places.items()}


# ---------------------------------------------------------------- Keras


def keras_tensors(trace: Trace, graph: Graph, dtype: str) -> Tensors:
    """Every node's tensor, from a model with the same layers and all their tensors as outputs."""
    import keras
    from make_outputs_keras import application, fill, pixels, use

    use(dtype)
    height, width = trace.size
    # Keras refuses a side under 32 in input_shape. It takes the paddings from input_tensor.
    image = {"input_shape": (None, width, 3), "input_tensor": keras.Input((height, width, 3))}
    net = fill(application(trace.model, trace.width, trace.size, classes=CLASSES, **image), graph)
    made = keras.Model(net.inputs[0], list(keras_places(graph, net).values()))(pixels(graph), training=False)
    arrays = [np.asarray(y) for y in made]
    return {
        node.name: y.transpose(0, 3, 1, 2) if y.ndim == 4 else y for node, y in zip(graph.nodes, arrays, strict=True)
    }


def keras_places(graph: Graph, net: Any) -> Tensors:
    """For every node of a V3 the symbolic tensor in Keras' model."""
    names = SCHEMES["keras"].modules(graph)
    readers = graph.readers()

    def reader(tensor: Any) -> Any:
        return next(layer for layer in net.layers[1:] if layer.input is tensor)

    places: Tensors = {SOURCE: net.inputs[0]}
    for node in graph.nodes:
        before = node.inputs[-1]
        match node.op:
            case _ if node.params:
                place = net.get_layer(names[node.name]).output
            case "avg_pool2d":
                place = net.get_layer(names[readers[node.name][0].name]).input
            case "hard_sigmoid":  # Keras writes it out: relu6(x + 3) / 6
                place = net.get_layer(f"{names[before].removesuffix('conv_1')}mul").input[1]
            case "scale":
                place = net.get_layer(f"{names[node.name.replace('scale', 'reduce')].removesuffix('conv')}mul").output
            case "add":
                place = net.get_layer(f"{names[before].removesuffix('project_bn')}add").output
            case _:
                place = reader(places[before]).output
        places[node.name] = place
    del places[SOURCE]
    return places


# ---------------------------------------------------------------- the archives


def checked(graph: Graph, found: Tensors) -> Tensors:
    """Return the tensors in the shapes of refnet's, where a float64 one is refnet's own.

    Raises
    ------
    SystemExit
        naming the node whose tensor has other numbers or another shape.
    """
    params = random_params(graph, np.float64)
    made = {}
    for node, y in walk(graph, fast, params, {SOURCE: random_input(graph, BATCH, np.float64)}):
        tensor = found[node.name]
        if tensor.ndim == 2 and y.ndim == 4:  # vendors flatten before linear layers
            tensor = tensor[:, :, None, None]
        if tensor.shape != y.shape:
            raise SystemExit(f"{graph.recipe.model} {node.name}: shape {tensor.shape}, not {y.shape}")
        off, largest = np.abs(tensor - y).max(), np.abs(y).max()
        if tensor.dtype == np.float64 and not off <= AGREEMENT * largest:
            raise SystemExit(f"{graph.recipe.model} {node.name}: {off:.0e} off, the hook is in the wrong place")
        made[node.name] = np.ascontiguousarray(tensor)
    return made


def main(stack: str) -> None:
    """Write the traces of one stack."""
    vendors, capture = {
        "torch": (("torchvision", "timm"), torch_tensors),
        "keras": (("keras",), keras_tensors),
    }[stack]
    tensors: Callable[[Trace, Graph, str], Tensors] = capture
    for short, trace in TRACES.items():
        vendor = trace.model.split("/")[0]
        if vendor not in vendors:
            continue
        graph = build(trace.model, width=trace.width, size=trace.size, classes=CLASSES)
        arrays = {}
        for dtype in "float64", "float32":
            arrays[f"{dtype}|{SOURCE}"] = random_input(graph, BATCH, dtype)
        for dtype in "float64", "float32":
            found = checked(graph, tensors(trace, graph, dtype))
            if {array.dtype.name for array in found.values()} != {dtype}:
                raise SystemExit(f"{trace.model}: not every tensor is {dtype}")
            arrays |= {f"{dtype}|{name}": array for name, array in found.items()}
        write(
            f"trace_{short}.npz",
            arrays,
            format="refnet trace 1",
            model=trace.model,
            width=trace.width,
            size=trace.size,
            classes=CLASSES,
            batch=BATCH,
            versions=versions(*PACKAGES[vendor]),
            origin=f"the tensors inside {vendor}'s own module on a CPU, weights random_params(graph), "
            f"input random_input(graph, {BATCH})",
            script="weights/make_traces.py",
        )


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("torch", "keras"):
        raise SystemExit("say which stack: python weights/make_traces.py torch, or keras")
    main(sys.argv[1])
