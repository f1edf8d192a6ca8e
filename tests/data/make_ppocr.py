"""Make ppocr.npz: every tensor that onnxruntime makes of the start of a text line in PaddleOCR's direction classifier.

    PYTHONPATH=. python tests/data/make_ppocr.py MODEL GOLDEN

MODEL is `ch_ppocr_mobile_v2.0_cls_infer.onnx` of the package in tests/ppocr.txt, GOLDEN an archive whose first `input`,
(N, 3, 48, 192) float32, is a text line (shared/real/ppocr_direction/golden_outputs.npz).

The archive holds `input`, (1, 3, 48, 32), and by the names in the file `optimised|<tensor>` at the ends of segments,
with all optimisations, and `plain|<tensor>`, the same tensors with none; `meta` says what made it. Needs onnxruntime
and onnx. No test runs it.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from refnet.files.containers import npz
from refnet.runtimes.models import run_model

COLUMNS = 32  # of the text line: the tensors of all 192 are large
OUT = Path(__file__).with_name("ppocr.npz")


def plainly(path: Path, x: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """Some tensors, without any optimisation."""
    model = onnx.load(path)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names, {session.get_inputs()[0].name: x})


def main(model: Path, golden: Path) -> None:
    """Write the archive."""
    with np.load(golden, allow_pickle=False) as archive:
        x = np.ascontiguousarray(archive["input"][:1, :, :, :COLUMNS])
    optimised = run_model(model, x).tensors
    plain = dict(zip(optimised, plainly(model, x, list(optimised)), strict=True))
    meta = {
        "format": "refnet ppocr 1",
        "versions": {package: version(package) for package in ("onnxruntime", "onnx", "numpy")},
        "origin": "ch_ppocr_mobile_v2.0_cls_infer.onnx of rapidocr-onnxruntime 1.4.4 (PaddleOCR, Apache-2.0) on a CPU",
        "script": "tests/data/make_ppocr.py",
    }
    arrays = {f"optimised|{name}": y for name, y in optimised.items()} | {f"plain|{n}": y for n, y in plain.items()}
    npz.write(OUT, {"input": x, **arrays, "meta": np.array(json.dumps(meta))}, compressed=True)
    print(f"{OUT.name}: {len(optimised)} tensors, {OUT.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
