"""Another input: a library's whole pipeline is said, and its kernel, where the end alone is dumped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from feeding import V2, network, picture, resized, shallow

from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.files.images import prepare
from refnet.files.resample import KERNELS
from refnet.graph import SOURCE
from refnet.judge.tensors import Reference, judge_tensors
from refnet.report.comparison import cause_sentence

SMALL = (24, 24)
PIPELINES = {
    "opencv-bilinear": (
        lambda p: p[:, ::-1] / 255,
        "the picture is resized by OpenCV's bilinear kernel, which is not antialiased, the colours are in the order "
        "blue, green, red, and the pixels are in [0, 1]",
    ),
    "opencv-area": (
        lambda p: p / 127.5 - 1,
        "the picture is resized by OpenCV's INTER_AREA, and the pixels are in [-1, 1]",
    ),
}


@pytest.mark.parametrize("kernel", PIPELINES)
def test_another_librarys_whole_pipeline_is_said_from_the_end_alone(kernel):
    rule, words = PIPELINES[kernel]
    net, own = shallow((32, 32))
    x = prepare(picture(), own, (32, 32))
    bytes_ = prepare(
        picture(), replace(own, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3), (32, 32), KERNELS[kernel].resize
    )
    end = net.trace(np.asarray(rule(bytes_), np.float32))["head.flatten"]
    reference = replace(Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)}), image=picture())
    found = judge_tensors(reference, {"head.flatten": end}, partial=True)
    assert [cause_sentence(cause) for cause in found.causes["head.flatten"]][:1] == [words]


def test_a_kernel_that_rounds_a_few_pixels_otherwise_is_said_from_the_end_alone():
    net, own = shallow((64, 64))
    x = prepare(picture(), own, (64, 64))

    def area(pixels, shape):
        made = KERNELS["opencv-area"].resize(pixels, shape)
        made[::9, ::7] += 1
        return made

    end = net.trace(prepare(picture(), own, (64, 64), area))["head.flatten"]
    reference = replace(Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)}), image=picture())
    found = judge_tensors(reference, {"head.flatten": end}, partial=True)
    assert [cause_sentence(cause) for cause in found.causes["head.flatten"]] == [
        "the picture is resized by OpenCV's INTER_AREA"
    ]


@pytest.mark.parametrize("name", [name for name in KERNELS if name != network(V2)[1].interpolation])
def test_the_kernel_of_another_library_is_said(name):
    found = resized(lambda own: own, KERNELS[name].resize)
    assert found
    assert found[0].startswith("the picture is resized by")
    assert len(found) <= 2  # OpenCV's is the same kernel, rounded


def test_a_kernel_of_floats_may_round_where_it_reads():
    """Places in float32, as PyTorch and TensorFlow compute them, from the end alone."""
    net, own = shallow((64, 64))
    x = prepare(picture(), own, (64, 64))

    def places(pixels, shape):
        made = pixels.astype(np.float32)
        for axis in (1, 0):
            n, p = made.shape[axis], shape[axis]
            at = np.maximum((np.arange(p, dtype=np.float32) + 0.5) * np.float32(n / p) - np.float32(0.5), 0)
            first = at.astype(int)
            share = (at - first).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
            made = made.take(first, axis) * (1 - share) + made.take(np.minimum(first + 1, n - 1), axis) * share
        return made

    end = net.trace(prepare(picture(), own, (64, 64), places))["head.flatten"]
    reference = replace(Reference.of(net.graph, net.params, {SOURCE: x, **net.trace(x)}), image=picture())
    found = judge_tensors(reference, {"head.flatten": end}, partial=True)
    assert next(cause_sentence(cause) for cause in found.causes["head.flatten"]).startswith(
        "the picture is resized by a bilinear kernel without antialiasing"
    )


def test_without_the_picture_nothing_is_resized():
    net, own = network(V2, SMALL)
    x = prepare(picture(), own, SMALL)
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(x)})
    assert segment.image is None
    assert resized(lambda own: replace(own, resize=None), image=np.zeros_like(picture()), size=SMALL) == []
