"""Small files that would cost much: each is refused before the work, in a line that says what there is too much of."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from handmade import checkpoint
from PIL import Image

import refnet
from refnet import FormatError, RequestError
from refnet.evaluation.arrays import read_arrays
from refnet.files import containers
from refnet.files.containers.pickles import LONGEST
from refnet.files.images import read_image
from refnet.pack.pack import read_pack
from refnet.readings.shapes import shapes
from refnet.verification.behaviour import Remark, inputs
from refnet.verification.verify import verify


def packed(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


def test_a_keras_configuration_of_60_megabytes_is_not_unpacked(tmp_path):
    path = packed(
        tmp_path / "a.keras", **{"config.json": b"[" * 60_000_000, "metadata.json": b"{}", "model.weights.h5": b""}
    )
    with pytest.raises(FormatError, match=r"config\.json' has 60000000 bytes"):
        containers.read(path)


def test_a_pickle_of_many_instructions_is_refused(tmp_path):
    for instruction in (b"]", b"}", b"K\x00"):
        path = checkpoint(tmp_path / "a.pth", instruction * 600_000)
        with pytest.raises(FormatError, match="more than 500000 instructions"):
            containers.read(path)


def test_a_pickle_that_unpacks_to_megabytes_is_not_unpacked(tmp_path):
    path = packed(tmp_path / "a.pth", **{"a/data.pkl": b"\x80\x02" + b"]" * LONGEST + b"."})
    with pytest.raises(FormatError, match="no network's is longer"):
        containers.read(path)


@pytest.mark.parametrize("shape", [(1000, 0, 0, 3), (1000, 5, 0, 3), (0, 5, 5, 3)])
def test_images_without_pixels_are_no_set(shape, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(shape, np.uint8), y=np.zeros(shape[0], np.int64))
    with pytest.raises(RequestError, match="holds no images"):
        read_arrays(tmp_path / "a.npz")


def test_a_small_file_is_no_large_image(tmp_path):
    Image.new("L", (6000, 6000)).save(tmp_path / "a.png")
    with pytest.raises(FormatError, match=r"6000 x 6000 pixels in a file of \d+ bytes; take an image of at most 29"):
        read_image(tmp_path / "a.png")


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(data[:-2] + 2000 * last + data[-2:])
    with pytest.raises(FormatError, match=r"1000 x 1000 pixels in 20\d\d scans"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(data)
    assert read_image(tmp_path / "b.jpg").shape == (1000, 1000, 3)


def test_a_bitmap_that_says_nothing_of_its_pixels_is_refused(tmp_path):
    head = struct.pack("<IiiHHIIiiII", 40, 6000, 6000, 1, 8, 1, 0, 0, 0, 256, 0)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + head + bytes(1024) + b"\0\1")
    with pytest.raises(FormatError, match="take an image of at most 29 million"):
        read_image(tmp_path / "a.bmp")


def test_a_network_of_large_images_is_verified_and_not_run(tmp_path):
    net = refnet.build("refnet/digits", size=(4000, 4000))
    refnet.write_weights(net, refnet.random_params(net), tmp_path / "a.onnx")
    found = verify(tmp_path / "a.onnx", tmp_path / "a.onnx")
    assert found.holds
    assert found.behaviour.remark is not None
    assert found.behaviour.remark.kind == "large"


def test_of_larger_images_fewer_are_run(tmp_path):
    net = refnet.build("refnet/digits", size=(1100, 1100))
    refnet.write_weights(net, refnet.random_params(net), tmp_path / "a.onnx")
    file = refnet.identify(tmp_path / "a.onnx")
    numbers = sum(np.prod(shape) for shape in shapes(file.graph).values())
    x = inputs(file)
    assert not isinstance(x, Remark)
    assert len(x) == 1
    assert 4 * numbers < 200 << 20 < 8 * numbers


def test_a_manifest_describes_no_more_than_a_network_has(tmp_path):
    net = refnet.load()
    refnet.write_pack(net, refnet.random_input(net.graph, 1), tmp_path / "pack", only="head.flatten")
    manifest = json.loads((tmp_path / "pack" / "manifest.json").read_text())
    manifest["origin"] = [0] * 500_000
    (tmp_path / "pack" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match="describes more than 400000 things"):
        read_pack(tmp_path / "pack")
