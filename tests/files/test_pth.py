"""PyTorch checkpoints: what PyTorch wrote is read without it, and what is not a checkpoint is refused in one line."""

from __future__ import annotations

import contextlib
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import MAGIC, SIX, checkpoint, dictionary, legacy, plain, tensor, text
from hypothesis import given
from hypothesis import strategies as st
from support import DATA

from refnet.errors import FormatError
from refnet.files.containers import pth
from refnet.files.containers.torch_wrappers import AVERAGES, WRAPPERS

FOLDER = DATA / "pth"  # made by data/make_pth.py
NETWORK = ["network", "network_protocol5", "network_channels_last", "network_legacy", "network_legacy_protocol4"]
GOOD = [*NETWORK, "views", "views_legacy", "types", "types_legacy", "parameters", "wrapped"]


def expected(name: str) -> dict[str, Any]:
    with np.load(FOLDER / "expected.npz") as found:
        folder = f"{name.split('_')[0]}/"
        return {key.removeprefix(folder): found[key] for key in found if key.startswith(folder)}


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return list(found) == list(wanted) and all(
        (found[key].dtype, found[key].shape, found[key].tobytes()) == (array.dtype, array.shape, array.tobytes())
        for key, array in wanted.items()
    )


def arrays_of(path: Path) -> dict[str, Any]:
    return pth.read(path).arrays


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.pth"


