"""How the two files of a comparison are read: as models or packs, at which size, as which network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import checkpoint, network

from refnet import FormatError, Network, RequestError, write_pack
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.networks.resize import resize
from refnet.verification import sides
from refnet.verification.sides import pair


@pytest.mark.parametrize("inside", ["model.json", "saved_model.pb"])
def test_a_folder_that_is_a_model_is_read_as_one_and_any_other_as_a_pack(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(sides, "identify", lambda path, **how: (path, how))
    with pytest.raises(FormatError, match="manifest"):
        sides.read_side(tmp_path)
    (tmp_path / inside).write_text("{}")
    how = {"model": "m", "width": 0.5, "size": (3, 4), "own_blocks": True, "like": "another"}
    assert sides.read_side(tmp_path, **how) == (tmp_path, {**how, "contents": None})


@pytest.mark.parametrize(
    ("how", "own"),
    [({"model": "m"}, "model, one of its own"), ({"width": 0.5}, "width, 1.0"), ({"size": (3, 4)}, "size, 4,6")],
)
def test_a_pack_is_told_nothing_but_what_it_knows(how, own, tmp_path):
    graph = Graph(Recipe("", 1.0, (4, 6), 10), (Node("act", "relu", (SOURCE,)),))
    write_pack(Network(graph, {}), np.ones((1, 3, 4, 6), np.float32), tmp_path / "pack")
    assert sides.read_side(tmp_path / "pack", width=1.0, size=(4, 6)).graph.recipe.size == (4, 6)
    with pytest.raises(RequestError, match=f"a golden pack knows its own {own}: leave {next(iter(how))} out"):
        sides.read_side(tmp_path / "pack", **how)


def test_a_file_of_arrays_alone_is_taken_at_the_size_of_the_other_unless_a_size_is_given():
    graph, params = network("v2")
    one, other = checkpoint(graph, params), checkpoint(resize(graph, (64, 96)), params, "other")
    for size, sizes in ((None, [(64, 96)] * 2), ((48, 40), [(48, 40), (64, 96)])):
        two = pair(one, other, size=size)
        assert [two.original.graph.recipe.size, two.copy.graph.recipe.size] == sizes


def test_where_neither_of_two_files_can_tell_both_are_taken_for_the_first_network():
    graph, params = network("v2")
    one, other = (checkpoint(graph, params, path, models=("a", "b"), apart=("a pad",)) for path in ("one", "other"))
    (choice,) = pair(one, other).choices
    assert choice == sides.Choice(None, ("a", "b"), ("a pad",), "a")
    assert pair(one, replace(other, apart=())).choices == pair(other, one).choices
    assert pair(replace(one, apart=()), other).choices == ()


def test_of_two_files_that_which_tells_its_structure_decides_the_size():
    graph, params = network("v2")
    one = checkpoint(graph, params, scheme="structure")
    other = checkpoint(resize(graph, (64, 96)), params, "other")
    for first, second in ((one, other), (other, one)):
        two = pair(first, second)
        assert two.original.graph.recipe.size == two.copy.graph.recipe.size == (48, 40)


def test_a_layer_under_another_name_in_the_same_place_has_the_name_of_the_first_file():
    graph, params = network("v2")
    own = {"head.conv": "head.pointwise"}
    moved = {name.replace("head.conv.", "head.pointwise."): array for name, array in params.items()}
    two = pair(checkpoint(graph, params), checkpoint(graph.renamed(own), moved, "other", scheme="structure"))
    assert [*two.second] == [*two.first]
    assert two.copy.params.keys() == params.keys()
