"""Checkpoints in several files, with an index that says where each array lies."""

from __future__ import annotations

import json

import numpy as np
import pytest

from refnet.errors import FormatError
from refnet.files import containers
from refnet.files.containers import safetensors
from refnet.files.containers.pth_write import write as write_pth

ARRAYS = {name: np.full((2, 3), number, np.float32) for number, name in enumerate("abcd")}


def written(folder, ending="safetensors", **places):
    write = safetensors.write if ending == "safetensors" else write_pth
    parts = {"one": ("a", "b"), "two": ("c", "d")}
    for part, names in parts.items():
        write(folder / f"{part}.{ending}", {name: ARRAYS[name] for name in names})
    own = {name: f"{part}.{ending}" for part, names in parts.items() for name in names}
    index = folder / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": own | places}))
    return index


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("folder", [True, False])
def test_all_arrays_of_all_parts_are_read(tmp_path, ending, folder):
    index = written(tmp_path, ending)
    held = containers.read(tmp_path if folder else index)
    assert held.kind == "shards"
    assert {name: array.tolist() for name, array in held.arrays.items()} == {n: y.tolist() for n, y in ARRAYS.items()}


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"e": "two.safetensors"}, "'e' is not in 'two.safetensors'"),
        ({"a": "three.safetensors"}, "No such file"),
        ({"a": "../one.safetensors"}, "only files beside the model"),
        ({"a": "model.safetensors.index.json"}, "an index that an index names"),
        ({"a": 3}, "no weight_map that names a file"),
    ],
)
def test_an_index_that_is_wrong_is_refused_in_one_line(tmp_path, places, words):
    with pytest.raises(FormatError, match=words):
        containers.read(written(tmp_path, **places))


@pytest.mark.parametrize(
    ("index", "words"),
    [(True, "take m.safetensors.index.json, which names"), (False, "take their folder, with all of them and m.safete")],
)
def test_one_part_alone_is_refused_with_what_to_take(tmp_path, index, words):
    part = tmp_path / "m-00001-of-00002.safetensors"
    safetensors.write(part, ARRAYS)
    if index:
        (tmp_path / "m.safetensors.index.json").write_text("{}")
    with pytest.raises(FormatError, match=f"is one of the 2 files of a checkpoint: {words}"):
        containers.read(part)


def test_a_folder_of_parts_without_their_index_is_told_what_it_lacks(tmp_path):
    safetensors.write(tmp_path / "m-00001-of-00001.safetensors", ARRAYS)
    assert containers.is_folder(tmp_path)
    with pytest.raises(FormatError, match="holds parts of a checkpoint, and not m"):
        containers.read(tmp_path)
