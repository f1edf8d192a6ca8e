"""Ports that make their input in another way, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from refnet import Network, Row, Table, build, random_params
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.files.images import prepare
from refnet.files.resample import KERNELS
from refnet.graph import SOURCE
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded
from refnet.report.comparison import cause_sentence

FLOAT32 = Precision.of("float32")
SIZE = (48, 64)
V2, KERAS = "torchvision/mobilenet_v2", "keras/MobileNetV2"
ROWS = (
    Row(3, 16, 16, False, "relu6", 1),
    Row(3, 48, 24, False, "relu6", 2),
    *4 * (Row(3, 72, 24, False, "relu6", 1),),
)


@cache
def network(model, size=SIZE):
    graph = build(model, width=0.35, size=size, classes=10)
    net = Network(graph, random_params(graph))
    return net, graph.recipe.preprocessing


@cache
def shallow(size, rows=ROWS, classes=10):
    """A few blocks with torchvision's preprocessing: what is looked for at the end alone runs all of a network."""
    own = build(V2, size=size).recipe.preprocessing
    graph = build(Table(stem=16, rows=rows, last=64), size=size, classes=classes)
    graph = replace(graph, recipe=replace(graph.recipe, preprocessing=own))
    return Network(graph, random_params(graph)), own


@cache
def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, 3, *SIZE)).astype(np.float32)


def column(*numbers):
    return np.array(numbers, np.float32).reshape(-1, 1, 1)


def said(model, made, ends=("stem.conv",), store="float32"):
    """What is said of a port that makes its input in another way and dumps some tensors."""
    net, own = network(model)
    x = own.apply(pixels())
    fed = np.ascontiguousarray(made(pixels(), x, own), dtype=np.float32)
    tensors = {SOURCE: fed, **net.trace(fed)}
    if store != "float32":
        tensors = {name: rounded(y, store) for name, y in tensors.items()}
    exact = net.astype(np.float64).trace(x.astype(np.float64))
    reference = Reference.of(net.graph, net.params, {SOURCE: x, **exact})
    found = judge_tensors(
        reference, {name: tensors[name] for name in ends}, precision=Precision.of(store), partial=True
    )
    assert found.wrong()[:1] == [ends[0]]
    return [cause_sentence(cause) for cause in found.causes[ends[0]]]


@cache
def picture():
    """Smooth, in colour, and no square."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (30, 42, 3)).astype(np.uint8)
    return KERNELS["float-bicubic"].resize(coarse, (150, 210)).clip(0, 255).astype(np.uint8)


def resized(change, kernel=None, image=None, size=(64, 64)):
    """What is said of a port that makes its input of a picture in another way."""
    net, own = network(V2, size)
    x = prepare(picture(), own, size)
    fed = prepare(picture(), change(own), size, kernel)
    segment = cut(Parts(net.graph), net.params, "stem.conv", {SOURCE: x, **net.trace(fed)})
    causes = diagnose(replace(segment, image=picture() if image is None else image), FLOAT32)
    return [cause_sentence(cause) for cause in causes]
