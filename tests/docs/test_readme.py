"""README's tables of formats and networks hold: each example is loaded and is what the table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import CHECKOUT, DATA, unpack

from refnet import load
from refnet.files import containers
from refnet.files.checkpoint import identify
from refnet.networks import tables
from refnet.networks.dialects import MODELS

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^\|.*\| `([\w./-]+)` \| (.*?) \|$", re.MULTILINE)
ARCHIVES = {
    "exports": "exports/exports.tar.xz",
    "modules": "modules/modules.tar.xz",
    "deployed": "deployed/networks.tar.xz",
    "tensorflow": "tensorflow/models.tar.xz",
}
KINDS = {"pth", "npz", "safetensors", "hdf5", "keras", "onnx", "tflite", "tfjs-layers", "tfjs-graph", "openvino"}
KINDS |= {"ncnn", "tensorflow", "checkpoint"}  # of `containers.Contents`


def between(name: str) -> str:
    return README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]


ROWS = EXAMPLE.findall(between("formats"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, unpacked."""
    made = tmp_path_factory.mktemp("examples")
    for name, archive in ARCHIVES.items():
        unpack(DATA / archive, made / name)
    (made / "weights").symlink_to(CHECKOUT / "weights")
    return made


@pytest.mark.parametrize(("example", "known"), ROWS, ids=[example for example, _ in ROWS])
def test_the_example_of_a_format_is_read_as_the_table_says(folder, example, known):
    found = identify(folder / example, model="refnet/digits" if "digits" in known else None)
    assert str(found) == known
    if not found.apart:
        assert load(folder / example).graph.params().keys() == found.params.keys()


def test_the_table_has_every_row_of_its_own_and_every_kind_of_file(folder):
    assert len(ROWS) == between("formats").count("\n| ") - 1  # without the head
    assert {containers.read(folder / example).kind for example, _ in ROWS} == KINDS


def test_the_table_of_networks_has_every_vendor():
    families = {"V1": (tables.V1,), "V2": (tables.V2,), "V3 Large": (tables.V3_LARGE,), "V3 Small": (tables.V3_SMALL,)}
    families["LR-ASPP"] = tuple(model.table for model in MODELS.values() if model.table.decoder)
    families["MnasNet"] = (tables.MNASNET_A1, tables.MNASNET_B1, tables.MNASNET_SMALL)
    said = re.findall(r"^\| ([VML][\w, -]+) \| (.+?) \|$", between("networks"), re.MULTILINE)
    for names, vendors in said:
        for name in names.split(", "):
            sources = {table.source for table in families.pop(name)}
            known = {model.partition("/")[0] for model in MODELS if MODELS[model].table.source in sources} - {"refnet"}
            assert set(vendors.split(", ")) == known
    assert not families
