"""Judge honest ports of every family, and save a few: the vendors' own modules in PyTorch and in onnxruntime.

    PYTHONPATH=. python weights/make_honest.py            print what refnet says of each
    PYTHONPATH=. python weights/make_honest.py save       and write tests/data/honest/*.npz

Each network runs on refnet's probe with `random_params`. The ports:

    contiguous, channels_last     PyTorch float32 in either layout of memory; hooks give every node's tensor
    onnx, onnx-torchscript        the module as either of PyTorch's exporters writes it, in onnxruntime with all its
                                  optimisations: batch norm folded, activations fused; tensors at the ends of segments

Nothing here may be found `wrong` or `suspect`: a bound that an honest port exceeds is too sharp. The script stops with
1 if one is. What it saves lets the tests say so without a framework.

Needs torch, torchvision, timm, onnx, onnxruntime and onnxscript. Other versions may differ in the last bits.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from configurations import Trace, versions
from make_outputs_torch import THREADS, fill
from make_traces import MAKES, READS, torch_module, torch_places

from refnet import Network, build, random_params
from refnet.files.containers import npz
from refnet.graph import Graph
from refnet.judge.compare import Comparison, compare
from refnet.judge.scorecard import FAMILIES
from refnet.networks.build import find
from refnet.pack.pack import write_pack
from refnet.pack.probe import probe
from refnet.runtimes.models import run_model

Tensors = dict[str, npt.NDArray[Any]]

HERE = Path(__file__).resolve().parent
HONEST = HERE.parent / "tests" / "data" / "honest"
CLASSES = 10
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "onnxscript")

# The families that a vendor of PyTorch modules stands behind, as the scorecard has them.
NETWORKS: Mapping[str, Trace] = {
    name: Trace(family.model, family.width, family.size)
    for name, family in FAMILIES.items()
    if family.model.startswith(("torchvision/", "timm/"))
}
# What is saved: so small that all files together stay below 1.5 MB.
SAVED: Mapping[str, Trace] = {
    "v3_small": Trace("torchvision/mobilenet_v3_small", 0.35, (26, 37)),
    "v2": Trace("torchvision/mobilenet_v2", 0.25, (18, 27)),
    "mnasnet_a1": Trace("timm/semnasnet_050", 0.5, (18, 27)),
}


def module(trace: Trace, graph: Graph) -> torch.nn.Module:
    """The vendor's module, filled with `random_params`."""
    if trace.model.startswith("timm/tf_mobilenetv3_small_075"):
        from timm.models import _efficientnet_builder, mobilenetv3

        name, width = trace.model.removeprefix("timm/"), find(trace.model).width * trace.width
        eps = _efficientnet_builder.BN_EPS_TF_DEFAULT
        net = mobilenetv3._gen_mobilenet_v3(name, width, num_classes=CLASSES, bn_eps=eps, pad_type="same")
    else:
        net = torch_module(trace)
    return fill(net, graph)


def torch_tensors(net: torch.nn.Module, graph: Graph, x: npt.NDArray[Any], memory: torch.memory_format) -> Tensors:
    """Every node's tensor, from hooks on the vendor's modules."""
    seen: dict[tuple[str, str], Any] = {}
    handles = []

    def watch(path: str, side: str) -> None:
        def hook(_module: Any, read: tuple[Any, ...], made: Any = None) -> None:
            seen[path, side] = (read[0] if side == READS else made).clone()  # activations overwrite what they read

        part = net.get_submodule(path)
        handles.append((part.register_forward_pre_hook if side == READS else part.register_forward_hook)(hook))

    places = torch_places(graph, net)
    assert {side for _, side in places.values()} <= {READS, MAKES}
    for path, side in set(places.values()):
        watch(path, side)
    with torch.inference_mode():
        net.to(memory_format=memory)(torch.from_numpy(x).to(memory_format=memory))
    for handle in handles:
        handle.remove()
    net.to(memory_format=torch.contiguous_format)
    return {name: np.ascontiguousarray(seen[place].numpy()) for name, place in places.items()}


