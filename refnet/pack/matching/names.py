"""A candidate's names that are nodes' names: by an explicit map, or as they are."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy.typing as npt

from refnet.errors import RequestError

__all__ = ["by_equal_names", "by_map", "plain_name", "unquantised_name", "whole_name", "without_node"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

# What files and hooks put behind a layer's name, innermost last.
_BEHIND = re.compile(
    r"([/.:_]+(Conv2D|Conv|BiasAdd|MatMul|Gemm|depthwise|convolution|FusedBatchNormV3|BatchNormalization|call|__call__|"
    r"output|out|0|convolution_output|FusedBatchNorm|"
    r"(Conv|BatchNormalization|Gemm|MatMul|Add|Mul|Div|Clip|Relu|HardSwish|HardSigmoid|Sigmoid)_output_0))+$"
)
_BETWEEN = re.compile(r"[/:.\-_]+")
_AGAIN = re.compile(r"(?<![^/_])([^/_]+)[/_]+(?=\1\.)")  # a module's name before that of one inside it
_DOTTED = re.compile(r"(?<![^.])([A-Za-z]\w*(?:\.\w+)*?)\.(?=\1\.\d)")  # the same where each slash became a dot
_QUANTISED = re.compile(r"_((Quantize|Dequantize)Linear_Output|(de)?quantized)(:0)?$")  # by onnxruntime's quantiser
_MADE = re.compile(r"_output_\d+$")  # an operation's, in an ONNX file of PyTorch's


def by_map(
    candidate: Mapping[str, Array], shapes: Mapping[str, Shape], names: Mapping[str, str]
) -> Iterable[tuple[str, str]]:
    """The pairs of an explicit map, which must name tensors and nodes that there are."""
    for name, known, what in [(n, candidate, "tensor of the candidate") for n in names] + [
        (n, shapes, "node") for n in names.values()
    ]:
        if not isinstance(name, str) or name not in known:
            near = ", ".join(difflib.get_close_matches(str(name), known, n=3)) or ", ".join(itertools.islice(known, 3))
            raise RequestError(f"the map names {name!r}, which is no {what}; nearest: {near}")
    if twice := [node for node, count in Counter(names.values()).items() if count > 1]:
        raise RequestError(f"the map gives {twice[0]!r} to more than one tensor: keep one")
    return names.items()


def by_equal_names(sources: set[str], nodes: set[str]) -> list[tuple[str, str]]:
    """Pairs of equal names: exactly, then but for case and which separators, and for those at the ends."""
    exact = sources & nodes
    pairs = [(name, name) for name in exact]

    def alike(names: set[str]) -> dict[str, str]:
        plain = {name: _evened(unquantised_name(name)) for name in names - exact}
        count = Counter(plain.values())
        return {form: name for name, form in plain.items() if count[form] == 1}

    mine, theirs = alike(sources), alike(nodes)
    return pairs + [(mine[form], theirs[form]) for form in mine.keys() & theirs.keys()]


def _evened(name: str) -> str:
    return name.translate(str.maketrans("/_:", "...")).casefold().strip(".")


def without_node(candidate: Mapping[str, Array], pairs: Mapping[str, tuple[str, str]]) -> list[str]:
    """The tensors that are no node's.

    Parameters
    ----------
    pairs : by node, the name of its tensor and how it was found
    """
    sources = {source for source, _ in pairs.values()}
    return [source for source in candidate if source not in sources]


@lru_cache(maxsize=65536)  # of all vendors' layers, for each candidate again
def plain_name(name: str) -> str:
    """A layer's name without what files and hooks put behind it, in the form of `whole_name`.

    Examples
    --------
    >>> plain_name("model/Conv_1/Conv2D:0")
    'model_conv_1'
    """
    return whole_name(_BEHIND.sub("", _without_scopes(name)))


@lru_cache(maxsize=65536)
def whole_name(name: str) -> str:
    """A name whose parts are told by one sign, as where a file may have no other.

    An ONNX file of PyTorch's has all modules on the way, each under its own whole name.

    Examples
    --------
    >>> whole_name("/features/features.8/conv/conv.1/conv.1.0/Conv")
    'features_8_conv_1_0_conv'
    >>> whole_name("features.features.8.conv.conv.1.conv.1.0.Conv_output_0")
    'features_8_conv_1_0_conv_output_0'
    >>> whole_name("/features/features.0/features.0.0/Conv_output_0_QuantizeLinear_Output")
    'features_0_0_conv_output_0'
    """
    return _BETWEEN.sub("_", _without_scopes(name)).strip("_").casefold()


def unquantised_name(name: str) -> str:
    """The name of the tensor of which ONNX Runtime's quantiser makes integers, or real numbers again."""
    return _QUANTISED.sub("", name)


def _without_scopes(name: str) -> str:
    """The name of the innermost module alone, where those around it are there by their own whole names too."""
    name = unquantised_name(name)
    return _AGAIN.sub("", _DOTTED.sub("", name) if _MADE.search(name) else name)
