"""Whole runs: the numbers that are known, the file of predictions, and a process that is really killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from imagefolder import write_scans

from refnet.errors import FormatError, RequestError
from refnet.evaluation.arrays import read_arrays
from refnet.evaluation.dataset import scans
from refnet.evaluation.folders import read_folder
from refnet.evaluation.journal import journal_path
from refnet.evaluation.run import evaluate, fitted, remarks
from refnet.files.digits import digits
from refnet.network import load
from refnet.networks.build import build
from refnet.networks.random import random_params
from refnet.session import Session

KILLED = """
import os, signal, sys
from refnet.evaluation.dataset import scans
from refnet.evaluation.run import evaluate
from refnet.network import load
from refnet.session import Session
seen = []
def after_batch(images):
    seen.append(images)
    if len(seen) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
evaluate(load(), scans(), batch=8, output=sys.argv[1], after_batch=after_batch)
"""


def network(name: str, classes: int | None = None, size: int = 32):
    graph = build(name, width=0.25, size=size, classes=classes)
    return replace(load(), graph=graph, params=random_params(graph))


def small(count: int = 40):
    return scans().part(0, count)


def test_the_digits_are_read_as_well_as_when_they_were_trained():
    evaluation = evaluate(load(), scans())
    assert (evaluation.scores.top1, evaluation.scores.judged) == (593, 599)
    assert evaluation.failures == {}
    assert evaluation.resumed == 0


def test_predictions_are_the_networks_outputs_in_the_order_of_the_set(tmp_path):
    evaluate(load(), scans(), output=tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as saved:
        assert saved["names"].tolist() == scans().names
        assert saved["labels"].tolist() == scans().labels.tolist()
        assert saved["predicted"].tolist() == saved["logits"].argmax(axis=1).tolist()
        assert saved["logits"][16:32].tolist() == load()(scans().images[16:32]).tolist()
        meta = json.loads(str(saved["meta"]))
    assert (meta["format"], meta["network"], meta["images"]) == ("refnet-predictions 1", "refnet/digits", 599)
    assert list(tmp_path.iterdir()) == [tmp_path / "p.npz"]


def test_a_network_that_ends_in_softmax_has_probabilities(tmp_path):
    net = network("keras/MobileNet", 10)
    evaluate(net, small(8), output=tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as saved:
        assert saved["probabilities"].tolist() == net(small(8).images).tolist()


def test_an_image_that_fails_is_left_out_of_the_counts_and_kept_in_the_predictions(tmp_path):
    data = read_folder(write_scans(tmp_path / "set"), load().graph.recipe)
    data.images[5].write_bytes(b"")
    evaluation = evaluate(load(), data, batch=3, output=tmp_path / "p.npz")
    assert list(evaluation.failures) == [data.names[5]]
    assert "the file is empty" in evaluation.failures[data.names[5]]
    assert (evaluation.scores.images, evaluation.scores.judged) == (20, 19)
    with np.load(tmp_path / "p.npz") as saved:
        assert np.flatnonzero(saved["predicted"] < 0).tolist() == [5]
        assert np.flatnonzero(np.isnan(saved["logits"]).any(axis=1)).tolist() == [5]


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(tmp_path):
    killed, whole = tmp_path / "killed.npz", tmp_path / "whole.npz"
    done = subprocess.run([sys.executable, "-c", KILLED, str(killed)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not killed.exists()
    assert journal_path(killed).exists()
    seen: list[int] = []
    resumed = evaluate(load(), scans(), batch=8, output=killed, resume=True, after_batch=seen.append)
    uninterrupted = evaluate(load(), scans(), batch=8, output=whole)
    assert resumed.resumed == 7 * 8
    assert sum(seen) == resumed.scores.judged == 599
    assert resumed.scores.top1 == uninterrupted.scores.top1 == 593
    assert resumed.scores.by_class() == uninterrupted.scores.by_class()
    assert resumed.scores.confusions() == uninterrupted.scores.confusions()
    assert killed.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [killed, whole]


def interrupted(output, data, batch=4):
    """A run that stops after its second batch."""

    def after_batch(images):
        counts.append(images)
        if len(counts) == 2:
            raise KeyboardInterrupt

    counts: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        evaluate(load(), data, batch=batch, output=output, after_batch=after_batch)


def test_a_resumed_run_does_not_run_again_what_is_done(tmp_path, monkeypatch):
    interrupted(tmp_path / "p.npz", small())
    ran: list[int] = []
    call = type(load()).__call__
    monkeypatch.setattr(type(load()), "__call__", lambda net, x: (ran.append(len(x)), call(net, x))[1])
    evaluation = evaluate(load(), small(), batch=4, output=tmp_path / "p.npz")
    assert (evaluation.resumed, sum(ran), evaluation.scores.images) == (8, 32, 40)


def test_a_run_whose_batches_are_all_done_only_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("refnet.evaluation.run.npz.write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        evaluate(load(), small(), output=tmp_path / "p.npz")
    monkeypatch.undo()
    assert evaluate(load(), small(), output=tmp_path / "p.npz").resumed == 40
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]


def test_failures_are_remembered(tmp_path):
    data = read_folder(write_scans(tmp_path / "set"), load().graph.recipe)
    data.images[5].write_bytes(b"")
    interrupted(tmp_path / "p.npz", data)
    assert list(evaluate(load(), data, batch=4, output=tmp_path / "p.npz").failures) == [data.names[5]]


def test_restart_runs_everything_again(tmp_path):
    interrupted(tmp_path / "p.npz", small())
    assert evaluate(load(), small(), batch=4, output=tmp_path / "p.npz", resume=False).resumed == 0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"batch": 5}, "other batch;"),
        ({"dataset": small(39)}, "other images;"),
        ({"dataset": replace(small(), listing="x")}, "other data;"),
        ({"net": network("torchvision/mobilenet_v2", 10)}, "other network, weights;"),
        ({"net": load().fold()}, "other weights;"),
    ],
    ids=["batch", "images", "data", "network", "weights"],
)
def test_a_journal_of_another_run_is_refused(tmp_path, other, words):
    interrupted(tmp_path / "p.npz", small())
    request = {"net": load(), "dataset": small(), "batch": 4} | other
    with pytest.raises(RequestError, match=f"of a run with {words}"):
        evaluate(output=tmp_path / "p.npz", **request)


def test_weights_are_told_apart_by_their_values(tmp_path):
    interrupted(tmp_path / "p.npz", small())
    net = load()
    params = dict(net.params) | {"head.logits.b": net.params["head.logits.b"] + np.float32(1e-3)}
    with pytest.raises(RequestError, match="of a run with other weights;"):
        evaluate(replace(net, params=params), small(), batch=4, output=tmp_path / "p.npz")


def test_a_journal_damaged_half_way_is_refused(tmp_path):
    interrupted(tmp_path / "p.npz", small())
    path = journal_path(tmp_path / "p.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"damaged .*begin again with --restart"):
        evaluate(load(), small(), batch=4, output=tmp_path / "p.npz")
    assert not (tmp_path / "p.npz").exists()


def test_labels_that_are_no_classes_are_refused():
    data = replace(small(3), labels=np.array([0, 10, -1]))
    with pytest.raises(RequestError, match="label 10, and the network's classes are 0 to 9; were the labels counted"):
        evaluate(load(), data)
    with pytest.raises(RequestError, match=r"label -1, and the network's classes are 0 to 9\Z"):
        evaluate(load(), replace(small(3), labels=np.array([0, 1, -1])))


def test_a_network_that_is_no_classifier_is_refused():
    net = load()
    graph = replace(net.graph, nodes=net.graph.nodes[:-2])
    params = {name: net.params[name] for name in graph.params()}
    with pytest.raises(RequestError, match=r"makes .* of an image, not 10 numbers"):
        evaluate(replace(net, graph=graph, params=params), small(2))


def test_labels_without_the_background_are_suspected():
    net = network("paper/mobilenet_v2")
    assert net.graph.recipe.classes == 1001
    (line,) = remarks(net, replace(small(3), labels=np.array([0, 5, 999])))
    assert "labels begin at 0, which this network calls background" in line
    assert remarks(net, replace(small(3), labels=np.array([1, 5, 999]))) == ()
    assert remarks(load(), small(3)) == ()


def test_an_array_brings_its_size_and_precision(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 3, 40, 56)), y=np.array([1, 2]))
    net = fitted(load(), read_arrays(tmp_path / "set.npz"))
    assert net.graph.input_shape == (3, 40, 56)
    assert net.dtype == np.float64
    assert evaluate(net, read_arrays(tmp_path / "set.npz")).scores.judged == 2


def test_pixels_are_preprocessed_as_the_vendor_does(tmp_path):
    held_out = np.flatnonzero(digits().held_out)
    pixels = np.round(digits().scans[held_out] * 15.9375).astype(np.uint8)
    np.savez(tmp_path / "set.npz", x=pixels[..., None].repeat(3, axis=3), y=digits().labels[held_out])
    data = read_arrays(tmp_path / "set.npz")
    assert fitted(load(), data).graph.input_shape == (3, 32, 32)
    assert evaluate(load(), data).scores.top1 == 593


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch": 0}, "a batch of 0"),
        ({"threads": 0}, "by 0 threads"),
        ({"resume": True}, "only a run with --out has a journal"),
        ({"output": "missing/p.npz"}, "is no folder to write into"),
        ({"output": "p.txt"}, "take a name that ends so"),
        ({"output": "p.npz", "resume": True}, "there is no interrupted run to go on with"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_run(tmp_path, monkeypatch, options, complaint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=complaint):
        evaluate(load(), small(), after_batch=pytest.fail, **options)
    assert not list(tmp_path.iterdir())


def test_the_network_runs_on_as_many_cores_as_are_asked_for(monkeypatch):
    used = []

    def session(graph, params, *, threads, copy):
        used.append(threads)
        return Session(graph, params, threads=threads, copy=copy)

    monkeypatch.setattr("refnet.network.Session", session)
    for threads in (1, 2, None):
        assert evaluate(load(), small(3), threads=threads).scores.images == 3
    assert used == [1, 2, None]
