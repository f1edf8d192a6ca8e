"""TensorFlow's and TensorFlow.js' files made by hand: what is read of them, and what is refused."""

from __future__ import annotations

import json
import os
import re
import struct

import numpy as np
import pytest
from fuzz_folders import FOLDERS, fuzz_folders, good_folders
from fuzz_messages import block, encoded, table, varint
from fuzz_worker import FINE

from refnet.errors import FormatError
from refnet.files import importers
from refnet.files.containers import bundle, json_text, kind, protobuf, read, sstable, tensorflow, tfjs

SIX = np.arange(6, dtype=np.float32)
BODY = SIX.tobytes()


def refused(reading, path, reason):
    with pytest.raises(FormatError, match=re.escape(reason)) as error:
        reading(path)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------ TensorFlow.js

NODES = [
    {
        "name": "x",
        "op": "Placeholder",
        "attr": {"shape": {"shape": {"dim": [{"size": s} for s in ("-1", "4", "5", "3")]}}},
    },
    {"name": "w", "op": "Const", "attr": {"dtype": {"type": "DT_FLOAT"}}},
    {
        "name": "y",
        "op": "Conv2D",
        "input": ["x", "w"],
        "attr": {"padding": {"s": "VkFMSUQ="}, "strides": {"list": {"i": ["1", "1", "1", "1"]}}},
    },
]


def model(**changes):
    """A graph model of one convolution."""
    weights = {"name": "w", "shape": [1, 1, 3, 2], "dtype": "float32"}
    manifest = [{"paths": ["w.bin"], "weights": [weights]}]
    made = {"format": "graph-model", "modelTopology": {"node": NODES}, "weightsManifest": manifest}
    return made | changes


def saved(folder, made, numbers=BODY):
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(made if isinstance(made, str) else json.dumps(made))
    (folder / "w.bin").write_bytes(numbers)
    return folder


def manifest(paths=("w.bin",), **changes):
    weights = {"name": "w", "shape": [1, 1, 3, 2], "dtype": "float32"} | changes
    return [{"paths": list(paths), "weights": [weights]}]


def test_a_graph_model_made_by_hand_is_read(tmp_path):
    contents = read(saved(tmp_path, model()))
    assert contents.kind == "tfjs-graph"
    assert np.array_equal(contents.arrays["w"].ravel(), SIX)
    assert contents.structure.inputs == {"x": (None, 4, 5, 3)}
    assert [node.op for node in importers.import_graph(contents).graph.nodes] == ["pointwise_conv2d"]


def test_an_array_may_lie_in_several_files(tmp_path):
    folder = saved(tmp_path, model(weightsManifest=manifest(["w.bin", "v.bin"])), SIX.tobytes()[:10])
    (folder / "v.bin").write_bytes(SIX.tobytes()[10:])
    assert np.array_equal(read(folder).arrays["w"].ravel(), SIX)


def test_integers_become_what_the_browser_makes_of_them(tmp_path):
    quantised = {"dtype": "uint8", "scale": 0.1, "min": -0.3, "original_dtype": "float32"}
    made = model(weightsManifest=manifest(quantization=quantised))
    array = read(saved(tmp_path, made, bytes([0, 1, 2, 3, 254, 255]))).arrays["w"]
    expected = np.array([0, 1, 2, 3, 254, 255]) * 0.1 - 0.3
    assert np.array_equal(array.ravel(), expected.astype(np.float32))


