"""Images with masks: what is read, what is counted, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from refnet import Network, RequestError, build, evaluate_masks, load, random_params, write_weights
from refnet.cli import main
from refnet.evaluation.masks import MaskScores, MaskSet, gives_masks, read_masks

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def net():
    graph = build("torchvision/lraspp_mobilenet_v3_large", width=0.1, size=(32, 32), classes=3)
    return Network(graph, random_params(graph))


@pytest.fixture
def pixels():
    return np.random.Generator(np.random.PCG64(5)).integers(0, 256, (40, 52, 3), np.uint8)


def folder(root, pixels, labels, names=("images", "masks")):
    for name in names:
        (root / name).mkdir(parents=True)
    Image.fromarray(pixels).save(root / names[0] / "one.png")
    Image.fromarray(labels).save(root / names[1] / "one.png")
    return root


def own_mask(net, pixels):
    """What the network says of an image, at the image's own size."""
    at = net.at(pixels.shape[:2])
    x = at.graph.recipe.preprocessing.apply(pixels.transpose(2, 0, 1)[np.newaxis].astype(np.float32))
    return at(x)[0].argmax(axis=0).astype(np.uint8)


def test_overlap_is_intersection_over_union_of_each_class():
    scores = MaskScores(4)
    scores.add(np.array([[0, 1, 1], [2, 2, 1]]), np.array([[0, 1, 2], [2, 255, 1]]))
    assert [(row.label, row.overlap) for row in scores.by_class()] == [(0, 1.0), (1, 2 / 3), (2, 1 / 2)]
    assert (scores.mean_overlap, scores.pixels, scores.right) == (pytest.approx((1 + 2 / 3 + 1 / 2) / 3), 5, 4)


def test_a_class_that_is_only_said_counts_as_nothing_in_common():
    scores = MaskScores(3)
    scores.add(np.array([[0, 2]]), np.array([[0, 0]]))
    assert scores.mean_overlap == 0.25


def test_its_own_masks_are_all_right(net, pixels, tmp_path):
    net = net.at((40, 40))
    found = evaluate_masks(net, folder(tmp_path / "set", pixels, own_mask(net, pixels)))
    assert found.failures == {}
    assert (found.scores.pixels, found.scores.right) == (40 * 52, 40 * 52)


def test_a_larger_image_is_run_whole_with_its_shorter_side_as_the_network_has_it(net, pixels, tmp_path):
    labels = np.zeros((80, 104), np.uint8)
    found = evaluate_masks(net, folder(tmp_path / "set", pixels.repeat(2, 0).repeat(2, 1), labels))
    assert found.scores.pixels == 32 * 41


def test_pixels_without_a_class_are_not_counted(net):
    x = np.random.Generator(np.random.PCG64(6)).uniform(-2, 2, (2, 3, 24, 40)).astype(np.float32)
    y = net.at((24, 40))(x).argmax(axis=1)
    y[0, 0] = 255
    scores = evaluate_masks(net, MaskSet("", ["one", "two"], x, y)).scores
    assert (scores.pixels, scores.right) == (2 * 24 * 40 - 40, 2 * 24 * 40 - 40)


def test_an_archive_gives_the_same_as_its_arrays(net, tmp_path, capsys):
    x = np.random.Generator(np.random.PCG64(6)).uniform(-2, 2, (2, 3, 24, 40)).astype(np.float32)
    np.savez(tmp_path / "set.npz", x=x, y=net.at((24, 40))(x).argmax(axis=1))
    write_weights(net.graph, net.params, tmp_path / "net.npz")
    assert main(["evaluate", str(tmp_path / "set.npz"), "--weights", str(tmp_path / "net.npz"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["mean_iou"], said["pixels"], said["right"]) == (1.0, 1920, 1920)
    assert main(["evaluate", str(tmp_path / "set.npz"), "--weights", str(tmp_path / "net.npz")]) == 0
    assert "mean IoU        100.00%" in capsys.readouterr().out


def test_a_palette_is_read_as_numbers_and_the_list_of_voc_chooses(net, pixels, tmp_path):
    root = folder(tmp_path / "voc", pixels, own_mask(net, pixels), ("JPEGImages", "SegmentationClass"))
    labels = Image.fromarray(np.full((40, 52), 2, np.uint8)).convert("P")
    labels.putpalette([0, 0, 0, 9, 9, 9, 200, 10, 10])
    labels.save(root / "SegmentationClass" / "two.png")
    Image.fromarray(pixels).save(root / "JPEGImages" / "two.jpg")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("two\n")
    found = evaluate_masks(net, root)
    assert found.scores.confusion.sum(axis=1).tolist() == [0, 0, 32 * 41]


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (np.full((40, 52), 7, np.uint8), "the mask holds 7, and the classes are 0 to 2"),
        (np.zeros((40, 51), np.uint8), r"the mask is of (40, 51), the image of (40, 52)"),
        (np.zeros((40, 52, 3), np.uint8), "a mask holds a class of 8 bits for each pixel, not RGB"),
    ],
)
def test_a_mask_that_does_not_fit_fails_its_image_and_not_the_run(net, pixels, labels, why, tmp_path):
    found = evaluate_masks(net, folder(tmp_path / "set", pixels, labels))
    assert list(found.failures) == ["one"]
    assert why in found.failures["one"]
    assert np.isnan(found.scores.mean_overlap)


def test_an_image_without_a_mask_is_named(pixels, tmp_path):
    root = folder(tmp_path / "set", pixels, np.zeros((40, 52), np.uint8))
    (root / "images" / "one.png").rename(root / "images" / "other.png")
    with pytest.raises(RequestError, match="no image is called one"):
        read_masks(root)


def test_another_layout_is_refused_with_the_ones_there_are(tmp_path):
    with pytest.raises(RequestError, match="folders images and masks or JPEGImages and SegmentationClass"):
        read_masks(tmp_path)


def test_a_classifier_gives_no_masks(tmp_path):
    assert not gives_masks(load().graph)
    with pytest.raises(RequestError, match="gives no class for each pixel"):
        evaluate_masks(load(), tmp_path)


def test_what_is_for_classifiers_alone_is_refused(net, tmp_path, capsys):
    write_weights(net.graph, net.params, tmp_path / "net.npz")
    assert main(["evaluate", str(tmp_path), "--weights", str(tmp_path / "net.npz"), "--out", "a.npz"]) == 2
    assert "--out is not for a network that gives each pixel a class" in capsys.readouterr().err
