"""Real trained weights: torchvision's MobileNetV2 for ImageNet, read without PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from support import DATA

from refnet import load
from refnet.cli import main
from refnet.files import shipped
from refnet.files.images import prepare, read_image
from refnet.judge.measures.spread import spread
from refnet.networks import preprocessing as pre


@pytest.fixture(scope="module")
def net(imagenet):
    return load(imagenet)


def test_the_checkpoint_is_recognised(net):
    recipe = net.graph.recipe
    assert (recipe.model, recipe.width, recipe.classes) == ("torchvision/mobilenet_v2", 1.0, 1000)


def test_a_cat_is_seen_in_the_photograph_that_ships(imagenet, capsys):
    assert main(["run", "--weights", str(imagenet)]) == 0
    assert "285" in capsys.readouterr().out.splitlines()[2]


def test_logits_of_the_photograph_that_ships_are_pytorchs(net):
    """PyTorch's float32 logits lie within refnet's own float32 spread, its float64 ones at rounding of float64."""
    x = prepare(read_image(shipped.path("chelsea.png")), pre.TORCHVISION_V1, (224, 224))
    with np.load(DATA / "imagenet.npz", allow_pickle=False) as saved:
        logits32, logits64 = saved["logits32"], saved["logits64"]
    assert np.abs(net(x) - logits32).max() <= spread(net, x, "head.flatten")
    exact = net.astype(np.float64)(x.astype(np.float64))
    assert np.abs(exact - logits64).max() <= 1e-11 * np.abs(logits64).max()


@pytest.mark.parametrize("photograph", ["cat", "bird", "sunflower"])
def test_stored_inputs_give_stored_logits(net, real, photograph):
    with np.load(real / "mobilenet_v2" / "golden_outputs.npz", allow_pickle=False) as saved:
        x, logits = saved[f"{photograph}/input"], saved[f"{photograph}/logits"]
    assert np.abs(net(x) - logits).max() <= spread(net, x, "head.flatten")


@pytest.mark.parametrize(
    ("photograph", "first"), [("cat", "Egyptian cat"), ("bird", "chickadee"), ("sunflower", "daisy")]
)
def test_photographs_are_what_they_show(imagenet, real, capsys, photograph, first):
    assert main(["run", str(real / "photos" / f"{photograph}.bmp"), "--weights", str(imagenet)]) == 0
    assert first in capsys.readouterr().out.splitlines()[2]


def test_a_photograph_in_a_folder_of_its_class_is_judged(imagenet, tmp_path, capsys):
    (tmp_path / "Egyptian cat").mkdir()
    (tmp_path / "Egyptian cat" / "chelsea.png").symlink_to(shipped.path("chelsea.png"))
    assert main(["evaluate", str(tmp_path), "--weights", str(imagenet)]) == 0
    out = capsys.readouterr().out
    assert "top-1  100.00%  1 of 1" in out
    assert "285    Egyptian cat       1" in out
