"""Class names, and the shipped files that they and others are read from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from refnet.errors import FormatError, RefnetError, RequestError
from refnet.files import labels, shipped
from refnet.files.labels import class_names


def test_imagenet_is_in_the_order_of_the_outputs() -> None:
    names = class_names("imagenet")
    assert len(names) == len(set(names)) == 1000
    # ends and neighbours, among them the two cranes and two maillots that other lists confuse
    assert names[0] == "tench"
    assert names[134] == "crane bird"
    assert names[281] == "tabby"
    assert names[517] == "crane"
    assert names[638:640] == ("maillot", "maillot tank suit")
    assert names[999] == "toilet tissue"


def test_background_comes_first() -> None:
    names = class_names("imagenet+background")
    assert len(names) == 1001
    assert names[0] == "background"
    assert names[1:] == class_names("imagenet")


def test_digits() -> None:
    assert class_names("digits") == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(RequestError, match=r"called 'coco': imagenet, imagenet\+background, digits"):
        class_names("coco")


def test_another_list_of_imagenet_agrees(real: Path) -> None:
    """The Coral list gives all synonyms; torchvision takes one of them, but for two that it tells apart."""
    lines = (real / "photos" / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    names = class_names("imagenet+background")
    synonyms = [[word.strip().lower() for word in line.split(",")] for line in lines]
    other = [name for name, words in zip(names, synonyms, strict=True) if name.lower() not in words]
    assert other == ["crane bird", "maillot tank suit"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\nb\n",  # no head
        "# refnet class names, version 2\na\nb\n",
        "# refnet class names, version 1\na\n",
        "# refnet class names, version 1\na\nb\nc\n",
        "# refnet class names, version 1\na\n\n",
    ],
)
def test_damaged_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "names.txt").write_text(text)
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "refnet")
    with pytest.raises(FormatError, match=r"names\.txt: not 2 names"):
        labels._read("names.txt", 2)


def test_a_checkout_has_its_files_in_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "refnet")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.npz").touch()
    assert shipped.path("a.npz") == tmp_path / "weights" / "a.npz"


def test_a_wheel_has_its_files_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "refnet")
    for folder in (tmp_path / "refnet" / "data", tmp_path / "weights"):
        folder.mkdir(parents=True)
        (folder / "a.npz").touch()
    (tmp_path / "weights" / "b.npz").touch()  # somebody else's, in site-packages
    assert shipped.path("a.npz") == tmp_path / "refnet" / "data" / "a.npz"
    with pytest.raises(RefnetError, match=r"'b\.npz' is not among the files"):
        shipped.path("b.npz")


@pytest.mark.parametrize("name", ["missing.npz", "", "..", "../pyproject.toml", "/etc/hosts"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RefnetError, match="install refnet again, or take a full checkout"):
        shipped.path(name)


def test_the_photograph_is_scikit_images() -> None:
    digest = hashlib.sha256(shipped.path("chelsea.png").read_bytes()).hexdigest()
    assert digest == "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"
