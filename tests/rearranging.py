"""Copies of networks that compute the same by other numbers: edits of their params, each with what takes it back."""

from __future__ import annotations

from functools import partial

import numpy as np
from exporting import checkpoint, exported, network


def along(w, factor, axis):
    return w * factor.reshape([-1 if each == axis else 1 for each in range(w.ndim)])


def factors(count, *, signs=False):
    random = np.random.default_rng(count)
    made = np.exp(random.uniform(-1.5, 1.5, count)).astype(np.float32)
    return made * np.where(random.random(count) < 0.5, -1, 1) if signs else made


def ordered(p, order, made, undone, between=()):
    """Channels in another order from some layers on, as far as those that read them."""
    for name in p:
        node, _, slot = name.rpartition(".")
        if node.removesuffix(".bn") in (*made, *between):
            p[name] = p[name][order]
        elif node in undone and slot == "w":
            p[name] = p[name][:, order]


def block_ordered(p, name, order):
    count = len(p[f"{name}.expand.w"])
    order, se = order(count), f"{name}.se.expand"
    squeezed = (f"{name}.se.reduce",) if f"{se}.w" in p else ()
    ordered(p, order, (f"{name}.expand", se), (f"{name}.project", *squeezed), (f"{name}.depthwise",))


def scaled(p, one, other, *, signs=False):
    """Channels scaled behind one layer, and scaled back by the next."""
    factor = factors(len(p[f"{one}.w"]), signs=signs)
    for name in [f"{one}.bn.gamma", f"{one}.bn.beta"] if f"{one}.bn.gamma" in p else [f"{one}.w", f"{one}.b"]:
        p[name] = along(p[name], factor, 0)
    w = p[f"{other}.w"]
    p[f"{other}.w"] = along(w, 1 / factor, 0 if w.ndim == 3 else 1)


def moved(p):
    p["block1.project.b"] += 0.5
    p["block2.expand.b"] -= 0.5 * p["block2.expand.w"].sum(axis=1)


def taken_back(p):
    factor = factors(len(p["block3.expand.w"]), signs=True)
    p["block3.expand.w"] = along(p["block3.expand.w"], factor, 0)
    p["block3.expand.bn.mean"] *= factor
    p["block3.expand.bn.gamma"] /= factor


def halves(p):
    """A trunk of two blocks, both of which feed it."""
    order = np.roll(np.arange(8), 4)
    ordered(p, order, ("block2.project", "block3.project"), ("block3.expand", "block4.expand"))


def both(p):
    block_ordered(p, "block3", lambda count: np.arange(count)[::-1])
    scaled(p, "block3.expand", "block3.depthwise")


def reversed_block(name):
    return partial(block_ordered, name=name, order=lambda count: np.arange(count)[::-1])


def copied(family, edit, *, fold=False, store=np.float32):
    graph, params = network(family)
    copy = exported(graph, params) if fold else checkpoint(graph, params)
    held = {name: array.copy() for name, array in copy.params.items()}
    edit(held)
    held = {
        name: np.ascontiguousarray(array, np.float32).astype(store).astype(np.float32) for name, array in held.items()
    }
    return checkpoint(graph, params, "one"), checkpoint(copy.graph, held, "other")
