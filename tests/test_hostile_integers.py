"""Networks of integers that lie: in an archive, in a pack; texts and names that lead elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import refnet
from refnet.cli import main
from refnet.errors import FormatError, RequestError
from refnet.files.integers_npz import ABOUT, write_integers_npz
from refnet.pack.formats import stored_in
from refnet.pack.integers import read_integer_pack, write_integer_pack


@pytest.fixture(scope="module")
def net():
    floats = refnet.load()
    return refnet.quantise(floats, [refnet.random_input(floats.graph, 1)])


@pytest.fixture(scope="module")
def archive(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("integers") / "net.npz"
    write_integers_npz(path, net.graph, net.params, net.quantised, net.kernels)
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def good(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("packs") / "pack"
    write_integer_pack(net, refnet.random_input(refnet.load().graph, 1), path, only="stem.*")
    return path


CHANGES = {
    "pad": (("graph", 0, "attrs", "pad"), [[4096, 4096], [4096, 4096]], "out of all proportion"),
    "far": (("graph", 0, "attrs", "pad"), [[2**40, 0], [0, 0]], "out of all proportion"),
    "stride": (("graph", 0, "attrs", "stride"), [-1, 0], "does not run on that"),
    "text": (("graph", 0, "attrs", "stride"), "x", "does not run on that"),
    "image": (("recipe", "size"), [8192, 8192], "numbers, more than refnet takes"),
    "vast": (("recipe", "size"), [10**6, 10**6], "numbers, more than refnet takes"),
    "later": (("graph", 0, "inputs"), ["head.flatten"], "which no earlier node makes"),
    "nothing": (("graph", 0, "inputs"), [], "reads nothing"),
    "returns": (("returns",), ["nowhere"], "which no node makes"),
    "name": (("graph", 1, "name"), "stem.conv", "used twice"),
    "preprocessing": (("recipe", "preprocessing"), {"origin": "x"}, "malformed"),
    "classes": (("recipe", "classes"), "x", "malformed"),
}


def changed(document, places, value):
    document = json.loads(json.dumps(document))
    holder = document
    for place in places[:-1]:
        holder = holder[place]
    holder[places[-1]] = value
    return document


@pytest.mark.parametrize("change", CHANGES)
def test_a_graph_in_an_archive_that_nothing_should_run_is_refused(change, archive, tmp_path):
    places, value, said = CHANGES[change]
    about = changed(json.loads(archive[ABOUT].tobytes()), places, value)
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "net.npz", **{**archive, ABOUT: text})
    with pytest.raises(FormatError, match=said):
        refnet.load(tmp_path / "net.npz")


@pytest.mark.parametrize("change", CHANGES)
def test_a_graph_in_a_pack_that_nothing_should_run_is_refused(change, good, tmp_path):
    places, value, said = CHANGES[change]
    pack = shutil.copytree(good, tmp_path / "pack")
    manifest = pack / "manifest.json"
    manifest.write_text(json.dumps(changed(json.loads(manifest.read_text()), places, value)))
    with pytest.raises(FormatError, match=said):
        read_integer_pack(pack)


def test_a_pack_of_integers_is_files_in_its_folder_of_which_each_is_what_the_manifest_says(good, tmp_path):
    (tmp_path / "outside.json").write_bytes((good / "manifest.json").read_bytes())
    for number, (file, what) in enumerate(
        [
            ("manifest.json", "link"),
            ("manifest.json", "pipe"),
            ("tensors/input.npy", "pipe"),
            ("params/stem.conv.w.npy", "link"),
        ]
    ):
        pack = shutil.copytree(good, tmp_path / f"pack{number}")
        (pack / file).unlink()
        if what == "pipe":
            os.mkfifo(pack / file)
        else:
            (pack / file).symlink_to(tmp_path / "outside.json")
        with pytest.raises(FormatError, match=r"leads out of the pack|is missing"):
            read_integer_pack(pack)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("shape", [1], "holds int8 of shape"),
        ("dtype", "O", "is of 'O'"),
        ("dtype", "int32", "holds int8 of shape"),
        ("file", "../x", "leads out of the pack"),
        ("sha256", None, "does not have the hash"),
    ],
)
def test_an_entry_of_a_pack_of_integers_that_lies_is_refused(field, value, said, good, tmp_path):
    pack = shutil.copytree(good, tmp_path / "pack")
    manifest = pack / "manifest.json"
    places = ("tensors", "stem.conv", field)
    manifest.write_text(json.dumps(changed(json.loads(manifest.read_text()), places, value)))
    with pytest.raises(FormatError, match=said):
        read_integer_pack(pack).tensor("stem.conv")


@pytest.mark.parametrize("key", ["storage", "layout"])
def test_a_pack_of_integers_that_is_stored_in_no_known_way_is_refused(key, good, tmp_path):
    pack = shutil.copytree(good, tmp_path / "pack")
    manifest = pack / "manifest.json"
    manifest.write_text(json.dumps(changed(json.loads(manifest.read_text()), (key,), "\x1b")))
    with pytest.raises(FormatError, match=f"{key} is "):
        read_integer_pack(pack)


def test_no_more_is_read_of_an_array_than_the_manifest_says_that_there_is(good, tmp_path):
    pack = shutil.copytree(good, tmp_path / "pack")
    with open(pack / "tensors" / "stem.conv.npy", "r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match="does not have the hash"):
        read_integer_pack(pack).tensor("stem.conv")


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "a\\b", "C:x", ".hidden", "\x1b[31m", "x\ny"])
def test_no_array_of_a_pack_is_written_under_a_name_that_leads_elsewhere(name, net, tmp_path):
    with pytest.raises(RequestError, match="can be the name of no file"):
        stored_in("tensors", name, "npy")
    other = refnet.QuantisedNetwork(*_renamed(net, name)) if hasattr(refnet, "QuantisedNetwork") else None
    if other is not None:
        with pytest.raises(RequestError, match="can be the name of no file"):
            write_integer_pack(other, refnet.random_input(refnet.load().graph, 1), tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


def _renamed(net, name):
    first = net.graph.nodes[0].name
    graph = net.graph.renamed({first: name})
    params = {key.replace(f"{first}.", f"{name}.", 1): value for key, value in net.params.items()}
    quantised = {name if key == first else key: q for key, q in net.quantised.items()}
    return graph, params, quantised, net.kernels


def test_an_archive_whose_nodes_are_called_like_paths_writes_nothing_elsewhere(net, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "net.npz"
    write_integers_npz(path, *_renamed(net, "../../../written"))
    assert main(["golden", str(path), "-o", str(tmp_path / "in" / "pack")]) == 2
    assert "can be the name of no file" in capsys.readouterr().err
    assert sorted(each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*")) == ["in", "in/net.npz"]


@pytest.mark.parametrize("option", ["--labels", "--weights"])
def test_run_writes_over_nothing_that_it_reads(option, tmp_path, capsys):
    x, read = tmp_path / "x.npy", tmp_path / "read.npy"
    np.save(x, refnet.random_input(refnet.load().graph, 1))
    read.write_bytes(b"0\n" * 10)
    for target, line in ((x, ["run", str(x)]), (read, ["run", str(x), option, str(read)])):
        link = tmp_path / "link.npy"
        link.unlink(missing_ok=True)
        os.link(target, link)
        before = target.read_bytes()
        for output in (target, link):
            assert main([*line, "-o", str(output)]) == 2
            assert "which is read" in capsys.readouterr().err
        assert target.read_bytes() == before


def test_quantise_writes_over_nothing_that_it_is_calibrated_on(tmp_path, capsys):
    x = tmp_path / "x.npy"
    np.save(x, refnet.random_input(refnet.load().graph, 1))
    (tmp_path / "made.npz").symlink_to(x)
    before = x.read_bytes()
    assert main(["quantise", "--calibrate", str(x), "-o", str(tmp_path / "made.npz")]) == 2
    assert "which is read" in capsys.readouterr().err
    assert x.read_bytes() == before


@pytest.mark.parametrize(
    "line", [["run", "--labels"], ["evaluate", "--classes-file"], ["compare", "none", "none", "--map"]], ids=" ".join
)
@pytest.mark.parametrize("what", ["pipe", "device", "large"])
def test_a_text_is_a_small_regular_file(line, what, tmp_path, capsys):
    path: Path = tmp_path / "text"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        with open(path, "wb") as file:
            file.truncate(3 << 30)
    assert main([*line, str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
