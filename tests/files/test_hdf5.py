"""What Keras writes into HDF5: every layout read under one set of names, hostile files refused in one line."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refnet import identify, load
from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.containers import hdf5, keras_config
from refnet.files.containers.json_text import parse_json
from refnet.files.containers.structure import Structure

h5py = pytest.importorskip("h5py")

KERNEL = np.arange(18, dtype=np.float32).reshape(3, 3, 2, 1)
BIAS = np.array([0.5], np.float32)
LAYERS = {
    "dw": (KERNEL,),
    "bn": tuple(np.full(2, k, np.float32) for k in range(4)),
    "fc": (np.ones((2, 3), np.float32), BIAS),
}
GROUPS = {"dw": "depthwise_conv2d", "bn": "batch_normalization", "fc": "dense_1"}
NAMES = ["dw/kernel", "bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance", "fc/kernel", "fc/bias"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def layered(path: Path, change: Callable[[Any], None] = lambda root: None, **texts: Any) -> Path:
    """A file of TF-Keras' layout with one layer, whose kernel may then be replaced."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = texts.get("layers", ["a/b"])
        group = file.create_group("a/b")
        group.attrs["weight_names"] = texts.get("weights", ["a/b/kernel:0"])
        file.create_dataset("a/b/a/b/kernel:0", data=KERNEL)
        change(file)
    return path


def replaced(**how: Any) -> Callable[[Any], None]:
    """Store the kernel otherwise."""

    def change(file: Any) -> None:
        del file["a/b/a/b/kernel:0"]
        file.create_dataset("a/b/a/b/kernel:0", **how)

    return change


