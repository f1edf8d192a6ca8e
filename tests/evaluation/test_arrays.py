"""Arrays with labels, right and wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.errors import FormatError, RequestError
from refnet.evaluation.arrays import read_arrays, read_labels

X, Y = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5), np.array([3, 1])


def test_an_archive_has_images_and_labels(tmp_path):
    np.savez(tmp_path / "set.npz", x=X, y=Y.astype(np.uint8))
    data = read_arrays(tmp_path / "set.npz")
    assert data.names == ["image 0", "image 1"]
    assert data.labels.tolist() == [3, 1]
    assert (data.images == X).all()


@pytest.mark.parametrize("labels", ["y.npy", "y.txt"])
def test_an_array_has_its_labels_beside_it(tmp_path, labels):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    (tmp_path / "y.txt").write_text("3\n1\n\n")
    data = read_arrays(tmp_path / "x.npy", tmp_path / labels)
    assert data.labels.tolist() == [3, 1]
    assert (data.images == X).all()


def test_an_array_is_mapped_and_not_read(tmp_path):
    shape = (20_000, 3, 224, 224)  # 12 GB, of which a sparse file takes none
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, shape)
    np.save(tmp_path / "y.npy", np.zeros(20_000, int))
    part = read_arrays(tmp_path / "x.npy", tmp_path / "y.npy").part(19_998, 20_000)
    assert part.images.shape == (2, 3, 224, 224)
    assert not part.images.any()


def test_a_part_holds_its_own_rows_alone(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    part = read_arrays(tmp_path / "x.npy", tmp_path / "y.npy").part(1, 2)
    assert (part.names, part.labels.tolist(), part.images.base) == (["image 1"], [1], None)
    assert (part.images == X[1:]).all()


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"x": X}, "has no array 'y'"),
        ({"images": X, "y": Y}, "has no array 'x'"),
        ({"x": X, "y": Y[:1]}, "1 labels for 2 images"),
        ({"x": X, "y": Y.astype(float)}, "labels of shape .* float64; take one integer for each image"),
        ({"x": X, "y": np.eye(2, dtype=int)}, r"labels of shape \(2, 2\)"),
        ({"x": X[0], "y": Y}, r"images of shape \(3, 4, 5\)"),
        ({"x": X[:0], "y": Y[:0]}, "holds no images"),
        ({"x": X.astype(np.int64), "y": Y}, "images of int64; take floats"),
        ({"x": X.astype(np.uint8), "y": Y}, r"pixels of shape .* take \(N, H, W, 3\): x.transpose\(0, 2, 3, 1\)"),
        ({"x": X.astype(np.uint8)[:, :1], "y": Y}, r"pixels of shape \(2, 1, 4, 5\); take \(N, H, W, 3\)$"),
        ({"x": X, "y": np.array([2**63, 0], np.uint64)}, "labels of shape"),
    ],
)
def test_a_bad_archive_is_refused(tmp_path, arrays, complaint):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(RequestError, match=complaint):
        read_arrays(tmp_path / "set.npz")


def test_labels_are_given_once(tmp_path):
    np.savez(tmp_path / "set.npz", x=X, y=Y)
    with pytest.raises(RequestError, match="has its labels inside"):
        read_arrays(tmp_path / "set.npz", tmp_path / "y.npy")
    with pytest.raises(RequestError, match="images without labels; give them with --labels FILE"):
        read_arrays(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"junk"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    (tmp_path / "y.txt").write_text("1\n")
    with pytest.raises(FormatError, match="not a readable"):
        read_arrays(tmp_path / "x.npy", tmp_path / "y.txt")
    with pytest.raises(FormatError, match="not a readable"):
        read_labels(tmp_path / "x.npy")


def test_an_array_cut_short_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    (tmp_path / "y.txt").write_text("1\n2\n")
    with pytest.raises(FormatError, match="not a readable"):
        read_arrays(tmp_path / "x.npy", tmp_path / "y.txt")


def test_objects_are_refused(tmp_path):
    np.save(tmp_path / "y.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(FormatError, match="not a readable"):
        read_labels(tmp_path / "y.npy")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("1\ncat\n", "line 2 is no class: 'cat'"), ("1\n\n2\n", "line 2 is no class"), ("1.5", "line 1"), ("²", "line 1")],
)
def test_labels_that_are_no_integers_are_refused(tmp_path, text, complaint):
    (tmp_path / "y.txt").write_text(text)
    with pytest.raises(FormatError, match=complaint):
        read_labels(tmp_path / "y.txt")


def test_missing_labels_are_said(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        read_labels(tmp_path / "y.txt")
    (tmp_path / "y.txt").write_bytes(b"\xff")
    with pytest.raises(FormatError, match="cannot be read as text"):
        read_labels(tmp_path / "y.txt")
