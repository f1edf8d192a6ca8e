"""Weights as calls read them: whose they are, where they lie, and how they are transposed."""

from __future__ import annotations

import pickle
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet import Network, build, random_input, random_params
from refnet.networks.rewrite import fold_graph
from refnet.session import Session
from refnet.session.weights import Weights

GRAPH = build("torchvision/mobilenet_v3_small", size=(32, 32))
BARE = ("block5.se.reduce.w", "head.hidden.w", "head.logits.w", "head.logits.b")  # without batch norm


def read_only(array):
    view = array.view()
    view.flags.writeable = False
    return view


@given(st.lists(st.integers(0, 300), max_size=20), st.integers(1, 4))
def test_in_large_pages_lie_copies_that_share_no_memory(sizes, blocks):
    """Blocks of a few hundred bytes, so that some arrays begin one, and some are larger."""
    arrays = [(str(index), np.full(size, index + 1, np.float32)) for index, size in enumerate(sizes)]
    with mock.patch("refnet.session.weights._BLOCK", 256 * blocks):
        weights = Weights(arrays, large=True)
    for name, array in arrays:
        assert np.array_equal(weights.params[name], array)
        assert not np.shares_memory(weights.params[name], array)
        weights.params[name][:] = 0
    assert not any(held.any() for held in weights.params.values())


def test_a_block_that_is_full_where_there_is_no_other_is_not_written_again():
    block = np.zeros(1024, np.uint8)
    with mock.patch("refnet.session.weights.large_pages", side_effect=[block, *[MemoryError()] * 3]):
        weights = Weights([(str(index), np.full(100, index, np.float32)) for index in range(4)], large=True)
    assert [set(array) for array in weights.params.values()] == [{0}, {1}, {2}, {3}]
    assert [np.shares_memory(array, block) for array in weights.params.values()] == [True, True, False, False]


def test_in_large_pages_each_param_is_copied_before_the_next_one_is_made():
    array = np.zeros(3)

    def made():
        for index in range(3):
            array[:] = index
            yield str(index), array

    held = Weights(made(), large=True).params.values()
    assert [each.tolist() for each in held] == [[0] * 3, [1] * 3, [2] * 3]


@pytest.mark.parametrize("lies", ["in Fortran's order", "at an odd address", "in a subclass"])
def test_what_calls_cannot_read_as_it_is_is_copied_into_a_plain_array(lies):
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    if lies == "in Fortran's order":
        given = np.asfortranarray(w)
    elif lies == "at an odd address":
        memory = np.empty(w.nbytes + 32, np.uint8)
        first = 1 + -memory.ctypes.data % 16
        given = memory[first : first + w.nbytes].view(np.float32).reshape(3, 4)
        given[:] = w
    else:
        given = w.view(np.recarray)
    held = Weights([("a.w", given)]).params["a.w"]
    assert np.array_equal(held, w)
    assert (type(held), held.flags.c_contiguous, held.ctypes.data % 4) == (np.ndarray, True, 0)


def test_a_matrix_is_transposed_in_its_own_memory():
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    own = w.copy()
    weights = Weights([("a.w", own), ("a.b", w[0])])
    for _ in range(2):  # the second time it is there
        packed = weights.transposed("a")
        assert packed.ctypes.data == own.ctypes.data
        assert packed.flags.c_contiguous
        assert np.array_equal(packed, w.T)
        assert np.array_equal(weights.params["a.w"], w)
    assert np.array_equal(weights.params["a.b"], w[0])


@pytest.mark.parametrize("over", [1, 6])
def test_an_array_that_may_not_be_written_is_only_read(over):
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    given = read_only(w)
    weights = Weights([("a.w", given)])
    assert weights.params["a.w"] is given
    assert np.array_equal(weights.transposed("a", over), w.T / np.float32(over))
    assert np.array_equal(w.ravel(), np.arange(12))


def test_what_another_process_gets_is_divided_once():
    """A sixth of a matrix takes the place of the matrix."""
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    weights = Weights([("a.w", w.copy()), ("b.w", w.copy())])
    sixth = weights.transposed("a", 6)
    assert np.array_equal(sixth, w.T / np.float32(6))
    assert np.shares_memory(sixth, weights.params["a.w"])
    with pytest.raises(ValueError, match=r"a\.w: divided by 6 already, not by 1"):
        weights.transposed("a")
    sent = pickle.loads(pickle.dumps(weights))
    for name in ("a", "b"):
        assert np.array_equal(sent.transposed(name, 6), sixth)
    assert not np.shares_memory(sent.params["a.w"], weights.params["a.w"])


@pytest.mark.parametrize("large", [False, True])
def test_another_process_has_large_pages_where_this_one_has(large):
    weights = Weights([("a.w", np.ones((3, 4), np.float32))], large=large)
    assert pickle.loads(pickle.dumps(weights)).large is large


def test_what_is_packed_is_made_once():
    made = []
    weights = Weights([])
    for _ in range(2):
        assert weights.pack(("a", "b"), lambda: made.append(1) or np.ones(3)).tolist() == [1] * 3
    assert made == [1]
    assert weights.dtype == np.float32


def test_a_session_sees_no_later_changes_to_params():
    params, x = random_params(GRAPH), random_input(GRAPH)
    session = Session(GRAPH, params, threads=1)
    first = session(x)
    for array in params.values():
        array[:] = 7
    assert session(x).tobytes() == first.tobytes()


@pytest.mark.parametrize("folded", [False, True])
def test_a_network_reads_params_where_they_are_and_never_writes_them(folded):
    net = Network(GRAPH, random_params(GRAPH), threads=1)
    net = net.fold() if folded else net
    before = {name: array.tobytes() for name, array in net.params.items()}
    x = random_input(GRAPH)
    first = net(x)
    held = net.session._programs.weights.params
    assert all(np.shares_memory(held[name], net.params[name]) for name in BARE)
    net.session._programs.move()
    assert net(x).tobytes() == first.tobytes()
    assert Session(net.graph, net.params, threads=1)(x).tobytes() == first.tobytes()
    assert {name: array.tobytes() for name, array in net.params.items()} == before


class Views(dict):
    """A mapping that makes a view of an array at each access."""

    def __getitem__(self, name):
        return super().__getitem__(name)[...]

    def items(self):
        return [(name, self[name]) for name in self]


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("graph", [GRAPH, fold_graph(GRAPH)], ids=["unfolded", "folded"])
def test_whatever_mapping_holds_params_they_are_never_written(graph, copy):
    params, x = random_params(graph), random_input(graph)
    session = Session(graph, Views(params), threads=1, copy=copy)
    first = session(x)
    assert all(np.array_equal(array, params[name]) for name, array in random_params(graph).items())
    assert Session(graph, params, threads=1)(x).tobytes() == first.tobytes()
