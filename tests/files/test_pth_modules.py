"""PyTorch files as people have them: whole modules, scripts, wrappers, prefixes, heads of one's own."""

from __future__ import annotations

import hashlib
import os
import pickle
import tarfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import SIX, checkpoint, dictionary, legacy, plain, tensor, text
from support import DATA

from refnet import FormatError, Network, RequestError, load
from refnet.files.checkpoint import identify
from refnet.files.containers import npz, pth
from refnet.files.identify.prefixes import Prefix, prefixes

FOLDER = DATA / "modules"  # made by data/make_modules.py
EXPECTED: dict[str, Any] = dict(np.load(FOLDER / "expected.npz"))
FILES = sorted({key.rpartition("/")[0] for key in EXPECTED if "/" in key})
V3 = ("torchvision/mobilenet_v3_small", 0.1)
V2 = ("torchvision/mobilenet_v2", 0.1)


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of modules.tar.xz."""
    folder = tmp_path_factory.mktemp("modules")
    with tarfile.open(FOLDER / "modules.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def digest(arrays: dict[str, np.ndarray]) -> str:
    """As make_modules.py has it."""
    found = hashlib.sha256()
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def agrees(net: Network, name: str) -> bool:
    """Whether a network makes of the images what PyTorch's module makes, in float64."""
    y = net.at((48, 48)).astype(np.float64)(EXPECTED["x"])
    wanted = EXPECTED[f"{name}/y"]
    found = y[:, :: 40 if y.shape[1] > 40 else 1]
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= 1e-11 * np.abs(wanted).max())


# ------------------------------------------------------------------------------------------------------- the state dict


@pytest.mark.parametrize("name", FILES)
def test_the_state_dict_is_pytorchs_own_bit_for_bit(modules: Path, name: str) -> None:
    assert digest(pth.read(modules / name).arrays) == EXPECTED[f"{name}/digest"]


def test_submodules_tell_their_classes_and_settings(modules: Path) -> None:
    parts = pth.read(modules / "v3-protocol2.pth").submodules
    assert parts[""].kind == "torchvision.models.mobilenetv3.MobileNetV3"
    stem, norm = parts["features.0.0"], parts["features.0.1"]
    assert (stem.kind, stem.settings["stride"]) == ("torch.nn.modules.conv.Conv2d", (2, 2))
    assert (norm.kind, norm.settings["eps"]) == ("torch.nn.modules.batchnorm.BatchNorm2d", 1e-3)
    assert pth.read(modules / "v3-script.pt").submodules["features.0.2"].kind.endswith("activation.Hardswish")


def test_a_frozen_script_is_refused_in_plain_words(modules: Path) -> None:
    with pytest.raises(
        FormatError, match="a frozen TorchScript archive, whose weights have no names: take the file from"
    ):
        pth.read(modules / "frozen.pt")


@pytest.mark.parametrize(
    ("name", "wrappers", "beside"),
    [
        ("lightning.ckpt", ("state_dict",), "optimizer_states"),
        ("lightning-legacy.ckpt", ("state_dict",), "callbacks"),
        ("model-and-average.pth", ("model",), "ema"),
        ("average-object.pth", ("ema", "ema"), "decay"),
    ],
)
def test_the_network_is_found_among_what_training_saves(
    modules: Path, name: str, wrappers: tuple[str, ...], beside: str
) -> None:
    contents = pth.read(modules / name)
    assert contents.wrappers == wrappers
    assert beside in contents.beside


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
        ("transformers_v1.pth", ("paper/mobilenet_v1", 0.25)),
        ("transformers_v2.pth", ("paper/mobilenet_v2", 0.1)),
        ("marvis.pth", ("marvis/mobilenet_v1", 0.25)),
        ("tonylins.pth", ("d-li14/mobilenetv2", 0.1)),
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
    assert [str(one) for one in found.differences][:2] == [
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
    assert [str(one) for one in identify(modules / "v2-two.pth").differences] == [
        "head.hidden is extra: pointwise_conv2d with 16 channels",
        "head.hidden.act is extra: relu",
    ]
    assert [str(one) for one in identify(modules / "v3-hidden.pth").differences] == [
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
    with pytest.raises(
        RequestError, match=r"holds 2 networks, under 'student\.' and 'teacher\.': say which with prefix="
    ):
        load(path)
    found = identify(path, prefix="teacher.")
    assert found.notes[0]._replace(names=()) == ("outside", (), 232)
    assert agrees(load(path, prefix="teacher."), path.name)


def test_arrays_outside_the_prefix_are_left_out_only_when_asked(modules: Path) -> None:
    path = modules / "criterion.pth"
    why = r"all names under 'model\.' fit .*small x0\.1; outside is 'criterion.weight': "
    why += r"leave that out with prefix=model\."
    with pytest.raises(FormatError, match=why):
        load(path)
    assert agrees(load(path, prefix="model."), path.name)


def test_a_prefix_that_nothing_has_is_refused(modules: Path) -> None:
    with pytest.raises(
        RequestError, match=r"prefix 'net\.': no array has a name that begins so; the first is 'model\."
    ):
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


# ------------------------------------------------------------------------------------------------------- nothing is run


def module(**tables: bytes) -> bytes:
    """The instructions that make a module of a class that no one has."""
    held = {"_parameters": b"}", "_buffers": b"}", "_modules": b"}"} | tables
    return b"cnowhere.nets\nNet\n)\x81" + dictionary(**held) + b"b"


@pytest.mark.parametrize("write", [checkpoint, legacy])
def test_modules_of_classes_that_are_nowhere_are_read(tmp_path: Path, write: Any) -> None:
    inner = module(_parameters=dictionary(w=tensor(6), b=b"N"))
    whole = module(_modules=dictionary(net=inner, gone=b"N"), _buffers=dictionary(n=tensor(2)))
    assert list(pth.read(write(tmp_path / "a.pth", whole)).arrays) == ["n", "net.w"]


@pytest.mark.parametrize("write", [checkpoint, legacy])
@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n%s\x85R",
        b"cposix\nsystem\n%s\x85R",
        b"csubprocess\nPopen\n%s\x85\x81",
        b"c__builtin__\neval\n%s\x85R",
        b"cbuiltins\n__import__\n%s\x85R",
        b"(%sios\nsystem\n",
        b"(cos\nsystem\n%so",
        b"cbuiltins\ngetattr\n(cos\n__dict__\nX\x06\x00\x00\x00systemtR%s\x85R",
    ],
)
def test_a_module_that_would_run_code_in_pytorch_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, call: bytes
) -> None:
    trace = tmp_path / "called"
    monkeypatch.setattr(os, "system", lambda command: trace.touch())
    hostile = call % text(f"touch {trace}")
    for held in (module(_parameters=dictionary(w=tensor(6)), hook=hostile), dictionary(w=tensor(6), x=hostile)):
        with pytest.raises(FormatError, match=r"it wants to call [a-z_.]+; refused"):
            pth.read(write(tmp_path / "a.pth", held))
    assert not trace.exists()


