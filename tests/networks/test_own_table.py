"""Networks of tables of one's own: the integers as they stand, and a row that is none refused."""

from __future__ import annotations

import numpy as np
import pytest

import refnet
from refnet import RequestError, Row, Table, build
from refnet.networks.tables import V2
from refnet.readings.cost import cost
from refnet.study.rows import layer_rows

ROWS = (
    Row(3, 12, 12, False, "relu6", 1),
    Row(5, 50, 18, True, "hard_swish", 2),
    Row(3, 54, 18, False, "hard_swish", 1),
)


def test_the_integers_of_a_table_are_taken_as_they_are():
    rows = [row for row in layer_rows(build(Table(stem=12, rows=ROWS, last=77, hidden=31), classes=5)) if row.block]
    assert [(row.expanded, row.out, row.squeeze) for row in rows] == [(0, 12, 0), (50, 18, 12), (54, 18, 0)]
    assert [row.shortcut for row in rows] == [True, False, True]


def test_a_row_may_do_without_its_shortcut():
    rows = (ROWS[0]._replace(skip=False), *ROWS[1:])
    found = [row.shortcut for row in layer_rows(build(Table(stem=12, rows=rows), classes=5)) if row.block]
    assert found == [False, False, True]


def test_a_network_of_a_table_runs_at_any_size():
    graph = build(Table(stem=12, rows=ROWS, last=40), size=(32, 48), classes=5)
    net = refnet.Network(graph, refnet.random_params(graph))
    assert net(refnet.random_input(graph, 2)).shape == (2, 5)
    assert net.at((48, 32))(np.zeros((1, 3, 48, 32), np.float32)).shape == (1, 5)


def test_a_papers_table_costs_what_the_papers_network_does():
    own, known = build(V2, classes=1000), build("torchvision/mobilenet_v2")
    assert [row.macs for row in cost(own)] == [row.macs for row in cost(known)]


def test_plain_tuples_are_rows():
    assert build(Table(rows=(tuple(ROWS[0]),), stem=12)) == build(Table(rows=ROWS[:1], stem=12))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (Table(), "no rows"),
        (Table(rows=((3, 16, 16),)), "row 1 has 3 entries, not 6 or 7"),
        (Table(rows=(*ROWS, Row(3, 0, 16, False, "relu", 1))), "row 4: expanded 0"),
        (Table(rows=(Row(3, 16, 16.5, False, "relu", 1),)), "row 1: out 16.5"),
        (Table(rows=(Row(3, 16, 16, False, "gelu", 1),)), "row 1: act 'gelu' is none of relu"),
        (
            Table(rows=(Row(3, 16, 16, 8, "relu", 1),)),
            "row 1: se 8 is neither True nor False; the squeeze is a quarter",
        ),
        (Table(rows=(Row(3, 16, 16, "relu", False, 1),)), "row 1: se 'relu' is neither"),
        (Table(rows=(Row(3, 16, 16, False, ["relu"], 1),)), "row 1: act \\['relu'\\] is none of relu"),
        (Table(rows=(Row(3, 16, 16, False, "relu", 1, "no"),)), "row 1: skip 'no' is neither"),
        (Table(rows=({"kernel": 3},)), "row 1 is dict: give Row"),
        (Table(rows=ROWS[0]), "rows is Row: give a tuple of rows"),
        (list(ROWS), "a Table\\(rows=...\\), not list"),
        (Table(rows=ROWS, stem=0), "stem 0"),
        (Table(rows=ROWS, stem_act="elu"), "stem_act 'elu'"),
    ],
)
def test_what_is_no_row_is_refused_by_its_number(table, said):
    with pytest.raises(RequestError, match=said):
        build(table)
