"""PyTorch checkpoints: what PyTorch wrote is read exactly; what it never writes is refused, and nothing in it is run.

The good files are tests/data/pth, made by tests/data/make_pth.py. The hostile ones are put together here.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refnet.errors import FormatError
from refnet.files.containers import pth, read

FOLDER = Path(__file__).parents[1] / "data" / "pth"
BOTH = ("channels_last", "dtypes", "module", "parameter", "plain", "shared", "training", "wrapped")
GOOD = ("protocol4.pt", *(f"{name}{ending}" for name in BOTH for ending in (".pt", ".legacy.pt")))
MAGIC = 0x1950A86A20F9469CFC6C
EXPECTED = dict(np.load(FOLDER / "expected.npz"))


# Files made by hand: a pickle written by Python's own pickler, with stand-ins for what only PyTorch has.


class Name:
    """A global of any module, which need not exist."""

    def __init__(self, path: str) -> None:
        self.path = path


class Call:
    """A call of a global."""

    def __init__(self, path: str, *arguments: Any) -> None:
        self.path, self.arguments = path, arguments


class Storage:
    def __init__(self, type_: str = "Float", key: Any = "0", numel: Any = 4) -> None:
        self.pid = ("storage", Name(f"torch.{type_}Storage"), key, "cpu", numel)


class Pickler(pickle._Pickler):  # type: ignore[misc, name-defined]  # the one in Python, which can be taught new types
    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Storage):
            self.save(value.pid, save_persistent_id=False)
            self.write(pickle.BINPERSID)
        elif isinstance(value, Name):
            self.write(pickle.GLOBAL + "\n".join(value.path.rsplit(".", 1)).encode() + b"\n")
        elif isinstance(value, Call):
            self.save(Name(value.path))
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def pickled(value: Any) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, 2).dump(value)
    return stream.getvalue()


def tensor(storage: Any = None, offset: Any = 0, size: Any = (2, 2), stride: Any = (2, 1)) -> Call:
    storage = Storage() if storage is None else storage
    return Call("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, False, OrderedDict())


NUMBERS = np.arange(4, dtype="<f4")


def zipped(
    path: Path, program: Any, storages: dict[str, bytes] | None = None, byteorder: bytes = b"little", **how: Any
) -> Path:
    """A zip checkpoint; a program that is no bytes is pickled."""
    storages = {"0": NUMBERS.tobytes()} if storages is None else storages
    with zipfile.ZipFile(path, "w", **how) as archive:
        archive.writestr("archive/data.pkl", program if isinstance(program, bytes) else pickled(program))
        archive.writestr("archive/byteorder", byteorder)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
    return path


def legacy(path: Path, value: Any, *, little: bool = True, count: int = 4, keys: Any = ("0",)) -> Path:
    numbers = NUMBERS if little else NUMBERS.byteswap()
    rows = [MAGIC, 1001, {"protocol_version": 1001, "little_endian": little, "type_sizes": {}}, value, list(keys)]
    path.write_bytes(b"".join(map(pickled, rows)) + struct.pack("<q" if little else ">q", count) + numbers.tobytes())
    return path


def refused(path: Path, *says: str) -> str:
    """The complaint about a file: a FormatError of one line, naming the file and what is wrong."""
    with pytest.raises(FormatError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()  # hence one line
    assert path.name in message
    assert len(message) < 500 + len(str(path))
    for word in says:
        assert word in message
    return message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


# What PyTorch writes


@pytest.mark.parametrize("name", GOOD)
def test_what_pytorch_saved_is_read_exactly_and_in_order(name: str) -> None:
    stem = name.removesuffix(".pt").removesuffix(".legacy")
    expected = {key.split("/", 1)[1]: array for key, array in EXPECTED.items() if key.startswith(f"{stem}/")}
    found = read(FOLDER / name)
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert found[key].dtype == array.dtype
        assert found[key].shape == array.shape
        assert found[key].flags.c_contiguous
        assert found[key].flags.owndata
        np.testing.assert_array_equal(found[key], array)


def test_tensors_of_one_storage_do_not_share_memory() -> None:
    found = read(FOLDER / "shared.pt")
    found["whole"][:] = -1
    assert found["again"][0] == 0


def test_batch_norm_keeps_its_int64_counter() -> None:
    counter = read(FOLDER / "module.pt")["bn.num_batches_tracked"]
    assert counter.dtype == np.int64
    assert counter.shape == ()
    assert counter == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("script.pt", "TorchScript"),
        ("whole.pt", "torch.nn.modules.container.Sequential"),
        ("optimizer.pt", "no tensors by name; its keys are 'state', 'param_groups'"),
        ("tensor.pt", "a single tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(name: str, says: str) -> None:
    refused(FOLDER / name, says)


def test_every_file_is_tested() -> None:
    assert {path.name for path in FOLDER.glob("*.pt")} == {*GOOD, "script.pt", "whole.pt", "optimizer.pt", "tensor.pt"}


# Files of other machines and times


def test_the_hand_made_files_are_good(file: Path) -> None:
    for path in (zipped(file, {"w": tensor()}), legacy(file, {"w": tensor()})):
        np.testing.assert_array_equal(read(path)["w"], [[0, 1], [2, 3]])


def test_a_big_endian_zip_is_turned(file: Path) -> None:
    zipped(file, {"w": tensor()}, {"0": NUMBERS.byteswap().tobytes()}, b"big")
    np.testing.assert_array_equal(read(file)["w"], [[0, 1], [2, 3]])
    assert read(file)["w"].dtype == np.dtype("=f4")


def test_a_big_endian_legacy_file_is_turned(file: Path) -> None:
    np.testing.assert_array_equal(read(legacy(file, {"w": tensor()}, little=False))["w"], [[0, 1], [2, 3]])


def test_big_endian_bfloat16_is_turned_before_it_is_widened(file: Path) -> None:
    zipped(file, {"w": tensor(Storage("BFloat16"))}, {"0": np.array([0x3F80] * 4, ">u2").tobytes()}, b"big")
    np.testing.assert_array_equal(read(file)["w"], np.ones((2, 2)))


def test_an_unknown_byte_order_is_refused(file: Path) -> None:
    refused(zipped(file, {"w": tensor()}, byteorder=b"middle"), "byte order", "middle")


def test_an_ordered_dict_of_python_2_is_read(file: Path) -> None:
    zipped(file, Call("collections.OrderedDict", [["b", tensor()], ["a", tensor()]]))
    assert list(read(file)) == ["b", "a"]


def test_prefixes_of_wrapped_modules_are_taken_off_together(file: Path) -> None:
    assert list(read(zipped(file, {"module._orig_mod.a": tensor(), "module._orig_mod.b": tensor()}))) == ["a", "b"]
    assert list(read(zipped(file, {"module.a": tensor(), "b": tensor()}))) == ["module.a", "b"]


def test_a_legacy_file_may_hold_storages_that_no_weight_needs(file: Path) -> None:
    deep = {"optimizer": {"state": {0: {"exp_avg": [tensor()]}}}, "model": {"w": tensor()}}
    assert list(read(legacy(file, deep))) == ["w"]


# Programs


class Touch:
    """Unpickled by Python, this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: {"state_dict": {"w": value}}], ids=["bare", "deep"]
)
def test_no_system_call_is_run(file: Path, protocol: int, wrap: Any) -> None:
    touched = file.with_name("touched")
    message = refused(zipped(file, pickle.dumps(wrap(Touch(touched)), protocol)))
    assert protocol < 2 or f"{os.name}.system" in message  # the text protocols are refused whole
    assert not touched.exists()


