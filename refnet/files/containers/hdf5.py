"""HDF5 files that Keras writes: .weights.h5, .keras, and the .h5 of Keras 3 and of TF-Keras 2; or of arrays by names.

Four layouts, one set of names: '<layer>/<variable>', with the layer's own name, behind those of the models that it is
in, and Keras 3's names of variables. A .keras file is a zip archive of config.json and of an HDF5 file. Where the file
has the model's configuration, that is its structure (`keras_config`); it is read as JSON, and no layer is made of it.
Optimizers and random seeds are left out.

On one damaged file in two hundred libhdf5 never comes to an end, so it runs in a process of its own (`hdf5_process`)
with a limit on memory and on processor time. That process costs a tenth of a second.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy.typing as npt

from refnet import child
from refnet.errors import FormatError, RequestError
from refnet.files.containers import safetensors
from refnet.files.containers.archive import Archive, is_zip, opened, shown
from refnet.files.containers.atomic import atomic_file
from refnet.files.containers.hdf5_process import BETWEEN
from refnet.files.containers.json_text import LARGEST, parse_json
from refnet.files.containers.keras_beside import models_beside
from refnet.files.containers.keras_config import KerasLayer, KerasModel, every_layer, keras_model, structure
from refnet.files.containers.keras_weights import layer_groups, own_name, owners
from refnet.files.containers.structure import Contents

__all__ = ["LayerWeights", "read", "write"]

Array = npt.NDArray[Any]

_PATIENCE = 120  # seconds: far beyond the child's own limit on processor time, for a machine that does other things
_ENDLESS = "damaged: HDF5's library does not come to an end with it"
_INSTALL = "reading HDF5 needs h5py: pip install 'refnet[tools]'"
# Variables in the order in which Keras 3 numbers them, by the class that a layer's group is named for.
_VARIABLES = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "dense"), ("kernel", "bias")),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "p_re_lu": ("alpha",),
    "normalization": ("mean", "variance", "count"),
}
_WEIGHTED = ("batch_normalization", "conv2d", "depthwise_conv2d", "dense", "separable_conv2d", "p_re_lu")


class LayerWeights(NamedTuple):
    """A layer as .weights.h5 has it: the name of its group, 'conv2d_3'; its own name; its variables in order."""

    group: str
    name: str
    variables: tuple[Array, ...]


def read(path: str | os.PathLike[str]) -> Contents:
    """Read the weights of a Keras model and, where the file has its configuration, its structure.

    Parameters
    ----------
    path : of an HDF5 or a .keras file

    Returns
    -------
    contents : arrays by '<layer>/<variable>' (conv/kernel, conv_bn/moving_mean); where a .weights.h5 file does not tell
        the names of its layers, by its own paths (layers/conv2d_3/vars/0), as all arrays of a file that is none of
        Keras'. bfloat16 becomes float32. What a
        configuration beside weights alone says of them is apart, see `keras_beside`.

    Raises
    ------
    FormatError
        if the file holds no weights, is damaged, or refers to other files: one line that names it.
    RequestError
        if h5py is not installed.
    """
    with opened(path) as file:
        if is_zip(file):
            return _read_keras(Archive(file))
        file.seek(0)
        arrays, facts = _datasets(file.read())
        if "model_config" not in facts:
            return _described_beside(Path(path), arrays, facts)
        config = parse_json(facts["model_config"].encode(), "the model's configuration")
        return _contents("hdf5", config, facts.get("keras_version"), arrays, facts)


def _described_beside(path: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> Contents:
    """Weights alone, and with the structure that a file beside them tells, if there is one of their model."""
    alone = Contents("hdf5", _named(arrays, facts, None))
    owners = {key.partition(BETWEEN)[0].replace("_layer_checkpoint_dependencies", "layers") for key in arrays}
    for found in models_beside(path):
        if found.has(owners, _WEIGHTED, numbered=facts["numbered"]):
            told = structure(found.model, _producer(found.version))
            return alone._replace(described=Contents("hdf5", _named(arrays, facts, found.model), told))
    return alone


def _read_keras(archive: Archive) -> Contents:
    config, metadata = (parse_json(archive.read(name, LARGEST), name) for name in ("config.json", "metadata.json"))
    arrays, facts = _datasets(archive.read("model.weights.h5"))
    return _contents("keras", config, metadata.get("keras_version"), arrays, facts)


def _contents(
    kind: str, config: Mapping[str, Any], version: object, arrays: Mapping[str, Array], facts: Mapping[str, Any]
) -> Contents:
    model = keras_model(config)
    return Contents(kind, _named(arrays, facts, model), structure(model, _producer(version)))


def _producer(version: object) -> str:
    return f"keras {version}" if isinstance(version, str) and len(version) < 40 and version.isprintable() else "keras"


def _datasets(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """What `hdf5_process` finds in the bytes of an HDF5 file: arrays by owner and name, and facts about them."""
    command = "from refnet.files.containers import hdf5_process; hdf5_process.work()"
    reader = subprocess.Popen(
        child.python("-c", command),
        # No plugins, and no threads that would count against the limit on memory.
        env=child.environment(HDF5_PLUGIN_PRELOAD="::", **child.ONE_THREAD),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        made, said = reader.communicate(data, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise FormatError(_ENDLESS) from None
    finally:
        reader.kill()
        reader.wait()
    if reader.returncode:
        raise _failure(reader.returncode, said.decode("utf-8", "replace").strip())
    return _collected(BytesIO(made))


def _failure(status: int, said: str) -> FormatError | RequestError:
    if status == 3:
        return FormatError(said)
    if status == 4:
        return RequestError(_INSTALL)
    if status == 5:
        return RequestError(f"h5py cannot be imported ({said.splitlines()[-1][:200]}): pip install --upgrade h5py")
    if hasattr(signal, "SIGPROF") and status == -signal.SIGPROF:
        return FormatError(_ENDLESS)
    how = signal.Signals(-status).name if status < 0 else (said.splitlines() or ["nothing said"])[-1][:200]
    return FormatError(f"damaged, so that HDF5's library fails ({how}): fetch or save the file again")


def _collected(made: BinaryIO) -> tuple[dict[str, Array], dict[str, Any]]:
    try:
        arrays, metadata = safetensors.read_stream(made)
        facts: dict[str, Any] = json.loads(metadata["facts"])
    except (KeyError, ValueError):  # the child was led astray by what it read
        raise FormatError("damaged, so that HDF5's library fails: fetch or save the file again") from None
    return arrays, facts


def _named(arrays: Mapping[str, Array], facts: Mapping[str, Any], model: KerasModel | None) -> dict[str, Array]:
    """The arrays by layer and variable."""
    if facts["plain"]:
        return {key.removeprefix(BETWEEN).replace(BETWEEN, "/"): array for key, array in arrays.items()}
    owned: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        owner, _, name = key.partition(BETWEEN)
        owned.setdefault(owner, {})[name] = array
    if facts["numbered"]:
        groups = {} if model is None else layer_groups(model)
        pairs = [pair for owner, own in owned.items() for pair in _numbered(owner, own, groups, facts["names"])]
    else:
        models = {} if model is None else {layer.name: layer.inner for layer in model.layers}
        pairs = [pair for owner, own in owned.items() for pair in _by_name(owner, own, models.get(owner))]
    found: dict[str, Array] = {}
    for key, array in pairs:
        if key in found:
            raise FormatError(f"holds {shown(key)} twice: refused, one would hide the other")
        found[key] = array
    return found


def _by_name(layer: str, own: Mapping[str, Array], inner: KerasModel | None) -> list[tuple[str, Array]]:
    """Of a layer whose variables have names, 'conv/kernel:0', or of a model in the place of one, with all its own."""
    if inner is not None:
        paths = owners(own, every_layer(inner))
        return [(f"{paths.get(name, layer)}/{own_name(name)[1]}", own[name]) for name in own]
    short = {name: own_name(name)[1] for name in own}
    if len(set(short.values())) < len(short):  # what a model is nobody has said
        short = {name: "/".join(own_name(name)) for name in own}
    return [(f"{layer}/{short[name]}", array) for name, array in own.items()]


def _numbered(
    owner: str, own: Mapping[str, Array], groups: Mapping[str, KerasLayer], names: Mapping[str, str]
) -> list[tuple[str, Array]]:
    """Of a layer whose variables are numbered: '0', '1'."""
    layer = groups.get(owner.replace("_layer_checkpoint_dependencies", "layers"))  # TF-Keras 2 -> Keras 3
    path = _path_of(owner, names) or (None if layer is None else layer.path)
    if path is None:
        return [(f"{owner}/vars/{number}", array) for number, array in own.items()]
    kind = re.sub(r"_\d+$", "", owner.split("/")[-1])
    variables = _VARIABLES.get(kind, ())
    if kind == "batch_normalization" and len(own) < len(variables):  # without a scale or a centre
        config = {} if layer is None else layer.config
        absent = {"gamma": "scale", "beta": "center"}
        variables = tuple(name for name in variables if name not in absent or config.get(absent[name]) is True)
    if kind == "batch_normalization" and len(own) != len(variables):
        variables = ()
    return [
        (f"{path}/{variables[int(number)]}" if int(number) < len(variables) else f"{path}/vars/{number}", array)
        for number, array in own.items()
    ]


def _path_of(owner: str, names: Mapping[str, str]) -> str:
    """The path of a layer where the file has its name, and those of the models that it is in."""
    if owner not in names:
        return ""
    parts = owner.split("/")
    groups = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
    return "/".join(names[group] for group in groups if group in names)


def write(path: str | os.PathLike[str], layers: Iterable[LayerWeights]) -> None:
    """Write a .weights.h5 file as Keras 3 does, whole or not at all.

    Raises
    ------
    RequestError
        if h5py is not installed, or the file cannot be written.
    """
    try:
        import h5py
    except ImportError:
        raise RequestError(_INSTALL.replace("reading", "writing")) from None
    with atomic_file(path) as file, h5py.File(file, "w") as written:
        written.create_group("vars")
        for layer in layers:
            group = written.create_group(f"layers/{layer.group}/vars")
            group.attrs["name"] = layer.name
            for number, array in enumerate(layer.variables):
                group.create_dataset(str(number), data=array)
