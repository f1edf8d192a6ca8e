"""Layers moved towards a larger network's: nothing moves where nothing lacks, and what was lost comes back."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, load
from refnet.graph import SOURCE, walk
from refnet.readings import fast
from refnet.search.head import measured_norms, split_scans
from refnet.search.reconstruct import layer_targets, reconstructed
from refnet.search.scan_task import adaptation_scans
from refnet.search.truncate import cut_params
from refnet.search.widths import shrunk


@pytest.fixture
def net():
    """The shipped network with its batch norm measured on the scans that are used here."""
    net = load().astype(np.float64)
    return Network(net.graph, measured_norms(net.graph, net.params, scans()), 1)


def scans():
    return split_scans().judged.x[:80].astype(np.float64)


def layer_outputs(graph, params, name):
    return next(y for node, y in walk(graph, fast, params, {SOURCE: scans()}) if node.name == name)


def test_a_network_that_lacks_nothing_stays_as_it_is(net):
    made = reconstructed(net.graph, net.params, layer_targets(net.graph, net.params, scans()), scans())
    assert all(np.allclose(made[name], net.params[name], rtol=1e-9, atol=1e-9) for name in net.params)


def test_a_layer_behind_a_cut_comes_nearer_to_what_it_made(net):
    targets = layer_targets(net.graph, net.params, scans())
    smaller = shrunk(net.graph, {"block3.expand": 20})
    cut = cut_params(net.graph, net.params, smaller)
    made = reconstructed(smaller, cut, targets, scans())

    def lacking(params):
        y = layer_outputs(smaller, params, "block3.project") - targets["block3.project"]
        return np.square(y - y.mean(axis=(0, 2, 3), keepdims=True)).sum()

    reads, target = layer_outputs(smaller, made, "block3.depthwise.act"), targets["block3.project"]
    f, t = (np.moveaxis(array, 1, -1).reshape(-1, array.shape[1]) for array in (reads, target))
    _, least, *_ = np.linalg.lstsq(f - f.mean(axis=0), t - t.mean(axis=0))
    assert least.sum() <= lacking(made) < 1.02 * least.sum() < lacking(cut)
    assert np.array_equal(made["block3.expand.w"], cut["block3.expand.w"])  # it has lost channels


def test_no_scan_that_is_fitted_to_is_judged_or_reported():
    parts = adaptation_scans()
    flat = [part.x[:, 0, ::4, ::4].reshape(len(part.x), -1) for part in parts]
    assert [len(part) for part in flat] == [1198, 300, 299]
    assert len(np.unique(np.concatenate(flat), axis=0)) == 1797