def test_no_system_call_is_run_in_a_legacy_file(file: Path) -> None:
    touched = file.with_name("touched")
    refused(legacy(file, {"w": Call("os.system", f"touch '{touched}'")}), "os.system")
    assert not touched.exists()


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_a_legacy_file_is_guarded(file: Path, place: int) -> None:
    rows = [MAGIC, 1001, {"little_endian": True}, {"w": tensor()}, ["0"]]
    head = pickled(rows[0])
    rows[place] = Call("os.system", "true")
    # The magic number must stand in the first bytes for the file to be taken for a checkpoint at all.
    file.write_bytes((head if place == 0 else b"") + b"".join(map(pickled, rows)))
    refused(file, "os.system")


@pytest.mark.parametrize(
    "path",
    [
        "builtins.eval",
        "builtins.exec",
        "builtins.getattr",
        "os.system",
        "posix.system",
        "numpy.load",
        "torch.load",
        "torch.hub.load",
        "collections.namedtuple",
        "torch._utils._rebuild_tensor_v2.__globals__",
        "collections.OrderedDict.fromkeys",
    ],
)
def test_a_name_that_no_tensor_needs_is_told(file: Path, path: str) -> None:
    refused(zipped(file, {"w": Call(path, "1")}), path, "nothing was run")


