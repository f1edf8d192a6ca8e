"""Make models.tar.xz and expected.npz: small models as TensorFlow and its converters write them, and what they compute.

    PYTHONPATH=.:weights:tests/data/exports python tests/data/tensorflow/make_tensorflow.py

Networks are those of tests/data/exports/exports.py and TF-slim's MobileNet V1 (`slim_v1`), weights
`random_params(graph)`, the input `random_input(graph, 2)`. `expected.npz` holds for each model `<model>|y64`, what it
makes in float64: Keras' and TF-slim's own module in float64 where the model holds the original weights, otherwise what
the model's own numbers make, read by `tensorflowjs` and run by TensorFlow's kernels (`graph_float64`) or put into
Keras' module. Of some models `<model>|float32|<node>`, TensorFlow's own float32 tensors for the first image. `meta`
says which model is what.

Needs tensorflow-cpu, tf_keras, keras, tf_slim, tensorflowjs (without its dependencies, see `absent_packages`) and
tensorflow_hub. Other versions may differ in the last bits. No test runs it.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import absent_packages  # noqa: F401  (first)
import from_keras
import graph_float64
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from configurations import versions
from exports import NETWORKS, Network
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflowjs import converters, read_weights

from refnet import build, random_input, random_params
from refnet.files.containers import npz
from refnet.files.schemes import entries
from refnet.graph import Graph

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
V1 = tf.compat.v1

HERE = Path(__file__).resolve().parent
SLIM = Network("paper/mobilenet_v1", 0.1)
BATCH = 2
_DICTIONARY = {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26, "lc": 0, "lp": 2, "pb": 2, "nice_len": 273}


class Made(NamedTuple):
    """A model: its network, what it is, whether its weights are the original ones, what it computes."""

    network: Network
    how: str
    original: bool
    y64: Array
    float32: Mapping[str, Array] = {}


def graph_of(network: Network) -> Graph:
    return build(network.model, width=network.width, size=network.size, classes=network.classes)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------------------------------------------------------- Keras


def keras_models(folder: Path) -> dict[str, Made]:
    """Layers and graph models of TensorFlow.js, frozen graphs, SavedModels and checkpoints of Keras' networks."""
    made: dict[str, Made] = {}
    for name in ("keras_v1", "keras_v2", "keras_v3_small"):
        network = NETWORKS[name]
        graph = graph_of(network)
        x = random_input(graph, BATCH)
        y = softmax(from_keras.logits(network, graph, x))
        net = from_keras.vendors(network, graph)
        twin = from_keras.tf_application(network, net)
        if name != "keras_v3_small":
            saved = folder / f"{name}-saved"
            net.export(saved, verbose=False) if name == "keras_v1" else twin.export(saved)
            made[saved.name] = Made(network, "SavedModel", True, y)
        if name == "keras_v2":
            made[f"{name}-frozen.pb"] = Made(network, "frozen", True, y)
            (folder / f"{name}-frozen.pb").write_bytes(_frozen(twin, network))
            twin.save_weights(folder / f"{name}-checkpoint" / "weights")
            made[f"{name}-checkpoint"] = Made(network, "checkpoint", True, y)
            (folder / f"{name}-checkpoint" / "checkpoint").unlink()
        if name == "keras_v1":  # of V3, whose layers have names with slashes, the converter loses most weights
            made |= _layers(folder, name, network, twin, x, y)
        made |= _graphs(folder, name, network, twin, x)
    return made


def _frozen(twin: Any, network: Network) -> bytes:
    given = tf.TensorSpec((1, *network.size, 3), tf.float32, name="input")
    function = tf.function(lambda x: twin(x, training=False)).get_concrete_function(given)
    return bytes(convert_variables_to_constants_v2(function).graph.as_graph_def().SerializeToString())


def _layers(folder: Path, name: str, network: Network, twin: Any, x: Array, y: Array) -> dict[str, Made]:
    path = folder / f"{name}-layers"
    converters.save_keras_model(twin, str(path), weight_shard_size_bytes=1 << 16)
    made = {path.name: Made(network, "layers", True, y)}
    for kind in ("float16", "uint8", "uint16"):
        path = folder / f"{name}-layers-{kind}"
        converters.save_keras_model(twin, str(path), quantization_dtype_map={kind: "*"})
        made[path.name] = Made(network, "layers", False, _keras_with(path, network, x))
    return made


