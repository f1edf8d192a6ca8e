"""A session against the bounds of what rounding may do, at every tensor that it keeps."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from halved import made_alone, made_in_halves
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DTYPES, geometry, graphs

from refnet import Network, RequestError, build, random_input, random_params
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, limit
from refnet.graph import SOURCE, Graph, Node, Recipe, check
from refnet.judge.verdicts import judge
from refnet.readings.bounds import Precision, bound
from refnet.readings.shapes import shapes
from refnet.session import Session, group_size
from refnet.shares import cores

FAMILIES = (
    "timm/mobilenetv1_100",
    "torchvision/mobilenet_v2",
    "torchvision/mnasnet0_5",
    "timm/semnasnet_100",
    "torchvision/mobilenet_v3_large",
    "torchvision/mobilenet_v3_small",
    "timm/tf_mobilenetv3_small_075",
    "keras/MobileNetV3Small",
    "d-li14/mobilenetv3_small",
    "kuan-wang/mobilenetv3_small",
    "article/torch_small",
)


def judged(graph: Graph, params, x, keep, **options):
    """(name, verdict's figures) of each tensor that a session keeps, given those that it keeps before."""
    made = Session(graph, params, threads=1, keep=keep, **options).tensors(x)
    tensors, parts = {SOURCE: x, **made}, Parts(graph)
    for name, y in made.items():
        part = cut(parts, params, name, tensors)
        yield name, judge(y, limit(part, Precision.of(str(y.dtype))))


def test_a_stride_wider_than_the_kernel_is_inside_its_bounds():
    """Columns between the windows, which no kernel reads, are not copied."""
    attrs = {"stride": (1, 7), "pad": ((0, 0), (2, 1)), "dilation": (1, 2)}
    graph = Graph(Recipe("", 1.0, (5, 40), 4), (Node("conv", "conv2d", (SOURCE,), {"w": (4, 3, 3, 3)}, attrs),))
    for _, figures in judged(graph, random_params(graph), random_input(graph, 2), ("conv",)):
        assert figures.verdict in ("exact", "rounding")


def block_ends(graph: Graph) -> list[str]:
    """The last tensor of every block: whole blocks between them are computed in one go."""
    last = {node.name.split(".")[0]: node.name for node in graph.nodes}
    return list(last.values())


@settings(max_examples=25, deadline=None)
@given(graphs(), DTYPES, st.booleans(), st.data())
def test_every_kept_tensor_is_inside_its_bounds(graph, dtype, folded, data):
    net = Network(graph, random_params(graph, dtype))
    net = net.fold() if folded else net
    names = [node.name for node in net.graph.nodes]
    chosen = data.draw(st.lists(st.sampled_from(names), max_size=30, unique=True))
    keep = [name for name in names if name in {*chosen, *block_ends(net.graph)}]
    for name, judgement in judged(net.graph, net.params, random_input(graph, 1, dtype), keep):
        assert judgement.holds, (name, judgement)


@pytest.mark.parametrize("model", FAMILIES)
def test_whole_blocks_of_every_family_are_inside_their_bounds(model):
    graph = build(model, width=0.5, size=(65, 48), classes=5)
    for name, judgement in judged(graph, random_params(graph), random_input(graph, 2), block_ends(graph)):
        assert judgement.holds, (name, judgement)


@pytest.mark.parametrize("slot", ["depthwise.w", "project.w", "expand.bn.beta", "se.expand.b"])
def test_a_weight_that_is_packed_wrong_is_seen(slot):
    graph = build("torchvision/mobilenet_v3_small", width=0.5, size=(64, 64), classes=5)
    params = random_params(graph)
    wrong = {**params, f"block5.{slot}": params[f"block5.{slot}"] * np.float32(1.01)}
    tensors = Session(graph, wrong, keep=block_ends(graph)).tensors(random_input(graph))
    part = cut(Parts(graph), params, "block5.add", {SOURCE: random_input(graph), **tensors})
    assert not judge(tensors["block5.add"], limit(part, Precision.of("float32"))).holds


def block(x, w, b, attrs, *, expand, project, gate, late, act) -> tuple[Graph, dict[str, np.ndarray]]:
    """An inverted residual, or a part of one, around a depthwise convolution of any geometry."""
    rng, C = np.random.default_rng(len(w)), len(w)
    arrays = {"depthwise.w": w, **({} if b is None else {"depthwise.b": b})}
    nodes, last = [], SOURCE

    def node(name, op, *inputs, attrs=None, **params):
        nonlocal last
        made = {slot: rng.standard_normal(shape).astype(x.dtype) for slot, shape in params.items()}
        arrays.update({f"{name}.{slot}": array for slot, array in made.items()})
        nodes.append(Node(name, op, inputs or (last,), dict(params), attrs or {}))
        last = name

    node("first", "pointwise_conv2d", w=(3, x.shape[1]))
    if expand:
        node("expand", "pointwise_conv2d", w=(C, 3), b=(C,))
        node("expand.act", act)
    else:
        node("second", "pointwise_conv2d", w=(C, 3))
    own = {slot: arrays[f"depthwise.{slot}"].shape for slot in ("w", "b") if f"depthwise.{slot}" in arrays}
    nodes.append(Node("depthwise", "depthwise_conv2d", (last,), own, attrs))
    last = "depthwise"
    if not late:
        node("depthwise.act", act)
    if gate:
        filtered = last
        height, width = shapes(Graph(recipe(x), tuple(nodes)))[last][1:]
        node("pool", "avg_pool2d", attrs={"kernel": (height, width), "stride": (1, 1), "pad": ((0, 0), (0, 0))})
        node("reduce", "pointwise_conv2d", w=(2, C), b=(2,))
        node("reduce.act", "relu")
        node("excite", "pointwise_conv2d", w=(C, 2), b=(C,))
        node("gate", "hard_sigmoid", attrs={"slope": 1 / 6, "offset": 0.5})
        node("scale", "scale", filtered, "gate")
    if late:
        node("scale.act", act)
    if project:
        node("project", "pointwise_conv2d", w=(4, C), b=(4,))
        node("project.act", act)
    return check(Graph(recipe(x), tuple(nodes))), arrays


def recipe(x) -> Recipe:
    return Recipe("handmade", 1.0, x.shape[2:], 1, x.shape[1])


@settings(max_examples=70, deadline=None)
@given(
    geometry(depthwise=True),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["relu", "relu6", "hard_swish", "swish"]),
    st.sampled_from([1, 60, 100_000]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 8]),
)
def test_blocks_of_any_geometry_in_tiles_of_any_height(
    case, expand, project, gate, late, act, tile, by_phase, long, flat
):
    """And in two halves, whichever of them is first; halves are rows, or channels of maps of few rows."""
    x, w, b, attrs = case
    if by_phase:  # the columns of stride 2 lie by phase
        attrs = {**attrs, "stride": (attrs["stride"][0], 2), "dilation": (attrs["dilation"][0], 1)}
    graph, params = block(x, w, b, attrs, expand=expand, project=project, gate=gate, late=late, act=act)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys.modules["refnet.session.residual"], "TILE", tile)
        for name in ("residual", "stem", "taps", "writer"):
            patched.setattr(sys.modules[f"refnet.session.{name}"], "LONG", 1 if long else 56)
        patched.setattr(sys.modules["refnet.session.program"], "TILE", tile)
        patched.setattr(sys.modules["refnet.session.residual"], "FLAT", flat)
        session = Session(graph, params, threads=1, keep=["first"])
        whole = made_alone(graph, params, x[:1], ["first"])
        for first in (0, 1):
            halved = made_in_halves(graph, params, x[:1], first, ["first"])
            assert all(np.array_equal(halved[name], y) for name, y in whole.items())
    tensors = session.tensors(x)
    again = session.tensors(x)
    assert all(np.array_equal(again[name], y) for name, y in tensors.items())
    for found in ({SOURCE: x, **tensors}, {SOURCE: x[:1], **whole}):
        for name in tensors:
            part = cut(Parts(graph), params, name, found)
            judgement = judge(found[name], bound(part.graph, params, part.given, Precision.of(str(x.dtype))))
            assert judgement.verdict != "wrong", judgement  # so few elements may be 'suspect' by chance