@pytest.mark.parametrize(("module", "name"), [("collections", "OrderedDict.fromkeys"), ("torch", "Size.__class__")])
def test_a_dotted_name_reaches_nothing(file: Path, module: str, name: str) -> None:
    program = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name)) + b"\x93."
    refused(zipped(file, program), f"{module}.{name}")


def test_a_name_of_many_lines_makes_a_message_of_one(file: Path) -> None:
    refused(zipped(file, b"\x80\x04\x8c\x04a\nb\n\x8c\x02\nc\x93."), "a b .", "nothing was run")


def test_a_name_cannot_command_the_terminal(file: Path) -> None:
    refused(zipped(file, {"w": Name("os.\x1b[2J")}), r"os.\x1b[2J")


def test_a_name_of_a_megabyte_makes_a_short_message(file: Path) -> None:
    refused(zipped(file, pickled({"w": Name(f"os.{'x' * 2**20}")})), "os.xxx")


def test_a_key_of_a_megabyte_makes_a_short_message(file: Path) -> None:
    refused(zipped(file, {"w": tensor(Storage(key="0" * 2**20))}), "'w'")
    refused(zipped(file, {"w" * 2**20: tensor(size=(9,), stride=(1,))}), "www")


def test_a_name_that_is_no_string_is_refused(file: Path) -> None:
    refused(zipped(file, b"\x80\x04))\x93."), "no name")


@pytest.mark.parametrize(
    "target", ["torch._utils._rebuild_tensor_v2", "collections.OrderedDict", "torch.Size", "torch.FloatStorage"]
)
def test_attributes_of_what_may_be_called_cannot_be_set(file: Path, target: str) -> None:
    name = pickled(Name(target))[:-1]
    before = dict(pth._GLOBALS)
    refused(zipped(file, name + b"}X\x03\x00\x00\x00runNsb."), "sets attributes")
    assert before == pth._GLOBALS


@pytest.mark.parametrize(
    "program",
    [
        b"ios\nsystem\n(S'true'\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",  # NEWOBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pstorage\n.",  # PERSID
        b"\x80\x05\x97.",  # NEXT_BUFFER
    ],
)
def test_other_ways_to_call_are_refused(file: Path, program: bytes) -> None:
    refused(zipped(file, program))


@pytest.mark.parametrize("function", [(), [], "torch", {}, Name("torch.FloatStorage")])
def test_only_functions_can_be_called(file: Path, function: Any) -> None:
    refused(zipped(file, pickled(function)[:-1] + b")R."), "no function")


# Programs that cost more than they weigh


@pytest.mark.parametrize("index", [2**31, 2**32 - 1])
def test_a_memo_index_costs_no_memory(file: Path, index: int) -> None:
    refused(zipped(file, b"\x80\x02]r" + struct.pack("<I", index) + b"."), "of type list")


@pytest.mark.parametrize("level", [b"\x85", b"]q\x000h\x00a"], ids=["tuples", "lists"])
def test_deep_nesting_is_refused(file: Path, level: bytes) -> None:
    refused(zipped(file, b"\x80\x02)" + level * 1_000_000 + b"."))