def _keras_with(path: Path, network: Network, x: Array) -> Array:
    """What Keras' module makes in float64 of the weights that tensorflowjs reads."""
    manifest = json.loads((path / "model.json").read_text())["weightsManifest"]
    held = {entry["name"]: entry["data"] for entry in read_weights.read_weights(manifest, str(path), flatten=True)}
    net = from_keras.vendors(network, graph_of(network), "float64")
    twin = from_keras.tf_application(network, net, "float64")
    for weight in twin.weights:
        weight.assign(held[weight.name.removesuffix(":0")].astype(np.float64))
    return np.asarray(twin(np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float64), training=False))


def _graphs(folder: Path, name: str, network: Network, twin: Any, x: Array) -> dict[str, Made]:
    kinds = {"keras_v1": (), "keras_v2": (), "keras_v3_small": ("uint8",)}[name]
    made = {}
    with tempfile.TemporaryDirectory() as temporary:
        twin.export(temporary)
        for kind in kinds:
            path = folder / f"{name}-graph{f'-{kind}' if kind else ''}"
            options = {"quantization_dtype_map": {kind: "*"}} if kind else {}
            converters.convert_tf_saved_model(temporary, str(path), **options)
            tensors = graph_float64.run(path, x[:1], "float32") if name == "keras_v1" else {}
            tensors = {node: y for node, y in tensors.items() if y.dtype == np.float32}
            y64 = graph_float64.run(path, x, "float64")["Identity"]
            made[path.name] = Made(network, "graph", False, y64, tensors)
    return made


# -------------------------------------------------------------------------------------------------------------- TF-slim


def slim_models(folder: Path) -> dict[str, Made]:
    """Frozen graphs, a SavedModel and a checkpoint of TF-slim's V1, in TensorFlow 1's ways."""
    network, graph = SLIM, graph_of(SLIM)
    x = random_input(graph, BATCH)
    weights = {entry.key: entry.theirs(array) for entry, array in _entries(graph)}
    made: dict[str, Made] = {}
    for name, options in {"slim_v1": {}, "slim_v1-dilated": {"output_stride": 8}}.items():
        y64, _ = _run(x, weights, "float64", ("Predictions/Reshape_1",), fused=False, **options)
        softmaxed = y64["MobilenetV1/Predictions/Reshape_1"]
        tensors, frozen = _run(x[:1], weights, "float32", (), **options)
        (folder / f"{name}-frozen.pb").write_bytes(frozen)
        made[f"{name}-frozen.pb"] = Made(network, "frozen", True, softmaxed, tensors if name == "slim_v1" else {})
    _, unfused = _run(x[:1], weights, "float32", (), fused=False)
    (folder / "slim_v1-unfused-frozen.pb").write_bytes(unfused)
    y = made["slim_v1-frozen.pb"].y64
    made["slim_v1-unfused-frozen.pb"] = Made(network, "frozen", True, y)
    _checkpoints(folder, weights, network)
    made["slim_v1-saved"] = Made(network, "SavedModel", True, y)
    made["slim_v1-checkpoint"] = Made(network, "checkpoint", True, y)
    made["slim_v1-average"] = Made(network, "checkpoint", True, y)
    return made


def _entries(graph: Graph) -> list[tuple[Any, Array]]:
    params = random_params(graph)
    return [(entry, params[name]) for name, entry in entries(graph, "slim").items()]


def _slim(dtype: str, **options: Any) -> tuple[Any, Any, Any]:
    """Input, logits and predictions of a new graph."""
    from slim_v1 import mobilenet_v1

    x = V1.placeholder(dtype, (None, *SLIM.size, 3), name="input")
    return (x, *mobilenet_v1(x, SLIM.width, SLIM.classes, **options))


def _load(session: Any, weights: Arrays) -> None:
    variables = {variable.op.name: variable for variable in V1.global_variables("MobilenetV1")}
    if variables.keys() != weights.keys():
        raise SystemExit(f"{sorted(variables.keys() ^ weights.keys())[:4]}: not on both sides")
    for name, variable in variables.items():
        variable.load(weights[name].astype(variable.dtype.as_numpy_dtype), session)


