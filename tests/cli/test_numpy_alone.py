"""Where NumPy is the only package, every part of refnet works but the search for smaller networks."""

from __future__ import annotations

import subprocess
import sys

from refnet import child

BLOCKED = (
    "scipy",
    "PIL",
    "h5py",
    "onnx",
    "tflite",
    "safetensors",
    "tqdm",
    "threadpoolctl",
    "pooch",
    "requests",
    "dask",
)
CODE = """
import sys
sys.modules |= dict.fromkeys(sys.argv[2:])  # None: an import of it fails
from refnet.cli import main
import numpy as np
import refnet
folder = sys.argv[1]
net = refnet.load()
x = refnet.random_input(net.graph, batch=1)
np.savez(f"{folder}/mine.npz", **net.trace(x))
refnet.write_pack(net, x, f"{folder}/pack")
refnet.write_weights(net.graph, net.params, f"{folder}/weights.npz")
open(f"{folder}/my.py", "w").write("def hard_swish(x): return x * (x + 3).clip(0, 6) / 6")
for line in (
    "summary refnet/digits", "models", "run", "explain block1.depthwise", "show block1.depthwise -o {0}/maps.svg",
    "draw refnet/digits -o {0}/net.svg", "exercise hard_swish {0}/my.py", "compare {0}/pack {0}/mine.npz",
    "verify {0}/weights.npz --against {0}/weights.npz", "diff torchvision/mobilenet_v2 timm/mobilenetv2_100",
):
    status = main(line.format(folder).split())
    print("status", status, line)
"""


def test_packs_pictures_exercises_and_bounds_need_numpy_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path), *BLOCKED],
        capture_output=True, text=True, env=child.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("status")]
    assert len(said) == 10
    assert all(line.startswith("status 0 ") for line in said), "\n".join(said) + done.stderr
