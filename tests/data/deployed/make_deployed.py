"""Make networks.tar.xz and expected.npz: a small network as OpenVINO and ncnn have it, and what they compute.

    PYTHONPATH=.:weights:tests/data/exports python tests/data/deployed/make_deployed.py

The network is `v3_small` of tests/data/exports/exports.py, out of that folder's archive: the ONNX file of PyTorch's
older exporter, batch norm not folded. OpenVINO's and ncnn's own converters (openvino, pnnx) fold it; both write float32
and float16. `expected.npz` holds `<file>|float32|<tensor>`, the tensors of the first image of `random_input(graph, 2)`
as the runtime computes them in float32 of the float32 file, by the names that the file has; of ncnn's the small ones.

Needs openvino, ncnn and pnnx. Other versions may differ in the last bits. No test runs it.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import subprocess
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
import numpy.typing as npt
import openvino
from configurations import versions
from exports import NETWORKS

from refnet import build, random_input
from refnet.files.containers import npz

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

HERE = Path(__file__).resolve().parent
NETWORK = NETWORKS["v3_small"]
SOURCE = "v3_small-old20-unfolded.onnx"
PASSED_OVER = ("Constant", "Parameter", "Result", "Convolution", "GroupConvolution")  # and what a bias follows
SMALL = 400  # numbers
_DICTIONARY = {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26, "lc": 0, "lp": 2, "pb": 2, "nice_len": 273}


def pixels() -> Array:
    return random_input(build(NETWORK.model, width=NETWORK.width, size=NETWORK.size, classes=NETWORK.classes), 2)


def of_openvino(source: Path, folder: Path) -> Arrays:
    """Write both files; the tensors of every layer."""
    model = openvino.convert_model(source)
    for name, half in {"openvino": False, "openvino-float16": True}.items():
        openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=half)
    core = openvino.Core()
    saved = core.read_model(folder / "openvino.xml")
    wanted = [op for op in saved.get_ordered_ops() if op.get_type_name() not in PASSED_OVER]
    saved.add_outputs([op.output(0) for op in wanted])
    compiled = core.compile_model(saved, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    made = compiled(pixels())
    outputs = {next(iter(compiled.outputs[place].get_names()), ""): place for place in range(len(compiled.outputs))}
    arrays = {}
    for op in wanted:
        place = outputs[next(iter(op.output(0).get_names()))]
        arrays[f"openvino.xml|float32|{op.get_friendly_name()}"] = made[place][:1]
    return arrays


def of_ncnn(source: Path, folder: Path) -> Arrays:
    """Write both files; the tensors of every layer."""
    command = Path(str(find_spec("pnnx").submodule_search_locations[0])) / "pnnx"
    for name, half in {"ncnn": 0, "ncnn-float16": 1}.items():
        with tempfile.TemporaryDirectory() as temporary:
            shutil.copy(source, Path(temporary) / "net.onnx")
            subprocess.run([command, "net.onnx", f"fp16={half}"], cwd=temporary, check=True, capture_output=True)
            for suffix in ("param", "bin"):
                shutil.copy(Path(temporary) / f"net.ncnn.{suffix}", folder / f"{name}.{suffix}")
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    net.load_param(str(folder / "ncnn.param"))
    net.load_model(str(folder / "ncnn.bin"))
    blobs = [row.split() for row in (folder / "ncnn.param").read_text().splitlines()[2:]]
    names = [row[4 + int(row[2])] for row in blobs if row[0] not in ("Input", "Split")]
    extractor = net.create_extractor()
    extractor.set_light_mode(False)
    x = pixels()  # kept: ncnn's matrix is but a view of it
    extractor.input("in0", ncnn.Mat(x[0]))
    made = {name: np.array(extractor.extract(name)[1])[None] for name in names}
    return {f"ncnn.param|float32|{name}": y for name, y in made.items() if y.size <= SMALL}


def pack(folder: Path, path: Path) -> None:
    """A tar of the folder's files, without owners and times, with equal bytes found across files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(folder.iterdir()):
            member = tarfile.TarInfo(file.name)
            member.size = file.stat().st_size
            archive.addfile(member, io.BytesIO(file.read_bytes()))
    path.write_bytes(lzma.compress(tar.getvalue(), format=lzma.FORMAT_XZ, filters=[_DICTIONARY]))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB of {tar.tell() / 1e6:.2f} MB", flush=True)


def main() -> None:
    """Write both archives."""
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory() as exports:
        folder = Path(temporary)
        with tarfile.open(HERE.parent / "exports" / "exports.tar.xz") as archive:
            archive.extract(SOURCE, exports, filter="data")
        arrays = of_openvino(Path(exports) / SOURCE, folder) | of_ncnn(Path(exports) / SOURCE, folder)
        pack(folder, HERE / "networks.tar.xz")
    meta = {
        "format": "refnet deployed 1",
        "network": NETWORK._asdict(),
        "origin": "OpenVINO's and ncnn's own converters and runtimes on a CPU, of PyTorch's export of random_params",
        "script": "tests/data/deployed/make_deployed.py",
        "versions": versions("openvino", "ncnn", "pnnx", "numpy"),
    }
    npz.write(HERE / "expected.npz", {**arrays, "meta": np.array(json.dumps(meta))}, compressed=True)
    print(f"expected.npz: {len(arrays)} arrays, {(HERE / 'expected.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
