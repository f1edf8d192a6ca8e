"""PyTorch files as people have them, as networks: settings of whole modules, prefixes, heads of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import DATA

from refnet import FormatError, Network, RequestError, build, load
from refnet.files.checkpoint import identify
from refnet.files.containers import npz, pth
from refnet.files.identify import reading
from refnet.files.identify.prefixes import Prefix, prefixes
from refnet.files.schemes import entries
from refnet.report.differences import line

EXPECTED: dict[str, Any] = dict(np.load(DATA / "modules" / "expected.npz"))  # made by data/make_modules.py
V3 = ("torchvision/mobilenet_v3_small", 0.1)
V2 = ("torchvision/mobilenet_v2", 0.1)


def agrees(net: Network, name: str) -> bool:
    """Whether a network makes of the images what PyTorch's module makes, in float64."""
    y = net.at((48, 48)).astype(np.float64)(EXPECTED["x"])
    wanted = EXPECTED[f"{name}/y"]
    found = y[:, :: 40 if y.shape[1] > 40 else 1]
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= 1e-11 * np.abs(wanted).max())


# ---------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("v3-protocol2.pth", V3),
        ("v3-protocol5.pth", V3),
        ("v3-legacy.pth", V3),
        ("v3-legacy-protocol4.pth", V3),
        ("v3-parallel.pth", V3),
        ("v3-compiled.pth", V3),
        ("v3-traced-graph.pth", V3),
        ("v3-script.pt", V3),
        ("lightning.ckpt", V3),
        ("lightning-legacy.ckpt", V3),
        ("model-and-average.pth", V3),
        ("average-object.pth", V3),
        ("counted.pth", V3),
        ("own.pth", V2),
        ("own-legacy.pth", V2),
        ("v2-linear-state.pth", V2),
        ("timm_mobilenetv3_small_100.pth", ("timm/mobilenetv3_small_100", 0.1)),
        ("timm_tf_mobilenetv3_small_100.pth", ("timm/tf_mobilenetv3_small_100", 0.1)),
        ("quantizable_v2.pth", ("torchvision/mobilenet_v2@quantizable", 0.1)),
        ("transformers_v1.pth", ("transformers/mobilenet_v1", 0.25)),
        ("transformers_v2.pth", ("transformers/mobilenet_v2", 0.1)),
        ("marvis.pth", ("marvis/mobilenet_v1", 0.25)),
        ("tonylins.pth", ("d-li14/mobilenetv2", 0.11)),  # whose 0.1 is narrower
    ],
)
def test_a_known_network_computes_what_its_module_does(modules: Path, name: str, known: tuple[str, float]) -> None:
    found = identify(modules / name)
    recipe = found.graph.recipe
    assert (found.models, recipe.model, recipe.width) == ((known[0],), *known)
    assert not found.differences
    assert agrees(load(modules / name), name)


def test_of_the_quantisable_network_a_state_dict_tells_nothing(modules: Path) -> None:
    path = modules / "quantizable_v2-state.pth"
    assert load(path).graph.recipe.model == V2[0]
    assert agrees(load(path, model="torchvision/mobilenet_v2@quantizable"), path.name)


def test_what_a_module_tells_of_its_layers_is_taken(tmp_path: Path, modules: Path) -> None:
    """torchvision's V3 with another eps everywhere, one stride and one activation that are not its own."""
    program = (modules / "v3-legacy.pth").read_bytes()
    eps = b"X\x03\x00\x00\x00epsq"
    at = program.index(eps) + len(eps) + 1
    assert program[at : at + 1] == b"G"
    changed = program[: at + 1] + np.array(2e-3, ">f8").tobytes() + program[at + 9 :]
    (tmp_path / "eps.pth").write_bytes(changed.replace(b"activation\nReLU\n", b"activation\nSiLU\n"))
    found = identify(tmp_path / "eps.pth")
    assert [line(one) for one in found.differences][:2] == [
        "stem.bn has eps 0.002, not 0.001",
        "block1.depthwise.act is swish, not relu",
    ]
    assert found.graph["stem.bn"].attrs["eps"] == 2e-3