def test_a_deep_key_does_not_overflow_the_stack(file: Path) -> None:
    refused(zipped(file, b"\x80\x02}" + b")" + b"\x85" * 3_000_000 + b"Ns."), "for a key")


@pytest.mark.parametrize("end", [b"Ns.", b"h\x00c\n\n.", b"\x93.", b"Q.", b"R.", b"b.", b"a.", b"."])
def test_a_bush_of_tuples_is_never_walked(file: Path, end: bytes) -> None:
    """Sixty levels, each twice the one below: whoever hashes or prints it never comes back."""
    refused(zipped(file, b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + end))


def test_a_list_of_pairs_makes_one_dict_only(file: Path) -> None:
    """Else a long list and many short calls would fill any memory."""
    pairs = [["w", tensor()]]
    first, second = Call("collections.OrderedDict", pairs), Call("collections.OrderedDict", pairs)
    refused(zipped(file, {"model": first, "state_dict": second}), "its keys are none")


def test_a_dict_within_itself_is_no_endless_walk(file: Path) -> None:
    keys = b"".join(b"K" + bytes([i]) + b"h\x00" for i in range(200))
    refused(zipped(file, b"\x80\x02}q\x00(" + keys + b"u."), "no tensors")
    refused(zipped(file, b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."), "no tensors")


def test_a_tensor_of_stride_0_cannot_be_larger_than_its_storage(file: Path) -> None:
    refused(zipped(file, {"w": tensor(size=(5,), stride=(0,))}), "'w'", "beyond its storage of 4")
    refused(zipped(file, {"w": tensor(size=(2**20, 2**20), stride=(0, 0))}), "'w'", "far more than the file")


def test_a_thousand_names_for_one_storage_are_too_many(file: Path) -> None:
    storage = Storage(numel=2**16)
    views = {f"{i}": tensor(storage, 0, (2**16,), (1,)) for i in range(1000)}
    refused(zipped(file, views, {"0": bytes(2**18)}), "far more than the file")


def test_a_compressed_member_is_refused_unread(file: Path) -> None:
    storages = {"0": bytes(2**24)}
    zipped(file, {"w": tensor(Storage(numel=2**22))}, storages, compression=zipfile.ZIP_DEFLATED)
    refused(file, "compressed")


def test_a_member_that_claims_to_be_stored_larger_than_the_file_is_refused(file: Path) -> None:
    raw = zipped(file, {"w": tensor()}).read_bytes()
    at = raw.rindex(b"PK\x01\x02")  # the last member's entry of the directory: sizes at 20 and 24
    file.write_bytes(raw[: at + 20] + struct.pack("<II", 2**31, 2**31) + raw[at + 28 :])
    refused(file, "larger than the file")


# Tensors that do not fit


@pytest.mark.parametrize("size", [(2, -2), (-1, -4), (2, 2.0), (True, 4), (2, None), (2, "2"), (2**63, 1), (2, [2])])
def test_a_size_is_made_of_whole_numbers(file: Path, size: Any) -> None:
    refused(zipped(file, {"w": tensor(size=size)}), "whole numbers")


@pytest.mark.parametrize("stride", [(-2, 1), (True, 1), (2, 1.0), ("2", 1)])
def test_a_stride_is_made_of_whole_numbers(file: Path, stride: Any) -> None:
    refused(zipped(file, {"w": tensor(stride=stride)}), "whole numbers")


@pytest.mark.parametrize("offset", [-1, True, 0.0, None, "0"])
def test_an_offset_is_a_whole_number(file: Path, offset: Any) -> None:
    refused(zipped(file, {"w": tensor(offset=offset)}), "whole numbers")


@pytest.mark.parametrize("size", [None, 4, "22", {2: 2}, b"\x02\x02"])
def test_a_size_is_a_tuple(file: Path, size: Any) -> None:
    refused(zipped(file, {"w": tensor(size=size)}))


def test_as_many_strides_as_axes(file: Path) -> None:
    refused(zipped(file, {"w": tensor(size=(2, 2), stride=(1,))}), "another number of strides")


@pytest.mark.parametrize("axes", [33, 65, 10_000])
def test_too_many_axes_are_refused(file: Path, axes: int) -> None:
    refused(zipped(file, {"w": tensor(size=(1,) * axes, stride=(1,) * axes)}))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (1, (2, 2), (2, 1)),
        (4, (1,), (1,)),
        (2**62, (1,), (1,)),
        (0, (2, 2), (2, 2)),
        (0, (2,), (2**62,)),
        (0, (5,), (1,)),
        (4, (), ()),
    ],
)
def test_a_view_beyond_its_storage_is_refused(file: Path, offset: int, size: Any, stride: Any) -> None:
    refused(zipped(file, {"w": tensor(None, offset, size, stride)}), "'w'", "beyond its storage of 4")


