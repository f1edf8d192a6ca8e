"""Derivatives, backwards: of every tensor of a network, against what small steps do."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.replays import Replays
from refnet.judge.causes.sketch import first_order
from refnet.readings import adjoint, fast


def backwards(graph, params, tensors, u):
    """By tensor, the derivative of the sum of u times the end."""
    g = {graph.output: u[None]}
    for node in reversed(graph.nodes):
        weights = [params.get(f"{node.name}.{slot}") for slot in ("w", "b", "gamma", "beta", "mean", "var")]
        weights = weights[:2] if "w" in node.params else weights[2:] if "gamma" in node.params else []
        made = getattr(adjoint, node.op)(g[node.name], *(tensors[name] for name in node.inputs), *weights, **node.attrs)
        for name, each in zip(node.inputs, made, strict=True):
            g[name] = g.get(name, 0) + each
    return {name: each[0] for name, each in g.items()}


@pytest.mark.parametrize(
    "model", ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "timm/semnasnet_050", "keras/MobileNet"]
)
def test_small_steps_move_the_end_as_the_derivatives_say(model):
    graph = build(model, width=0.25, size=(32, 40), classes=6)
    params = {name: y.astype(np.float64) for name, y in random_params(graph).items()}
    x, rng = probe(graph, 2).astype(np.float64), np.random.default_rng(0)
    tensors = {SOURCE: x, **{node.name: None for node in graph.nodes}}
    for node in graph.nodes:
        given = {name: tensors[name] for name in node.inputs}
        tensors[node.name] = interpret(Graph(graph.recipe, (node,)), fast, params, given)
    u = rng.standard_normal(tensors[graph.output].shape)
    derivatives = backwards(graph, params, tensors, u)
    for place in (0, len(graph) // 3, 2 * len(graph) // 3, len(graph) - 4):
        name, rest = graph.nodes[place].name, graph.nodes[place + 1 :]
        step = 1e-9 * rng.standard_normal(tensors[name].shape)
        given = {**tensors, name: tensors[name] + step}
        made = {node.name for node in rest}
        given = {each: given[each] for node in rest for each in node.inputs if each not in made}
        moved = interpret(Graph(graph.recipe, rest), fast, params, given) - tensors[graph.output]
        assert float((u * moved).sum()) == pytest.approx(float((derivatives[name] * step).sum()), rel=2e-2)


def test_what_explains_an_error_comes_first():
    """Of every other eps in one layer, to first order, from the end alone."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(48, 64), classes=40)
    params, x = random_params(graph), probe(graph, 1)
    whole = cut(Parts(graph), params, graph.output, {SOURCE: x}, judged=False)
    changes = [each for each in BUGS["bn-eps"].changes(whole) if each.form == "0.001"]
    wrong = next(number for number, each in enumerate(changes) if each.node == "block14.depthwise.bn")
    runs = Replays(whole, SearchBudget())
    error = run(whole.changed(changes[wrong])) - runs.y
    shares = first_order(runs, changes, error, graph.output)
    assert len(shares) == len(changes) > 40
    assert max(shares) <= 1
    assert wrong in np.argsort(shares)[-3:]