def _run(x: Array, weights: Arrays, dtype: str, wanted: tuple[str, ...], **options: Any) -> tuple[Arrays, bytes]:
    """Some tensors (of none, what every activation makes), and the graph with its weights as constants."""
    with tf.Graph().as_default() as graph, V1.Session() as session:
        given, _, predictions = _slim(dtype, **options)
        _load(session, weights)
        names = [f"MobilenetV1/{name}" for name in wanted] or [
            op.name for op in graph.get_operations() if op.type in ("Relu6", "Mean", "Squeeze", "Softmax")
        ]
        tensors = session.run([f"{name}:0" for name in names], {given: x.transpose(0, 2, 3, 1)})
        constants = V1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [predictions.op.name])
        return dict(zip(names, tensors, strict=True)), constants.SerializeToString()


def _checkpoints(folder: Path, weights: Arrays, network: Network) -> None:
    """A SavedModel, a checkpoint, and one that has training's leftovers and running averages, which are the weights."""
    with tf.Graph().as_default(), V1.Session() as session:
        given, _, predictions = _slim("float32")
        _load(session, weights)
        V1.saved_model.simple_save(session, str(folder / "slim_v1-saved"), {"image": given}, {"scores": predictions})
        V1.train.Saver().save(session, str(folder / "slim_v1-checkpoint" / "model.ckpt"), write_meta_graph=False)
        step = V1.train.get_or_create_global_step()
        averages = tf.train.ExponentialMovingAverage(0.999)
        variables = V1.global_variables("MobilenetV1")
        applied = averages.apply(variables)
        session.run(V1.variables_initializer([v for v in V1.global_variables() if v not in variables]))
        session.run(applied)
        for variable in variables:
            variable.load(np.full(variable.shape, 0.5, np.float32), session)
        session.run(step.assign(1234))
        with V1.variable_scope("", reuse=False):
            slot = V1.get_variable("MobilenetV1/Conv2d_0/weights/RMSProp", initializer=tf.ones((3, 3, 3, 3)))
        session.run(slot.initializer)
        V1.train.Saver().save(
            session, str(folder / "slim_v1-average" / "model.ckpt"), global_step=1234, write_meta_graph=False
        )
    for path in folder.glob("slim_v1-*/checkpoint"):
        path.unlink()


# ---------------------------------------------------------------------------------------------------------------- files


def pack(folder: Path, path: Path) -> None:
    """A tar of the folder's files, without owners and times, with equal bytes found across files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        files = [file for file in folder.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: str(file.relative_to(folder)).partition("-")):
            member = tarfile.TarInfo(str(file.relative_to(folder)))
            member.size = file.stat().st_size
            archive.addfile(member, io.BytesIO(file.read_bytes()))
    path.write_bytes(lzma.compress(tar.getvalue(), format=lzma.FORMAT_XZ, filters=[_DICTIONARY]))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB of {tar.tell() / 1e6:.2f} MB", flush=True)


def main() -> None:
    """Write both archives."""
    makers: tuple[Callable[[Path], dict[str, Made]], ...] = (keras_models, slim_models)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = {name: model for make in makers for name, model in make(folder).items()}
        for path in folder.rglob("fingerprint.pb"):
            path.unlink()
        for path in [*folder.rglob("assets")]:
            shutil.rmtree(path)
        pack(folder, HERE / "models.tar.xz")
    arrays: Arrays = {}
    models = {}
    for name, model in made.items():
        arrays[f"{name}|y64"] = model.y64
        for node, y in model.float32.items():
            arrays[f"{name}|float32|{node}"] = np.ascontiguousarray(y.transpose(0, 3, 1, 2)) if y.ndim == 4 else y
        models[name] = {**model.network._asdict(), "how": model.how, "original": model.original}
    meta = {
        "format": "refnet tensorflow 1",
        "origin": "TensorFlow, Keras, TF-slim and TensorFlow.js' converter, on a CPU, weights random_params(graph)",
        "script": "tests/data/tensorflow/make_tensorflow.py",
        "versions": versions("tensorflow-cpu", "keras", "tf_keras", "tf_slim", "tensorflowjs", "numpy"),
        "models": models,
    }
    npz.write(HERE / "expected.npz", {**arrays, "meta": np.array(json.dumps(meta))}, compressed=True)
    print(f"expected.npz: {(HERE / 'expected.npz').stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
