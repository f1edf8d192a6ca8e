"""Two dumps of one port: what is not the same, the first one first."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.graph import SOURCE, walk
from refnet.judge.compare import Comparison
from refnet.judge.dumps.second_dump import _ORDER
from refnet.judge.scorecard import FAMILIES, subject
from refnet.judge.verdicts import root_mean_square as rms
from refnet.readings.orders import ORDERS, rounded
from refnet.report.comparison import comparison_document

GRAPH = build("torchvision/mobilenet_v2", width=0.25, size=(32, 32), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)
TRACE = NET.trace(X)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("again") / "golden"
    write_pack(NET, X, path)
    return path


def again(pack, **others) -> Comparison:
    return compare(pack, TRACE, again={**TRACE, **{name.replace("_", "."): y for name, y in others.items()}})


def notes(found):
    return comparison_document(found, pack="", candidate="", precision="")["notes"]


def test_the_same_dump_twice_is_steady(pack):
    found = again(pack)
    assert found.unsteady == ()
    assert notes(found) == []


def test_dropout_that_was_left_on_is_told(pack):
    kept = np.random.default_rng(0).random(TRACE["head.pool"].shape) < 0.8
    found = again(pack, head_pool=TRACE["head.pool"] * kept, head_logits=TRACE["head.logits"] * np.float32(1.1))
    assert [(each.node, each.kind) for each in found.unsteady] == [("head.pool", "dropped"), ("head.logits", "other")]
    (note,) = notes(found)
    assert "head.pool first" in note
    assert "dropout is on" in note


def test_sums_in_float16_are_no_cause_of_what_is_another_in_each_run(pack):
    rng, y = np.random.default_rng(1), TRACE["head.logits"]
    noise = (1e-3 * rms(y) * rng.standard_normal(y.shape).astype(np.float32) for _ in range(2))
    one, other = ({**TRACE, "head.logits": rounded(y + each, "float16")} for each in noise)
    alone, found = compare(pack, one), compare(pack, one, again=other)
    assert ("fp16-accumulate",) in {cause.ids for cause in alone.judged.causes["head.logits"]}
    assert not found.judged.causes["head.logits"]
    assert "training mode such as dropout" in " ".join(notes(found))


def test_another_order_of_sums_is_told(pack):
    y = TRACE["stem.conv"]
    found = again(pack, stem_conv=np.nextafter(y, np.float32(9)))
    assert [(each.node, each.kind) for each in found.unsteady] == [("stem.conv", "order")]
    assert "another order of sums" in notes(found)[0]


def test_a_part_that_alone_is_other_is_told(pack):
    y = TRACE["block3.depthwise"].copy()
    y[:, 4:20, 2] = 0
    found = again(pack, block3_depthwise=y)
    assert [(each.node, each.kind) for each in found.unsteady] == [("block3.depthwise", "part")]
    assert found.unsteady[0].part == ((0, 1), (4, 20), (2, 3), (0, y.shape[3]))
    assert f"only in [0, 4:20, 2, 0:{y.shape[3]}]: memory that was not set" in notes(found)[0]


@pytest.mark.parametrize("dumped", [True, False])
def test_stochastic_depth_is_told_by_what_two_runs_have_of_a_branch(tmp_path, dumped):
    x = probe(GRAPH, 2)
    write_pack(NET, x, tmp_path / "pack")
    made = NET.trace(x)
    before, branch = (made[name] for name in GRAPH["block3.add"].inputs)
    sums = [before + branch * np.float32(each).reshape(2, 1, 1, 1) for each in ([1.25, 0], [1.25, 1.25])]
    kept = {name: y for name, y in made.items() if dumped or name != "block3.project.bn"}
    one, other = ({**kept, "block3.add": y} for y in sums)
    found = compare(tmp_path / "pack", one, again=other)
    assert [(each.node, each.kind) for each in found.unsteady] == [("block3.add", "path" if dumped else "images")]
    assert "stochastic depth" in notes(found)[-1]
    (cause,) = found.causes["block3.add"]
    assert (cause.ids, cause.mistakes[0].form) == (("join-weights",), "images")


@pytest.mark.parametrize("family", ["MnasNet A1", "V3 Large"])
def test_other_orders_of_sums_leave_less_than_a_ten_thousandth_through_a_network(family):
    """And in these deep ones more than a hundred-thousandth."""
    one, far = subject(FAMILIES[family], 1), 0.0
    made = dict(tensors_in(one, "fast"))
    for order in ("lanes", "sequential"):
        far = max(far, *(rms(y - made[name]) / rms(made[name]) for name, y in tensors_in(one, order)))
    assert _ORDER / 10 < far < _ORDER


def tensors_in(one, order):
    for node, y in walk(one.graph, ORDERS[order], one.net.params, {SOURCE: one.tensors[SOURCE]}):
        yield node.name, y.astype(np.float64)