# --------------------------------------------------------------------------------------------------- heads of one's own


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("v2-linear-state.pth", ["head.logits"]),
        ("v2-adjacent-state.pth", ["head.hidden", "head.logits"]),
        ("v2-two.pth", ["head.hidden", "head.hidden.act", "head.logits"]),
        ("v2-norm.pth", ["head.hidden", "head.hidden.bn", "head.hidden.act", "head.logits", "head.logits.act"]),
        ("v3-hidden.pth", ["head.hidden", "head.hidden.act", "head.logits"]),
        ("v3-linear.pth", ["head.logits"]),
        ("v3-nested.pth", ["head.hidden", "head.hidden.act", "head.hidden2", "head.hidden2.act", "head.logits"]),
    ],
)
def test_a_head_of_its_own_is_found(modules: Path, name: str, ops: list[str]) -> None:
    net = load(modules / name)
    nodes = [node.name for node in net.graph.nodes]
    assert nodes[nodes.index("head.pool") + 1 :] == [*ops, "head.flatten"]
    assert net.graph.recipe.classes == EXPECTED[f"{name}/y"].shape[1]
    assert agrees(net, name)


def test_how_a_head_differs_is_told_by_its_own_nodes(modules: Path) -> None:
    assert [line(one) for one in identify(modules / "v2-two.pth").differences] == [
        "head.hidden is extra: pointwise_conv2d with 16 channels",
        "head.hidden.act is extra: relu",
    ]
    assert [line(one) for one in identify(modules / "v3-hidden.pth").differences] == [
        "head.hidden has 24 channels, not 104"
    ]


def test_what_stands_between_layers_is_not_guessed(modules: Path) -> None:
    with pytest.raises(
        FormatError,
        match=r"v2-two-state.pth: its head has 2 layers with weights, and what stands between 'classifier.1' and "
        r"'classifier.4' is not in the file: say it, as in head=linear,relu,linear",
    ):
        load(modules / "v2-two-state.pth")


def test_a_head_is_taken_as_the_caller_says_it(modules: Path) -> None:
    assert agrees(load(modules / "v2-two-state.pth", head="dropout, linear, relu, dropout, linear"), "v2-two-state.pth")
    norm = ("linear", "batch_norm", "hard_swish", "linear", "sigmoid")
    made = load(modules / "v2-norm-state.pth", head=norm)
    assert [node.op for node in made.graph.nodes[-6:]][:2] == ["pointwise_conv2d", "batch_norm"]
    assert made.graph["head.hidden.bn"].attrs["eps"] == 1e-5  # PyTorch's own, which a state dict does not hold


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("linear,gelu,linear", "no layer is called 'gelu'; they are linear, batch_norm, relu"),
        ("relu", "head: relu has no linear layer"),
        (
            "linear",
            r"the layers of the head are classifier.1 \(linear\), classifier.4 \(linear\): head=linear has others",
        ),
    ],
)
def test_another_head_than_the_files_is_refused(modules: Path, head: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        load(modules / "v2-two-state.pth", head=head)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("v2-headless.pth", "head.flatten"),
        ("v2-headless-state.pth", "head.flatten"),
        ("v3-headless.pth", "head.flatten"),
        ("v2-features.pth", "head.act"),
        ("v2-children.pth", "head.act"),
        ("transformers_v2-base.pth", "head.act"),
    ],
)
def test_a_network_without_its_head_ends_before_it(modules: Path, name: str, last: str) -> None:
    net = load(modules / name)
    assert net.graph.output == last
    assert "head.logits" not in net.graph
    assert agrees(net, name)


# ------------------------------------------------------------------------------------------------------------- prefixes


