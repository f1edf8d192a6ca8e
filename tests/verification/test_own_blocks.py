"""Arrays alone whose blocks are not quite those of the network whose names they have: it is said which differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refnet import FormatError, Graph, load, random_params
from refnet.cli import main
from refnet.files.schemes import entries
from refnet.files.write import write_weights
from refnet.networks.build import build, build_planned, find
from refnet.networks.dialects import MODELS
from refnet.networks.plan import Plan, PlannedBlock, plan
from refnet.networks.rewrite import fold_batch_norm
from refnet.verification.verify import verify

V2, V3, SE = "torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "timm/semnasnet_100"
KERAS, V1, MNASNET = "keras/MobileNetV3Small", "timm/mobilenetv1_100", "torchvision/mnasnet1_0"
Edit = Callable[[Plan], Plan]


def chained(widths: Plan, blocks: list[PlannedBlock]) -> Plan:
    """Blocks one behind the other, with a shortcut where the size and the channels stay."""
    made: list[PlannedBlock] = []
    for block in blocks:
        inputs = made[-1].out if made else widths.stem
        made.append(replace(block, inputs=inputs, shortcut=block.stride == 1 and inputs == block.out and len(made) > 0))
    return replace(widths, blocks=tuple(made))


def having(place: int, **changes: object) -> Edit:
    return lambda widths: replace(
        widths,
        blocks=tuple(replace(block, **changes) if i == place else block for i, block in enumerate(widths.blocks, 1)),
    )


def twice(place: int) -> Edit:
    def edit(widths: Plan) -> Plan:
        blocks = [*widths.blocks]
        return chained(widths, [*blocks[:place], replace(blocks[place - 1], stride=1), *blocks[place:]])

    return edit


def without(place: int) -> Edit:
    return lambda widths: chained(widths, [*widths.blocks[: place - 1], *widths.blocks[place:]])


# By case: network, what is changed, and the layers that differ as they are said.
CASES: dict[str, tuple[str, Edit, set[str]]] = {
    "an expansion where the factor is 1": (V2, having(1, expand=True), {"block1.expand is extra"}),
    "no expansion": (
        V2,
        having(3, expand=False, expanded=24),
        {"block3.expand is missing", "block3.depthwise has 24 channels, not 144"},
    ),
    "another factor": (
        V2,
        having(5, expanded=128),
        {"block5.expand has 128 channels, not 192", "block5.depthwise has 128 channels, not 192"},
    ),
    "a block more": (V2, twice(3), {f"block3_2.{part} is extra" for part in ("expand", "depthwise", "project")}),
    "a first block more": (V2, twice(1), {"block1_2.depthwise is extra", "block1_2.project is extra"}),
    "a block less": (V2, without(13), {f"block13.{part} is missing" for part in ("expand", "depthwise", "project")}),
    "a last block more": (
        V2,
        twice(17),
        {f"block17_2.{part} is extra" for part in ("expand", "depthwise", "project")},
    ),
    "another kernel": (V2, having(4, kernel=5), {"block4.depthwise has kernel (5, 5), not (3, 3)"}),
    "no last convolution": (V2, lambda widths: replace(widths, last=0), {"head.conv is missing"}),
    "no convolution before the hidden layer": (
        V3,
        lambda widths: replace(widths, last=0),
        {"head.conv is missing"},
    ),
    "no squeeze-and-excite": (V3, having(1, squeeze=0), {"block1.se.reduce is missing", "block1.se.expand is missing"}),
    "squeeze-and-excite": (V3, having(2, squeeze=16), {"block2.se.reduce is extra", "block2.se.expand is extra"}),
    "none in the last block": (
        V3,
        having(11, squeeze=0),
        {"block11.se.reduce is missing", "block11.se.expand is missing"},
    ),
    "a narrower one": (V3, having(5, squeeze=24), {"block5.se.reduce has 24 channels, not 64"}),
    "one in timm's": (SE, having(2, squeeze=4), {"block2.se.reduce is extra", "block2.se.expand is extra"}),
    "one in Keras'": (KERAS, having(3, squeeze=16), {"block3.se.reduce is extra", "block3.se.expand is extra"}),
    "another kernel in V1": (V1, having(6, kernel=5), {"block6.depthwise has kernel (5, 5), not (3, 3)"}),
    "another kernel in MnasNet": (MNASNET, having(5, kernel=3), {"block5.depthwise has kernel (3, 3), not (5, 5)"}),
}


def saved(path: Path, graph: Graph, params: dict[str, np.ndarray]) -> Path:
    np.savez(path, **{entry.key: entry.theirs(params[ours]) for ours, entry in entries(graph).items()})
    return path


def changed(model: str, edit: Edit) -> Graph:
    return build_planned(model, 1.0, 10, edit(plan(find(model), 1.0)))


OF_EACH = {model: case for case, (model, *_) in CASES.items()}.values()  # one case of each network


@pytest.mark.parametrize(("case", "fold"), [*((case, False) for case in CASES), *((case, True) for case in OF_EACH)])
def test_why_arrays_are_no_known_network_is_said_by_layers(tmp_path, case, fold):
    model, edit, layers = CASES[case]
    graph = changed(model, edit)
    params = random_params(graph)
    if fold:
        graph, params = fold_batch_norm(graph, params)
    with pytest.raises(FormatError, match=re.escape(f"nearest is {model} x1, but ")) as refused:
        load(saved(tmp_path / "port.npz", graph, params))
    said = str(refused.value).rpartition(" x1, but ")[2].split("; ")
    assert {each.partition(": ")[0] for each in said} == layers


def test_a_narrow_network_with_a_block_more_is_said_to_be_no_other_network(tmp_path):
    """Its names are few in other networks, and its shapes are none of its own network at width 1."""
    model, edit, _ = CASES["a block more"]
    graph = build_planned(model, 0.35, 10, edit(plan(find(model), 0.35)))
    with pytest.raises(FormatError) as refused:
        load(saved(tmp_path / "port.npz", graph, random_params(graph)))
    said = str(refused.value)
    assert {name for name in MODELS if re.search(rf"{re.escape(name)}(?![\w@])", said)} == {model}
    assert "compared at width 0.35" in said


@pytest.mark.parametrize("case", ["an expansion where the factor is 1", "a block less", "no squeeze-and-excite"])
@pytest.mark.parametrize("first", [True, False])
def test_beside_another_file_such_arrays_are_held_against_it_layer_by_layer(tmp_path, case, first):
    model, edit, layers = CASES[case]
    known, own = build(model, classes=10), changed(model, edit)
    params = random_params(known)
    names = {node.name for node in own.nodes}
    held = random_params(own) | {name: y for name, y in params.items() if name.rpartition(".")[0] in names}
    if case == "a block less":  # whose blocks behind it move up
        held = moved_up(params, 13)
    pair = [saved(tmp_path / "known.npz", known, params), saved(tmp_path / "port.npz", own, held)]
    found = verify(*(pair if first else pair[::-1]), size=(64, 64))
    there = "missing" if first else "extra"
    convolutions = {one.node for one in found.structure if (one.known or one.found)["op"].endswith("conv2d")}
    assert convolutions == {layer.partition(" ")[0] for layer in layers}
    assert {value.kind for value in found.faults} <= {"missing", "extra", there}
    assert not found.holds


def moved_up(params: dict[str, np.ndarray], gone: int) -> dict[str, np.ndarray]:
    """The arrays of a network without a block."""
    made = {}
    for name, array in params.items():
        block, dot, rest = name.partition(".")
        place = int(block[5:]) if block.startswith("block") else 0
        if place != gone:
            made[f"block{place - 1}{dot}{rest}" if place > gone else name] = array
    return made


@pytest.mark.parametrize(("model", "gone", "fold"), [(V2, 8, False), (V3, 10, True)])
def test_which_of_equal_blocks_is_missing_is_told_by_the_weights_of_the_others(tmp_path, model, gone, fold):
    known = build(model, width=1.0 if model == V3 else 0.35, classes=10)
    less = build_planned(model, known.recipe.width, 10, without(gone)(plan(find(model), known.recipe.width)))
    params = random_params(known)
    held = moved_up(params, gone)
    if fold:
        less, held = fold_batch_norm(less, held)
    pair = saved(tmp_path / "known.npz", known, params), saved(tmp_path / "port.npz", less, held)
    found = verify(*pair, size=(32, 32))
    assert {one.node.partition(".")[0] for one in found.structure} == {f"block{gone}"}
    assert {(value.name.partition(".")[0], value.kind) for value in found.faults} == {(f"block{gone}", "missing")}


def test_two_files_with_the_same_blocks_of_their_own_are_the_same_network(tmp_path, capsys):
    graph = changed(V2, having(1, expand=True))
    params = random_params(graph)
    one = saved(tmp_path / "one.npz", graph, params)
    assert verify(one, saved(tmp_path / "other.npz", graph, params), size=(32, 32)).holds
    write_weights(graph, params, tmp_path / "export.onnx")
    assert main(["verify", str(one), "--against", str(tmp_path / "export.onnx")]) == 0
    assert f"strides, pads and activations: they are those of {V2}" in capsys.readouterr().out


def test_a_filter_that_is_gone_makes_no_block_of_its_own(tmp_path):
    graph = build(V2, classes=10)
    params = random_params(graph)
    made = {entry.key: entry.theirs(params[ours]) for ours, entry in entries(graph).items()}
    made["features.3.conv.2.weight"] = made["features.3.conv.2.weight"][:-1]
    np.savez(tmp_path / "port.npz", **made)
    with pytest.raises(FormatError, match=r"^(?!.*nearest is)"):
        load(tmp_path / "port.npz")


def test_a_kernel_that_is_larger_than_any_map_is_said_too(tmp_path):
    graph = build(V2, width=0.1, classes=10)
    params = random_params(graph)
    made = {entry.key: entry.theirs(params[ours]) for ours, entry in entries(graph).items()}
    key = entries(graph)["block17.depthwise.w"].key
    made[key] = np.zeros((len(made[key]), 1, 401, 401), np.float32)
    np.savez(tmp_path / "port.npz", **made)
    with pytest.raises(FormatError, match=r"block17\.depthwise has kernel \(401, 401\), not \(3, 3\)$"):
        load(tmp_path / "port.npz")
