"""A graph is data: it prints, checks itself, and is walked by any table of rules."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Graph, GraphError, Node, Recipe, build, random_input, random_params
from refnet.graph import check, interpret, is_global, walk
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


def test_a_tensor_that_only_a_given_node_would_read_is_let_go():
    values = []

    class Rules:
        def relu(self, x):
            values.append(weakref.ref(y := Tensor()))
            return y

    class Tensor:
        pass

    nodes = graph(Node("a", "relu", ("input",)), Node("b", "relu", ("a",)), Node("c", "relu", ("b",)))
    for _ in walk(nodes, Rules(), {}, {"input": None, "b": None}):
        pass
    assert values[0]() is None


def test_several_outputs_are_returned_by_name_in_their_order():
    nodes = (Node("a", "relu", ("input",)), Node("b", "relu6", ("a",)), Node("c", "relu", ("b",)))
    several = Graph(RECIPE, nodes, ("c", "a"))
    found = interpret(several, fast, {}, {"input": np.array([-1.0, 9.0])})
    assert [(name, y.tolist()) for name, y in found.items()] == [("c", [0.0, 6.0]), ("a", [0.0, 9.0])]
    assert interpret(several, fast, {}, {"a": np.array([7.0])})["a"].tolist() == [7.0]  # given, and so not run


def chain(*names: str) -> Graph:
    return graph(*(Node(name, "relu", (before,)) for before, name in zip(("input", *names), names, strict=False)))


def test_a_node_is_replaced_by_several_the_last_of_which_its_readers_need():
    made = chain("a", "b", "c").replaced("b", Node("x", "relu6", ("a",)), Node("b", "relu", ("x",)))
    assert [(node.name, node.inputs) for node in made.nodes] == [
        ("a", ("input",)),
        ("x", ("a",)),
        ("b", ("x",)),
        ("c", ("b",)),
    ]


def test_several_places_are_rewritten_at_once():
    made = chain("a", "b", "c").rewritten({"a": [Node("a", "relu6", ("input",))], "c": [Node("c", "swish", ("b",))]})
    assert [node.op for node in made.nodes] == ["relu6", "relu", "swish"]


def test_edits_keep_what_is_returned():
    several = Graph(RECIPE, chain("a", "b", "c").nodes, ("c", "a"))
    assert several.renamed({"a": "first"}).outputs == ("c", "first")
    assert several.without({"c": "b", "a": "input"}).returns == ("b", "input")
    assert several.without({"c": "b", "b": "a"}).outputs == ("a",)  # one tensor stands for both
    assert several.inserted(Node("x", "relu", ("a",)), after="a").outputs == ("c", "x")
    assert several.replaced("b", Node("b", "relu6", ("a",))).outputs == ("c", "a")


def test_an_inserted_node_is_read_by_whoever_read_the_one_before_it():
    made = chain("a", "b").inserted(Node("x", "relu6", ("input",)), after="input")
    assert [(node.name, node.inputs) for node in made.nodes] == [("x", ("input",)), ("a", ("x",)), ("b", ("a",))]


def test_a_tensor_is_made_for_a_node_that_alone_reads_it_once():
    nodes = graph(
        Node("a", "relu", ("input",)),
        Node("twice", "add", ("a", "a")),
        Node("b", "relu", ("twice",)),
        Node("c", "add", ("b", "input")),
    )
    assert nodes.only_reader("a") is None
    assert nodes.only_reader("twice").name == "b"
    assert nodes.only_reader("input") is None
    assert nodes.only_reader("c") is None
    assert Graph(RECIPE, nodes.nodes, ("twice", "c")).only_reader("twice") is None  # it is returned too


def test_units_are_convolutions_with_what_alone_follows_them():
    g = build("torchvision/mobilenet_v3_small", size=32)
    units = {unit.conv.name: unit for unit in g.units()}
    assert [node.name for node in units["stem.conv"].nodes] == ["stem.conv", "stem.bn", "stem.act"]
    assert [node.name for node in units["block1.project"].nodes] == ["block1.project", "block1.project.bn"]
    assert units["block1.se.expand"].output == "block1.se.gate"
    assert sum(len(unit.nodes) for unit in units.values()) == len(g)
    kept = {unit.conv.name: unit for unit in g.units(keep=["stem.bn"])}
    assert [node.name for node in kept["stem.conv"].nodes] == ["stem.conv", "stem.bn"]
    assert kept["stem.act"].nodes == (g["stem.act"],)


def test_an_output_ends_its_unit():
    g = build("torchvision/mobilenet_v2", size=32)
    units = {unit.conv.name: unit for unit in Graph(g.recipe, g.nodes, ("stem.bn", "head.flatten")).units()}
    assert units["stem.conv"].output == "stem.bn"


def test_one_output_that_is_the_last_node_is_what_is_returned_anyway():
    assert Graph(RECIPE, chain("a", "b").nodes, ("b",)) == chain("a", "b")


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


def test_printed_form_of_a_network_of_ones_own_says_what_it_returns():
    own = Graph(Recipe("", 1.0, (4, 6), 1), chain("a", "b").nodes, ("a", "b"))
    assert str(own).splitlines() == [
        "a network of its own: input[N, 3, 4, 6]",
        "a = relu(input)",
        "b = relu(a)",
        "returns a, b",
    ]


def test_a_renamed_node_is_read_under_its_new_name():
    made = chain("a", "b", "c").renamed({"a": "first", "c": "last"})
    assert [(node.name, node.inputs) for node in made.nodes] == [
        ("first", ("input",)),
        ("b", ("first",)),
        ("last", ("b",)),
    ]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((Node("a", "affine", ("input",), {}, {"slope": 2.0, "offset": -1.0}), Node("b", "relu", ("a",))), (2.0, -1.0)),
        ((Node("a", "relu", ("input",)),), None),
        ((Node("a", "affine", ("input",), {}, {"slope": 2.0, "offset": 0.0}), Node("b", "add", ("a", "input"))), None),
    ],
    ids=["affine", "relu", "read twice"],
)
def test_a_network_rescales_its_input_where_an_affine_map_alone_reads_it(nodes, expected):
    assert graph(*nodes).rescaling == expected


@pytest.mark.parametrize(
    ("op", "kernel", "pad", "expected"),
    [
        ("avg_pool2d", (4, 5), ((0, 0), (0, 0)), True),
        ("max_pool2d", (4, 5), ((0, 0), (0, 0)), True),
        ("avg_pool2d", (4, 4), ((0, 0), (0, 0)), False),
        ("avg_pool2d", (4, 5), ((0, 0), (0, 1)), False),
    ],
)
def test_a_pool_is_global_if_its_window_is_the_map(op, kernel, pad, expected):
    assert is_global(Node("p", op, ("x",), {}, {"kernel": kernel, "stride": (1, 1), "pad": pad}), (3, 4, 5)) is expected


def test_no_convolution_is_a_global_pool():
    assert not is_global(Node("c", "pointwise_conv2d", ("x",), {"w": (3, 3)}), (3, 1, 1))