def refuses(path: Path, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        arrays_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_what_pytorch_wrote_is_read(name: str) -> None:
    assert same(arrays_of(FOLDER / f"{name}.pth"), expected(name))


@pytest.mark.parametrize("name", GOOD)
def test_arrays_are_contiguous_copies_in_native_order(name: str) -> None:
    found = list(arrays_of(FOLDER / f"{name}.pth").values())
    assert all(array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative for array in found)
    assert not any(np.shares_memory(one, other) for i, one in enumerate(found) for other in found[:i])


def test_a_published_checkpoint_is_read(imagenet: Path) -> None:
    found = arrays_of(imagenet)
    assert len([key for key in found if not key.endswith("num_batches_tracked")]) == 262
    assert found["features.0.0.weight"].shape == (32, 3, 3, 3)


def test_strides_and_offsets_are_followed(path: Path) -> None:
    checkpoint(path, dictionary(w=tensor(2, 2, stride=(1, 2), offset=1)))
    assert arrays_of(path)["w"].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(("member", "order"), [("big", ">"), ("little", "<"), (None, "<")])
def test_byteorder_is_followed(path: Path, member: str | None, order: str) -> None:
    members = {"byteorder": member.encode()} if member else {}
    bfloat16 = np.array([0x3F80, 0xC000, 0x7F80], f"{order}u2").tobytes()
    tensors = {"w": tensor(6), "b": tensor(3, key="1", kind="BFloat16", numel=3)}
    data = SIX.astype(f"{order}f4").tobytes()
    checkpoint(path, dictionary(**tensors), data=data, **{"data/1": bfloat16}, **members)
    assert same(arrays_of(path), {"w": SIX, "b": np.array([1, -2, np.inf], np.float32)})


def test_an_axis_of_one_may_have_any_stride(path: Path) -> None:
    assert arrays_of(checkpoint(path, dictionary(w=tensor(1, 6, stride=(1 << 47, 1)))))["w"].tolist() == [SIX.tolist()]


def test_any_byte_is_a_bool(path: Path) -> None:
    checkpoint(path, dictionary(w=tensor(6, kind="Bool")), data=b"\x00\x01\x02\xff\x00\x80")
    assert same(arrays_of(path), {"w": np.array([0, 1, 1, 1, 0, 1], bool)})


@pytest.mark.parametrize("name", [*WRAPPERS, *AVERAGES])
def test_wrappers_are_opened(path: Path, name: str) -> None:
    assert list(arrays_of(checkpoint(path, dictionary(epoch=plain(3), **{name: dictionary(w=tensor(6))})))) == ["w"]


def test_two_wrappers_are_opened_and_no_third(path: Path) -> None:
    twice = dictionary(model=dictionary(state_dict=dictionary(w=tensor(6))))
    assert list(arrays_of(checkpoint(path, twice))) == ["w"]
    refuses(checkpoint(path, dictionary(net=twice)), "'net' is dict, not a tensor")


def test_trained_weights_come_before_their_average(path: Path) -> None:
    averaged = {"state_dict_ema": dictionary(average=tensor(6)), "model_ema": dictionary(average=tensor(6))}
    checkpoint(path, dictionary(**averaged, model=dictionary(trained=tensor(6))))
    assert list(arrays_of(path)) == ["trained"]


def test_an_entry_is_taken_that_is_asked_for(path: Path) -> None:
    averaged = {"state_dict_ema": dictionary(average=tensor(6)), "model": dictionary(trained=tensor(6))}
    checkpoint(path, dictionary(**averaged))
    assert list(pth.read(path, "state_dict_ema").arrays) == ["average"]
    with pytest.raises(FormatError, match="has no entry 'ema'"):
        pth.read(path, "ema")


def test_settings_under_the_name_of_a_wrapper_are_passed_over(path: Path) -> None:
    checkpoint(path, dictionary(model=plain({"width": 1.0}), weights=dictionary(w=tensor(6))))
    assert list(arrays_of(path)) == ["w"]


def test_storages_that_are_not_asked_for_may_be_missing(path: Path) -> None:
    checkpoint(path, dictionary(optimizer=dictionary(m=tensor(6, key="gone")), net=dictionary(w=tensor(6))))
    assert list(arrays_of(path)) == ["w"]


def test_a_tensor_beside_the_state_dict_is_passed_over(path: Path) -> None:
    """PyTorch's own ImageNet example saves the best accuracy as a tensor."""
    assert list(arrays_of(checkpoint(path, dictionary(best=tensor(), state_dict=dictionary(w=tensor(6)))))) == ["w"]


def test_names_are_the_files_own(path: Path) -> None:
    """Whose prefix is whose is for `files.identify` to find."""
    checkpoint(path, dictionary(**{"module.a": tensor(6), "module.module.b": tensor(6)}))
    assert list(arrays_of(path)) == ["module.a", "module.module.b"]


def test_a_value_that_is_no_tensor_is_named(path: Path) -> None:
    refuses(checkpoint(path, dictionary(w=tensor(6), epoch=plain(3))), "'epoch' is int, not a tensor")


def test_a_key_that_is_no_text_is_named(path: Path) -> None:
    refuses(checkpoint(path, b"}K\x07" + tensor(6) + b"s"), "has int as the name of a tensor, not text")


@pytest.mark.parametrize(("program", "kind"), [(b"]", "list"), (b"N", "NoneType"), (tensor(6), "Tensor")])
def test_something_else_than_a_dict_is_refused(path: Path, program: bytes, kind: str) -> None:
    refuses(checkpoint(path, program), f"holds {kind}, not a state dict: save model.state_dict()")


def test_a_dict_without_tensors_is_refused(path: Path) -> None:
    refuses(checkpoint(path, b"}"), "holds no tensors")


@pytest.mark.parametrize(("name", "kind"), [("module", "container.Sequential"), ("torchscript", "activation.ReLU")])
def test_a_module_without_weights_is_refused(name: str, kind: str) -> None:
    refuses(FOLDER / f"{name}.pth", rf"torch\.nn\.modules\.{kind} holds no tensors")


@pytest.mark.parametrize("write", [checkpoint, legacy])
def test_nothing_that_a_file_names_is_run(path: Path, write: Any) -> None:
    trace = path.with_name("called")
    write(path, dictionary(w=b"cos\nsystem\n" + text(f"touch {trace}") + b"\x85R"))
    refuses(path, "it wants to call os.system; refused: save model.state_dict")
    assert not trace.exists()


@pytest.mark.parametrize(
    "view",
    [tensor(7), tensor(2, 3, offset=1), tensor(2, 2, stride=(5, 1)), tensor(2, stride=(1 << 47,)), tensor(offset=6),
     tensor(1, offset=1 << 47)],
)  # fmt: skip
@pytest.mark.parametrize("write", [checkpoint, legacy])
def test_views_beyond_the_storage_are_refused(path: Path, write: Any, view: bytes) -> None:
    refuses(write(path, dictionary(w=view)), "'w' reaches beyond its storage")


@pytest.mark.parametrize(
    "view",
    [tensor(1 << 30, stride=(0,)), tensor(*[1 << 40] * 9, stride=(0,) * 9), tensor(0, 1 << 47), tensor(*[1] * 65)],
)
def test_huge_tensors_are_refused(path: Path, view: bytes) -> None:
    refuses(checkpoint(path, dictionary(w=view)), "'w' is too large for a file of this size")


def test_many_views_of_one_storage_are_not_a_bomb_either(path: Path) -> None:
    program = dictionary(**{f"w{i}": tensor(1 << 20, numel=1 << 20) for i in range(30)})
    refuses(checkpoint(path, program, data=bytes(4 << 20)), "'w16' is too large")


@pytest.mark.parametrize("data", [b"", bytes(23), bytes(25), bytes(48)])
def test_a_storage_of_another_size_is_refused(path: Path, data: bytes) -> None:
    refuses(checkpoint(path, dictionary(w=tensor(6)), data=data), r"'archive/data/0' has \d+ bytes, not 6 x 4")


def test_a_storage_that_is_missing_is_named(path: Path) -> None:
    refuses(checkpoint(path, dictionary(w=tensor(6, key="7"))), "member 'archive/data/7' is missing")
    refuses(legacy(path, dictionary(w=tensor(6)), keys=[], tail=b""), "storage '0' is missing")


@pytest.mark.parametrize("key", ["../data.pkl", "/etc/passwd", "0\n"])
def test_keys_lead_nowhere_but_to_members(path: Path, key: str) -> None:
    refuses(checkpoint(path, dictionary(w=tensor(6, key=key))), "is missing: the file is incomplete")


def test_another_byteorder_is_refused(path: Path) -> None:
    refuses(checkpoint(path, dictionary(w=tensor(6)), byteorder=b"middle"), "its byteorder is neither little nor big")


@pytest.mark.parametrize("names", [[], ["a/data.pkl", "b/data.pkl"]])
def test_a_zip_archive_of_something_else_is_refused(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in ["readme.txt", *names]:
            file.writestr(name, "hello")
    refuses(path, f"a zip archive with {len(names)} members data.pkl, not one")


@pytest.mark.parametrize(
    ("keys", "tail"),
    [
        (["0", "0"], b""),
        (["1"], b""),
        ([0], b""),
        (["0"], b""),
        (["0"], bytes(7)),
        (["0"], struct.pack("<q", 6) + bytes(23)),
        (["0"], struct.pack("<q", 6) + bytes(25)),
        (["0"], struct.pack("<q", -1) + bytes(24)),
    ],
)
def test_legacy_storages_that_do_not_fit_are_refused(path: Path, keys: list[Any], tail: bytes) -> None:
    why = "truncated in or before|does not match its tensors|has another size|has 1 bytes behind"
    refuses(legacy(path, dictionary(w=tensor(6)), keys, tail), why)


def test_another_legacy_protocol_is_refused(path: Path) -> None:
    path.write_bytes(b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1000, {}, {}, [])))
    refuses(path, "not a PyTorch checkpoint of protocol 1001")


