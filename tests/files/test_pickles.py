"""The machine that runs checkpoints' pickles: what it knows, and that it does nothing else."""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import pickletools
import sys
from collections import Counter, OrderedDict, defaultdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.errors import FormatError
from refnet.files.containers.pickles import unpickle
from refnet.files.containers.torch_objects import Named, Other, Record, Storage, Tensor

STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06t"
ORDERED = b"ccollections\nOrderedDict\n"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n("


def run(program: bytes) -> Any:
    return unpickle(BytesIO(program))[0]


def refuses(program: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        run(program)
    assert "\n" not in str(caught.value)


class Outer:
    """What hand-written modules hold: a class inside a class, a bound method."""

    class Inner:
        pass

    held: Any = None

    def method(self) -> None:
        pass


class Hostile:
    """Calls a function when an ordinary unpickler reads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**300), 2**300) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


@given(plain, st.integers(1, 5))
def test_plain_values_come_out_as_the_standard_machine_makes_them(value: object, protocol: int) -> None:
    assert run(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=300), st.integers(3, 5))
def test_bytes_are_values_too(value: bytes, protocol: int) -> None:
    assert run(pickle.dumps(value, protocol)) == value


def test_what_is_named_twice_is_one_object() -> None:
    shared: list[int] = []
    one, other = run(pickle.dumps([shared, shared], 4))
    assert one is other


def test_the_file_is_left_behind_the_pickle() -> None:
    file = BytesIO(pickle.dumps(1, 2) + pickle.dumps("two", 2))
    assert [unpickle(file)[0], unpickle(file)[0]] == [1, "two"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_ordered_dicts_are_ordered_dicts(protocol: int) -> None:
    value = run(pickle.dumps(OrderedDict(b=1, a=2), protocol))
    assert type(value) is OrderedDict
    assert list(value) == ["b", "a"]


def test_python_2_gave_an_ordered_dict_its_pairs() -> None:
    assert run(b"\x80\x02" + ORDERED + b"](]U\x01aaK\x01a]U\x01baK\x02ae\x85R.") == OrderedDict(a=1, b=2)


def test_pairs_given_twice_do_not_multiply() -> None:
    """Else a few bytes for each copy of a long list would fill the memory."""
    first, second = run(b"\x80\x02" + ORDERED + b"]q\x00](U\x01aK\x01ea\x85R" + ORDERED + b"h\x00\x85R\x86.")
    assert (first, second) == ({"a": 1}, {})


def test_metadata_of_modules_is_dropped() -> None:
    value = run(b"\x80\x02" + ORDERED + b")R}U\x09_metadataU\x01xsb.")
    assert not vars(value)


def test_a_tensor_is_a_view_of_a_storage() -> None:
    value, storages = unpickle(BytesIO(b"\x80\x02" + TENSOR + STORAGE + b"QK\x01K\x02K\x02\x86K\x02K\x01\x86\x89NtR."))
    assert value == Tensor(Storage("Float", "0", 6), 1, (2, 2), (2, 1))
    assert storages == {"0": value.storage}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, eval, __import__, exec, compile])
def test_functions_are_not_called_but_named(tmp_path: Path, protocol: int, function: Any) -> None:
    trace = tmp_path / "called"
    hostile = pickle.dumps({"weight": Hostile(function, f"touch {trace}")}, protocol)
    refuses(hostile, rf"it wants to call \w+\.{function.__name__}; refused")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (b"ctorch._utils\nos.system\n.", "torch._utils.os.system"),
        (b"\x8c\x0ctorch._utils\x8c\x09os.system\x93.", "torch._utils.os.system"),
        (b"ctorch\nFloatStorage.__init__\n.", "torch.FloatStorage.__init__"),
        (b"ccollections\nnamedtuple\n.", "collections.namedtuple"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "torch._utils._rebuild_tensor_v2.__globals__"),
        (b"\x8c\x05torch\x8c\x04load\x93.", "torch.load"),
        (b"cno_such_module_anywhere\nNet\n.", "no_such_module_anywhere.Net"),
        (b"c\n\n.", "."),
    ],
)
def test_names_that_are_not_known_are_text(program: bytes, name: str) -> None:
    before = set(sys.modules)
    value = run(b"\x80\x04" + program)
    assert (type(value), str(value)) == (Named, name)
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["Ключ", "a\nb", "\ud800", "'"])
def test_odd_names_make_short_messages_of_one_line(name: str) -> None:
    text = name.encode("utf-8", "surrogatepass")
    refuses(b"\x80\x04\x8c\x02osX" + len(text).to_bytes(4, "little") + text + b"\x93)R.", "it wants to call os")


def test_names_longer_than_any_are_refused() -> None:
    """One that is named again and again would take the time that its text is long."""
    refuses(b"\x80\x04\x8c\x01mX\xa0\x86\x01\x00" + b"x" * 100_000 + b"\x93.", "names something by 100001 letters, m;")
    inner = b"X\x58\x02\x00\x00" + b"x" * 600
    refuses(b"\x80\x02" + (b"cbuiltins\ngetattr\n" * 2) + b"cm\nNet\n" + (inner + b"\x86R") * 2 + b".", "letters")


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cm\nNet\nK\x05\x85R}U\x01aK\x07sb.",
        b"\x80\x02cm\nNet\nK\x05\x85\x81}U\x01aK\x07sb.",
        b"\x80\x04cm\nNet\nK\x05\x85}\x92}U\x01aK\x07sb.",
        b"\x80\x02(cm\nNet\nK\x05o}U\x01aK\x07sb.",
        b"(I5\nim\nNet\n(dS'a'\nI7\nsb.",
    ],
    ids=["REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"],
)
def test_objects_of_other_classes_are_records(program: bytes) -> None:
    value = run(program)
    assert isinstance(value, Record)
    assert (str(value.kind), value.arguments, value.state) == ("m.Net", (5,), {"a": 7})


@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_the_standard_machine_would_fill_a_record_holds(protocol: int) -> None:
    value = run(pickle.dumps([Counter(a=1), {3}, frozenset({4}), bytearray(b"5"), datetime.timedelta(6)], protocol))
    counter, held, frozen, raw, span = value
    assert (str(counter.kind), counter.arguments) == ("collections.Counter", ({"a": 1},))
    assert (held.kind.name, frozen.kind.name) == ("set", "frozenset")
    assert (held.elements or held.arguments[0], frozen.elements or frozen.arguments[0]) == ([3], [4])
    assert raw == b"5" if protocol == 5 else str(raw.kind).endswith(".bytearray")
    assert (str(span.kind), span.arguments) == ("datetime.timedelta", (6, 0, 0))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_dict_of_a_class_of_its_own_has_entries(protocol: int) -> None:
    value = run(pickle.dumps(defaultdict(list, a=1, b=2), protocol))
    assert (str(value.kind), value.entries) == ("collections.defaultdict", {"a": 1, "b": 2})


@pytest.mark.parametrize("protocol", range(2, 6))
def test_methods_and_inner_classes_are_named_not_looked_up(protocol: int) -> None:
    method, inner = run(pickle.dumps([Outer().method, Outer.Inner], protocol))
    assert method.kind.name == "getattr"
    assert (method.arguments[0].kind.name, method.arguments[1]) == ("Outer", "method")
    assert (type(inner), inner.name) == (Named, "Outer.Inner")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_objects_may_hold_themselves(protocol: int) -> None:
    outer = Outer()
    outer.held = (outer, [outer])
    value = run(pickle.dumps(outer, protocol))
    assert value.state["held"][0] is value is value.state["held"][1][0]


def test_a_tuple_may_hold_itself_by_way_of_a_list() -> None:
    """The one use of POP and POP_MARK."""
    held: list[Any] = []
    for size in (1, 5):
        turned = tuple([held] * size)
        held[:] = [turned]
        value = run(pickle.dumps(turned, 4))
        assert value[0][0] is value


def test_the_class_of_a_module_may_come_with_its_source() -> None:
    """As legacy files name a class the first time, so that PyTorch can warn where the source has changed."""
    source = b"(U\x06modulecm\nNet\nU\x04a.pyU\x04codetQ"
    assert str(run(b"\x80\x02" + source + b")\x81.").kind) == "m.Net"
    assert str(run(b"\x80\x02" + source.replace(b"U\x04a.pyU\x04code", b"NN") + b")\x81.").kind) == "m.Net"


def test_a_parameter_may_have_attributes_of_its_own() -> None:
    view = TENSOR + STORAGE + b"QK\x00K\x06\x85K\x01\x85\x89NtR"
    state = b"ctorch._utils\n_rebuild_parameter_with_state\n(" + view + b"\x88N}tR."
    kind = (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_parameter\ncm\nNet\n"
        + view
        + b"\x88N\x87}tR."
    )
    old = b"ctorch.nn.parameter\nParameter\n" + view + b"\x85R(\x88\x89Ntb."
    for program in (state, kind, old):
        assert run(b"\x80\x02" + program) == Tensor(Storage("Float", "0", 6), 0, (6,), (1,))


def test_functions_that_call_functions_do_not_nest() -> None:
    nested = b"ctorch._tensor\n_rebuild_from_type_v2\n(" * 2 + b"ccollections\nOrderedDict\nN)NtN)NtR."
    refuses(b"\x80\x02" + nested, "a tensor of another class by something else")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (b"(S'id'\nios\nsystem\n.", "it wants to call os.system"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "the instruction EXT4"),
        (b"\x80\x05\x97.", "the instruction NEXT_BUFFER"),
        (b"\x80\x05\x98.", "the instruction READONLY_BUFFER"),
        (b"P0\n.", "the instruction PERSID"),
        (b"N2.", "the instruction DUP"),
        (b"K\x01K\x02K\x03s.", "it uses int as dict"),
        (b"K\x01K\x02a.", "it uses int as list"),
        (b"\x80\x04](K\x01\x90.", "it uses list as Record"),
        (b"\x80\x04K\x01K\x02\x93.", "names what to call by something else than text"),
    ],
)
def test_instructions_that_no_state_dict_needs_are_refused(program: bytes, why: str) -> None:
    refuses(program, why)


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (b"ctorch\nFloatStorage\n}b.", "StorageType"),
        (b"ctorch._utils\n_rebuild_tensor_v2\nN}U\x0c__defaults__)s\x86b.", "function"),
        (b"}}b.", "dict"),
        (b"]}b.", "list"),
    ],
)
def test_attributes_are_set_on_nothing(program: bytes, kind: str) -> None:
    refuses(b"\x80\x02" + program, f"it uses {kind} as OrderedDict")


@pytest.mark.parametrize("called", [b"ctorch\nFloatStorage\n", b"U\x02os", b"]", b"N"])
def test_only_functions_are_called(called: bytes) -> None:
    refuses(b"\x80\x02" + called + b")R.", "it calls (StorageType|str|list|NoneType); refused")


@pytest.mark.parametrize(
    "call",
    [
        ORDERED + b"(}tR",
        ORDERED + b"](K\x01e\x85R",
        ORDERED + b"]]K\x01aa\x85R",
        b"ctorch\nSize\n(J\xff\xff\xff\xfftR",
        b"ctorch\nSize\n(K\x01tR",
        b"ctorch._utils\n_rebuild_parameter\n(K\x01\x88NtR",
        TENSOR + b"tR",
        TENSOR + b"K\x00K\x00))\x89NtR",  # no storage
        TENSOR + STORAGE + b"QJ\xff\xff\xff\xff))\x89NtR",  # offset -1
        TENSOR + STORAGE + b"QK\x00J\xff\xff\xff\xff\x85K\x01\x85\x89NtR",  # size -1
        TENSOR + STORAGE + b"QK\x05K\x06\x85J\xff\xff\xff\xff\x85\x89NtR",  # stride -1
        TENSOR + STORAGE + b"QK\x00\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x85K\x01\x85\x89NtR",  # size 2^64
        TENSOR + STORAGE + b"QK\x00K\x02\x85K\x02K\x01\x86\x89NtR",  # one axis, two strides
        TENSOR + STORAGE + b"QK\x00K\x02K\x01\x89NtR",  # no tuples
        TENSOR + STORAGE + b"QK\x00\x88\x85K\x01\x85\x89NtR",  # size True
    ],
)
def test_functions_get_what_pytorch_gives_them(call: bytes) -> None:
    refuses(b"\x80\x02" + call + b".", "it (describes|makes|has) ")


def test_a_tensor_whose_sign_is_still_to_be_changed_is_refused() -> None:
    """As PyTorch saves `x.conj().imag`: who drops the mark reads every number with the wrong sign."""
    program = b"\x80\x02" + TENSOR + STORAGE + b"QK\x00K\x06\x85K\x01\x85\x89N}U\x03neg\x88stR."
    refuses(program, "whose sign is still to be changed: save tensor.resolve_neg")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b"storage", b"modules"),
        (b"ctorch\nFloatStorage\n", b"X\x01\x00\x00\x00f"),  # no type
        (b"X\x01\x00\x00\x000", b"K\x00"),  # a number as the key
        (b"X\x03\x00\x00\x00cpu", b"N"),  # no device
        (b"K\x06t", b"J\xff\xff\xff\xfft"),  # -1 elements
        (b"K\x06t", b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01t"),  # 2^64 elements
        (b"K\x06t", b"\x88t"),  # True elements
        (b"K\x06t", b"t"),
        (b"K\x06t", b"K\x06)t"),
        (b"K\x06t", b"K\x06NNt"),
        (b"K\x06t", b"K\x06l"),  # a list
        (STORAGE, b"N"),
    ],
)
def test_storages_are_named_as_pytorch_names_them(right: bytes, wrong: bytes) -> None:
    refuses(b"\x80\x02" + STORAGE.replace(right, wrong) + b"Q.", "it names a storage in a way that is not PyTorch's")


def test_a_storage_is_described_in_one_way_only() -> None:
    other = STORAGE.replace(b"FloatStorage", b"ByteStorage")
    refuses(b"\x80\x02" + STORAGE + b"Q" + other + b"Q\x86.", "describes storage '0' in two ways")


@pytest.mark.parametrize("key", [b")", b"K\x01\x85", b"N", b"\x8a\x05\x00\x00\x00\x00\x01", b"G" + bytes(8), b"]"])
def test_keys_that_are_neither_text_nor_small_integers_are_never_hashed(key: bytes) -> None:
    value = run(b"\x80\x02}" + key + b"K\x01s" + key + b"K\x02s.")
    assert [type(key) for key in value] == [Other, Other]
    assert list(value.values()) == [1, 2]


def test_keys_of_nested_tuples_do_not_overflow() -> None:
    """They overflow the C stack of the standard unpickler, which ends the process."""
    (key,) = run(b"\x80\x02})" + b"\x85" * 400_000 + b"Ns.")
    assert type(key) is Other


@pytest.mark.parametrize(("opening", "closing"), [(b"]", b"a"), (b"}U\x01a", b"s"), (b"(", b"t")])
def test_deep_nesting_is_no_danger(opening: bytes, closing: bytes) -> None:
    assert run(b"\x80\x02" + opening * 100_000 + b"N" + closing * 100_000 + b"N\x86.")[1] is None


@pytest.mark.parametrize(("opening", "closing"), [(b"h\x00)R", b"b"), (b"h\x00)R", b"a"), (b"h\x00", b"\x85R")])
def test_deep_nesting_of_records_is_no_danger(opening: bytes, closing: bytes) -> None:
    program = opening * 100_000 + b"N" + closing * 100_000
    assert run(b"\x80\x02cm\nNet\nq\x00" + program + b"N\x87.")[2] is None


def test_a_high_number_in_the_memo_costs_nothing() -> None:
    """The standard unpickler clears a table of that many entries: 16 GiB."""
    assert run(b"\x80\x02Nr\xff\xff\xff\x7f.") is None


def test_very_long_pickles_are_refused() -> None:
    text = b"X" + (1 << 20).to_bytes(4, "little") + b"a" * (1 << 20) + b"0"
    refuses(b"\x80\x02" + 9 * text + b"N.", "longer than 8388608 bytes")


def test_pickles_of_very_many_instructions_are_refused() -> None:
    refuses(b"\x80\x02" + b"N" * 500_000 + b".", "more than 500000 instructions")


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x02",
        b"\x80\x02N",
        b"\x80\x02NN.",
        b"\x80\x02(.",
        b"\x80\x02(N.",
        b"\x80\x02t.",
        b"\x80\x02(\x85.",
        b"\x80\x02N(\x86.",
        b"\x80\x02h\x00.",
        b"\x80\x02q\x00.",
        b"\x80\x02a.",
        b"\x80\x02R.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"I12x\n.",
        b"\xff.",
        b"L" + b"9" * 5000 + b"L\n.",
        b"X\x01\x00\x00\x00\xff.",
        b"\x8b\xff\xff\xff\xff.",
        b"S'\\q\n.",
    ],
)
def test_damaged_pickles_are_refused(program: bytes) -> None:
    refuses(program, "its pickle is (truncated or )?damaged")


def test_a_key_needs_a_value() -> None:
    refuses(b"\x80\x02}(U\x01au.", "a key without a value")


@given(st.lists(st.sampled_from(pickletools.opcodes), max_size=30), st.binary(max_size=8))
def test_any_row_of_instructions_gives_a_value_or_is_refused(opcodes: list[Any], argument: bytes) -> None:
    program = b"".join(opcode.code.encode("latin-1") + (argument if opcode.arg else b"") for opcode in opcodes)
    with contextlib.suppress(FormatError):
        run(program + b".")