def test_an_empty_tensor_of_impossible_axes_is_refused(file: Path) -> None:
    refused(zipped(file, {"w": tensor(size=(0, 2**62, 2**62), stride=(1, 1, 1))}))


@pytest.mark.parametrize("numel", [-4, True, 4.0, "4", None, 2**63])
def test_a_storage_counts_its_numbers(file: Path, numel: Any) -> None:
    refused(zipped(file, {"w": tensor(Storage(numel=numel))}), "storage", "PyTorch does not write")


@pytest.mark.parametrize("numel", [0, 3, 5, 2**62])
def test_a_storage_of_another_length_than_said_is_refused(file: Path, numel: int) -> None:
    refused(zipped(file, {"w": tensor(Storage(numel=numel))}), "'w'", "has 16 bytes")


@pytest.mark.parametrize("key", ["1", "", "../data.pkl", "0\n", "0" * 200])
def test_a_storage_that_is_not_in_the_file_is_missed(file: Path, key: str) -> None:
    refused(zipped(file, {"w": tensor(Storage(key=key))}), "'w'", "not in the file")


@pytest.mark.parametrize("type_", ["ComplexFloat", "QInt8", "Untyped", "Foo"])
def test_an_unknown_type_of_numbers_is_told(file: Path, type_: str) -> None:
    refused(zipped(file, {"w": tensor(Storage(type_))}), f"torch.{type_}Storage")


@pytest.mark.parametrize("storage", [4, "0", (), {}, ("storage", "torch.FloatStorage", "0", "cpu", 4)])
def test_a_tensor_needs_a_storage(file: Path, storage: Any) -> None:
    refused(zipped(file, {"w": tensor(storage)}), "a storage")


@pytest.mark.parametrize("value", [3, "a", [tensor()], {"x": tensor()}, None])
def test_anything_else_among_tensors_is_told_by_its_key(file: Path, value: Any) -> None:
    refused(zipped(file, {"w": tensor(), "other": value}), "'other'", "among tensors")


@pytest.mark.parametrize("value", [{}, {"state_dict": {}}, {"state_dict": 3}, [], 3, None, "text", Storage()])
def test_no_tensors_are_refused(file: Path, value: Any) -> None:
    refused(zipped(file, value))


# Damage


def test_two_members_of_one_name_are_refused(file: Path) -> None:
    zipped(file, {"w": tensor()})
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", bytes(16))
    refused(file, "'archive/data/0' twice")


def test_two_programs_are_refused(file: Path) -> None:
    zipped(file, {"w": tensor()})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("other/data.pkl", pickled({}))
    refused(file, "data.pkl")


