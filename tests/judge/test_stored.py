"""Results that are stored wrongly: parts that are never written, integers about another zero point, dumps that err."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params, write_pack
from refnet.bugs.language.changes import PART, Mistake
from refnet.bugs.language.regions import regions
from refnet.graph import SOURCE, Graph, Node, interpret
from refnet.judge.causes.shared_parts import part_of_all
from refnet.judge.compare import TensorScale, compare
from refnet.readings import fast
from refnet.report.comparison import comparison_document
from refnet.report.mistakes.bugs import of_port

MODEL, SIZE = "torchvision/mobilenet_v2", (56, 72)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    graph = build(MODEL, width=0.25, size=SIZE, classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 2)
    path = tmp_path_factory.mktemp("stored") / "pack"
    write_pack(net, x, path)
    return net, x, path


def port(net, x, edit, *, dumped=False):
    """A run in which some tensors are changed in place; only in the dump, where it is that which errs."""
    tensors, shown = {SOURCE: x}, {}
    for node in net.graph.nodes:
        given = {name: tensors[name] for name in node.inputs}
        y = np.array(interpret(Graph(net.graph.recipe, (node,)), fast, net.params, given), order="C")
        shown[node.name] = y.copy() if dumped else y
        edit(node.name, shown[node.name], given)
        tensors[node.name] = y
    return shown


def sentence(found, name):
    (cause,) = found.causes[name]
    return of_port(cause.mistakes[0])


def last_columns(y):
    y[..., -2:] = 0


def border(y):
    inner = y[..., 1:-1, 1:-1].copy()
    y[:] = -7.5
    y[..., 1:-1, 1:-1] = inner


def tail(y):
    flat = y.reshape(len(y), -1)
    flat[:, -37:] = 0.25


def tile(y):
    y[:, :, 4:, :3] = 0


def image(y):
    y[1] = 0


def channels(y):
    y[:, -3:] = 1.5


def lanes(y):
    y[:, 3::4] = 9


def biases(y):
    y[:, :, -1:] = np.arange(y.shape[1]).reshape(1, -1, 1, 1)


PARTS = {
    last_columns: "the last 2 of 9 columns are never written and hold 0",
    border: "a border of 1, 1, 1 and 1 points (top, bottom, left, right) is never written and holds -7.5",
    tail: "a tail of 37 of 3024 numbers in NCHW order is never written and holds 0.25",
    tile: "a tile of 3 x 3 points, 4 from the top and 0 from the left, is never written and holds 0",
    image: "the last 1 of 2 images are never written and hold 0",
    channels: "the last 3 of 48 channels are never written and hold 1.5",
    lanes: "12 of 48 channels, every 4th from number 3 on, are never written and hold 9",
    biases: "the last 1 of 7 rows are never written and hold one number in each channel",
}
PLACE = "block5.depthwise"


@pytest.mark.parametrize("edit", PARTS, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("dumped", [False, True], ids=["computed", "dumped"])
def test_a_part_that_is_never_written_is_named(made, edit, dumped):
    """In the port, or in its dump alone: then what follows is judged on what the port had."""
    net, x, path = made
    found = compare(path, port(net, x, lambda name, y, given: edit(y) if name == PLACE else None, dumped=dumped))
    assert found.wrong() == [PLACE]
    assert sentence(found, PLACE) == PARTS[edit]


def test_a_dump_that_errs_in_any_way_does_not_make_the_next_layer_wrong(made):
    """As where a tensor is dumped before its activation is run in place: what follows read the right numbers."""
    net, x, path = made
    tensors = {name: y.copy() for name, y in net.trace(x).items()}
    place = f"{PLACE}.act"
    dump = {**tensors, place: tensors[f"{PLACE}.bn"], "block9.expand": np.sqrt(np.abs(tensors["block9.expand"]))}
    found = compare(path, dump)
    assert found.wrong() == [place, "block9.expand"]
    assert found.judged.misdumped == (place, "block9.expand")
    words = (
        f"{place}, block9.expand: what follows was made of the right numbers, so that the dump errs here, not the port."
    )
    assert words in comparison_document(found, pack="", candidate="", precision="")["notes"]


def test_columns_beyond_a_multiple_are_one_sentence(made):
    net, x, path = made

    def edit(name, y, given):
        if "depthwise" in name and "." not in name.partition(".")[2] and y.shape[3] > 4 and y.shape[3] % 4:
            y[..., -(y.shape[3] % 4) :] = 0

    document = comparison_document(compare(path, port(net, x, edit)), pack="", candidate="", precision="")
    (pattern,) = document["patterns"]
    assert pattern["sentence"] == "the columns beyond the last multiple of 4 are never written"
    assert pattern["where"] == "in all depthwise layers"
    assert len(pattern["places"]) == pattern["of"] == 12


def test_what_memory_held_before_is_named(made):
    net, x, path = made
    rng = np.random.default_rng(0)

    def edit(name, y, given):
        if name == PLACE:
            y[:, :, -3:] = rng.normal(0, 40, y[:, :, -3:].shape)
        if name == "block8.depthwise":  # as the buffer of what it reads
            y[:, -5:] = given["block8.expand.act"][:, -5:]

    found = compare(path, port(net, x, edit))
    assert found.wrong() == [PLACE, "block8.depthwise"]
    assert sentence(found, PLACE) == "the last 3 of 7 rows are never written and hold what the memory held before"
    words = "the last 5 of 96 channels are never written and hold what block8.expand.act has there"
    assert sentence(found, "block8.depthwise") == words


def test_a_tail_of_memory_as_it_lies_channels_last_is_named(made):
    net, x, path = made
    rng = np.random.default_rng(0)

    def edit(name, y, given):
        if name == PLACE:
            last = np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(len(y), -1)
            last[:, -100:] = rng.normal(0, 40, last[:, -100:].shape)
            N, C, H, W = y.shape
            y[:] = last.reshape(N, H, W, C).transpose(0, 3, 1, 2)

    found = compare(path, port(net, x, edit))
    assert found.wrong() == [PLACE]
    words = "a tail of 100 of 3024 numbers in NHWC order is never written and holds what the memory held before"
    assert sentence(found, PLACE) == words


def test_a_part_that_is_no_number_is_named(made):
    net, x, path = made
    found = compare(path, port(net, x, lambda name, y, given: y[..., -1:].fill(np.nan) if name == PLACE else None))
    assert found.wrong() == [PLACE]
    assert sentence(found, PLACE) == "the last 1 of 9 columns are never written and hold what is no number"


def test_a_border_that_is_computed_otherwise_is_not_taken_for_memory(made):
    net, x, path = made

    def edit(name, y, given):
        if name == PLACE:
            y[..., -1:] *= 1.25

    found = compare(path, port(net, x, edit))
    assert found.wrong() == [PLACE]
    assert not found.causes[PLACE]


def integers(net, x, *, declared="", read="", whole=np.rint, stale="", factor=1.0, taken=None):
    """A dump in uint8 by tensor; one zero point declared one too high, or read as if there was none.

    `whole` makes integers of steps; the scale of `stale` is declared `factor` times what it is; `taken` gives the
    factor by which what a node reads is scaled.
    """
    tensors, dump, scales = {SOURCE: x}, {}, {}
    for node in net.graph.nodes:
        given = {name: tensors[name] for name in node.inputs}
        if node.name == read:
            (source,) = node.inputs
            given = {source: given[source] + scales[source].scale * scales[source].zero_point}
        if taken is not None and node.name == taken[0]:
            given = {name: y * np.float32(taken[1](scales, node)) for name, y in given.items()}
        y = interpret(Graph(net.graph.recipe, (node,)), fast, net.params, given)
        low, high = min(0.0, float(y.min())), max(0.0, float(y.max()))
        scale = (high - low) / 255
        zero = round(-low / scale)
        stored = np.clip(whole(y / scale) + zero, 0, 255).astype(np.uint8)
        tensors[node.name] = ((stored.astype(np.float64) - zero) * scale).astype(np.float32)
        dump[node.name], scales[node.name] = stored, TensorScale(scale, zero + (node.name == declared))
        if node.name == stale:
            scales[node.name] = TensorScale(scale * factor, zero)
    return dump, scales


def test_a_zero_point_that_is_declared_wrongly_is_named_and_what_follows_holds(made):
    net, x, path = made
    dump, scales = integers(net, x, declared="block5.project.bn")
    found = compare(path, dump, scales=scales)
    assert found.wrong() == ["block5.project.bn"]
    assert sentence(found, "block5.project.bn") == "the zero point of block5.project.bn is +1 off"


def test_a_zero_point_that_is_not_taken_away_is_named(made):
    net, x, path = made
    dump, scales = integers(net, x, read="block5.expand")
    found = compare(path, dump, scales=scales)
    assert found.wrong() == ["block5.expand"]
    assert sentence(found, "block5.expand") == "the zero point of what is read is not taken off"


def test_a_cast_behind_half_a_step_is_told(made):
    """Right above zero, so that it is no rounding of all numbers in one direction."""
    net, x, path = made
    dump, scales = integers(net, x, whole=lambda v: np.trunc(v + 0.5))
    pattern = compare(path, dump, scales=scales).judged.patterns[0]
    assert "adding half a step and cutting off toward zero, which is wrong below zero" in of_port(pattern.mistake)


@pytest.mark.parametrize(("whole", "manner"), [(np.ceil, "up"), (np.trunc, "toward zero")])
def test_integers_that_are_not_rounded_to_the_nearest_are_said_in_one_sentence(made, whole, manner):
    net, x, path = made
    dump, scales = integers(net, x, whole=whole)
    found = compare(path, dump, scales=scales)
    assert not found.holds
    pattern = found.judged.patterns[0]
    assert of_port(pattern.mistake) == f"integers are rounded {manner} when they are stored, not to the nearest"
    assert len(pattern.nodes) > 0.8 * len(dump)


def test_integers_that_are_rounded_to_the_nearest_are_said_nothing_of(made):
    net, x, path = made
    dump, scales = integers(net, x)
    found = compare(path, dump, scales=scales)
    assert found.holds
    assert not any(found.judged.stored.values())


def test_a_stale_scale_is_named_and_what_follows_holds(made):
    net, x, path = made
    dump, scales = integers(net, x, stale="block4.depthwise.act", factor=1.09)
    found = compare(path, dump, scales=scales)
    assert found.wrong() == ["block4.depthwise.act"]
    said = sentence(found, "block4.depthwise.act")
    assert said == "the scale of block4.depthwise.act is 1.09 times what it should be"


def test_an_input_that_is_read_in_another_scale_is_named(made):
    net, x, path = made
    dump, scales = integers(net, x, taken=("block4.project", lambda scales, node: 0.8))
    found = compare(path, dump, scales=scales)
    assert "block4.depthwise.act is read with 0.8 times its scale" in [
        of_port(cause.mistakes[0]) for cause in found.causes["block4.project"]
    ]


def test_parts_are_told_once_and_the_plainest_first():
    off = np.zeros((1, 4, 6, 8), bool)
    off[:, 3] = True
    assert [region.form for region in regions(off)] == ["channels last"]
    assert not list(regions(np.zeros((1, 4, 6, 8), bool)))


def test_sums_that_are_dumped_one_after_another_without_their_shortcuts_make_no_reader_wrong(made):
    """The port went on with the right sums, and each of them read the one before."""
    net, x, path = made
    tensors = {name: y.copy() for name, y in net.trace(x).items()}
    adds = [node for node in net.graph.nodes if node.op == "add"]
    branches = {node.name: next(tensors[name] for name in node.inputs if "project" in name) for node in adds}
    assert compare(path, {**tensors, **branches}).wrong() == [node.name for node in adds]


def without_act_behind(multiple):
    """A port whose activations run on whole numbers of channels alone."""

    def edit(name, y, given):
        if name.endswith(".act") and (rest := y.shape[1] % multiple):
            (before,) = given.values()
            y[:, -rest:] = before[:, -rest:]

    return edit


def test_channels_beyond_a_multiple_that_lack_the_activation_are_one_sentence(made):
    (net, x, path), multiple = made, 32
    found = compare(path, port(net, x, without_act_behind(multiple)))
    (pattern,) = comparison_document(found, pack="", candidate="", precision="")["patterns"]
    assert pattern["sentence"] == (
        f"the activation is left out, in the channels beyond the last multiple of {multiple} alone"
    )
    assert len(pattern["places"]) > 20


def test_rows_that_lack_the_activation_beyond_a_square_of_the_map_are_one_sentence(made):
    """A loop over H H C numbers, C maps of H x W with channels last."""
    net, x, path = made

    def edit(name, y, given):
        if name.endswith(".act") and name[5] in "23456":
            (before,) = given.values()
            laid = y.transpose(0, 2, 3, 1).copy()
            begin = y.shape[1] * y.shape[2] ** 2
            laid.reshape(len(y), -1)[:, begin:] = before.transpose(0, 2, 3, 1).reshape(len(y), -1)[:, begin:]
            y[:] = laid.transpose(0, 3, 1, 2)

    found = compare(path, port(net, x, edit))
    (pattern,) = comparison_document(found, pack="", candidate="", precision="")["patterns"]
    assert pattern["sentence"] == (
        "the activation is left out, in the numbers of an image beyond the first H H C, with H the shorter side of its "
        "C maps, alone"
    )


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(40, None, "in the channels from number 40 on alone"), (0, 40, "in the first 40 channels alone")],
)
def test_channels_from_one_on_or_up_to_one_are_told_for_tensors_of_all_sizes(made, begin, end, words):
    """Buffers of so many numbers: what is beyond, or within, has no bias."""
    net, x, path = made

    def edit(name, y, given):
        if name.endswith(".bn") and y.shape[1] > 48:
            (before,) = given.values()
            root = np.sqrt(net.params[f"{name}.var"] + np.float32(net.graph[name].attrs["eps"]))
            factor = (net.params[f"{name}.gamma"] / root)[:, None, None]
            y[:, begin:end] = (before * factor)[:, begin:end]

    found = compare(path, port(net, x, edit))
    (pattern,) = comparison_document(found, pack="", candidate="", precision="")["patterns"]
    assert pattern["sentence"] == f"the folded bias is lost: beta and mean are gone, {words}"


def test_an_activation_that_is_left_out_everywhere_is_in_no_part(made):
    net, x, path = made

    def edit(name, y, given):
        if name.endswith(".depthwise.act"):
            (y[:],) = given.values()

    found = compare(path, port(net, x, edit))
    (pattern,) = comparison_document(found, pack="", candidate="", precision="")["patterns"]
    assert pattern["sentence"] == "the activation is left out"


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_last_channels_that_lack_the_activation_are_told_however_few(made, count):
    net, x, path = made
    place = f"{PLACE}.act"

    def edit(name, y, given):
        if name == place:
            (before,) = given.values()
            y[:, -count:] = before[:, -count:]

    told = sentence(compare(path, port(net, x, edit)), place)
    assert told == f"the activation is left out, in the last {count} of 48 channels alone"


@pytest.mark.parametrize(("later", "told"), [(2, True), (3, False)])
def test_channels_that_are_left_over_may_begin_later_at_fewer_than_half_of_the_places(later, told):
    """There the first ones are right by chance."""
    names = [f"act{index}" for index in range(5)]
    found = {
        name: Mistake("act-swap", name, "relu", {PART: ("channel-run", (("first", first), ("last", 87), ("of", 88)))})
        for name, first in zip(names, [*range(81, 81 + later), *[80] * (5 - later)], strict=True)
    }
    nodes = {name: Node(name, "hard_swish", (SOURCE,)) for name in names}
    whole = SimpleNamespace(graph=SimpleNamespace(by_name=nodes), sizes=dict.fromkeys(names, (88, 6, 7)))
    part, _ = part_of_all(found, names, whole)
    assert (part is not None and part[0] == "channel-multiple") == told
