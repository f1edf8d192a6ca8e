"""Golden packs: they are written whole or not at all, and what cannot be one is refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from packs import NET, ORIGIN, X, edited, without
from strategies import own_graphs

from refnet import Network, RequestError
from refnet.networks.preprocessing import TORCHVISION_V1
from refnet.pack import formats as pack_formats
from refnet.pack.pack import FORMATS, read_pack, write_pack


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, form, error):
    chunks = pack_formats._chunks

    def interrupted(name, array, dtype):
        if name == "block3.add":
            raise error
        return chunks(name, array, dtype)

    monkeypatch.setattr(pack_formats, "_chunks", interrupted)
    with pytest.raises(error):
        write_pack(NET, X, tmp_path / "pack", format=form, origin=ORIGIN)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["pack", "file", "empty folder", "dangling link"])
def test_nothing_is_overwritten(tmp_path, pack, kind):
    path = tmp_path / "there"
    match kind:
        case "pack":
            path = pack
        case "file":
            path.write_text("mine")
        case "empty folder":
            path.mkdir()
        case "dangling link":
            path.symlink_to("nowhere")
    with pytest.raises(RequestError, match="exists already; remove it or choose another"):
        write_pack(NET, X, path, origin=ORIGIN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "float16"}, "dtype 'float16': take one of float32, float64"),
        ({"layout": "chw"}, "layout 'chw'"),
        ({"format": "pickle"}, "format 'pickle'"),
        ({"only": "blok*"}, "no tensor matches 'blok*'"),
        ({"extra": {"graph": 1}}, "'graph' is an entry of every manifest"),
        ({"x": np.full_like(X, np.nan)}, "NaN"),
        ({"x": np.full(X.shape, 1e300)}, "NaN or infinity"),
        ({"x": X.astype(np.uint8)}, "uint8"),
        ({"x": X[:, :, 1:]}, "images of"),
        ({"x": X.transpose(0, 2, 3, 1)}, "channels last"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_bad_request_is_refused_and_leaves_nothing(tmp_path, change, words):
    with pytest.raises(RequestError) as caught:
        write_pack(**{"net": NET, "x": X, "path": tmp_path / "pack", "origin": ORIGIN, **change})
    assert words in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_value_beyond_float32_is_no_golden_tensor(tmp_path):
    params = {**NET.params, "stem.bn.gamma": np.full_like(NET.params["stem.bn.gamma"], 3e38)}
    with pytest.raises(RequestError, match=r"stem\.bn: holds NaN or infinity in float32"):
        write_pack(Network(NET.graph, params), X, tmp_path / "pack", origin=ORIGIN)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RequestError, match="no folder"):
        write_pack(NET, X, tmp_path / "no" / "pack", origin=ORIGIN)


@settings(max_examples=20)
@given(own_graphs())
def test_a_network_of_ones_own_comes_back_with_its_names_and_outputs(tmp_path_factory, made):
    graph, params = made
    net, path = Network(graph, params), tmp_path_factory.mktemp("own") / "pack"
    x = np.random.default_rng(0).uniform(-1, 1, (1, *graph.input_shape))
    write_pack(net, x, path, origin=ORIGIN, dtype="float64")
    pack = read_pack(path)
    assert pack.graph == graph
    assert pack.graph.outputs == graph.outputs
    for name, y in net.trace(x).items():
        assert np.array_equal(pack.tensor(name), y)


def test_the_recipe_comes_back_as_it_was(pack):
    assert read_pack(pack).graph.recipe == NET.graph.recipe
    assert read_pack(pack).graph.recipe.preprocessing == TORCHVISION_V1


def test_an_older_pack_has_one_output_and_says_nothing_of_images(pack):
    for change in (without("returns"), without("recipe", "preprocessing"), without("recipe", "labels")):
        edited(pack, change)
    graph = read_pack(pack).graph
    assert graph.outputs == ("head.flatten",)
    assert (graph.recipe.preprocessing, graph.recipe.labels) == (None, "")