def refuses(path: Path, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        containers.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------ every layout, one name


@pytest.mark.parametrize("file", ["keras_v3_small.h5", "keras_v3_small.keras", "keras_v3_small.weights.h5"])
def test_the_layouts_of_keras_3_hold_the_same(exports: Path, file: str) -> None:
    contents = containers.read(exports / file)
    other = containers.read(exports / "keras_v3_small.h5").arrays
    assert contents.kind == ("keras" if file.endswith(".keras") else "hdf5")
    assert contents.arrays.keys() == other.keys()
    assert all(np.array_equal(array, other[name]) for name, array in contents.arrays.items())
    assert (contents.structure is None) == file.endswith(".weights.h5")


def test_tf_keras_names_a_depthwise_kernel_as_keras_3_does(exports: Path) -> None:
    arrays = containers.read(exports / "keras_v3_small-tf_keras.h5").arrays
    assert "expanded_conv/depthwise/kernel" in arrays
    assert "expanded_conv/depthwise/BatchNorm/gamma" in arrays
    assert not any(":0" in name or "depthwise_kernel" in name for name in arrays)


def test_numbered_layers_are_called_by_their_own_names(path: Path) -> None:
    hdf5.write(path, [hdf5.LayerWeights(GROUPS[name], name, arrays) for name, arrays in LAYERS.items()])
    found = containers.read(path).arrays
    assert sorted(found) == sorted(NAMES)
    assert np.array_equal(found["bn/moving_variance"], LAYERS["bn"][3])
    assert found["dw/kernel"].tobytes() == KERNEL.tobytes()


def test_layers_without_names_are_called_by_keras_paths(path: Path) -> None:
    hdf5.write(path, [hdf5.LayerWeights(GROUPS[name], name, arrays) for name, arrays in LAYERS.items()])
    with h5py.File(path, "a") as file:
        for group in GROUPS.values():
            del file[f"layers/{group}/vars"].attrs["name"]
    assert "layers/batch_normalization/vars/3" in containers.read(path).arrays


def test_a_configuration_names_layers_where_the_weights_do_not(exports: Path, path: Path) -> None:
    whole = containers.read(exports / "keras_v3_small.keras").arrays
    with zipfile.ZipFile(exports / "keras_v3_small.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in ("config.json", "metadata.json"):
            target.writestr(name, source.read(name))
        inner = path.with_name("inner")
        inner.write_bytes(source.read("model.weights.h5"))
        with h5py.File(inner, "a") as file:
            for group in file["layers"].values():
                group["vars"].attrs.pop("name", None)
        target.write(inner, "model.weights.h5")
    found = containers.read(path).arrays
    assert found.keys() == whole.keys()
    assert all(np.array_equal(found[name], array) for name, array in whole.items())


@pytest.mark.parametrize("kind", ["S", "O"], ids=["fixed length", "variable length"])
def test_texts_of_fixed_and_of_variable_length_are_read(path: Path, kind: str) -> None:
    dtype = h5py.string_dtype() if kind == "O" else "S20"
    layered(path, layers=np.array(["a/b"], dtype), weights=np.array(["a/b/kernel:0"], dtype))
    assert list(containers.read(path).arrays) == ["a/b/kernel"]


def test_lists_of_names_that_are_split_are_joined(path: Path) -> None:
    def split(file: Any) -> None:
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = ["a/b"], ["c"]
        file.create_group("c").attrs["weight_names"] = ["x/bias:0"]
        file["c"].create_dataset("x/bias:0", data=BIAS)

    assert list(containers.read(layered(path, split)).arrays) == ["a/b/kernel", "c/bias"]


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i4"])
def test_numbers_of_every_kind_are_read_in_native_order(path: Path, dtype: str) -> None:
    found = containers.read(layered(path, replaced(data=KERNEL.astype(dtype)))).arrays["a/b/kernel"]
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(found, KERNEL)


def test_bfloat16_becomes_float32(path: Path) -> None:
    def change(file: Any) -> None:
        bits = (KERNEL.view(np.uint32) >> 16).astype("<u2")
        replaced(data=bits.view("V2"))(file)
        file["a/b/a/b/kernel:0"].attrs["dtype"] = "bfloat16"

    found = containers.read(layered(path, change)).arrays["a/b/kernel"]
    assert found.dtype == np.float32
    assert np.array_equal(found, KERNEL)  # small integers are exact in bfloat16


@pytest.mark.parametrize(
    "how", [{"compression": "gzip", "shuffle": True, "fletcher32": True}, {"chunks": (1, 3, 2, 1)}]
)
def test_chunks_and_gzip_are_read(path: Path, how: dict[str, Any]) -> None:
    found = containers.read(layered(path, replaced(data=KERNEL, **how))).arrays
    assert np.array_equal(found["a/b/kernel"], KERNEL)


def test_optimizers_and_seeds_are_left_out(path: Path) -> None:
    hdf5.write(path, [hdf5.LayerWeights("conv2d", "c", (KERNEL,))])
    with h5py.File(path, "a") as file:
        file.create_dataset("optimizer/vars/0", data=BIAS)
        file.create_dataset("layers/dropout/seed_generator/vars/0", data=np.arange(2, dtype=np.uint32))
    assert list(containers.read(path).arrays) == ["c/kernel"]


# -------------------------------------------------------------------------------------------- refusals


def link(file: Any, made: Any) -> None:
    del file["a/b/a/b/kernel:0"]
    file["a/b/a/b/kernel:0"] = made


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(18,), dtype="f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", shape=(18,))
    del file["a/b/a/b/kernel:0"]
    file.create_virtual_dataset("a/b/a/b/kernel:0", layout)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: link(file, h5py.ExternalLink("/etc/passwd", "/x")), "is a link to another place: refused"),
        (lambda file: link(file, h5py.SoftLink("/a")), "is a link to another place: refused"),
        (virtual, "is stored in other files: refused"),
        (replaced(shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)]), "is stored in other files: refused"),
        (replaced(data=KERNEL, compression="lzf"), "compressed by something else than gzip"),
        (replaced(shape=(1 << 40,), dtype="f4"), "too large for a file of this size"),
        (replaced(shape=(4,), maxshape=(None,), dtype="f4", chunks=(1 << 27,)), "too large for a file of this size"),
        (replaced(shape=(4,), dtype="f4"), "was never written"),
        (replaced(data=["text"]), "something else than plain numbers"),
        (replaced(data=np.zeros(2, "f4,i4")), "something else than plain numbers"),
        (replaced(data=np.zeros(2, "c8")), "something else than plain numbers"),
        (replaced(data=np.zeros(2, "V2")), "something else than plain numbers"),
        (replaced(data=h5py.Empty("f4")), "impossible shape"),
        (lambda file: link(file, file["a"].ref), "something else than plain numbers"),
        (lambda file: link(file, file["a"]), "is no array"),
        (lambda file: file.attrs.create("layer_names", np.arange(3)), "is no text"),
        (lambda file: file.attrs.create("layer_names", [b"\xff\xfe"]), "is no text"),
        (lambda file: file.attrs.create("layer_names", ["a/b", "a/b"]), "lists 'a/b/a/b/kernel:0' twice"),
        (lambda file: file.attrs.create("layer_names", ["gone"]), "'gone' is missing: the file is incomplete"),
        (lambda file: file.attrs.create("layer_names", ["../a"]), "'..' is missing"),
        (lambda file: file.attrs.create("layer_names", ["./a"]), "'.' is missing"),
        (lambda file: file.attrs.create("model_config", "{"), "is no JSON"),
        (lambda file: file.attrs.create("model_config", "x" * (5 << 20)), "too long"),
    ],
)
def test_hostile_files_are_refused(path: Path, change: Callable[[Any], None], why: str) -> None:
    refuses(layered(path, change), why)