@settings(max_examples=40, deadline=None)
@given(geometry(), st.sampled_from([1, 100_000]), st.booleans())
def test_dense_convolutions_of_any_geometry(case, tile, long):
    x, w, b, attrs = case
    own = {"w": w.shape, **({} if b is None else {"b": b.shape})}
    graph = Graph(recipe(x), (Node("stem", "conv2d", (SOURCE,), own, attrs),))
    params = {"stem.w": w, **({} if b is None else {"stem.b": b})}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys.modules["refnet.session.stem"], "TILE", tile)
        patched.setattr(sys.modules["refnet.session.stem"], "LONG", 1 if long else 56)
        y = Session(graph, params, threads=1)(x)
        (whole,), (halved,) = (made(graph, params, x[:1]).values() for made in (made_alone, made_in_halves))
    assert np.array_equal(halved, whole)
    assert judge(whole, bound(graph, params, {SOURCE: x[:1]}, Precision.of(str(x.dtype)))).verdict != "wrong"
    assert judge(y, bound(graph, params, {SOURCE: x}, Precision.of(str(x.dtype)))).verdict != "wrong"


def test_operations_that_no_step_knows_are_run_as_fast_runs_them():
    nodes = (
        Node("narrow", "pointwise_conv2d", (SOURCE,), {"w": (4, 3)}),
        Node("pad", "pad", ("narrow",), {}, {"pad": ((1, 0), (2, 1)), "mode": "reflect", "value": 0.0}),
        Node("most", "max_pool2d", ("pad",), {}, {"kernel": (2, 3), "stride": (2, 1), "pad": ((0, 1), (1, 1))}),
        Node("large", "resize_bilinear", ("most",), {}, {"size": (9, 11), "align_corners": False}),
        Node("twice", "add", ("large", "large")),
        Node("flat", "flatten", ("twice",)),
        Node("output", "softmax", ("flat",)),
    )
    graph = check(Graph(Recipe("handmade", 1.0, (7, 8), 1), nodes))
    params = {"narrow.w": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)}
    x = random_input(graph)
    np.testing.assert_array_equal(Session(graph, params)(x), Network(graph, params).trace(x)["output"])


