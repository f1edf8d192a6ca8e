"""How a candidate's files hold numbers where nobody says it, and of which images."""

from __future__ import annotations

import numpy as np
import pytest
from feeding import shallow

from refnet import compare, probe, write_pack
from refnet.bugs.sites import styles
from refnet.graph import interpret
from refnet.judge.compare import TensorScale
from refnet.readings import fast
from refnet.report.comparison import comparison_document

NET, _ = shallow((32, 48))
GRAPH = NET.graph
X = probe(GRAPH, 2)
TRACE = {"input": X, **NET.trace(X)}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("encodings") / "golden"
    write_pack(NET, X, path)
    return path


def written(folder, dtype):
    folder.mkdir()
    for name, y in TRACE.items():
        y.astype(dtype).tofile(folder / f"{name}.bin")
    return folder


def notes(found):
    return comparison_document(found, pack="", candidate="", precision="")["notes"]


def test_raw_files_of_the_other_order_of_bytes_are_read_and_told(pack, tmp_path):
    found = compare(pack, written(tmp_path / "port", ">f4"))
    assert found.holds
    assert [each.kind for each in found.encodings] == ["big-endian"]
    assert "big-endian" in notes(found)[0]


def test_raw_files_of_doubles_are_read_and_told(pack, tmp_path):
    found = compare(pack, written(tmp_path / "port", "<f8"))
    assert found.holds
    assert [each.facts for each in found.encodings] == [{"dtype": "float64"}]


def test_raw_files_of_halves_are_read_and_told(pack, tmp_path):
    found = compare(pack, written(tmp_path / "port", "<f2"))
    assert found.holds
    assert [each.facts for each in found.encodings] == [{"dtype": "float16"}]


def test_raw_files_of_one_image_are_no_halves_of_two(pack, tmp_path):
    for name, y in TRACE.items():
        y[1:].astype("<f4").tofile(tmp_path / f"{name}.bin")
    found = compare(pack, tmp_path)
    assert found.holds
    assert [each.facts for each in found.encodings] == [{"first": 1, "images": 1, "of": 2}]


def test_raw_files_of_float32_are_what_they_are(pack, tmp_path):
    found = compare(pack, written(tmp_path / "port", "<f4"))
    assert found.holds
    assert found.encodings == ()


@pytest.mark.parametrize(
    ("form", "kind", "count", "dtype"),
    [
        ("%.5f", "decimals", 5, "float64"),
        ("%.6f", "decimals", 6, "float32"),
        ("%.6g", "digits", 6, "float64"),
        ("%.4e", "digits", 5, "float64"),
    ],
)
def test_printed_numbers_are_allowed_half_a_unit_of_their_last_decimal(pack, form, kind, count, dtype):
    printed = {n: np.array([float(form % v) for v in y.ravel()], dtype).reshape(y.shape) for n, y in TRACE.items()}
    found = compare(pack, printed)
    assert found.holds
    assert [(each.kind, each.facts["count"]) for each in found.encodings] == [(kind, count)]


def test_a_bug_is_named_in_printed_numbers(pack):
    wrong = dict(TRACE)
    wrong["block3.depthwise.act"] = np.maximum(TRACE["block3.depthwise.bn"] * 4, 0).astype(np.float32)
    printed = {n: np.round(y.astype(np.float64), 5) for n, y in wrong.items()}
    assert compare(pack, printed).wrong()[0] == "block3.depthwise.act"


@pytest.mark.parametrize("image", [0, 1])
def test_one_of_the_packs_images_is_judged_alone(pack, image):
    found = compare(pack, {name: y[image : image + 1] for name, y in TRACE.items()})
    assert found.holds
    assert [each.facts for each in found.encodings] == [{"first": image, "images": 1, "of": 2}]


def test_of_more_images_than_the_packs_the_first_are_judged(pack):
    found = compare(pack, {name: np.concatenate([y, y, y]) for name, y in TRACE.items()})
    assert found.holds
    assert [each.kind for each in found.encodings] == ["repeated"]


def test_channels_in_blocks_of_four_are_read(pack):
    def blocks(y):
        if y.ndim < 4:
            return y
        N, C, H, W = y.shape
        wide = np.pad(y, ((0, 0), (0, -C % 4), (0, 0), (0, 0)))
        return wide.reshape(N, -1, 4, H, W).transpose(0, 1, 3, 4, 2)

    found = compare(pack, {name: blocks(y) for name, y in TRACE.items()})
    assert found.holds
    assert found.matching.tensors["stem.conv"].layout == "nc4hw4"


def bytes_and_scales():
    """What a port of 8 bits makes: integers, their scales and zero points, of fused layers."""
    made, scales, real = {}, {}, {"input": X}
    for name in styles(GRAPH)["fused"]:
        y = interpret(GRAPH.leading_to(name, starts=set(real)), fast, NET.params, real)
        step = float(y.max() - y.min()) / 255
        zero = round(-128 - float(y.min()) / step)
        made[name] = np.clip(np.round(y / step) + zero, -128, 127).astype(np.int8)
        scales[name] = TensorScale(step, zero)
        real[name] = (made[name].astype(np.float32) - zero) * np.float32(step)
    return made, scales, real


def test_bytes_of_the_other_kind_than_their_zero_points_are_read_and_told(pack):
    made, scales, _ = bytes_and_scales()
    found = compare(pack, {name: y.view(np.uint8) for name, y in made.items()}, scales=scales)
    assert found.holds
    assert [each.facts for each in found.encodings] == [{"found": "uint8", "known": "int8"}]


def test_bytes_that_lie_128_from_their_zero_points_are_read_and_told(pack):
    made, scales, _ = bytes_and_scales()
    found = compare(pack, {name: y.view(np.uint8) ^ np.uint8(128) for name, y in made.items()}, scales=scales)
    assert found.holds
    assert [each.kind for each in found.encodings] == ["bytes-shifted"]


def test_real_numbers_of_integers_are_judged_in_their_steps_and_told(pack):
    _, _, real = bytes_and_scales()
    found = compare(pack, real, explain=False)
    assert found.holds
    assert "they are what integers of 8 bits stand for, and are judged so" in notes(found)[0]
    assert not any("of 8 bits" in note for note in notes(compare(pack, TRACE)))
