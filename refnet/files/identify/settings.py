"""What a module saved whole says of its layers beside their weights: strides, pads, eps, activations.

Names and shapes choose a known network; here its graph takes the settings that the file tells. Where a file tells
nothing, or by a class that is not PyTorch's own, the known network's stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from refnet.errors import FormatError, GraphError
from refnet.files.containers.structure import Submodule
from refnet.files.identify.heads import ACTIVATION_CLASSES
from refnet.files.identify.names import NamedLayout
from refnet.graph import SOURCE, Graph, Node, is_global
from refnet.networks.dialects import MODELS
from refnet.networks.plan import padding
from refnet.ops import ACTIVATIONS, OPS, WINDOWED
from refnet.readings.shapes import Shape, shape_after, shapes

__all__ = ["with_settings"]

_ACTIVATIONS = "torch.nn.modules.activation."
_CONVOLUTION = "torch.nn.modules.conv.Conv2d"
_SAME = "Conv2dSame"  # timm's, which pads as TensorFlow does
_EMPTY = ("Identity", "Dropout")  # may stand between a layer and its activation

Pair = tuple[int, int]


def with_settings(layout: NamedLayout, own: Mapping[str, str], submodules: Mapping[str, Submodule]) -> NamedLayout:
    """A network with the settings of its layers that a file tells.

    Parameters
    ----------
    own : the file's name of each array, by the vendor's
    submodules : by the file's paths

    Raises
    ------
    FormatError
        if a layer does what refnet's operations cannot, or makes maps that do not fit together: names it.
    """
    paths = {ours.rpartition(".")[0]: own[key].rpartition(".")[0] for key, (ours, _) in layout.entries.items()}
    known = MODELS.get(layout.graph.recipe.model)  # none of a network of its own
    symmetric = known is None or known.dialect.pad == "symmetric"
    nodes: list[Node] = []
    before = shapes(layout.graph)
    maps: dict[str, Shape] = {SOURCE: layout.graph.input_shape}
    for node in layout.graph.nodes:
        path = paths.get(node.name, "")
        module = submodules.get(path) if node.params else _activation(paths.get(node.inputs[0]), submodules)
        made = node if module is None else _set(node, path, module, maps[node.inputs[0]], symmetric)
        if is_global(node, before[node.inputs[0]]):
            made = replace(node, attrs={**node.attrs, "kernel": maps[node.inputs[0]][1:]})
        try:
            maps[node.name] = shape_after(made, *(maps[name] for name in node.inputs))
        except GraphError as error:
            raise FormatError(f"{error}, if strides and pads are as the file's modules say") from None
        nodes.append(made)
    graph = Graph(layout.graph.recipe, tuple(nodes))
    return layout if graph.nodes == layout.graph.nodes else layout._replace(graph=graph, changed=True)


def _set(node: Node, path: str, module: Submodule, image: Shape, symmetric: bool) -> Node:
    """One node as its module is."""
    if node.op == "batch_norm":
        eps = module.settings.get("eps", node.attrs["eps"])
        if not isinstance(eps, float) or not 0 < eps < 1:
            raise FormatError(f"{path!r} has eps {str(eps)[:60]}: no batch norm has that")
        return replace(node, attrs={**node.attrs, "eps": eps})
    if node.op in WINDOWED:
        return replace(node, attrs={**node.attrs, **dict(_filter(node, path, module, image, symmetric))})
    if node.op in ACTIVATIONS and module.kind.startswith(_ACTIVATIONS):
        word = ACTIVATION_CLASSES.get(module.kind.removeprefix(_ACTIVATIONS))
        if word is None or OPS[word].attrs:
            raise FormatError(f"{node.name} is {module.kind} in the file, which refnet has not")
        return replace(node, op=word, attrs={})
    return node


def _filter(node: Node, path: str, module: Submodule, image: Shape, symmetric: bool) -> Iterator[tuple[str, Any]]:
    """Stride, dilation and pad of a convolution, as far as they are module.

    A convolution that pads nothing may be padded before it is called, by all vendors that pad as TensorFlow does.
    """
    geometry: dict[str, Pair] = {name: node.attrs[name] for name in ("stride", "dilation")}
    for name in geometry:
        geometry[name] = _pair(module.settings.get(name), geometry[name], path)
        yield name, geometry[name]
    pads, kernel = module.settings.get("padding"), node.params["w"][-2:]
    if module.settings.get("padding_mode", "zeros") != "zeros":
        raise FormatError(f"{path!r} pads with {str(module.settings['padding_mode'])[:60]}, which refnet has not")
    if module.kind.rpartition(".")[2] == _SAME:
        sides = zip(image[1:], kernel, geometry["stride"], geometry["dilation"], strict=True)
        yield "pad", tuple(padding("same", *side) for side in sides)
    elif module.kind == _CONVOLUTION and isinstance(pads, tuple) and len(pads) == 2 and (any(pads) or symmetric):
        yield "pad", tuple((side, side) for side in pads)


def _pair(value: object, known: Pair, path: str) -> Pair:
    if value is None:
        return known
    if not isinstance(value, tuple) or len(value) != 2 or not all(0 < side < 100 for side in value):
        raise FormatError(f"{path!r} has a stride or dilation of {str(value)[:60]}: no convolution has that")
    return value[0], value[1]


def _activation(path: str | None, submodules: Mapping[str, Submodule]) -> Submodule | None:
    """The module that follows a layer, where names show it: its part `act`, or the next number of its sequence."""
    if path is None:
        return None
    parent, _, number = path.rpartition(".")
    for name in (f"{path}.act", f"{parent}.activation"):
        if name in submodules:
            return submodules[name]
    if not number.isdigit() or len(number) > 6:
        return None
    for after in range(int(number) + 1, int(number) + 4):
        found = submodules.get(f"{parent}.{after}")
        if found is None or found.kind.rpartition(".")[2] not in _EMPTY:
            return found
    return None
