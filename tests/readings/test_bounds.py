"""The bounds are fair: honest arithmetic is accepted. And sharp: one wrong fact is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refnet import Graph, Network, Node, Recipe, build, random_input, random_params
from refnet.graph import interpret, walk
from refnet.judge.verdicts import judge
from refnet.readings import fast
from refnet.readings.bounds import Precision, bound
from refnet.readings.orders import ORDERS

FLOAT32 = Precision.of("float32")
SMALL = [
    ("torchvision/mobilenet_v2", (48, 65)),
    ("torchvision/mobilenet_v3_small", (48, 65)),
    ("timm/semnasnet_050", (48, 65)),
    ("timm/mobilenetv1_100", (33, 48)),
    ("keras/MobileNetV3Small", (65, 48)),
    ("article/keras_small", (48, 65)),
    ("d-li14/mobilenetv3_small", (48, 65)),
]


def traced(name, size, width=0.35):
    graph = build(name, size=size, width=width, classes=10)
    net, x = Network(graph, random_params(graph)), random_input(graph)
    return net, {"input": x, **net.trace(x)}


def one_node(net, tensors, name, **changes):
    """A node on its own, its inputs, and the verdict on what it makes with something changed."""
    node = net.graph[name]
    part = Graph(net.graph.recipe, (node,))
    given = {i: tensors[i] for i in node.inputs}
    limit = bound(part, net.params, given, FLOAT32)
    params = {**net.params, **changes.get("params", {})}
    other = Node(
        name,
        changes.get("op", node.op),
        node.inputs,
        changes.get("slots", node.params),
        changes.get("attrs", node.attrs),
    )
    return judge(interpret(Graph(net.graph.recipe, (other,)), fast, params, given), limit)


def nodes_of(net, *ops):
    return [node for node in net.graph.nodes if node.op in ops]


@pytest.fixture(scope="module", params=SMALL, ids=[name for name, _ in SMALL])
def run(request):
    return traced(*request.param)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("folded", [False, True], ids=["unfolded", "folded"])
def test_five_honest_orders_of_summation_are_accepted(run, order, folded):
    net, tensors = run
    graph = net.graph
    other = net.fold() if folded else net
    norms = {n.inputs[0]: n.name for n in graph.nodes if n.op == "batch_norm"} if folded else {}
    made = walk(other.graph, ORDERS[order], other.params, {"input": tensors["input"]})
    candidate = {"input": tensors["input"], **{norms.get(node.name, node.name): y for node, y in made}}
    for name in list(candidate)[1:]:
        part = graph.leading_to(name, starts=set(candidate))
        given = {i: candidate[i] for node in part.nodes for i in node.inputs if i in candidate}
        verdict = judge(candidate[name], bound(part, net.params, given, FLOAT32))
        assert verdict.holds, f"{name}: {verdict}"


def test_the_other_eps_is_wrong_in_each_batch_norm(run):
    net, tensors = run
    for node in nodes_of(net, "batch_norm"):
        eps = 1e-5 if node.attrs["eps"] == 1e-3 else 1e-3
        assert one_node(net, tensors, node.name, attrs={"eps": eps}).verdict == "wrong", node.name


def test_two_swapped_channels_are_wrong_in_each_convolution(run):
    net, tensors = run
    for node in nodes_of(net, "conv2d", "depthwise_conv2d", "pointwise_conv2d"):
        w = net.params[f"{node.name}.w"]
        swapped = w[[1, 0, *range(2, len(w))]]
        assert one_node(net, tensors, node.name, params={f"{node.name}.w": swapped}).verdict == "wrong", node.name


def test_a_dropped_bias_is_rejected_everywhere(run):
    """Not always as impossible, where a thousand terms could round that far; always as more than is expected."""
    net, tensors = run
    for node in net.graph.nodes:
        if "b" in node.params:
            assert not one_node(net, tensors, node.name, slots={"w": node.params["w"]}).holds, node.name


def test_a_gate_of_slope_one_fifth_is_wrong_everywhere(run):
    net, tensors = run
    for node in nodes_of(net, "hard_sigmoid"):
        assert one_node(net, tensors, node.name, attrs={"slope": 0.2, "offset": 0.5}).verdict == "wrong", node.name


def test_honest_errors_are_well_inside_and_the_wrong_eps_far_outside():
    """How much room there is between honest and wrong, so that a looser bound would be noticed."""
    net, tensors = traced("torchvision/mobilenet_v3_small", (48, 65))
    norms = nodes_of(net, "batch_norm")
    honest = [one_node(net, tensors, node.name) for node in norms]
    wrong = [one_node(net, tensors, node.name, attrs={"eps": 1e-5}) for node in norms]
    assert max(verdict.rms for verdict in honest) < 0.5
    assert min(verdict.rms for verdict in wrong) > 1000


def test_a_wrong_eps_shows_through_convolution_norm_and_activation():
    net, tensors = traced("torchvision/mobilenet_v3_small", (48, 65))
    for name in ("stem", "block4.expand", "block4.depthwise"):
        start = net.graph[f"{name}.conv" if name == "stem" else name].inputs[0]
        part = net.graph.leading_to(f"{name}.act", starts={start})
        limit = bound(part, net.params, {start: tensors[start]}, FLOAT32)
        nodes = tuple(
            Node(n.name, n.op, n.inputs, n.params, {"eps": 1e-5}) if n.op == "batch_norm" else n for n in part.nodes
        )
        wrong = interpret(Graph(part.recipe, nodes), fast, net.params, {start: tensors[start]})
        assert judge(tensors[f"{name}.act"], limit).holds
        assert judge(wrong, limit).verdict == "wrong"


def single(op, params=None, attrs=None, inputs=("input",)):
    params = params or {}
    node = Node("y", op, inputs, {slot: array.shape for slot, array in params.items()}, attrs or {})
    return Graph(Recipe("test", 1.0, (1, 1), 1), (node,)), {f"y.{slot}": array for slot, array in params.items()}


def test_the_worst_case_of_a_sum_is_gamma_of_its_absolute_terms():
    graph, params = single("pointwise_conv2d", {"w": np.array([[1.0, -2.0, 4.0]])})
    x = np.array([1.0, 3.0, 0.5]).reshape(1, 3, 1, 1)
    limit = bound(graph, params, {"input": x}, FLOAT32)
    u = 2.0**-24 + 2.0**-53
    assert limit.y.item() == -3.0
    store = u * 3 + 4 * 2.0**-150
    assert limit.worst.item() == pytest.approx(3 * u / (1 - 3 * u) * 9 + store, rel=1e-14)
    assert limit.rms == pytest.approx(math.sqrt(3 * u**2 * (1 + 36 + 4 + 9) + store**2), rel=1e-14)


def test_the_expected_bound_never_exceeds_the_worst_case():
    graph, params = single("pointwise_conv2d", {"w": np.ones((1, 2))})
    limit = bound(graph, params, {"input": np.ones((1, 2, 1, 1))}, FLOAT32)
    assert limit.expected.item() == limit.worst.item()


def test_the_worst_case_is_infinite_when_k_u_reaches_one():
    graph, params = single("pointwise_conv2d", {"w": np.ones((1, 2048))})
    limit = bound(graph, params, {"input": np.ones((1, 2048, 1, 1))}, Precision.of("float16", "float16"))
    assert np.isinf(limit.worst).all()


def test_what_rounds_nothing_is_allowed_no_error():
    for op in ("relu", "relu6", "flatten"):
        graph, params = single(op)
        x = np.linspace(-2, 8, 12, dtype=np.float32).reshape(1, 3, 2, 2)
        limit = bound(graph, params, {"input": x}, FLOAT32)
        y = interpret(graph, fast, params, {"input": x})
        assert judge(y, limit).verdict == "exact"
        y[..., -1] = np.nextafter(y[..., -1], np.float32(9))
        assert judge(y, limit).verdict == "wrong"


def test_a_plain_loop_over_thousands_of_one_sign_is_expected():
    """The first pool of V3-Small at 224: partial sums, each rounded, grow as large as the result."""
    graph, params = single("avg_pool2d", attrs={"kernel": (56, 56), "stride": (1, 1), "pad": ((0, 0), (0, 0))})
    x = np.random.default_rng(0).random((2, 16, 56, 56), np.float32) + np.float32(0.5)
    limit = bound(graph, params, {"input": x}, FLOAT32)
    plain = ORDERS["sequential"].avg_pool2d(x, kernel=(56, 56), stride=(1, 1), pad=((0, 0), (0, 0)))
    verdict = judge(plain, limit)
    assert verdict.verdict == "rounding"
    assert verdict.rms > 0.01


def test_a_plain_loop_over_one_value_again_and_again_is_expected():
    """Every addition of the same number errs in the same direction, as nothing independent does."""
    graph, params = single("avg_pool2d", attrs={"kernel": (14, 14), "stride": (1, 1), "pad": ((0, 0), (0, 0))})
    x = np.full((1, 8, 14, 14), 0.25782043, np.float32)
    x[:, :, 0, :4] = np.random.default_rng(0).random((1, 8, 4), np.float32) * 40
    plain = ORDERS["sequential"].avg_pool2d(x, kernel=(14, 14), stride=(1, 1), pad=((0, 0), (0, 0)))
    assert judge(plain, bound(graph, params, {"input": x}, FLOAT32)).verdict == "rounding"


def test_a_pool_that_divides_by_one_point_more_is_wrong():
    graph, params = single("avg_pool2d", attrs={"kernel": (56, 56), "stride": (1, 1), "pad": ((0, 0), (0, 0))})
    x = np.random.default_rng(0).random((1, 4, 56, 56), np.float32)
    y = (x.sum(axis=(2, 3), keepdims=True) / np.float32(3137)).astype(np.float32)
    assert judge(y, bound(graph, params, {"input": x}, FLOAT32)).verdict == "wrong"


def test_probabilities_so_small_that_they_are_subnormal_are_expected():
    graph, params = single("softmax")
    z = np.linspace(-55, 52, 1000, dtype=np.float32).reshape(1, -1)
    limit = bound(graph, params, {"input": z}, FLOAT32)
    y = interpret(graph, fast, params, {"input": z})
    assert y[y > 0].min() < np.finfo(np.float32).tiny
    assert judge(y, limit).verdict == "rounding"


SPELLINGS = {
    "torch": lambda x, n: x * np.clip(x + n(3), n(0), n(6)) / n(6),
    "divide first": lambda x, n: x * (np.clip(x + n(3), n(0), n(6)) / n(6)),
    "sixth": lambda x, n: x * (np.clip(x + n(3), n(0), n(6)) * n(1 / 6)),
    "sixth last": lambda x, n: x * np.clip(x + n(3), n(0), n(6)) * n(1 / 6),
    "onnx": lambda x, n: x * np.clip(x * n(1 / 6) + n(0.5), n(0), n(1)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_hard_swish_is_expected(spelling):
    graph, params = single("hard_swish")
    x = np.linspace(-4, 4, 400_001, dtype=np.float32).reshape(1, 1, 1, -1)
    limit = bound(graph, params, {"input": x}, FLOAT32)
    assert judge(SPELLINGS[spelling](x, np.float32), limit).verdict in ("exact", "rounding")


@pytest.mark.parametrize("sixth", [0.1667, 0.16667])
def test_a_rounded_sixth_is_wrong(sixth):
    graph, params = single("hard_swish")
    x = np.linspace(-4, 4, 1001, dtype=np.float32).reshape(1, 1, 1, -1)
    y = x * np.clip(x + np.float32(3), 0, 6) * np.float32(sixth)
    assert judge(y, bound(graph, params, {"input": x}, FLOAT32)).verdict == "wrong"


def test_a_float64_candidate_is_given_the_references_own_rounding_too():
    assert Precision.of("float64").u == 2 * 2.0**-53


@pytest.mark.parametrize(
    ("y", "verdict"),
    [
        (np.zeros((1, 2), np.float32), "shape"),
        (np.array([[np.nan]], np.float32), "nonfinite"),
        (np.array([[1.0]], np.float32), "exact"),
        (np.array([[1.0 + 2**-23]], np.float32), "rounding"),
        (np.array([[1.1]], np.float32), "wrong"),
    ],
)
def test_verdicts(y, verdict):
    graph, params = single("softmax")
    limit = bound(graph, params, {"input": np.array([[3.0]])}, FLOAT32)
    assert judge(y, limit).verdict == verdict


def test_errors_that_rounding_could_but_does_not_make_are_suspect():
    """Every element off in one direction by half its worst case: possible, but nothing honest does it."""
    graph, params = single("pointwise_conv2d", {"w": np.ones((1, 400))})
    x = np.random.default_rng(0).standard_normal((1, 400, 5, 5)).astype(np.float32)
    limit = bound(graph, params, {"input": x}, FLOAT32)
    assert judge((limit.y + 0.5 * limit.worst).astype(np.float32), limit).verdict == "suspect"


def quantised(w, levels=127):
    """Weights as an integer port has them, real again: symmetric, a scale for each filter."""
    step = np.abs(w).reshape(len(w), -1).max(axis=1).reshape(-1, *[1] * (w.ndim - 1)) / levels
    return np.rint(w / step) * step


@pytest.mark.parametrize("name", ["stem.conv", "block1.depthwise", "block3.expand"])
def test_weights_of_8_bits_are_accepted_where_they_are_declared_and_nowhere_else(name):
    net, tensors = traced("torchvision/mobilenet_v3_small", (48, 65))
    node = net.graph[name]
    part, given = Graph(net.graph.recipe, (node,)), {i: tensors[i] for i in node.inputs}
    step = float(np.abs(tensors[name]).max() / 127)

    def verdict(w, precision):
        y = interpret(part, fast, {**net.params, f"{name}.w": w.astype(np.float32)}, given)
        stored = np.rint(y / step) * np.float32(step)
        return judge(stored if precision.step else y, bound(part, net.params, given, precision))

    w = net.params[f"{name}.w"]
    floats, integers = FLOAT32._replace(levels=127), FLOAT32._replace(step=step / 2, levels=127)
    for precision in (floats, integers):
        assert verdict(quantised(w), precision).holds
        assert not verdict(quantised(w), precision._replace(levels=0)).holds
    assert not verdict(quantised(w, 31), floats).holds
    assert verdict(quantised(w, 31), integers).rms > verdict(quantised(w), integers).rms
    assert not verdict(w * np.float32(1.05), integers).holds


@pytest.mark.parametrize(("slope", "verdict"), [(np.float16(1 / 127.5), "rounding"), (0.0078, "wrong")])
def test_constants_rounded_to_a_short_format_are_accepted_as_params_are_and_others_are_not(slope, verdict):
    node = Node("stem.rescale", "affine", ("input",), {}, {"slope": 1 / 127.5, "offset": -1.0})
    part = Graph(Recipe("", 1.0, (16, 16), 1), (node,))
    x = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16)  # 127 and 128: there the terms nearly cancel
    limit = bound(part, {}, {"input": x}, Precision.of("float16"))
    y = (x.astype(np.float64) * float(slope) - 1).astype(np.float16)
    assert judge(y, limit).verdict == verdict
