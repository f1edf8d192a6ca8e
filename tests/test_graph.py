"""A graph is data: it prints, checks itself, and is walked by any table of rules."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Graph, GraphError, Node, Recipe, build, random_input, random_params
from refnet.graph import check, interpret, walk
from refnet.ops import OPS
from refnet.readings import bounds, fast, loops, shapes

RECIPE = Recipe("test", 1.0, (4, 4), 1)


def graph(*nodes: Node) -> Graph:
    return Graph(RECIPE, nodes)


def test_every_reading_has_a_rule_for_every_operation():
    for op in OPS:
        for reading in (loops, fast, shapes, bounds):
            assert callable(getattr(reading, op)), f"{reading.__name__} lacks {op}"


def test_walk_calls_rules_with_inputs_params_and_attributes():
    seen = []
    rules = SimpleNamespace(conv2d=lambda *args, **attrs: seen.append((args, attrs)) or "y")
    node = Node("a", "conv2d", ("input",), {"w": (1, 1, 1, 1)}, {"stride": (1, 1)})
    assert interpret(graph(node), rules, {"a.w": "W"}, {"input": "x"}) == "y"
    assert seen == [(("x", "W", None), {"stride": (1, 1)})]


def test_walk_lets_values_go_after_their_last_reader():
    alive = []

    class Tensor:
        def __init__(self) -> None:
            alive.append(self)

        def __del__(self) -> None:
            pass

    import weakref

    refs = []

    def relu(x):
        y = Tensor()
        refs.append(weakref.ref(y))
        alive.clear()
        return y

    nodes = [Node(f"n{i}", "relu", (f"n{i - 1}" if i else "input",)) for i in range(5)]
    for _ in walk(graph(*nodes), SimpleNamespace(relu=relu), {}, {"input": None}):
        del _
        assert sum(ref() is not None for ref in refs) <= 2


def test_a_given_tensor_is_not_computed_again():
    nodes = graph(Node("a", "relu", ("input",)), Node("b", "relu6", ("a",)))
    assert interpret(nodes, fast, {}, {"a": np.array([-1.0, 9.0])}).tolist() == [0.0, 6.0]


def test_segment_stops_at_the_tensors_that_are_given():
    g = build("torchvision/mobilenet_v3_small", size=32)
    part = g.leading_to("block1.project.bn", starts={"block1.depthwise.act"})
    assert [node.name.removeprefix("block1.") for node in part.nodes] == [
        *("se.pool", "se.reduce", "se.reduce.act", "se.expand", "se.gate", "se.scale", "project", "project.bn"),
    ]


def test_segment_names_the_tensor_that_is_lacking():
    g = build("torchvision/mobilenet_v3_small", size=32)
    with pytest.raises(GraphError, match="needs 'input', which is not given"):
        g.leading_to("stem.bn", starts={"block1.depthwise"})


@pytest.mark.parametrize(
    ("nodes", "complaint"),
    [
        ((), "no nodes"),
        ((Node("a", "warp", ("input",)),), "a: no operation is called 'warp'"),
        ((Node("a", "relu", ("input",)), Node("a", "relu", ("a",))), "a: the name is used twice"),
        ((Node("a", "relu", ("b",)),), "a: reads 'b', which no earlier node makes"),
        ((Node("a", "add", ("input",)),), "a: add reads 2 tensor"),
        ((Node("a", "pointwise_conv2d", ("input",)),), "a: pointwise_conv2d takes the parameters"),
        ((Node("a", "hard_sigmoid", ("input",), {}, {"slope": 0.2}),), "a: hard_sigmoid takes the attributes"),
    ],
)
def test_check_names_the_node_that_breaks_a_rule(nodes, complaint):
    with pytest.raises(GraphError, match=complaint):
        check(graph(*nodes))


def test_printed_form_has_one_line_a_node():
    text = str(build("torchvision/mobilenet_v3_small"))
    assert "stem.conv = conv2d(input, w[16, 3, 3, 3], stride=(2, 2), pad=((1, 1), (1, 1)), dilation=(1, 1))" in text
    assert len(text.splitlines()) == 1 + len(build("torchvision/mobilenet_v3_small"))


def test_a_network_runs_by_definition_as_it_runs_fast():
    g = build("torchvision/mobilenet_v3_small", width=0.35, size=(33, 29), classes=5)
    params, x = random_params(g, np.float64), random_input(g, 1, np.float64)
    slow, quick = interpret(g, loops, params, {"input": x}), interpret(g, fast, params, {"input": x})
    assert slow.shape == quick.shape == (1, 5)
    assert np.abs(slow - quick).max() <= 1e-11 * np.abs(slow).max()