def test_a_zip_without_a_program_is_no_checkpoint(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(file, "no PyTorch checkpoint")


def test_one_wrong_byte_of_a_storage_is_seen(file: Path) -> None:
    raw = bytearray(zipped(file, {"w": tensor()}).read_bytes())
    raw[raw.index(NUMBERS.tobytes()) + 7] ^= 1
    file.write_bytes(raw)
    refused(file, "CRC")


@pytest.mark.parametrize("name", ["plain.pt", "plain.legacy.pt"])
def test_a_file_cut_short_anywhere_is_refused(file: Path, name: str) -> None:
    raw = (FOLDER / name).read_bytes()
    for length in range(len(raw)):
        file.write_bytes(raw[:length])
        refused(file)


@pytest.mark.parametrize(
    "raw", [b"garbage", b"PK", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}.", bytes(100), b"\x89HDF\r\n"]
)
def test_garbage_is_refused(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    refused(file)


def test_an_empty_file_is_told(file: Path) -> None:
    file.write_bytes(b"")
    refused(file, "is empty")


def test_a_folder_is_told(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_a_file_that_is_not_there_is_no_format_error(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(file)


@pytest.mark.parametrize("count", [-1, 0, 3, 5, 2**62])
def test_a_legacy_count_that_contradicts_the_tensors_is_refused(file: Path, count: int) -> None:
    refused(legacy(file, {"w": tensor()}, count=count), "storages are not the ones")


@pytest.mark.parametrize("keys", [["1"], [0], [("0",)], [["0"]], [None], 7, {}, "1", []])
def test_legacy_keys_that_contradict_the_tensors_are_refused(file: Path, keys: Any) -> None:
    rows = [MAGIC, 1001, {"little_endian": True}, {"w": tensor()}, keys]
    file.write_bytes(b"".join(map(pickled, rows)) + struct.pack("<q", 4) + NUMBERS.tobytes())
    refused(file)


@pytest.mark.parametrize("protocol", [1000, "1001", None, [1001]])
def test_another_legacy_protocol_is_refused(file: Path, protocol: Any) -> None:
    file.write_bytes(b"".join(map(pickled, [MAGIC, protocol, {}, {"w": tensor()}, ["0"]])))
    refused(file, "protocol")


def read_or_refused(path: Path) -> None:
    try:
        found = read(path)
    except FormatError as error:
        message = str(error)
    else:
        assert all(isinstance(key, str) and isinstance(array, np.ndarray) for key, array in found.items())
        return
    assert message.isprintable()
    assert path.name in message


def attack(data: st.DataObject, name: str, path: Path) -> None:
    """Flip, overwrite, cut out, repeat: the reader gives arrays or a FormatError of one line."""
    raw = bytearray((FOLDER / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        match data.draw(st.sampled_from(["flip", "write", "cut", "end", "repeat"])):
            case "flip" if raw:
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "write":
                new = data.draw(st.binary(min_size=1, max_size=4))
                raw[at : at + len(new)] = new
            case "cut":
                del raw[at : at + data.draw(st.integers(1, 40))]
            case "end":
                del raw[at:]
            case "repeat":
                raw[at:at] = raw[at : at + data.draw(st.integers(1, 40))]
    path.write_bytes(raw)
    read_or_refused(path)


@pytest.mark.parametrize("name", ["plain.pt", "module.legacy.pt", "protocol4.pt", "training.legacy.pt"])
def test_a_damaged_file_gives_arrays_or_a_format_error(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "weights.pt"

    @settings(max_examples=int(os.environ.get("REFNET_FUZZ", "50")), suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        attack(data, name, path)

    run()


@settings(max_examples=int(os.environ.get("REFNET_FUZZ", "200")), suppress_health_check=list(HealthCheck))
@given(
    at=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=3), st.integers(0, 3)), max_size=4),
    name=st.sampled_from(["module.pt", "shared.pt", "plain.pt"]),
)
def test_a_damaged_program_in_a_sound_zip_gives_arrays_or_a_format_error(
    at: list[tuple[int, bytes, int]], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Past the checksums: the pickle itself is changed, and the archive written anew."""
    path = tmp_path_factory.getbasetemp() / "program.pt"
    with zipfile.ZipFile(FOLDER / name) as whole, zipfile.ZipFile(path, "w") as archive:
        for member in whole.namelist():
            raw = bytearray(whole.read(member))
            if member.endswith("data.pkl"):
                for place, new, gone in at:
                    place %= len(raw)
                    raw[place : place + gone] = new
            archive.writestr(member, bytes(raw))
    read_or_refused(path)