def edited(index, extra=False, **changes):
    """The graph with one node changed, and maybe two behind the last."""
    nodes = json.loads(json.dumps(NODES))
    if extra:
        nodes += [{"name": name, "op": "Relu", "input": [given]} for name, given in (("e", "y"), ("end", "e"))]
    nodes[index] |= changes
    return {"modelTopology": {"node": nodes}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weightsManifest": manifest(["../w.bin"])}, "only files beside the model"),
        ({"weightsManifest": manifest(["/etc/hostname"])}, "only files beside the model"),
        ({"weightsManifest": manifest(["a/../../w.bin"])}, "only files beside the model"),
        ({"weightsManifest": manifest(["v.bin"])}, "cannot be read"),
        ({"weightsManifest": manifest(["."])}, "cannot be read"),
        ({"weightsManifest": manifest(["w.bin", "w.bin"])}, "its files hold 48 bytes, its manifest lists 24"),
        ({"weightsManifest": manifest(["w.bin"] * 800_000)}, "more than 400000 things"),
        ({"weightsManifest": manifest(shape=[1, 1, 3, 3])}, "end before 'w' does"),
        ({"weightsManifest": manifest(shape=[2**40, 2**40])}, "impossible shape"),
        ({"weightsManifest": manifest(shape=[-1])}, "impossible shape"),
        ({"weightsManifest": manifest(dtype="string")}, "is of type 'string'"),
        ({"weightsManifest": manifest(quantization={"dtype": "uint8"})}, "without a scale and a least value"),
        ({"weightsManifest": manifest(quantization={"dtype": "int4"})}, "is of type 'int4'"),
        ({"weightsManifest": manifest() + manifest()}, "holds 'w' twice"),
        ({"weightsManifest": None}, "no weightsManifest"),
        ({"modelTopology": None}, "no modelTopology"),
        ({"modelTopology": {"node": NODES, "library": {"function": [{}]}}}, "functions of its own"),
        (edited(2, input=["x", "e"], extra=True), "reads its own output"),
        (edited(2, input=["x", "v"]), "refers to 'v', which no node makes"),
        (edited(2, name="w"), "node 'w' is there twice"),
        (edited(1, name="v"), "refers to 'w'"),
        (edited(2, attr={"padding": {"s": "*"}}), "no base64"),
        (edited(2, attr={"strides": {"list": {"list": {}}}}), "an attribute that is no list"),
        (edited(2, attr={"strides": {"i": "1" * 30}}), "no whole number"),
    ],
)
def test_a_model_that_is_not_as_it_should_be_is_refused(tmp_path, changes, reason):
    def reading(folder):
        importers.import_graph(read(folder))

    refused(reading, saved(tmp_path / "m", model(**changes)), reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "no JSON"),
        ('{"a": ' * 50_000 + "1" + "}" * 50_000, "no JSON"),
        ('{"modelTopology": ' + "[" * 200 + "]" * 200 + "}", "more than 100 deep"),
        ('{"modelTopology": [' + "[]," * 1_000_000 + "[]]}", "more than 400000 things"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("{" + "".join(f'"{index}": 1, ' for index in range(200_000)) + '"0": 2}', "'0' is there twice"),
        ("{" + "".join(f'"{index}": 1, ' for index in range(200_000)) + '"199999": 2}', "'199999' is there twice"),
        ('{"a": NaN}', "NaN stands for a number"),
        ('{"a": ' + "1" * 5000 + "}", "no JSON"),
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
    ],
)
def test_json_that_should_not_be_read_is_refused(text, reason):
    refused(lambda data: json_text.parse_json(data, "it"), text.encode(), reason)


def test_numbers_that_lie_elsewhere_are_not_opened(tmp_path):
    folder = saved(tmp_path / "m", model())
    (tmp_path / "outside").write_bytes(SIX.tobytes())
    (folder / "w.bin").unlink()
    (folder / "w.bin").symlink_to(tmp_path / "outside")
    refused(read, folder, "leads out of the model's folder")
    (folder / "w.bin").unlink()
    os.mkfifo(folder / "w.bin")
    refused(read, folder, "not a regular file")


def test_a_layers_model_with_something_else_among_its_tensors_is_refused(tmp_path):
    given = {"class_name": "InputLayer", "name": "x", "config": {"batch_input_shape": [None, 4, 5, 3]}}
    relu = {"class_name": "ReLU", "name": "y", "config": {}, "inbound_nodes": [[["x", 0, 0, {}], 1.5]]}
    config = {"layers": [given, relu], "output_layers": [["y", 0, 0]]}
    topology = {"model_config": {"class_name": "Functional", "config": config}}
    refused(read, saved(tmp_path / "m", model(modelTopology=topology)), "which tensors a layer reads")


def test_a_folder_whose_model_is_a_link_that_leads_out_is_refused(tmp_path):
    saved(tmp_path / "n", model())
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").symlink_to(tmp_path / "n" / "model.json")
    refused(tfjs.read, tmp_path / "m", "leads out of the model's folder")


@pytest.mark.parametrize("names", [[], ["model.json", "saved_model.pb"]])
def test_a_folder_that_is_no_model_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("{}")
    refused(kind, tmp_path, "is a folder, not a file of weights")


# ------------------------------------------------------------------------------------------------------------- graphs


def field(number, value):
    """A field of a message: text, message or number."""
    if isinstance(value, int):
        return number, 0, varint(value % 2**64)
    return number, 2, value.encode() if isinstance(value, str) else value


