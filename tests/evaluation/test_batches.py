"""Batches: always the same, read ahead but not far, and one bad image fails alone."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagefolder import write_scans

from refnet.errors import RefnetError
from refnet.evaluation import batches
from refnet.evaluation.batches import batch_results, read_one, run_batch, spans
from refnet.evaluation.dataset import scans
from refnet.evaluation.folders import read_folder
from refnet.files.digits import digits
from refnet.network import load


@given(st.integers(1, 50), st.integers(1, 20))
def test_spans_cover_every_image_once(images, batch):
    found = spans(images, batch)
    assert [image for start, stop in found for image in range(start, stop)] == list(range(images))
    assert all(stop - start == batch for start, stop in found[:-1])


def test_a_scan_is_read_from_pixels_as_from_an_image(tmp_path):
    net, image = load(), read_folder(write_scans(tmp_path, 1), load().graph.recipe).images[3]
    pixels = np.asarray(pytest.importorskip("PIL.Image").open(image).convert("RGB"))
    assert read_one(image, net).tolist() == read_one(pixels, net).tolist()
    assert read_one(image, net.astype(np.float64)).dtype == np.float64


def test_outputs_are_the_networks_own():
    net, data = load(), scans().part(0, 3)
    assert run_batch(net, data.images).outputs.tolist() == net(data.images).tolist()


def test_an_image_that_fails_leaves_the_rest_of_its_batch(tmp_path):
    net = load()
    data = read_folder(write_scans(tmp_path, 1), load().graph.recipe).part(0, 3)
    data.images[1].write_bytes(data.images[1].read_bytes()[:60])
    result = run_batch(net, [read_one(image, net) for image in data.images])
    assert list(result.failures) == [1]
    assert "cannot be read as an image" in result.failures[1]
    assert np.isnan(result.outputs).all(axis=1).tolist() == [False, True, False]


def test_a_batch_of_failures_is_no_error():
    result = run_batch(load(), ["broken", "broken too"])
    assert result.failures == {0: "broken", 1: "broken too"}
    assert np.isnan(result.outputs).all()


def test_nan_in_an_array_fails_its_image():
    x = digits().inputs()[:1].copy()
    x[0, 1, 2, 3] = np.nan
    assert read_one(x[0], load()) == "input: holds NaN or infinity"


def test_nan_from_the_network_fails_the_image():
    net = load()
    huge = dict(net.params) | {"head.logits.w": np.full_like(net.params["head.logits.w"], 3e38)}
    with np.errstate(all="ignore"):
        result = run_batch(replace(net, params=huge), scans().part(0, 2).images)
    assert result.failures == dict.fromkeys((0, 1), "the network's output holds NaN or infinity")
    assert np.isnan(result.outputs).all()


def test_a_missing_extra_is_not_the_images_fault(tmp_path, monkeypatch):
    net, image = load(), read_folder(write_scans(tmp_path, 1), load().graph.recipe).images[0]
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RefnetError, match=r"pip install 'refnet\[tools\]'"):
        read_one(image, net)


def test_images_are_read_ahead_of_the_network_but_not_far(monkeypatch):
    data, reads, threads = scans(), [], set()

    def counted(image, net):
        reads.append(image)
        threads.add(threading.current_thread())
        return read_one(image, net)

    monkeypatch.setattr(batches, "read_one", counted)
    todo = list(enumerate(spans(len(data), 4)))
    for number, _ in batch_results(load(), data, todo, threads=2):
        time.sleep(0.001)  # a slow network: the readers have all the time they like
        assert len(reads) <= 4 * (number + 1 + batches._AHEAD)
        if number == 3:
            end = time.monotonic() + 10  # of a machine that stands still meanwhile
            while len(reads) <= 4 * (number + 1) and time.monotonic() < end:
                time.sleep(0.001)
            assert len(reads) > 4 * (number + 1)
    assert len(reads) == len(data)
    assert threading.current_thread() not in threads


def test_batches_come_in_order_whatever_the_threads():
    data, net = scans().part(0, 40), load()
    todo = list(enumerate(spans(40, 8)))
    one, many = (list(batch_results(net, data, todo, threads)) for threads in (1, 5))
    assert [number for number, _ in many] == [0, 1, 2, 3, 4]
    assert [result.outputs.tolist() for _, result in one] == [result.outputs.tolist() for _, result in many]


def test_a_run_that_is_given_up_stops_reading():
    running = batch_results(load(), scans(), list(enumerate(spans(599, 4))), threads=2)
    next(running)
    running.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("refnet-read")]
