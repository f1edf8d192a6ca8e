"""What commands do with networks of integers: `refnet summary` says what they are, `refnet golden` writes packs."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from refnet.cli.common import print_json, say
from refnet.errors import RequestError
from refnet.graph import SOURCE, Node
from refnet.inputs import read_input
from refnet.network.quantised import QuantisedNetwork
from refnet.pack.integers import write_integer_pack
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.quantised import DEFAULT_KERNELS, rules_of
from refnet.report.geometry import geometry
from refnet.report.integers import arithmetic_sentence
from refnet.text import plain, table

__all__ = ["golden_integers", "summarise_integers"]


def summarise_integers(net: QuantisedNetwork, options: argparse.Namespace) -> int:
    """Print the nodes with their scales and zero points, and totals; or JSON."""
    shapes = _shapes(net)
    rows = [_row(net, node, shapes) for node in net.graph.nodes]
    recipe = net.graph.recipe
    totals = {
        "multiply_adds": sum(row["macs"] for row in rows),
        "weight_bytes": sum(array.nbytes for array in net.arrays()),
        "largest_tensor_bytes": max(row["bytes"] for row in rows),
    }
    if options.json:
        head = {"model": recipe.model, "width": recipe.width, "input": _tensor(net, SOURCE, net.graph.input_shape)}
        print_json({**head, "kernels": net.kernels, "classes": recipe.classes, "nodes": rows, "totals": totals})
        return 0
    header = ("node", "operation", "geometry", "reads", "output", "type", "scale", "zero point", "weights")
    lines = [(row["name"], _op(row), geometry(net.graph[row["name"]]), ", ".join(row["inputs"]),
              "x".join(map(str, row["shape"])), row["dtype"], _number(row["scale"]), _number(row["zero_point"]),
              row["weights"]) for row in rows]  # fmt: skip
    say(table(header, lines, left=4))
    say()
    source = _tensor(net, SOURCE, net.graph.input_shape)
    about = f"{source['dtype']}, scale {_number(source['scale'])}, zero point {_number(source['zero_point'])}"
    say(f"{recipe}, input {'x'.join(map(str, net.graph.input_shape))} ({about}), {recipe.classes} classes")
    say(f"file           {plain(Path(options.network).name)}: {net.dtypes}")
    say(f"computed       in the {arithmetic_sentence(net.kernels)}")
    say(f"multiply-adds  {totals['multiply_adds']:,} (convolutions and linear layers, one image)")
    say(f"bytes          {totals['weight_bytes']:,} of weights, {totals['largest_tensor_bytes']:,} the largest tensor")
    return 0


def _shapes(net: QuantisedNetwork) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of one image: by a run."""
    nothing = np.zeros((1, *net.graph.input_shape), np.float32)
    return {name: y.shape[1:] for name, y in net.trace(nothing).items()}


def _row(net: QuantisedNetwork, node: Node, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    w = net.params.get(f"{node.name}.w")
    size = math.prod(shapes[node.name])
    row = {"name": node.name, "op": node.op, "inputs": list(node.inputs), "attrs": dict(node.attrs)}
    tensor = _tensor(net, node.name, shapes[node.name])
    macs = 0 if w is None else size * math.prod(node.params["w"][1:])
    bytes_ = size * np.dtype(tensor["dtype"]).itemsize
    return row | tensor | {"weights": _weights(w), "macs": macs, "bytes": bytes_}


def _tensor(net: QuantisedNetwork, name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    q: Quantisation | None = net.quantised.get(name)
    if q is None:
        return {"shape": list(shape), "dtype": "float32", "scale": None, "zero_point": None}
    scale, zero_point = q.single()
    return {"shape": list(shape), "dtype": str(q.dtype), "scale": float(scale), "zero_point": zero_point}


def _weights(w: Any) -> str:
    """How the weights of a node are stored."""
    if not isinstance(w, QuantisedTensor):
        return "" if w is None else str(w.dtype)
    scales = w.quantisation.scale
    return f"{w.values.dtype} by {'tensor' if scales.size == 1 else 'filter'}"


def _op(row: dict[str, Any]) -> str:
    act = row["attrs"].get("act", "")
    return f"{row['op']} {act}".rstrip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def golden_integers(net: QuantisedNetwork, options: argparse.Namespace, weights: dict[str, Any]) -> int:
    """Write a pack of integers, and say what is in it."""
    for name, default in (("dtype", "float32"), ("fold", False), ("batch", None)):
        if getattr(options, name) != default:
            raise RequestError(f"--{name} goes with a network of floats: integers are as the file has them; or --float")
    net = net if options.kernels is None else net.under(options.kernels)
    x, source = _images(net, options)
    origin = {"weights": weights, "input": source}
    write_integer_pack(
        net, x, options.pack, layout=options.layout, only=options.only, form=options.format,
        accumulators=options.accumulators, origin=origin,
    )  # fmt: skip
    folder = Path(options.pack)
    manifest = json.loads((folder / "manifest.json").read_text())
    counts = {kind: len(manifest[kind]) for kind in ("tensors", "params", "constants", "accumulators")}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if options.json:
        facts = {key: manifest[key] for key in ("format", "kernels", "layout", "storage", "origin")}
        print_json({"pack": options.pack, **facts, "input": list(x.shape), **counts, "bytes": size})
        return 0
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    say(
        f"{net.graph.recipe}, {' x '.join(map(str, x.shape))}: {said}; {net.dtypes}, arithmetic of {net.kernels}, "
        f"{manifest['layout']}, {manifest['storage']}: {size / 2**20:.1f} MiB in {plain(options.pack)}"
    )
    return 0


def _images(net: QuantisedNetwork, options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """What the network is given: an image, an array, or integers that fill their range."""
    if options.input is None:
        return _noise(net), {"kind": "noise", "made_by": "numpy.random.default_rng(0)"}
    path = Path(options.input)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    _, x = read_input(net, path, options.size)
    return x, {"kind": "array" if path.suffix == ".npy" else "image", "file": path.name, "sha256": digest}


def _noise(net: QuantisedNetwork) -> Any:
    """One image of every integer that the input can be, or of numbers in the range of the first integers."""
    first = next((node.name for node in net.graph.nodes if node.op == "quantize"), SOURCE)
    q = net.quantised.get(SOURCE, net.quantised.get(first))
    shape = (1, *net.graph.input_shape)
    rng = np.random.default_rng(0)
    if q is None:
        return rng.uniform(-1, 1, shape).astype(np.float32)
    x = QuantisedTensor(rng.integers(q.low, q.high + 1, shape).astype(q.dtype), q)
    return x.values if SOURCE in net.quantised else rules_of(DEFAULT_KERNELS).dequantize(x)
