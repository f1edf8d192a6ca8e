"""Mutants of .keras files whose configurations lie: models in models in models, called too often, or in themselves."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from fuzz_messages import lie
from fuzz_structures import json_mutant

__all__ = ["keras_mutants"]

CONFIG = "config.json"


def keras_mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Copies whose configuration is changed, by one that knows JSON alone or by one that knows models."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    for index in range(count):
        text = members[CONFIG]
        for _ in range(int(rng.integers(1, 4))):
            text = _changed(text, rng) if index % 2 else json_mutant(text, rng)
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as target:
            for name, body in members.items():
                target.writestr(name, text if name == CONFIG else body)
        yield made.getvalue()


def _changed(data: bytes, rng: np.random.Generator) -> bytes:
    """One model of a configuration put into others, called again, given other layers, shapes or outputs."""
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return data
    models = [entry for entry in _entries(root) if isinstance(entry.get("config", {}).get("layers"), list)]
    layers = [layer for entry in models for layer in entry["config"]["layers"] if isinstance(layer, dict)]
    if not models or not layers:
        return data
    entry, layer = models[int(rng.integers(len(models)))], layers[int(rng.integers(len(layers)))]
    own = entry["config"]["layers"]
    match rng.integers(9):
        case 0:  # a model of one model of one model
            inner = json.loads(json.dumps(entry))
            for level in range(int(rng.choice([1, 5, 20, 33, 80]))):
                inner = {"class_name": "Sequential", "config": {"name": f"m{level}", "layers": [inner]}}
            entry["class_name"], entry["config"] = "Sequential", inner["config"]
        case 1:  # a model in itself
            own.insert(int(rng.integers(len(own) + 1)), json.loads(json.dumps(entry)))
        case 2:  # a layer called again and again
            calls = layer.get("inbound_nodes")
            if isinstance(calls, list):
                layer["inbound_nodes"] = calls * int(rng.choice([0, 2, 50, 3000]))
        case 3:  # models that call models twice, which call models twice
            layer = json.loads(json.dumps(layer))
            for level in range(int(rng.choice([3, 15, 24]))):
                calls = layer.get("inbound_nodes") or [[["x", 0, 0, {}]]]
                layer["inbound_nodes"] = [*calls, *calls][:2] * 2
                layer = _functional(f"f{level}", layer)
            own.append(layer)
        case 4:  # another layer in its place, under its name
            other = json.loads(json.dumps(layers[int(rng.integers(len(layers)))]))
            name = layer.get("name")
            layer.update(other)
            layer["name"] = name
        case 5:
            for key in ("batch_shape", "batch_input_shape", "target_shape", "pool_size", "size", "strides", "padding"):
                if isinstance(layer.get("config"), dict) and (key in layer["config"] or rng.random() < 0.1):
                    layer["config"][key] = [lie(rng) for _ in range(int(rng.integers(1, 6)))]
        case 6:
            text = json.dumps(entry["config"])
            names = [each.get("name") for each in own if isinstance(each, dict)]
            old, new = (str(rng.choice([str(name) for name in names])) for _ in range(2))
            entry["config"] = json.loads(text.replace(f'["{old}", ', f'["{new}", '))
        case 7:
            entry["config"]["output_layers"] = [["x", lie(rng), lie(rng)]] * int(rng.choice([1, 2, 400]))
        case 8:
            rng.shuffle(own)
    try:
        return json.dumps(root).encode()
    except RecursionError:  # deeper than anyone can write it
        return data


def _functional(name: str, layer: dict[str, Any]) -> dict[str, Any]:
    source = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [None, 8, 8, 3]}}
    config = {
        "name": name,
        "layers": [source, layer],
        "input_layers": [["x", 0, 0]],
        "output_layers": [[layer.get("name", "x"), 1, 0]],
    }
    return {"class_name": "Functional", "name": name, "config": config, "inbound_nodes": [[["x", 0, 0, {}]]]}


def _entries(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object that has a configuration, the outermost first."""
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if isinstance(value.get("config"), dict):
                yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