@pytest.mark.parametrize("content", [b"hello", b"\x89HDF\r\n\x1a\n", pickle.dumps({"w": 1}), bytes(100)])
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refuses(path, "not a PyTorch checkpoint: neither a zip archive nor")


@pytest.mark.parametrize("name", ["network", "network_legacy", "network_legacy_protocol4"])
def test_truncated_files_are_refused_wherever_they_end(path: Path, name: str) -> None:
    content = (FOLDER / f"{name}.pth").read_bytes()
    for size in range(1, len(content), 7):
        path.write_bytes(content[:size])
        refuses(path, "truncated|damaged|not a PyTorch checkpoint")


@given(st.sampled_from(GOOD), st.data())
def test_damage_anywhere_is_noticed_or_harmless(tmp_path_factory: Any, name: str, data: st.DataObject) -> None:
    content = bytearray((FOLDER / f"{name}.pth").read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("pth") / "a.pth"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(FormatError):
        arrays_of(path)


@given(st.data())
def test_damaged_programs_under_a_right_checksum_too(tmp_path_factory: Any, data: st.DataObject) -> None:
    program = bytearray(dictionary(a=tensor(2, 3), b=tensor(3, offset=3)))
    for place in data.draw(st.lists(st.integers(0, len(program) - 1), min_size=1, max_size=4)):
        program[place] = data.draw(st.integers(0, 255))
    path = checkpoint(tmp_path_factory.mktemp("pth") / "a.pth", bytes(program))
    with contextlib.suppress(FormatError):
        assert all(np.isin(array.view("u1"), SIX.view("u1")).all() for array in arrays_of(path).values())