class Reduced:
    """What PyTorch would call a function of this file's for."""

    called = False

    def __reduce__(self) -> Any:
        return Reduced.run, ("argument",)

    @classmethod
    def run(cls, argument: str) -> None:
        """Remember it."""
        cls.called = True


@pytest.mark.parametrize("protocol", range(2, 6))
def test_functions_of_ones_own_are_not_called_either(tmp_path: Path, protocol: int) -> None:
    whole = module(_parameters=dictionary(w=tensor(6)), hook=plain([Reduced()]))
    assert list(pth.read(checkpoint(tmp_path / "a.pth", whole)).arrays) == ["w"]
    data = pickle.dumps(OrderedDict(net=Reduced()), protocol)
    with pytest.raises(FormatError, match=r"'net' is builtins.getattr, not a tensor|'net' is .*Reduced"):
        pth.read(checkpoint(tmp_path / "b.pth", b"", **{"data.pkl": data}))
    assert not Reduced.called


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (module(_modules=dictionary(net=b"N\x85")), "'net' is no module: save model.state_dict"),
        (module(_modules=dictionary(net=b"cnowhere\nNet\n)\x81")), "'net' is no module"),
        (module(_parameters=dictionary(w=b"K\x01")), "'w' is int, not a tensor"),
        (module(_parameters=dictionary(w=b"ctorch\nempty\nK\x01\x85R")), r"'w' is torch\.empty, not a tensor"),
        (module(_buffers=b"]"), "the buffers of '' are no dict"),
        (module(), "nowhere.nets.Net holds no tensors"),
        (b"cnowhere\nNet\n)\x81", "holds nowhere.Net, which is neither a module nor a state dict"),
        (b"cnowhere\nNet\n", "holds Named, not a state dict|holds Named, which is"),
    ],
)
def test_what_is_no_module_is_refused(tmp_path: Path, whole: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        pth.read(checkpoint(tmp_path / "a.pth", whole))


def test_a_module_inside_itself_is_refused(tmp_path: Path) -> None:
    """The first is number 0 of the memo; its submodule is itself."""
    whole = b"cnowhere\nNet\n)\x81q\x00" + dictionary(_parameters=b"}", _modules=dictionary(a=b"h\x00")) + b"b"
    with pytest.raises(FormatError, match="modules are nested deeper than 100"):
        pth.read(checkpoint(tmp_path / "a.pth", whole))


def test_names_that_multiply_are_refused(tmp_path: Path) -> None:
    """Each module holds the one before it twice: 2^40 names."""
    program = module(_parameters=dictionary(w=tensor(6)))
    for number in range(40):
        program += b"q%c0" % number
        program += module(_modules=dictionary(a=b"h%c" % number, b=b"h%c" % number))
    with pytest.raises(FormatError, match="or are more than 100,000"):
        pth.read(checkpoint(tmp_path / "a.pth", program))


def test_buffers_that_are_not_kept_are_not_read(tmp_path: Path) -> None:
    for held in (b"cbuiltins\nset\n](" + text("n") + b"e\x85R", b"\x8f(" + text("n") + b"\x90"):
        tables = {"_buffers": dictionary(n=tensor(6), m=tensor(6)), "_non_persistent_buffers_set": held}
        assert list(pth.read(checkpoint(tmp_path / "a.pth", module(**tables))).arrays) == ["m"]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("generator", "critic"), "holds 2 networks, 'generator', 'critic': save one of them alone"),
        (("generator",), ""),
    ],
)
def test_a_wrapper_of_any_name_is_opened_where_it_is_the_only_one(
    tmp_path: Path, names: tuple[str, ...], why: str
) -> None:
    state = dictionary(w=tensor(1, 1, 2, 3))
    held = {"optimizer": dictionary(state=state), "epoch": plain(3), **dict.fromkeys(names, state)}
    path = checkpoint(tmp_path / "a.pth", dictionary(**held))
    if why:
        with pytest.raises(FormatError, match=why):
            pth.read(path)
    else:
        assert np.array_equal(pth.read(path).arrays["w"], SIX.reshape(1, 1, 2, 3))
