"""Which folder is which class, and when that is refused."""

from __future__ import annotations

import json

import pytest

from refnet.errors import FormatError, RequestError
from refnet.evaluation.classes import classes_of, read_classes
from refnet.files.labels import class_names


def test_names_that_the_network_knows_are_taken_by_name():
    assert classes_of(["crane", "crane bird", "tench"], "imagenet", 1000).labels == [517, 134, 0]


def test_as_many_folders_as_classes_are_numbered_in_order():
    assert classes_of([f"n{k:08}" for k in range(1000)], "imagenet", 1000).labels == list(range(1000))


def test_background_is_no_folder_and_that_is_said():
    found = classes_of([f"n{k:08}" for k in range(1000)], "imagenet+background", 1001)
    assert found.labels == list(range(1, 1001))
    assert found.notes == ("1000 class folders for 1001 classes: 0 is the background",)


def test_imagenet_names_are_after_the_background():
    assert classes_of(["tench"], "imagenet+background", 1001).labels == [1]


@pytest.mark.parametrize(("count", "labels", "classes"), [(10, "imagenet", 1000), (1001, "imagenet", 1000)])
def test_another_number_of_folders_is_refused(count, labels, classes):
    with pytest.raises(RequestError, match=rf"{count} class folders .*of {classes} classes: which is which\?"):
        classes_of([f"n{k:08}" for k in range(count)], labels, classes)


def test_numbers_whose_order_by_name_is_another_are_refused():
    folders = sorted(map(str, range(12)))
    with pytest.raises(RequestError, match="'10' stands where 2 would by number"):
        classes_of(folders, "imagenet", 12)


@pytest.mark.parametrize("folders", [[f"{k:02}" for k in range(12)], sorted(map(str, range(7)))])
def test_numbers_in_order_are_taken(folders):
    assert classes_of(folders, "imagenet", len(folders)).labels == list(range(len(folders)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "n01 cat, house cat\nn02 dog\n"),  # LOC_synset_mapping.txt
        ("b.txt", "n01\nn02"),
        ("c.json", json.dumps({"0": ["n01", "cat"], "1": ["n02", "dog"]})),  # imagenet_class_index.json
        ("d.json", json.dumps({"n02": 1, "n01": 0})),  # torchvision's class_to_idx
        ("e.json", json.dumps(["n01", "n02"])),
    ],
)
def test_every_kind_of_classes_file_is_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert classes_of(["n02"], "imagenet", 1000, tmp_path / name).labels == [1]
    assert classes_of(["n01", "n02"], "imagenet", 2, tmp_path / name).labels == [0, 1]


def test_a_whole_line_is_meant_before_a_first_word(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(class_names("imagenet")))
    found = read_classes(tmp_path / "names.txt")
    assert (found["crane"], found["crane bird"]) == (517, 134)


def test_a_first_word_that_begins_two_lines_is_no_name(tmp_path):
    (tmp_path / "names.txt").write_text("maillot one\nmaillot two\n")
    assert read_classes(tmp_path / "names.txt") == {"maillot one": 0, "maillot two": 1}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.txt", "", "names no class"),
        ("a.txt", "cat\n\ndog\n", "no file of classes"),
        ("a.txt", b"\xff\xfe", "no file of classes"),
        ("a.txt", "cat\ndog\ncat\n", "'cat' is class 0 as well as class 2"),
        ("a.json", "{", "no file of classes"),
        ("a.json", "3", "no file of classes"),
        ("a.json", '{"cat": "0"}', "no file of classes"),
        ("a.json", '{"x": ["cat"]}', "no file of classes"),
        ("a.json", "[" * 100_000, "no file of classes"),
    ],
)
def test_a_bad_classes_file_is_refused(tmp_path, name, text, complaint):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FormatError, match=complaint):
        read_classes(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"cat": 0}', "has no line for 1 class folders, the first 'dog'"),
        ('{"cat": 0, "dog": 2}', "'dog' is class 2, and the network's are 0 to 1"),
        ('{"cat": 0, "dog": -1}', "'dog' is class -1"),
        ('{"cat": 0, "dog": 0}', "'cat' and 'dog' are both class 0"),
    ],
)
def test_a_classes_file_that_does_not_fit_is_refused(tmp_path, text, complaint):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(RequestError, match=complaint):
        classes_of(["cat", "dog"], "imagenet", 2, tmp_path / "classes.json")
