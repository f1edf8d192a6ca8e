"""PyTorch files as people have them: whole modules, scripts, wrappers. What they hold, and that nothing of it runs."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import SIX, checkpoint, dictionary, legacy, plain, tensor, text
from support import DATA

from refnet import FormatError
from refnet.files.containers import pth, read
from refnet.files.identify import reading
from refnet.files.identify.weights import weights_in
from refnet.verification.verify import verify

EXPECTED: dict[str, Any] = dict(np.load(DATA / "modules" / "expected.npz"))  # made by data/make_modules.py
FILES = sorted({key.rpartition("/")[0] for key in EXPECTED if "/" in key})


def digest(arrays: dict[str, np.ndarray]) -> str:
    """As make_modules.py has it."""
    found = hashlib.sha256()
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", FILES)
def test_the_state_dict_is_pytorchs_own_bit_for_bit(modules: Path, name: str) -> None:
    assert digest(pth.read(modules / name).arrays) == EXPECTED[f"{name}/digest"]


def test_submodules_tell_their_classes_and_settings(modules: Path) -> None:
    parts = pth.read(modules / "v3-protocol2.pth").submodules
    assert parts[""].kind == "torchvision.models.mobilenetv3.MobileNetV3"
    stem, norm = parts["features.0.0"], parts["features.0.1"]
    assert (stem.kind, stem.settings["stride"]) == ("torch.nn.modules.conv.Conv2d", (2, 2))
    assert (norm.kind, norm.settings["eps"]) == ("torch.nn.modules.batchnorm.BatchNorm2d", 1e-3)


def test_the_program_of_a_script_tells_strides_pads_and_eps(modules: Path) -> None:
    """A scripted layer has them as constants, a traced one in the call of its operation."""
    scripted, traced = (pth.read(modules / name).submodules for name in ("v3-script.pt", "traced.pt"))
    assert scripted["features.0.2"].kind.endswith("activation.Hardswish")
    stem = {"stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
    assert scripted["features.0.0"].settings.items() >= stem.items()
    assert scripted["features.0.1"].settings["eps"] == 1e-3
    assert traced["conv"].settings.items() >= {"stride": (1, 1), "padding": (0, 0)}.items()
    assert traced["bn"].settings["eps"] == 1e-5


def test_a_script_with_another_stride_is_another_network(modules: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    with zipfile.ZipFile(modules / "v3-script.pt") as archive, zipfile.ZipFile(other, "w") as made:
        for name in archive.namelist():
            data, stride = archive.read(name), b"stride : Final[Tuple[int, int]] = (%d, %d)"
            first = b"in_channels : Final[int] = 3\n" in data  # the stem
            made.writestr(name, data.replace(stride % (2, 2), stride % (1, 1)) if first else data)
    (difference,) = verify(modules / "v3-script.pt", other).structure
    assert (difference.node, difference.key) == ("stem.conv", "stride")


def test_strides_that_part_the_ends_of_a_shortcut_are_refused(modules: Path) -> None:
    held, place = read(modules / "v2-two.pth"), "features.3.conv.1.0"
    depthwise = held.submodules[place]
    wrong = depthwise._replace(settings={**depthwise.settings, "stride": (2, 2)})
    with pytest.raises(FormatError, match=r"^block3\.add: adds tensors .*, if strides and pads are as the file's"):
        reading.read(weights_in(held)[0], reading.Asked(), {**held.submodules, place: wrong})


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
        with pytest.raises(FormatError, match=r"it wants to call [A-Za-z_.]+; refused"):
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
    with pytest.raises(FormatError, match=r"'net' is .*(getattr|Reduced.*), not a tensor"):
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
