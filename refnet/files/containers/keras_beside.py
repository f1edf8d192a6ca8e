"""The configuration of a Keras model in a file beside its weights: .weights.h5 files, and others of weights alone.

It is the text that `model.to_json()` gives, the config.json of an unpacked .keras file, or a .keras file itself. One
that cannot be read, or that is of a model with other layers, is as good as none: a folder may hold several models.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from refnet.errors import FormatError
from refnet.files.containers.archive import Archive, opened
from refnet.files.containers.json_text import LARGEST, parse_json
from refnet.files.containers.keras_config import KerasModel, every_layer, keras_model
from refnet.files.containers.keras_weights import group_name, layer_groups

__all__ = ["ModelBeside", "models_beside"]

_ENDS = (".weights.h5", ".h5", ".hdf5")
_BESIDE = ("{stem}.json", "{stem}.keras", "config.json", "model.json")


class ModelBeside(NamedTuple):
    """A model that a file beside some weights describes, and the version of Keras that wrote it, where that is said."""

    model: KerasModel
    version: object

    def has(self, owners: Collection[str], weighted: Collection[str], *, numbered: bool) -> bool:
        """Whether its layers with weights are those that a file has weights of.

        Parameters
        ----------
        owners : the file's names of layers, or of groups of layers where they are numbered
        weighted : names of groups of layers that always have weights
        """
        if numbered:
            groups = layer_groups(self.model)
            needed = {name for name, layer in groups.items() if _is_weighted(layer.kind, weighted)}
            return needed <= set(owners) <= groups.keys()
        layers = {layer.name: layer for layer in self.model.layers}
        inner = {
            name: [layer] if layer.inner is None else [*every_layer(layer.inner)] for name, layer in layers.items()
        }
        needed = {name for name, each in inner.items() if any(_is_weighted(one.kind, weighted) for one in each)}
        return needed <= set(owners) <= layers.keys()


def _is_weighted(kind: str, weighted: Collection[str]) -> bool:
    return group_name(kind) in weighted


def models_beside(path: Path) -> Iterator[ModelBeside]:
    """The models that files beside some weights describe, under the names that such files usually have."""
    end = next((end for end in _ENDS if path.name.endswith(end)), path.suffix)
    stem = path.name.removesuffix(end)
    for name in dict.fromkeys(pattern.format(stem=stem) for pattern in _BESIDE):
        file = path.with_name(name)
        try:
            if file != path and file.is_file():
                config = _config(file)
                version = config.get("keras_version")
                yield ModelBeside(keras_model(config), version)
        except (FormatError, OSError, ValueError):
            continue


def _config(path: Path) -> dict[str, Any]:
    with opened(path) as file:
        if path.suffix != ".keras":
            return parse_json(file.read(LARGEST + 1), "the model's configuration")
        archive = Archive(file)
        metadata = parse_json(archive.read("metadata.json", LARGEST), "metadata.json")
        config = parse_json(archive.read("config.json", LARGEST), "config.json")
        return {**config, "keras_version": metadata.get("keras_version")}
