"""A TFLite file of integers in LiteRT, with kernels of one's choice: every tensor that it makes, as it holds it.

Run in a process of its own, as `models` does: an interpreter that is given a damaged file may crash.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet import child
from refnet.errors import FormatError, RequestError

__all__ = ["RUNTIME_KERNELS", "run_in_litert", "save_tensors"]

Array = npt.NDArray[Any]

# As the command line calls them, and as LiteRT does.
RUNTIME_KERNELS: Mapping[str, str] = {
    "reference": "BUILTIN_REF",
    "optimised": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "xnnpack": "AUTO",
}


def run_in_litert(path: str | Path, x: Array, kernels: str) -> dict[str, Array]:
    """Run a file on one batch, with every tensor kept.

    Parameters
    ----------
    x : (N, C, H, W), in the type that the file takes
    kernels : one of `RUNTIME_KERNELS`

    Returns
    -------
    tensors : by the file's names, as it lays them out

    Raises
    ------
    RequestError
        if LiteRT is not installed.
    FormatError
        if it refuses the file, or crashes.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "x.npy"), np.ascontiguousarray(np.moveaxis(x, 1, -1)))
        command = "import sys; from refnet.runtimes.integers import save_tensors; save_tensors(*sys.argv[1:])"
        ran = subprocess.run(
            child.python("-c", command, str(path), folder, RUNTIME_KERNELS[kernels]),
            env=child.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        said = (ran.stderr.strip().splitlines() or ["nothing"])[-1][:300]
        if ran.returncode == 3:
            raise RequestError(f"{path}: running it needs LiteRT: pip install ai-edge-litert")
        if ran.returncode:
            raise FormatError(f"{path}: LiteRT's {kernels} kernels refuse it: {said}")
        names = Path(folder, "names.txt").read_text(encoding="utf-8").splitlines()
        with np.load(Path(folder, "made.npz"), allow_pickle=False) as made:
            return {name: made[f"arr_{place}"] for place, name in enumerate(names)}


def save_tensors(path: str, folder: str, resolver: str) -> None:
    """What the other process does: run the file on folder/x.npy, and leave its tensors there."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        sys.exit(3)
    kind = getattr(interpreter.OpResolverType, resolver)
    work = interpreter.Interpreter(path, experimental_preserve_all_tensors=True, experimental_op_resolver_type=kind)
    (entry,) = work.get_input_details()
    x = np.load(Path(folder, "x.npy"))
    if tuple(entry["shape"]) != x.shape:
        work.resize_tensor_input(entry["index"], x.shape)
    work.allocate_tensors()
    work.set_tensor(entry["index"], x)
    work.invoke()
    names, arrays = [], []
    seen: dict[str, int] = {}
    constant = {index for op in work._get_ops_details() for index in op["inputs"]}
    made = {index for op in work._get_ops_details() for index in op["outputs"]}
    for detail in work.get_tensor_details():
        name = detail["name"] or "tensor"
        seen[name] = seen.get(name, 0) + 1
        if detail["index"] in made or (detail["index"] == entry["index"] and detail["index"] in constant):
            names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
            arrays.append(work.get_tensor(detail["index"]))
    Path(folder, "names.txt").write_text("\n".join(names), encoding="utf-8")
    np.savez(Path(folder, "made.npz"), *arrays)