def test_the_prefix_that_makes_names_fit_is_found_and_noted(modules: Path) -> None:
    notes = {note.kind: note.names for note in identify(modules / "lightning.ckpt").notes}
    assert notes["prefix"] == ("model.", "")
    assert identify(modules / "own.pth").notes[0].names == ("backbone.", "features.")
    assert identify(modules / "own.pth").keys["head.logits.w"] == "fc.weight"
    assert identify(modules / "v2-children.pth").keys["stem.conv.w"] == "0.0.0.weight"


def test_profilers_counters_are_noted_and_do_not_widen(modules: Path) -> None:
    found = identify(modules / "counted.pth")
    (note,) = found.notes
    assert (note.kind, note.names[:2], note.total) == ("counters", ("total_ops", "total_params"), 402)
    assert {array.dtype for array in found.params.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("prefix", ["a.", "module.net.", "odd name.7.", "_orig_mod."])
def test_any_prefix_is_found(tmp_path: Path, modules: Path, prefix: str) -> None:
    arrays = pth.read(modules / "v3-legacy.pth").arrays
    npz.write(tmp_path / "a.npz", {f"{prefix}{key}": array for key, array in arrays.items()})
    found = identify(tmp_path / "a.npz")
    assert (found.models, found.keys["stem.conv.w"]) == ((V3[0],), f"{prefix}features.0.0.weight")


def test_the_same_network_twice_needs_a_word(modules: Path) -> None:
    path = modules / "student-and-teacher.pth"
    with pytest.raises(RequestError, match=r"2 networks, under 'student\.' and 'teacher\.': say which with prefix="):
        load(path)
    found = identify(path, prefix="teacher.")
    assert found.notes[0]._replace(names=()) == ("outside", (), 200)
    assert agrees(load(path, prefix="teacher."), path.name)


def test_of_names_that_are_there_twice_those_of_a_network_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = build(V2[0], width=V2[1], size=32)
    arrays = {entry.key: np.zeros(entry.shape, np.float32) for entry in entries(graph, "torchvision").values()}
    monkeypatch.setattr(reading.names, "known_names", lambda: [tuple(arrays)])
    both = {f"{prefix}{key}": array for prefix in ("a.", "b.") for key, array in arrays.items()}
    both["a.features.0.0.weight"] = np.zeros(3, np.float32)
    assert reading._prefix(both, reading.Asked(*V2), {}) == Prefix("b.", "")


def test_arrays_outside_the_prefix_are_left_out_only_when_asked(modules: Path) -> None:
    path = modules / "criterion.pth"
    why = r"all names under 'model\.' fit .* x0\.1; outside is 'criterion.weight': leave that out with prefix=model\."
    with pytest.raises(FormatError, match=why):
        load(path)
    assert agrees(load(path, prefix="model."), path.name)


def test_a_prefix_that_nothing_has_is_refused(modules: Path) -> None:
    with pytest.raises(RequestError, match=r"prefix 'net\.': no array has a name that begins so; the first is 'mod"):
        load(modules / "criterion.pth", prefix="net.")


def test_a_file_with_structure_takes_no_prefix_and_no_head(exports: Path) -> None:
    for asked in ({"prefix": "net."}, {"head": "linear"}):
        with pytest.raises(RequestError, match="tells its own structure, so head= and prefix= say nothing of it"):
            load(exports / "v3_small-old20-unfolded.onnx", **asked)


def test_a_prefix_needs_most_names_of_a_network() -> None:
    names = [f"features.{i}.weight" for i in range(40)]
    assert prefixes({f"a.{name}": 0 for name in names}, [names]) == [Prefix("a.", "")]
    assert prefixes({name.replace("features", "b"): 0 for name in names}, [names]) == [Prefix("b.", "features.")]
    assert not prefixes({f"a.{name}": 0 for name in names[:19]}, [names])
    assert not prefixes({f"a.{name}" if i % 3 == 0 else f"a.x{i}": 0 for i, name in enumerate(names * 2)}, [names])