def test_a_group_that_contains_itself_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        inner = file.create_group("layers/inner")
        inner["again"] = inner
        file.create_dataset("layers/conv2d/vars/0", data=KERNEL)
    refuses(path, "a group that contains itself")


def test_a_variable_that_is_no_number_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv2d/vars/kernel", data=KERNEL)
    refuses(path, "is no number of a variable")


def test_two_layers_of_one_name_are_refused(path: Path) -> None:
    hdf5.write(path, [hdf5.LayerWeights(f"conv2d{n}", "same", (KERNEL,)) for n in ("", "_1")])
    refuses(path, "'same/kernel' twice")


def test_an_hdf5_file_of_no_arrays_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("x")
    refuses(path, "holds no arrays")


def test_arrays_that_somebody_else_put_there_have_their_paths_as_names(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("features.0.weight", data=KERNEL)
        file.create_dataset("classifier/bias", data=KERNEL[0])
        file.create_dataset("optimizer/bias", data=KERNEL[0])
    assert list(hdf5.read(path).arrays) == ["classifier/bias", "features.0.weight"]


def test_an_array_of_somebody_else_that_holds_no_numbers_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("name", data="a text")
    refuses(path, "holds something else than plain numbers")


def test_a_cut_file_is_refused(path: Path) -> None:
    layered(path)
    path.write_bytes(path.read_bytes()[:-100])
    refuses(path, "damaged")


def test_a_missing_h5py_is_said(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "h5py.py").write_text("raise ImportError('none')")
    layered(path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RequestError, match=r"needs h5py: pip install 'refnet\[tools\]'"):
        containers.read(path)


def test_nothing_is_imported_from_the_current_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    assert list(containers.read(layered(path)).arrays) == ["a/b/kernel"]


def test_no_other_file_is_opened_for_a_link(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    os.mkfifo(other)  # opening it would wait for ever
    refuses(layered(path, lambda file: link(file, h5py.ExternalLink(str(other), "/x"))), "is a link")

    def weights(file: Any) -> None:
        file["model_weights"] = h5py.ExternalLink(str(other), "/x")

    refuses(layered(path, weights), "'model_weights' is a link")


def test_a_crash_of_the_library_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "h5py.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    layered(path)
    monkeypatch.syspath_prepend(tmp_path)
    refuses(path, r"HDF5's library fails \(SIGSEGV\)")


def test_a_library_that_does_not_end_is_stopped(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "class h5f:\n    def open_file_image(data):\n        while True: pass\n"
    (tmp_path / "h5py.py").write_text(code)
    layered(path)
    monkeypatch.syspath_prepend(tmp_path)
    refuses(path, "does not come to an end")


# -------------------------------------------------------------------------------------- configurations


def layer(name: str, *inbound: Any, kind: str = "ReLU", **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": list(inbound)}


def structure(text: str, producer: str) -> Structure:
    config = parse_json(text.encode(), "the model's configuration")
    return keras_config.structure(keras_config.keras_model(config), producer)


def tensor(name: str) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": [name, 0, 0]}}


def model(*layers: Any, outputs: Any = ("b", 0, 0), kind: str = "Functional") -> str:
    source = layer("x", kind="InputLayer", batch_shape=[None, 8, 8, 3])
    return json.dumps({"class_name": kind, "config": {"layers": [source, *layers], "output_layers": [list(outputs)]}})


KERAS_2 = model(layer("a", [["x", 0, 0, {}]], alpha=[1, [2]]), layer("b", [["a", 0, 0, {"y": 3.0, "name": None}]]))
KERAS_3 = model(
    layer("a", {"args": [tensor("x")], "kwargs": {"mask": None}}, alpha=[1, [2]]),
    layer("b", {"args": [tensor("a"), 3.0], "kwargs": {}}),
)


@pytest.mark.parametrize("text", [KERAS_2, KERAS_3], ids=["Keras 2", "Keras 3"])
def test_both_spellings_of_a_configuration_are_one_structure(text: str) -> None:
    found = structure(text, "keras")
    assert found.inputs == {"x": (None, 8, 8, 3)}
    assert found.outputs == ("b",)
    first, second = found.operations
    assert (first.op, first.inputs, first.outputs, first.attrs["alpha"]) == ("ReLU", ("x",), ("a",), (1, (2,)))
    assert (second.inputs, second.attrs["arguments"]) == (("a",), (None, 3.0))
    assert "arguments" not in first.attrs
    assert "keywords" not in first.attrs


def test_tensors_in_a_list_are_inputs_in_order() -> None:
    for call in ([["x", 0, 0, {}], ["a", 0, 0, {}]], {"args": [[tensor("x"), tensor("a")]], "kwargs": {}}):
        text = model(layer("a", [["x", 0, 0, {}]]), layer("b", call, kind="Add"))
        assert structure(text, "").operations[1].inputs == ("x", "a")


def test_other_things_that_a_layer_is_called_with_are_kept() -> None:
    text = model(layer("b", {"args": [tensor("x")], "kwargs": {"training": True}}))
    assert structure(text, "").operations[0].attrs["keywords"] == {"training": True}


def test_a_sequential_model_reads_the_layer_before() -> None:
    text = json.dumps(
        {"class_name": "Sequential", "config": [layer("a", batch_input_shape=[None, 8, 8, 3]), layer("b")]}
    )
    found = structure(text, "")
    assert found.inputs == {"a_input": (None, 8, 8, 3)}
    assert [operation.inputs for operation in found.operations] == [("a_input",), ("a",)]
    assert found.outputs == ("b",)


def test_layers_out_of_order_are_put_in_order() -> None:
    text = model(layer("b", [["a", 0, 0, {}]]), layer("a", [["x", 0, 0, {}]]))
    assert [operation.name for operation in structure(text, "").operations] == ["a", "b"]


def test_a_lambda_is_only_named() -> None:
    text = model(layer("b", [["x", 0, 0, {}]], kind="Lambda", function=["4wEAAAA=", None, None]))
    assert structure(text, "").operations[0].attrs["function"] == ("4wEAAAA=", None, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "no JSON object"),
        ("[" * 100_000, "no JSON"),
        ('{"class_name": "MyModel", "config": {}}', "only functional and sequential models"),
        (model({"config": {}}), "without a class, a name"),
        (model(layer("b", [["gone", 0, 0, {}]])), "'gone', which no layer makes"),
        (model(layer("b", [["a", 0, 0, {}]]), layer("a", [["b", 0, 0, {}]])), "reads its own output"),
        (model(layer("b", [["x", 0, 0, {}]]), layer("b", [["x", 0, 0, {}]])), "two layers of one name"),
        (model(layer("b", [["x", "0", 0, {}]])), "something else than a layer and two numbers"),
        (model(layer("b", [["x", 0, 0, 5]])), "something else than names and values"),
        (model(layer("b", 5)), "does not say which tensors"),
        (model(layer("b", {"args": 3})), "something else than a list of arguments"),
        (model(layer("b", [["x", 0, 0, {}]]), outputs=()), "something else than a layer"),
        (KERAS_2.replace("[null, 8, 8, 3]", "[null, -8, 8, 3]"), "impossible shape"),
    ],
)
def test_odd_configurations_are_refused(text: str, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        structure(text, "keras")


def described(folder: Path, name: str, config: str) -> Path:
    """Weights alone of a network of one's own, numbered as Keras 2 does, with a file beside them."""
    made = folder / "own.weights.h5"
    with h5py.File(made, "w") as file:
        file.create_dataset("_layer_checkpoint_dependencies/conv2d/vars/0", data=np.ones((1, 1, 3, 2), np.float32))
        file.create_dataset("_layer_checkpoint_dependencies/conv2d/vars/1", data=np.zeros(2, np.float32))
    (folder / name).write_text(config)
    return made


def config_of(*kinds: str) -> str:
    conv = {"name": "a/b", "filters": 2, "kernel_size": [1, 1], "strides": [2, 2], "activation": "relu"}
    layers: list[dict[str, Any]] = [{"class_name": kind, "config": conv} for kind in kinds]
    layers = [{"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, 4, 4, 3]}}, *layers]
    return json.dumps({"class_name": "Sequential", "config": {"name": "own", "layers": layers}})


@pytest.mark.parametrize("name", ["own.json", "config.json", "model.json"])
def test_weights_alone_are_a_network_with_a_configuration_beside_them(tmp_path: Path, name: str) -> None:
    net = load(described(tmp_path, name, config_of("Conv2D")))
    assert [node.op for node in net.graph.nodes] == ["conv2d", "relu"]
    assert np.array_equal(net(np.ones((1, 3, 4, 4), np.float32)), np.full((1, 2, 2, 2), 3, np.float32))


@pytest.mark.parametrize("config", ["{}", "[", config_of("DepthwiseConv2D"), config_of("Conv2D", "Dense")])
def test_a_configuration_of_another_model_is_none(tmp_path: Path, config: str) -> None:
    with pytest.raises(FormatError, match=r"put what model\.to_json\(\) says beside them") as error:
        load(described(tmp_path, "config.json", config))
    assert "\n" not in str(error.value)


def test_weights_of_a_known_network_need_no_configuration(exports: Path, tmp_path: Path) -> None:
    copy = tmp_path / "own.weights.h5"
    copy.write_bytes((exports / "keras_v1.weights.h5").read_bytes())
    (tmp_path / "own.json").write_text(config_of("Conv2D"))
    assert str(identify(copy)) == str(identify(exports / "keras_v1.weights.h5")) == "keras/MobileNet x0.1"
