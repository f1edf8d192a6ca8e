"""A small network with its tensors, and packs of it that were changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from refnet import FormatError, Network, Row, Table, build, random_input, random_params

ORIGIN = {"weights": "random"}
ROWS = (Row(3, 16, 16, True, "relu", 2), Row(3, 72, 24, False, "relu", 2), Row(3, 88, 24, False, "relu", 1))


def network(size=(33, 48), width=0.35, classes=10) -> Network:
    graph = build("torchvision/mobilenet_v3_small", width=width, size=size, classes=classes)
    return Network(graph, random_params(graph))


def shortened(size=(33, 48), width=0.35, classes=10) -> Network:
    """The same with its first three blocks alone, so that a pack has few files."""
    recipe = network(size, width, classes).graph.recipe
    table = Table(stem=16, stem_act="hard_swish", rows=ROWS, last=576, act="hard_swish")
    graph = replace(build(table, width=width, size=size, classes=classes), recipe=recipe)
    return Network(graph, random_params(graph))


NET = shortened()
X = random_input(NET.graph, 2)


def edited(pack, change):
    """Write the manifest again after a change to it."""
    manifest = json.loads((pack / "manifest.json").read_text())
    change(manifest)
    (pack / "manifest.json").write_text(json.dumps(manifest))


def complaint(act) -> str:
    """The one line of a FormatError."""
    with pytest.raises(FormatError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(*keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return change
