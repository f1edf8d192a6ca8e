"""Make the archives of this folder: what other runtimes made of single integer operations, and of one network.

    PYTHONPATH=. python tests/data/integers/make_integers.py SHARED

SHARED/goldens/integers holds `tflite_ops.npz`, `onnx_ops.npz`, `torch_ops.npz` and `vww_96_int8.npz`, SHARED/real the
network's file. Nothing of refnet made them: each records which runtime did (`versions`, `runtime`). Here is a part:

tflite.npz       the first model of each tag: a TFLite file of one operation, its inputs, and what the reference kernels
                 (ref), the optimised ones (opt), XNNPACK (xnn) and tflite-micro (tflm) made of them
onnxruntime.npz  the first node of each tag, processor without VNNI
torch.npz        the first operation of each tag, engines fbgemm and qnnpack, processor without VNNI
vww_96.npz       MobileNetV1 x0.25 of MLPerf Tiny in int8 (Apache-2.0), two photographs as its input, and the CRC-32 of
                 what the reference kernels made of every operation
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def first_of_each(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the first operation of each tag; the engine x86 is fbgemm."""
    made: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in ("versions", "note"):
            if key in file:
                made[key] = file[key]
        kept: list[str] = []
        for index, tag in enumerate(file["tags"].tolist()):
            if tag in kept or tag.startswith("x86/"):
                continue
            prefix = f"{len(kept):03d}_"
            kept.append(tag)
            made |= {prefix + key[4:]: file[key] for key in file.files if key.startswith(f"{index:03d}_")}
        made["tags"] = np.array(kept)
    return made


def network(golden: Path, model: Path) -> dict[str, np.ndarray]:
    """Inputs and checksums of a network, and its file."""
    with np.load(golden, allow_pickle=False) as file:
        keys = [key for key in file.files if key.startswith(("model_", "runtime", "cpu", "op_", "crc32_", "input"))]
        made = {key: file[key] for key in keys}
    return made | {"model": np.frombuffer(model.read_bytes(), np.uint8)}


def main() -> None:
    shared = Path(sys.argv[1])
    goldens = shared / "goldens" / "integers"
    for name, source in (("tflite", "tflite_ops"), ("onnxruntime", "onnx_ops"), ("torch", "torch_ops")):
        np.savez_compressed(HERE / f"{name}.npz", **first_of_each(goldens / f"{source}.npz"))
    model = shared / "real" / "vww_96" / "vww_96_int8.tflite"
    np.savez_compressed(HERE / "vww_96.npz", **network(goldens / "vww_96_int8.npz", model))


if __name__ == "__main__":
    main()