def message(*fields):
    return encoded([field(number, value) for number, value in fields])


def shape(*sides):
    return message(*((2, message((1, side))) for side in sides))


def attr(name, value):
    return 5, message((1, name), (2, value))


def node(name, op, *inputs, attrs=()):
    return message((1, name), (2, op), *((3, name) for name in inputs), *attrs)


def tensor(dtype, sides, *fields):
    return message((8, message((1, dtype), (2, shape(*sides)), *fields)))


PLACE = node("x", "Placeholder", attrs=[attr("shape", message((7, shape(-1, 4, 5, 3))))])
CALLED = message((10, message((1, "f"))))


def graph(*nodes, functions=()):
    library = [(2, message(*((1, function) for function in functions)))] if functions else []
    return message(*((1, each) for each in nodes), *library)


def function(name, *nodes, result="y:output:0", argument="a"):
    signature = message((1, name), (2, message((1, argument))), (3, message((1, "r"))))
    return message((1, signature), *((3, each) for each in nodes), (4, message((1, "r"), (2, result))))


def frozen(folder, data):
    (folder / "g.pb").write_bytes(data)
    return folder / "g.pb"


RELU = function("f", node("y", "Relu", "a"))


def test_calls_are_written_out(tmp_path):
    call = node("c", "PartitionedCall", "x", attrs=[attr("f", CALLED)])
    twice = node("d", "PartitionedCall", "c", attrs=[attr("f", CALLED)])
    contents = read(frozen(tmp_path, graph(PLACE, call, twice, functions=[RELU])))
    assert [(op.op, op.inputs, op.outputs) for op in contents.structure.operations] == [
        ("Relu", ("x",), ("y",)),
        ("Relu", ("y",), ("y#2",)),
    ]
    assert contents.structure.outputs == ("y#2",)


def doubling(levels):
    """Functions of which each calls the next one twice."""
    made = [RELU]
    for level in range(levels):
        inner = "f" if not level else f"f{level}"
        calls = message((10, message((1, inner))))
        nodes = [
            node("b", "PartitionedCall", "a", attrs=[attr("f", calls)]),
            node("y", "PartitionedCall", "b", attrs=[attr("f", calls)]),
        ]
        made.append(function(f"f{level + 1}", *nodes))
    return made


ONE = node("c", "PartitionedCall", "x", attrs=[attr("f", CALLED)])
ITSELF = function("f", node("y", "PartitionedCall", "a", attrs=[attr("f", CALLED)]))
SPLAT = [attr("value", tensor(1, (2**20, 2**20), (5, struct.pack("<f", 1))))]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (graph(PLACE, ONE, functions=[ITSELF]), "more than 24 deep"),
        (graph(PLACE, ONE, functions=[RELU, RELU]), "function 'f' is there twice"),
        (graph(PLACE, ONE), "which is not in the file"),
        (graph(PLACE, ONE, functions=[function("f", node("y", "Relu", "a"), result="z:output:0")]), "refers to 'z'"),
        (graph(PLACE, ONE, functions=[function("f", node("a", "Relu", "a"))]), "two tensors of one name"),
        (
            graph(
                PLACE,
                node("c", "PartitionedCall", "x", attrs=[attr("f", message((10, message((1, "f15")))))]),
                functions=doubling(15),
            ),
            "more than 20000 operations",
        ),
        (graph(PLACE, node("y", "Relu", "x"), node("y", "Relu", "x")), "node 'y' is there twice"),
        (graph(PLACE, node("y", "AddN", "x", "z"), node("z", "Relu", "y"), node("e", "Relu", "z")), "its own output"),
        (graph(PLACE, node("y", "Relu", "x:banana")), "refers to the tensor 'x:banana'"),
        (
            graph(node("y", "Const", attrs=SPLAT), PLACE, node("e", "AddN", "x", "y")),
            "more memory than the file is worth",
        ),
        (graph(node("y", "Const", attrs=[attr("value", tensor(7, ()))]), PLACE, node("e", "AddN", "x", "y")), "words"),
        (graph(node("y", "Const", attrs=[attr("value", tensor(99, ()))]), PLACE), "is of type 99"),
        (graph(node("y", "Const", attrs=[attr("value", tensor(4, (1,), (7, 300)))]), PLACE), "that its type does not"),
        (graph(node("y", "Const", attrs=[attr("value", tensor(1, (1,), (4, b"12")))]), PLACE), "has 2 bytes"),
        (graph(PLACE, node("v", "VariableV2"), node("y", "AddN", "x", "v")), "freeze the graph first"),
        (graph(node("y", "Relu")), "without an output"),
        (graph(message((1, "x"), (1, "y"), (2, "Relu"))), "field 1 is there 2 times"),
        (graph(PLACE, node("y", "Relu", "x"))[:-3], "its bytes end too early"),
    ],
)
def test_a_graph_that_is_not_as_it_should_be_is_refused(tmp_path, data, reason):
    refused(tensorflow.read, frozen(tmp_path, data), reason)


