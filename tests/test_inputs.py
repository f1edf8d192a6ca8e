"""Whatever a network is given becomes its input in one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from refnet.errors import RefnetError, RequestError
from refnet.files.images import prepare
from refnet.inputs import at_size_of, input_of, read_input
from refnet.network import load

NET = load()
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)


def test_a_file_and_its_pixels_are_prepared_as_the_vendor_does(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    recipe = NET.graph.recipe
    wanted = prepare(PIXELS, recipe.preprocessing, recipe.size)
    net, x = read_input(NET.astype(np.float64), tmp_path / "a.png")
    assert x.dtype == net.dtype == np.float64
    assert (x == wanted).all()
    assert (input_of(NET, PIXELS) == wanted).all()


def test_an_array_is_taken_as_it_is_and_the_network_at_its_size(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 3, 48, 40))
    np.save(tmp_path / "x.npy", x.astype(">f8"))
    net, found = read_input(NET, str(tmp_path / "x.npy"))
    assert net.graph.input_shape == x.shape[1:]
    assert (found == x).all()
    assert found.dtype == np.dtype("=f8")


def test_a_size_that_was_asked_for_is_kept(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 48, 40), np.float32))
    assert read_input(NET, tmp_path / "x.npy", (32, 32))[0] is NET


@pytest.mark.parametrize("shape", [(1, 3, 48, 40), (1, 48, 40, 3), (3, 48, 40), (48, 40, 3)])
def test_an_array_in_the_wrong_layout_has_a_size_too(shape):
    assert at_size_of(NET, np.zeros(shape)).graph.recipe.size == (48, 40)


@pytest.mark.parametrize("shape", [(48, 40), (1, 4, 48, 40), (1, 1, 3, 48, 40)])
def test_no_size_is_read_from_what_is_no_image(shape):
    assert at_size_of(NET, np.zeros(shape)) is NET


def test_integers_are_no_input_that_is_ready(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    with pytest.raises(RequestError, match="holds uint8; take float32 or float64"):
        read_input(NET, tmp_path / "x.npy")


def test_a_network_that_nobody_has_said_the_preprocessing_of_takes_no_image():
    recipe = replace(NET.graph.recipe, preprocessing=None)
    net = replace(NET, graph=replace(NET.graph, recipe=recipe))
    with pytest.raises(RefnetError, match="nobody has said how images are prepared"):
        input_of(net, PIXELS)
