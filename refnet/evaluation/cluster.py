"""The same batches over a Dask cluster: weights sent once to each worker, batches as tasks, results as they come.

Workers read images by path, so paths must mean the same to all; of an array each task carries its own rows. A batch is
one task, and a task has one result however often a worker dies under it: nothing is lost, nothing counted twice.
Starts no cluster, and knows no journal.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import chain, islice
from typing import Any

from refnet.errors import RefnetError, RequestError
from refnet.evaluation.batches import BatchResult, Span, read_one, run_batch
from refnet.evaluation.dataset import Dataset
from refnet.network.quantised import AnyNetwork

__all__ = ["cluster_results"]

_PATIENCE = 10  # seconds to wait for a scheduler, and for a first worker
_LONG, _TIMES = 120.0, 20  # seconds without any result, and times the longest wait so far: then batches are run here
_AHEAD = 4  # tasks for each thread of the cluster: enough to keep it busy while results travel


def cluster_results(
    address: str, net: AnyNetwork, dataset: Dataset, todo: Iterable[tuple[int, Span]]
) -> Iterator[tuple[int, BatchResult]]:
    """Run numbered batches on the workers of a cluster, in the order in which they get done.

    Parameters
    ----------
    address : of the scheduler, tcp://127.0.0.1:8786
    todo : (number, span) of each batch

    Raises
    ------
    RefnetError : Dask is missing
    RequestError : nobody answers at the address, the cluster has no workers or loses them all, or a batch that was
        tried several times killed its worker each time
    """
    distributed = _distributed()
    client = _client(distributed, address)
    try:
        weights = client.scatter(net.on(1), broadcast=True)  # the cluster has a worker for each core
        batches, asked = iter(todo), dict[int, Span]()

        def submit() -> Iterator[Any]:
            for number, (start, stop) in batches:
                asked[number] = start, stop
                part = dataset.part(start, stop)
                yield client.submit(_result, weights, part, number, pure=False)  # pure: shared with other clients

        tasks = submit()
        threads = sum(client.nthreads().values())
        flowing = distributed.as_completed(list(islice(tasks, _AHEAD * max(1, threads))), loop=client.loop)
        for task in _in_time(flowing):
            number, result = task.result()
            task.release()
            del asked[number]
            yield number, result
            flowing.update(list(islice(tasks, 1)))
        for number, (start, stop) in chain(asked.items(), batches):  # of a cluster that stands still
            yield _result(net.on(1), dataset.part(start, stop), number)
    except (ImportError, OSError, RuntimeError, CancelledError, distributed.KilledWorker) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise RequestError(f"{address}: the cluster gave up: {why}; run again to go on") from error
    finally:
        with suppress(Exception):  # nobody may answer
            client.close(timeout=2)


def _in_time(flowing: Any) -> Iterator[Any]:
    """Tasks as they get done; ends early where none gets done any more."""
    longest = 0.0
    while not flowing.is_empty():
        began = time.monotonic()
        while not flowing.has_ready():
            if time.monotonic() - began > _LONG + _TIMES * longest:
                return
            time.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
        yield next(flowing)


def _result(net: AnyNetwork, part: Dataset, number: int) -> tuple[int, BatchResult]:
    """The task: read a batch and run the network on it."""
    return number, run_batch(net, [read_one(image, net) for image in part.images])


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise RefnetError("a run over a cluster needs Dask: pip install 'refnet[cluster]'") from error
    return distributed


def _client(distributed: Any, address: str) -> Any:
    if not re.fullmatch(r"(tcp|tls)://\S+:\d+", address):  # with others Dask hangs when it is to give up
        raise RequestError(f"{address!r} is no address of a Dask scheduler; write tcp://HOST:PORT")
    try:
        client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise RequestError(f"{address}: no Dask scheduler answers; start one with dask scheduler") from error
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError as error:
        client.close()
        raise RequestError(f"{address}: the cluster has no workers; start some with dask worker {address}") from error
    return client
