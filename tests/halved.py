"""One image computed by its two halves in one process, for tests."""

from __future__ import annotations

import numpy as np

from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.shapes import shapes
from refnet.session.halves import Half
from refnet.session.pair import half_program
from refnet.session.program import Programs
from refnet.session.steps import steps
from refnet.session.weights import Weights

__all__ = ["made_alone", "made_in_halves"]


def programs(graph, params, keep) -> Programs:
    folded, arrays = fold_batch_norm(graph, params, keep=keep)
    sizes = shapes(folded)
    kept = {name if name in folded else graph[name].inputs[0] for name in (*keep, *graph.outputs)}
    return Programs(
        steps(folded, sizes, kept), Weights((name, array.copy()) for name, array in arrays.items()), sizes, kept
    )


def stretches(program):
    """The calls between one meeting and the next."""
    found = [[]]
    for call, args in program.early:
        if getattr(call, "__func__", None) is Half.meet:
            found.append([])
        else:
            found[-1].append((call, args))
    return found


def made_in_halves(graph, params, x, first=0, keep=()):
    """What two halves make of an image, (1, C, H, W), if one of them is always the first until they meet."""
    memory = {}

    def shared(size):
        return memory.setdefault(size, np.zeros(size, np.uint8))

    both = [half_program(programs(graph, params, keep), Half(index, lambda: None), shared) for index in (0, 1)]
    assert len(memory) == 1  # both take as much
    both[0]._load(x[0])
    turns = list(zip(*map(stretches, both), strict=True))
    for turn in turns:
        for calls in turn if first == 0 else turn[::-1]:
            for call, args in calls:
                call(*args)
    return {name: array.copy() for name, array in both[0].kept.items()}


def made_alone(graph, params, x, keep=()):
    program = programs(graph, params, keep).of(1, halved=True)
    program.run(x)
    return {name: array.copy() for name, array in program.kept.items()}