def export(net: torch.nn.Module, x: npt.NDArray[Any], path: Path, *, dynamo: bool) -> None:
    """Write a module as ONNX, with PyTorch's newer or its older exporter, quietly."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        torch.onnx.export(net, (torch.from_numpy(x),), str(path), dynamo=dynamo, external_data=False)


def candidates(trace: Trace, graph: Graph, x: npt.NDArray[Any], folder: Path) -> Iterator[tuple[str, Tensors | Path]]:
    """Every honest port of a network, by name: its tensors, or the model that makes them."""
    net = module(trace, graph)
    for name, memory in ("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last):
        yield name, torch_tensors(net, graph, x, memory)
    for name, dynamo in ("onnx", True), ("onnx-torchscript", False):
        path = folder / f"{name}.onnx"
        export(net, x, path, dynamo=dynamo)
        yield name, path


def row(judged: Comparison) -> tuple[str, bool]:
    """A line of figures, and whether all is well."""
    judgements = [(f.name, f.judgement) for f in judged.findings]
    counts = Counter(j.verdict for _, j in judgements)
    real = [(name, j) for name, j in judgements if j.verdict in ("rounding", "suspect", "wrong")]
    text = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    for figure in "worst", "expected", "rms":
        name, most = max(
            ((name, getattr(j, figure)) for name, j in real if j.yardstick == "bound" or figure != "worst"),
            key=lambda pair: pair[1],
            default=("", 0.0),
        )
        text += f"; {figure} {most:.2f} {name}"
    unmatched = judged.matching.unmatched
    return f"{text}; unmatched {unmatched}", judged.holds and not unmatched


def main(save: bool) -> int:
    """Judge all; 1 if anything is not explained by rounding."""
    torch.set_num_threads(THREADS)
    status = 0
    for short, trace in {**NETWORKS, **(SAVED if save else {})}.items():
        graph = build(trace.model, width=trace.width, size=trace.size, classes=CLASSES)
        params, x = random_params(graph), probe(graph, 1)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_pack(Network(graph, params), x, folder / "pack", origin={})
            for name, candidate in candidates(trace, graph, x, folder):
                judged = compare(folder / "pack", candidate, explain=False)
                text, holds = row(judged)
                print(f"{short} | {name} | {text}", flush=True)
                for finding in judged.findings:
                    if finding.judgement.verdict in ("wrong", "suspect"):
                        print(f"    {finding.name} {finding.judgement} {finding.segment}", flush=True)
                status |= not holds
                if short in SAVED and name in ("channels_last", "onnx"):
                    tensors = run_model(candidate, x).tensors if isinstance(candidate, Path) else candidate
                    write(f"{short}_{name}", trace, tensors, name)
    return status


def write(name: str, trace: Trace, tensors: Tensors, runtime: str) -> None:
    """Write one candidate and what made it."""
    origin = {
        "channels_last": "the tensors inside the vendor's own module, PyTorch on a CPU, float32, channels_last",
        "onnx": "the vendor's own module, exported by torch.onnx.export, in onnxruntime on a CPU with all "
        "optimisations: the tensors at the ends of segments, by the names in the file",
    }[runtime]
    meta = {
        "format": "refnet honest 1",
        "model": trace.model,
        "width": trace.width,
        "size": trace.size,
        "classes": CLASSES,
        "input": "probe(graph, 1)",
        "params": "random_params(graph)",
        "versions": versions(*PACKAGES),
        "origin": origin,
        "script": "weights/make_honest.py",
    }
    HONEST.mkdir(exist_ok=True)
    path = HONEST / f"{name}.npz"
    npz.write(path, {**tensors, "meta": np.array(json.dumps(meta))}, compressed=True)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["save"]):
        raise SystemExit("python weights/make_honest.py, or with the word save")
    sys.exit(main(bool(sys.argv[1:])))
