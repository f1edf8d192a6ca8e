"""A run over two worker processes, one of which is killed in the middle."""

from __future__ import annotations

import os
import signal
import sys

import distributed
import numpy as np
import pytest
from imagefolder import write_scans

from refnet.errors import RefnetError, RequestError
from refnet.evaluation.dataset import scans
from refnet.evaluation.folders import read_folder
from refnet.evaluation.journal import journal_path
from refnet.evaluation.run import evaluate
from refnet.network import load


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two worker processes of one thread each, on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as running:
        yield running


def test_a_worker_that_is_killed_loses_nothing_and_counts_nothing_twice(cluster, tmp_path):
    seen: list[int] = []
    victim = next(iter(cluster.workers.values()))
    address, process = victim.worker_address, victim.process.pid
    assert address in cluster.scheduler.workers

    def after_batch(images):
        seen.append(images)
        if len(seen) == 5:
            os.kill(process, signal.SIGKILL)

    output = tmp_path / "cluster.npz"
    evaluation = evaluate(
        load(), scans(), batch=13, cluster=cluster.scheduler_address, output=output, after_batch=after_batch
    )
    assert len(seen) == 47
    assert sum(seen) == evaluation.scores.judged == 599
    assert evaluation.scores.top1 == 593
    assert address not in cluster.scheduler.workers
    evaluate(load(), scans(), batch=13, threads=1, output=tmp_path / "local.npz")  # the last batch has one image
    assert output.read_bytes() == (tmp_path / "local.npz").read_bytes()


def test_a_run_begun_here_goes_on_over_a_cluster(cluster, tmp_path):
    def after_batch(images):
        raise KeyboardInterrupt

    output = tmp_path / "p.npz"
    with pytest.raises(KeyboardInterrupt):
        evaluate(load(), scans(), batch=8, output=output, after_batch=after_batch)
    assert journal_path(output).exists()
    evaluation = evaluate(load(), scans(), batch=8, output=output, cluster=cluster.scheduler_address)
    assert (evaluation.resumed, evaluation.scores.judged, evaluation.scores.top1) == (8, 599, 593)


def test_workers_read_images_by_their_paths_and_tell_what_failed(cluster, tmp_path):
    data = read_folder(write_scans(tmp_path), load().graph.recipe)
    data.images[5].write_bytes(b"")
    here, there = (evaluate(load(), data, batch=3, cluster=at) for at in (None, cluster.scheduler_address))
    assert list(there.failures) == [data.names[5]]
    assert there.failures == here.failures
    assert there.scores.by_class() == here.scores.by_class()


def test_a_request_that_a_worker_refuses_is_reported(cluster):
    net = load()
    graph = type(net.graph)(net.graph.recipe, net.graph.nodes[:-2])
    bad = type(net)(graph, {name: net.params[name] for name in graph.params()})
    with pytest.raises(RequestError, match="not 10 numbers"):
        evaluate(bad, scans().part(0, 8), cluster=cluster.scheduler_address)


def test_a_cluster_that_loses_all_workers_is_given_up_in_one_line(tmp_path):
    output = tmp_path / "p.npz"
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as alone:
        victim = next(iter(alone.workers.values())).process.pid
        kill = [lambda: os.kill(victim, signal.SIGKILL)]
        with pytest.raises(RequestError, match=r"the cluster gave up: .*; run again to go on"):
            evaluate(
                load(),
                scans(),
                batch=8,
                output=output,
                cluster=alone.scheduler_address,
                after_batch=lambda images: kill and kill.pop()(),
            )
    assert evaluate(load(), scans(), batch=8, output=output, resume=True).scores.top1 == 593
    with np.load(output) as saved:
        assert len(saved["logits"]) == 599


@pytest.mark.parametrize(
    ("address", "complaint"),
    [("", "is no address"), ("127.0.0.1", "write tcp://HOST:PORT"), ("tcp://127.0.0.1:1", "no Dask scheduler answers")],
)
def test_an_address_where_nobody_answers_is_refused(monkeypatch, address, complaint):
    monkeypatch.setattr("refnet.evaluation.cluster._PATIENCE", 1)
    with pytest.raises(RequestError, match=complaint):
        evaluate(load(), scans(), cluster=address)


def test_a_cluster_without_workers_is_refused(monkeypatch):
    monkeypatch.setattr("refnet.evaluation.cluster._PATIENCE", 1)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as empty,
        pytest.raises(RequestError, match="the cluster has no workers; start some with dask worker tcp"),
    ):
        evaluate(load(), scans(), cluster=empty.scheduler_address)


def test_dask_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RefnetError, match=r"pip install 'refnet\[cluster\]'"):
        evaluate(load(), scans(), cluster="tcp://127.0.0.1:1")