def test_a_message_of_more_fields_than_any_network_has_is_refused():
    refused(protobuf.message, b"\x08\x01" * 500_000, "more than 400000 things")


# --------------------------------------------------------------------------------------------------------- checkpoints

HEADER = message((1, 1))


def entry(dtype=1, sides=(2, 3), offset=0, size=24, shard=0, **more):
    fields = [(1, dtype), (2, shape(*sides)), (3, shard), (4, offset), (5, size), *more.values()]
    return message(*fields)


def checkpoint(folder, *entries, header=HEADER, data=BODY, written=None):
    rng = np.random.default_rng(1)
    rows = [(b"", header), *((name.encode(), value) for name, value in entries)]
    (folder / "m.ckpt.index").write_bytes(table(rows, rng) if written is None else written)
    (folder / "m.ckpt.data-00000-of-00001").write_bytes(data)
    return folder / "m.ckpt"


def test_a_checkpoint_made_by_hand_is_read_by_its_prefix_and_by_its_index(tmp_path):
    path = checkpoint(tmp_path, ("w", entry()))
    for given in (path, tmp_path / "m.ckpt.index"):
        assert kind(given) == "checkpoint"
        assert np.array_equal(read(given).arrays["w"], SIX.reshape(2, 3))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("w", entry(size=20))], "has 20 bytes, its shape and type say 24"),
        ([("w", entry(offset=8))], "ends before 'w' does"),
        ([("w", entry(offset=-8))], "outside of the checkpoint's files"),
        ([("w", entry(shard=3))], "outside of the checkpoint's files"),
        ([("w", entry(sides=(2**40, 2**40)))], "impossible shape"),
        ([("w", entry(sides=(-1, 3)))], "open shape"),
        ([("w", entry(slices=(7, b"")))], "lies in slices"),
        ([("w", entry()), ("w", entry())], "out of order or there twice"),
        ([("w", entry()), ("v", entry())], "out of order or there twice"),
        ([("w" * 5000, entry())], "longer than it can be"),
        ([("w\n", entry())], "cannot be printed"),
    ],
)
def test_a_checkpoint_that_is_not_as_it_should_be_is_refused(tmp_path, entries, reason):
    refused(bundle.read, checkpoint(tmp_path, *entries), reason)


def test_arrays_that_share_bytes_without_end_are_refused(tmp_path):
    large = np.zeros(1 << 20, np.float32).tobytes()
    rows = [(f"w{index:03}", entry(sides=(1 << 20,), size=len(large))) for index in range(9)]
    refused(bundle.read, checkpoint(tmp_path, *rows, data=large), "share bytes")


def test_compressed_tables_are_refused_by_name(tmp_path):
    first = block([(b"", HEADER)])
    body = first + b"\x01" + bytes(4)
    index = block([(b"", varint(0) + varint(len(first)))])
    footer = (varint(0) + varint(0) + varint(len(body)) + varint(len(index))).ljust(40, b"\0")
    written = body + index + bytes(5) + footer + sstable.MAGIC
    refused(bundle.read, checkpoint(tmp_path, written=written), "compressed with snappy")


def test_a_table_that_is_no_checkpoint_is_refused(tmp_path):
    refused(bundle.read, checkpoint(tmp_path, header=b""), "a table without a count of files")
    refused(bundle.read, checkpoint(tmp_path, header=message((1, 5000))), "a checkpoint in 5000 files")


# ------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("container", FOLDERS)
def test_damaged_folders_are_refused_or_read(tmp_path, container):
    """`tests/fuzz.py` does the same with many more."""
    place, inside = next(iter(good_folders(container, tmp_path).items()))
    outcomes = fuzz_folders(container, {place: inside}, 6, 5)
    assert sum(outcomes.values()) == 6
    assert set(outcomes) <= set(FINE)
