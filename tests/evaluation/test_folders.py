"""What a folder of class folders is taken to hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from refnet.errors import RequestError
from refnet.evaluation.folders import read_folder
from refnet.graph import Recipe


def made(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        if not file.endswith("/"):
            (root / file).write_bytes(b"pixels")
    return root


def listed(root: Path, classes: int = 2):
    return read_folder(root, Recipe("", 1.0, (224, 224), classes, labels="imagenet"))


def test_folders_and_images_come_in_order_of_their_names(tmp_path):
    data = listed(made(tmp_path, "dog/2.png", "dog/10.JPEG", "cat/b.jpg", "cat/a.webp"))
    assert data.names == ["cat/a.webp", "cat/b.jpg", "dog/10.JPEG", "dog/2.png"]
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.classes == {0: "cat", 1: "dog"}
    assert [path.read_bytes() for path in data.images] == [b"pixels"] * 4
    assert data.notes == ()


def test_an_empty_class_folder_keeps_its_class(tmp_path):
    (tmp_path / "bird").mkdir()
    data = listed(made(tmp_path, "ant/a.png", "cat/a.png"), 3)
    assert data.labels.tolist() == [0, 2]
    assert data.notes == ("1 class folder without images: bird",)


def test_what_is_left_out_is_counted(tmp_path):
    data = listed(
        made(tmp_path, "a/1.png", "a/Thumbs.db", "a/.DS_Store", "b/1.png", "b/notes.txt", ".git/x.png", "README.txt")
    )
    assert data.names == ["a/1.png", "b/1.png"]
    assert data.notes == (
        "left out 3 files not named as images: README.txt, a/Thumbs.db, b/notes.txt",
        "left out 2 hidden files and folders",
    )


def test_folders_inside_a_class_folder_belong_to_the_class(tmp_path):
    data = listed(made(tmp_path, "a/x/1.png", "a/0.png", "b/1.png"))
    assert data.names == ["a/0.png", "a/x/1.png", "b/1.png"]
    assert data.labels.tolist() == [0, 0, 1]


def test_links_are_followed_to_files_and_to_folders(tmp_path):
    made(tmp_path / "store", "1.png", "more/2.png")
    made(tmp_path / "set", "a/0.png")
    (tmp_path / "set" / "a" / "1.png").symlink_to(tmp_path / "store" / "1.png")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "store" / "more")
    data = listed(tmp_path / "set")
    assert data.names == ["a/0.png", "a/1.png", "b/2.png"]
    assert data.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("target", [".", ".."])
def test_a_link_that_leads_back_is_not_entered_again(tmp_path, target):
    made(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "again").symlink_to(target)
    assert listed(tmp_path).names == ["a/1.png", "b/1.png"]


def test_a_link_that_leads_nowhere_is_an_image_that_will_fail(tmp_path):
    made(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "gone.png").symlink_to("nowhere.png")
    assert listed(tmp_path).names == ["a/1.png", "a/gone.png", "b/1.png"]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ((), "holds no class folders"),
        (("README.txt",), "holds no class folders"),
        (("a.png", "b.png"), "2 images but no class folders, so no labels"),
        (("a/1.png", "b/1.png", "loose.png"), "loose.png lies beside the class folders"),
        (("a/1.txt", "b/1.txt"), "no class folder holds an image; images end in .bmp .gif"),
        ((".a/1.png", ".b/1.png"), "holds no class folders"),
    ],
)
def test_another_layout_is_refused(tmp_path, files, complaint):
    with pytest.raises(RequestError, match=complaint):
        listed(made(tmp_path, *files))


def test_the_listing_tells_whether_anything_changed(tmp_path):
    made(tmp_path, "a/1.png", "b/1.png")
    os.utime(tmp_path / "a" / "1.png", ns=(0, 10**9))
    before = listed(tmp_path).listing
    assert listed(tmp_path).listing == before
    os.utime(tmp_path / "a" / "1.png", ns=(0, 2 * 10**9))
    assert listed(tmp_path).listing != before
    os.utime(tmp_path / "a" / "1.png", ns=(0, 10**9))
    assert listed(tmp_path).listing == before
    (tmp_path / "a" / "1.png").rename(tmp_path / "a" / "2.png")
    assert listed(tmp_path).listing != before