def test_a_graph_without_params_runs_in_float32():
    node = Node("output", "max_pool2d", ("input",), {}, {"kernel": (2, 2), "stride": (2, 2), "pad": ((0, 0), (0, 0))})
    graph = check(Graph(Recipe("handmade", 1.0, (4, 6), 1), (node,)))
    x = random_input(graph)
    assert Network(graph, {}).dtype == np.float32
    np.testing.assert_array_equal(Session(graph, {})(x), Network(graph, {}).trace(x)["output"])


SMALL = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=4)
PARAMS = random_params(SMALL)


def test_an_image_does_not_depend_on_its_neighbours_nor_on_what_ran_before():
    """In a batch of as many, at the same place: whatever the others are, NaN too."""
    session, x, other = Session(SMALL, PARAMS, threads=1), random_input(SMALL, 5), random_input(SMALL, 10)[5:]
    together = session(x)
    for index in reversed(range(5)):
        for neighbours in other, np.full_like(x, np.nan):
            mixed = neighbours.copy()
            mixed[index] = x[index]
            assert np.array_equal(session(mixed)[index], together[index])
    alone = session(x[:1])
    session(x[1:])
    assert np.array_equal(session(x[:1]), alone)


@pytest.mark.parametrize("batch", range(2, 18))
def test_images_in_groups_of_any_size_are_inside_their_bounds(batch):
    names = block_ends(SMALL)
    for name, judgement in judged(SMALL, PARAMS, random_input(SMALL, batch), names):
        assert judgement.holds, (name, judgement)


def test_half_of_a_batch_runs_together_and_eight_images_at_most():
    assert [group_size(batch) for batch in (1, 2, 3, 8, 9, 15, 16, 17, 100)] == [1, 1, 2, 4, 5, 8, 8, 8, 8]


def test_a_run_leaves_the_buffers_of_ufuncs_as_they_were():
    before = np.setbufsize(1024)
    try:
        Session(SMALL, PARAMS, threads=1)(random_input(SMALL))
        assert np.getbufsize() == 1024
    finally:
        np.setbufsize(before)


def test_input_in_any_layout_of_memory():
    session, x = Session(SMALL, PARAMS, threads=1), random_input(SMALL)
    assert np.array_equal(session(np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)), session(x))


def test_calls_from_several_threads_wait_for_one_another():
    session, x = Session(SMALL, PARAMS, threads=1), random_input(SMALL, 6)
    expected, found = np.concatenate([session(image[None]) for image in x]), np.zeros((6, 4), np.float32)

    def work(index):
        for _ in range(10):
            found[index] = session(x[index : index + 1])[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"threads": 0}, "threads 0: take at least 1"), ({"keep": ["block99.add"]}, "no node is called 'block99.add'")],
)
def test_a_bad_request_is_refused(options, complaint):
    with pytest.raises(RequestError, match=complaint):
        Session(SMALL, PARAMS, **options)


@pytest.mark.parametrize("x", [np.zeros((1, 1, 40, 56), np.float32), np.zeros((2, 3, 40, 56))], ids=["shape", "dtype"])
def test_input_of_another_kind_is_refused(x):
    session = Session(SMALL, PARAMS, threads=1)
    for run in session, session.tensors:
        with pytest.raises(RequestError, match=r"input: .* take \(N, 3, 40, 56\) float32"):
            run(x)


def test_a_session_uses_the_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert Session(SMALL, PARAMS).threads == cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_images_are_multiplied_by_one_thread_of_blas(monkeypatch, batch):
    asked, x = [], random_input(SMALL, batch)
    monkeypatch.setattr("refnet.session.numpy_threads", lambda count: asked.append(count) or nullcontext())
    session = Session(SMALL, PARAMS, threads=4)
    session(x)
    session.tensors(x)
    assert asked == [1, 1]
