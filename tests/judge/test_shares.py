"""Shares of an error that the right way leaves: the tables on which figures of `judge.causes.ways` were tuned.

A row is a mistake in some images of a segment of a runtime that fuses; or a picture that another library resized.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, limit, run
from refnet.bugs.sites import VISIBLE, styles
from refnet.bugs.systematic import changes_by_place
from refnet.files.images import prepare
from refnet.files.resample import KERNELS
from refnet.graph import SOURCE
from refnet.judge.causes import ways
from refnet.judge.measures import yardstick
from refnet.judge.scorecard import FAMILIES, FLOAT32, subject
from refnet.judge.verdicts import root_mean_square as rms
from refnet.readings.orders import ORDERS


def left_of_some_images(family):
    """By mistake in the second of two images that shows, what the right way leaves where it leaves most."""
    one, rng = subject(FAMILIES[family]), np.random.default_rng(0)
    ends, parts = styles(one.graph)["fused"], Parts(one.graph)
    have = {name: one.tensors[name] for name in (SOURCE, *ends)}
    for index in rng.permutation(len(ends))[:12]:
        segment = cut(parts, one.net.params, ends[index], have, judged=False)
        bound, honest = limit(segment, FLOAT32), run(segment, np.float32, ORDERS["lanes"])
        for bug in ways.EXACT:
            changes = next(iter(changes_by_place(bug, segment).values()), {})
            change = next(iter(changes.values()), None)
            if change is None or change.shape is not None or honest.ndim != 4:
                continue
            changed = segment.changed(change)
            with np.errstate(all="ignore"):
                way, port = run(changed), run(changed, np.float32, ORDERS["lanes"]).astype(np.float64)
            if way.shape != bound.shape or not np.isfinite(way).all():
                continue
            port[0] = honest[0]
            error = port - bound.y
            if rms(error) > 20 * VISIBLE * bound.rms:
                yield np.minimum(np.abs(error), np.abs(port - way)).max() / rms(error)


def test_a_mistake_in_some_images_leaves_little_of_the_error_at_any_element():
    left = np.array([each for family in ("V3 Small", "V2") for each in left_of_some_images(family)])
    assert len(left) > 200
    assert (left < ways._NEARLY).mean() >= 0.95 > (left < ways._NEARLY / 10).mean()


def left_of_kernels(width):
    """What the right kernel leaves of the logits' error of a port that rounds some pixels otherwise; and wrong ones.

    Of those that libraries compute in fixed point, since the others leave next to nothing.
    """
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (30, 42, 3)).astype(np.uint8)
    image = KERNELS["float-bicubic"].resize(coarse, (150, 210)).clip(0, 255).astype(np.uint8)
    graph = build("torchvision/mobilenet_v2", width=width, size=(64, 64), classes=10)
    net = Network(graph, random_params(graph))
    x = prepare(image, graph.recipe.preprocessing, (64, 64)).astype(np.float32)
    segment = replace(cut(Parts(graph), net.params, graph.output, {SOURCE: x}, judged=False), image=image)
    fixed = {name for name, kernel in KERNELS.items() if kernel.levels}
    changes = BUGS["input-resample"].changes(segment)
    found = [segment.changed(each) for each in changes if each.facts["kernel"] in fixed]
    honest, made = run(segment, np.float32), [run(changed, np.float32) for changed in found]
    for own, changed in enumerate(found):
        x, rng = np.asarray(changed.given[SOURCE], np.float64), np.random.default_rng(7)
        signs = rng.choice((-1, 1), x.shape) * (rng.random(x.shape) < 1 / 64)
        port = run(replace(changed, given={SOURCE: x + changed.slack[SOURCE] * signs}), np.float32)
        yield from ((rms(port - y) / rms(port - honest), other == own) for other, y in enumerate(made))


def test_a_kernel_that_rounds_some_pixels_otherwise_leaves_less_of_the_error_than_any_other_kernel():
    rows = [row for width in (0.25, 0.35, 0.5) for row in left_of_kernels(width)]
    right, wrong = ([left for left, own in rows if own is which] for which in (True, False))
    assert len(right) > 50
    assert ways.VAGUE - 0.1 < max(right) < ways.VAGUE < min(wrong) < ways.VAGUE + 0.1


@pytest.mark.parametrize("model", ["torchvision/mobilenet_v2", "keras/MobileNet", "timm/tf_mobilenetv3_small_100"])
def test_only_where_a_library_rounds_pixels_a_port_has_other_ones_than_sums_explain(model):
    coarse = np.random.default_rng(1).integers(0, 256, (30, 42, 3)).astype(np.uint8)
    graph = build(model, size=(64, 64), classes=10)
    x = prepare(coarse, graph.recipe.preprocessing, (64, 64)).astype(np.float32)
    whole = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: x}, judged=False)
    whole = replace(whole, image=coarse)
    for change in BUGS["input-resample"].changes(whole):
        kernel = KERNELS.get(change.facts["kernel"])  # refnet's own has no room
        assert yardstick.is_coarse(whole.changed(change)) == bool(kernel and kernel.room(coarse.shape[:2]))
    for bug in BUGS.values():
        for change in bug.changes(whole) if bug.group in ("preprocessing", "raster", "pitch") else ():
            rounds = (bug.id, change.form) == ("input-grey", "bytes")
            assert yardstick.is_coarse(whole.changed(change)) == rounds
