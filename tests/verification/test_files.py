"""Files of all sorts against each other: names, containers, packs, other networks, and what the command prints."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from exporting import network, put

import refnet
from refnet.cli import main
from refnet.files.schemes import entries
from refnet.pack.pack import write_pack
from refnet.report.verdict import sentence
from refnet.verification.verify import verify as verify_files

SIZE = ["--size", "48,40"]


def verify(one, other, **options):
    return verify_files(one, other, size=(48, 40), **options)


def save(path, params) -> str:
    np.savez(path, **params)
    return str(path)


def torch_file(path, graph, params, dtype=np.float32) -> str:
    """As a vendor of PyTorch's names and shapes keeps it, in safetensors."""
    from safetensors.numpy import save_file

    arrays = {}
    for name, entry in entries(graph).items():
        arrays[entry.key] = np.ascontiguousarray(params[name].reshape(entry.shape), dtype)
    save_file(arrays, path)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("verify")


@pytest.fixture(scope="module")
def plain(folder):
    return save(folder / "plain.npz", network("v2")[1])


@pytest.fixture(scope="module")
def folded(folder):
    net = refnet.Network(*network("v2")).fold()
    return save(folder / "folded.npz", net.params)


def test_the_summary_line_is_one_that_a_person_believes(plain, folded, capsys):
    assert main(["verify", plain, "--against", folded, *SIZE]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "same network, batch norm folded"


def test_json_has_every_level_and_every_tensor(plain, folded, capsys):
    assert main(["verify", plain, "--against", folded, "--json", *SIZE]) == 0
    made = json.loads(capsys.readouterr().out)
    assert list(made) == [
        "verdict",
        "search",
        "structure",
        "values",
        "pattern",
        "entry",
        "rearranged",
        "behaviour",
        "health",
    ]
    assert made["verdict"] == "same network, batch norm folded"
    assert {"name", "kind"} <= set(made["values"][0])
    assert {value["kind"] for value in made["values"]} == {"folded", "bit-equal"}
    assert made["behaviour"]["agree"] == made["behaviour"]["images"]


def test_a_fault_is_exit_1_and_named_in_the_last_line_and_in_junit(plain, folder, capsys):
    params = dict(network("v2")[1])
    params["block3.project.w"] = put(params["block3.project.w"], (0, 0), 0.5)
    wrong, report = save(folder / "wrong.npz", params), folder / "report.xml"
    assert main(["verify", plain, "--against", wrong, "--junit", str(report), *SIZE]) == 1
    assert "block3.project.w is damaged" in capsys.readouterr().out.splitlines()[-1]
    suite = ElementTree.parse(report).getroot()[0]
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["values.block3.project.w"]
    assert suite.get("failures") == "1"


def test_the_policy_is_printed_and_obeyed(plain, folded, capsys):
    assert main(["verify", plain, "--against", folded, "--allow", "none", *SIZE]) == 1
    out = capsys.readouterr().out
    assert "meant: no difference" in out
    assert "which --allow does not list" in out


def test_a_file_held_against_itself_proves_nothing_and_that_is_said(plain, capsys):
    assert main(["verify", str(plain), "--against", str(plain)]) == 0
    assert "one and the same file" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["", "none,folded"])
def test_a_policy_that_says_two_things_or_nothing_is_refused(plain, words, capsys):
    assert main(["verify", str(plain), "--allow", words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_word_of_the_policy_is_refused(plain, capsys):
    assert main(["verify", plain, "--against", plain, "--allow", "fold", *SIZE]) == 2
    assert "'fold' is none of folded" in capsys.readouterr().err


def test_a_file_alone_is_named_and_examined(plain, capsys):
    assert main(["verify", plain, *SIZE]) == 0
    out = capsys.readouterr().out
    assert "torchvision/mobilenet_v2" in out
    assert out.splitlines()[-1] == "healthy"


def test_nan_does_not_keep_a_file_from_being_examined(folder, capsys):
    params = network("v2")[1]
    sick = save(folder / "nan.npz", {**params, "stem.conv.w": put(params["stem.conv.w"], (0, 0, 0, 0), np.nan)})
    assert main(["verify", sick, *SIZE]) == 1
    assert "FAILS nan: stem.conv.w: 1, first at [0, 0, 0, 0]" in capsys.readouterr().out


def test_a_file_that_is_none_is_refused_in_one_line(folder, plain, capsys):
    (folder / "none.npz").write_bytes(b"nothing")
    assert main(["verify", plain, "--against", str(folder / "none.npz"), *SIZE]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_names_of_the_same_network(folder):
    """torchvision's and timm's MobileNetV2 differ in names alone."""
    graphs = [
        refnet.build(name, size=(48, 40), classes=10) for name in ("torchvision/mobilenet_v2", "timm/mobilenetv2_100")
    ]
    params = refnet.random_params(graphs[0])
    one, other = (torch_file(folder / f"{i}.safetensors", graph, params) for i, graph in enumerate(graphs))
    found = verify(one, other)
    assert sentence(found) == "same network, under other names"
    assert not verify(one, other, allow=("folded",)).holds


def test_float16_safetensors(folder):
    graph = refnet.build("torchvision/mobilenet_v2", width=0.35, size=(48, 40), classes=10)
    params = refnet.random_params(graph)
    full = torch_file(folder / "full.safetensors", graph, params)
    half = torch_file(folder / "half.safetensors", graph, params, np.float16)
    found = verify(half, full, allow=("float16",))
    assert sentence(found) == "same network, rounded to float16"
    assert found.sides.original.path == full
    assert not verify(full, half).holds


def test_a_golden_pack_may_be_either_side(folder, folded):
    graph, params = network("v2")
    net = refnet.Network(graph, params)
    write_pack(net, refnet.random_input(graph, batch=1), folder / "pack", origin={"input": "random"})
    assert sentence(verify_files(folder / "pack", folded)) == "same network, batch norm folded"
    assert sentence(verify_files(folded, folder / "pack")) == "same network, batch norm folded"


@pytest.mark.parametrize("other", ["v1", "v3-small"])
def test_another_network_is_told_and_no_error(folder, plain, other):
    found = verify(plain, save(folder / f"{other}.npz", network(other)[1]))
    assert not found.holds
    assert found.structure
    assert sentence(found).startswith("not the same network: ")


def test_a_class_more_is_told(folder, plain):
    graph = refnet.build("torchvision/mobilenet_v2", width=0.35, size=(48, 40), classes=11)
    params = {**refnet.random_params(graph), **{k: v for k, v in network("v2")[1].items() if "logits" not in k}}
    for slot in ("w", "b"):
        name = f"head.logits.{slot}"
        params[name] = np.concatenate([np.zeros_like(params[name][:1]), network("v2")[1][name]])
    found = verify(plain, save(folder / "background.npz", params))
    assert {value.name: value.kind for value in found.faults} == {
        "head.logits.w": "classes",
        "head.logits.b": "classes",
    }


def test_real_weights_and_their_two_exports(real):
    """A trained network as Keras 2 saved it, and as TensorFlow Lite's converter folded and quantised it."""
    folder = real / "vww_96"
    found = verify_files(folder / "vww_96.h5", folder / "vww_96_float.tflite")
    assert sentence(found) == "same network, batch norm folded"
    assert not found.behaviour.wrong
    assert not found.structure
    eight = verify_files(folder / "vww_96.h5", folder / "vww_96_int8.tflite", allow=("folded", "int8"))
    assert sentence(eight) == "same network, batch norm folded, weights in 8 bits"
    assert {value.kind for value in eight.values} == {"folded+int8", "int8"}
