"""Ports that fold batch norm and dump what they have under both names hold; a dump that is late at some does not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.graph import SOURCE
from refnet.judge.compare import compare
from refnet.pack.matching.twins import unbiased
from refnet.report.comparison import comparison_document


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build("torchvision/mobilenet_v2", width=0.25, size=32, classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    path = tmp_path_factory.mktemp("twins") / "pack"
    write_pack(net, x, path)
    return net, x, path


def fused(net, x):
    """What hooks on a fused module dump: the same numbers for the convolution and for what was fused into it."""
    tensors = {SOURCE: x, **net.fold().trace(x)}
    for unit in net.graph.units():
        if unit.norm is not None:
            act = unit.act is not None and unit.act.op == "relu6"
            tensors[unit.conv.name] = tensors[unit.norm.name] = tensors[(unit.act if act else unit.conv).name]
    return {node: tensors[node] for node in (SOURCE, *net.graph.by_name)}


def test_a_folded_port_that_dumps_under_both_names_holds(made):
    net, x, path = made
    found = compare(path, fused(net, x))
    assert found.holds
    assert len([name for name in found.matching.twins if name.endswith(".bn")]) == 35
    (note,) = comparison_document(found, pack="", candidate="", precision="")["notes"]
    assert note.startswith("Everywhere, at 87 places, stem.conv first, the tensor is already normalised or activated")


def test_a_wrong_layer_of_such_a_port_is_named(made):
    net, x, path = made
    params = {**net.params, "block4.depthwise.w": net.params["block4.depthwise.w"][:, ::-1, ::-1].copy()}
    found = compare(path, fused(Network(net.graph, params), x))
    assert found.wrong() == ["block4.depthwise.act"]
    assert "kernel-flip" in found.causes["block4.depthwise.act"][0].ids


def test_a_dump_that_is_late_at_some_convolutions_is_a_fault(made):
    net, x, path = made
    tensors = {SOURCE: x, **net.trace(x)}
    late = ["block4.expand", "block5.expand", "block6.expand"]
    found = compare(path, {**tensors, **{name: tensors[f"{name}.bn"] for name in late}})
    assert found.wrong() == late
    assert not found.matching.twins


class Dumped(NamedTuple):
    array: np.ndarray
    layout: str = "nchw"
    how: str = "content"


@pytest.mark.parametrize(("flat", "is_sum"), [(False, True), (True, False)])
def test_a_sum_before_its_bias_is_told_by_maps_that_vary_within_channels(flat, is_sum):
    """Maps of one number in each channel are another one's but for a number in each channel, whatever they are."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=32, classes=10)
    shape = (1, 8, 4, 5)
    y = np.random.default_rng(0).standard_normal(shape[: 2 if flat else 4]).astype(np.float32)
    y = np.broadcast_to(y[:, :, None, None] if flat else y, shape)
    bias = np.arange(8, dtype=np.float32)[:, None, None]
    tensors = {"stem.conv": Dumped(y), "stem.bn": Dumped(y + bias)}
    assert unbiased(graph, tensors, {"stem.conv"}) == (("stem.conv",) if is_sum else ())
