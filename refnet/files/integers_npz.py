"""A network of integers as one .npz: graph and scales as JSON, weights and biases as the integers that they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RefnetError
from refnet.files.containers.atomic import atomic_file
from refnet.files.graph_text import graph_document, graph_of, json_object
from refnet.graph import Graph
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = ["ABOUT", "integers_in", "write_integers_npz"]

Array = npt.NDArray[Any]

ABOUT = "refnet.integers"  # the entry that says what the others are
_FORMAT = "refnet integers 1"


def write_integers_npz(
    path: str | Path, graph: Graph, params: Mapping[str, Any], quantised: Mapping[str, Quantisation], kernels: str
) -> None:
    """Write a network of integers, whole or not at all; `refnet.load` reads it again."""
    arrays: dict[str, Array] = {}
    for name, param in params.items():
        arrays[name] = param.values if isinstance(param, QuantisedTensor) else np.asarray(param)
        if isinstance(param, QuantisedTensor):
            arrays[f"{name}.scale"] = param.quantisation.scale
            arrays[f"{name}.zero_point"] = param.quantisation.zero_point
    about = {
        "format": _FORMAT,
        "kernels": kernels,
        **graph_document(graph),
        "quantised": {
            name: {"scale": float(q.single()[0]), "zero_point": q.single()[1], "dtype": str(q.dtype)}
            for name, q in quantised.items()
        },
    }
    text = np.frombuffer(json.dumps(about).encode("ascii"), np.uint8)
    with atomic_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **{ABOUT: text, **arrays})


def integers_in(
    path: str | Path, arrays: Mapping[str, Array]
) -> tuple[Graph, dict[str, Any], dict[str, Quantisation], str] | None:
    """The network that `write_integers_npz` wrote, from the arrays of its file; None of those of any other .npz.

    Raises
    ------
    FormatError
        in one line: what is wrong.
    """
    if ABOUT not in arrays:
        return None
    try:
        about = json_object(arrays[ABOUT].tobytes())
        if about.get("format") != _FORMAT:
            raise FormatError(f"is of the format {str(about.get('format'))[:60]!r}; this is read: {_FORMAT!r}")
        graph = graph_of(about)
        params = {name: _held(arrays, name, shape) for name, shape in graph.params().items()}
        quantised = {
            name: Quantisation(q["scale"], q["zero_point"], None, q["dtype"]) for name, q in about["quantised"].items()
        }
        return graph, params, quantised, str(about["kernels"])
    except RefnetError as error:
        raise FormatError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: not as refnet quantise writes it ({' '.join(str(error).split())[:200]})") from None


def _held(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Any:
    array = arrays[name]
    if array.shape != shape:
        raise FormatError(f"{name} has shape {array.shape}, the graph needs {shape}")
    if f"{name}.scale" not in arrays:
        return array
    scale = arrays[f"{name}.scale"]
    return QuantisedTensor(
        array, Quantisation(scale, arrays[f"{name}.zero_point"], 0 if scale.ndim else None, array.dtype)
    )
