"""What refnet runs on: versions, the processor, its BLAS, and whether its arithmetic is as IEEE 754 asks.

A library that was compiled for speed may switch a process to arithmetic in which small numbers are zero, and an old
processor or compiler may round twice. Then bounds on rounding hold no longer, here and in every comparison.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from refnet.threads import AVX512_KERNELS, numpy_kernels

__all__ = [
    "EXTRAS",
    "about_this_machine",
    "arithmetic",
    "blas_built",
    "blas_kernels",
    "fuses",
    "has_older_kernels",
    "package_versions",
    "processor",
]

# What each package is for, by its name in an installer; of the extras, and what is run as somebody else's.
EXTRAS: Mapping[str, str] = {
    "pillow": "images",
    "h5py": "Keras' HDF5 files",
    "onnx": "ONNX files",
    "pooch": "fetching weights",
    "requests": "fetching weights",
    "tqdm": "progress bars",
    "threadpoolctl": "threads of BLAS",
    "distributed": "runs over a cluster",
    "onnxruntime": "ONNX models as candidates",
    "ai-edge-litert": "TFLite models as candidates",
    "torch": "bench",
}


def package_versions(packages: Sequence[str] = ("numpy", "scipy", *EXTRAS)) -> dict[str, str]:
    """The version of each package, '' where there is none."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


def processor() -> str:
    """The processor's own name, where the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def blas_built() -> str:
    """The BLAS that NumPy was built with, and its version, whatever else has been loaded."""
    built = np.show_config(mode="dicts")
    linked = built.get("Build Dependencies", {}).get("blas", {}) if isinstance(built, dict) else {}
    return f"{linked.get('name', 'unknown')} {linked.get('version', '')}".strip()


def has_older_kernels() -> bool:
    """Whether OpenBLAS has chosen kernels of AVX-512 here, so that those of AVX2 run too: `OPENBLAS_CORETYPE=Haswell`.

    A variable that has chosen kernels already is left.
    """
    if "OPENBLAS_CORETYPE" in os.environ:
        return False
    return any(name in blas_kernels() for name in AVX512_KERNELS)


def blas_kernels() -> str:
    """Which kernels NumPy's BLAS has chosen here, and its threads: a variable left set may have chosen old ones."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return f"{blas_built()} {numpy_kernels()}".strip() + "; threads unknown without threadpoolctl"
    return ", ".join(
        f"{info['internal_api']} {info['version']} {info.get('architecture', '')}, {info['num_threads']} threads"
        for info in threadpool_info()
        if info["user_api"] == "blas"
    )


def arithmetic() -> dict[str, bool]:
    """Whether each rule of IEEE 754 that bounds on rounding rest on holds for arrays here.

    Returns
    -------
    holds : by rule. 'subnormal': results below the smallest normal number are not flushed to zero, by NumPy or by
        BLAS; 'subnormal inputs': nor are operands; 'nearest': ties go to even; 'once': float64 is not rounded to
        80 bits first, as x87 does; 'division', 'square root': correctly rounded

    Examples
    --------
    >>> all(arithmetic().values())
    True
    """
    one, tiny = np.ones(64, np.float32), np.full(64, np.finfo(np.float32).tiny, np.float32)
    below = np.full(64, 2.0**-140, np.float64).astype(np.float32)
    half, big = one / 2, np.full(64, 2.0**60, np.float32)
    flat = np.eye(64, dtype=np.float32)
    step = np.float32(2.0**-24)
    wide, above = np.ones(64), np.full(64, 2.0**-53 + 2.0**-78)  # just above the middle of two numbers
    thirds, roots = one / np.float32(3), np.sqrt(one * 2)
    return {
        "subnormal": bool((tiny * half).all() and ((flat * 0.5) @ tiny).all()),
        "subnormal inputs": bool((below * big).all() and ((flat * big[0]) @ below).all()),
        "nearest": bool((one + step == 1).all() and (one + 3 * step == one + 4 * step).all()),
        "once": bool((wide + above == 1 + 2.0**-52).all()),
        "division": bool((thirds.view(np.uint32) == 0x3EAAAAAB).all()),
        "square root": bool((roots.view(np.uint32) == 0x3FB504F3).all()),
    }


def fuses() -> bool:
    """Whether BLAS adds products without rounding them first (FMA): no fault, and why sums differ among machines."""
    a = np.float32(1 + 2.0**-12)
    x = np.tile(np.array([[-(1 + 2.0**-11), a]], np.float32), (16, 1))
    y = np.tile(np.array([[1], [a]], np.float32), (1, 16))
    return bool((x @ y).any())


def about_this_machine() -> dict[str, Any]:
    """Python, system, processor, cores and BLAS, by name."""
    return {
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "blas": blas_kernels(),
    }
