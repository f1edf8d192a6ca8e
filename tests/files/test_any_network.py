"""Networks that no vendor built, as files: read under their own names, written, read again, verified, folded, run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from strategies import own_graphs

from refnet import Network, load
from refnet.files.checkpoint import identify
from refnet.files.write import write_weights

pytest.importorskip("onnx")


def images(graph, count=2):
    return np.random.default_rng(0).standard_normal((count, *graph.input_shape))


def outputs(net, x):
    """Every output, in order; one for networks of one."""
    found = net(x)
    return list(found.values()) if isinstance(found, dict) else [found]


def written_otherwise(node):
    """What the importer writes its own way: vectors, numbers joined, filters of one group, channel or point; resizes.

    Forms of a resize that differ at large sizes are one at small ones, such as from one point to one.
    """
    one = node.op.endswith("conv2d") and (node.params["w"][0] == 1 or node.params["w"][-2:] == (1, 1))
    own = ("flatten", "affine", "batch_norm", "grouped_conv2d", "concat", "clip")
    return one or node.op in own or node.op.startswith("resize_")


@settings(max_examples=15, deadline=None)
@given(own_graphs())
def test_any_graph_is_the_same_again_in_npz_and_safetensors(tmp_path_factory, made):
    graph, params = made
    folder = tmp_path_factory.mktemp("own")
    for suffix in (".npz", ".safetensors"):
        written = write_weights(graph, params, folder / f"a{suffix}")
        assert written.graph
        found = identify(folder / f"a{suffix}")
        assert (found.standing.kind, found.models) == ("own", ())
        assert found.graph == graph
        assert found.params.keys() == graph.params().keys()
        assert all(np.array_equal(array, params[name]) for name, array in found.params.items())


@settings(max_examples=25, deadline=None)
@given(own_graphs())
def test_any_graph_comes_back_from_onnx_with_equal_outputs(tmp_path_factory, made):
    """Up to names, and to what the importer says in fewer nodes: the numbers are those of the graph."""
    graph, params = made
    folder = tmp_path_factory.mktemp("own")
    x = images(graph)
    wanted = outputs(Network(graph, params), x)
    assume(all(np.isfinite(y).all() for y in wanted))
    live = graph.leading_to(*graph.outputs)
    assume(live.params())
    write_weights(graph, params, folder / "a.onnx")
    net = load(folder / "a.onnx")
    if not any(written_otherwise(node) for node in live.nodes):
        names = dict(zip((node.name for node in live.nodes), (node.name for node in net.graph.nodes), strict=True))
        assert live.renamed(names).nodes == net.graph.nodes
    for y, z in zip(outputs(net, x), wanted, strict=True):
        assert np.allclose(y, z.reshape(y.shape), rtol=0, atol=1e-11 * max(np.abs(z).max(), 1e-300))
