"""The page to play with: it is what its script makes, computes loops' bits, counts as `cost` does, and fits its reader.

The arithmetic runs in headless Chromium, or in Node.js where there is no browser; where there is neither, what the page
is made of is still held against refnet.
"""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import CHECKOUT

import refnet
from refnet.files.digits import digits
from refnet.graph import Graph, Node, Recipe, walk
from refnet.readings import loops
from refnet.readings.cost import cost

PLAY = CHECKOUT / "docs/play"
PAGE = (PLAY / "index.html").read_text(encoding="utf-8")
DATA = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', PAGE, re.S)[1])
CORE = re.search(r'<script id="core">\n(.*?)</script>', PAGE, re.S)[1]
NET = refnet.load()
END = "block1.project.bn"

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLAYWRIGHT = sorted(Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome"))
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), str(PLAYWRIGHT[-1]) if PLAYWRIGHT else None)
NODE = shutil.which("node")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
needs_javascript = pytest.mark.skipif(BROWSER is None and NODE is None, reason="needs Chromium or Node.js")


def browsed(folder: Path, body: str) -> object:
    """What a page's scripts leave as JSON in <pre id="found">."""
    (folder / "page.html").write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{body}', encoding="utf-8")
    settings = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", "--virtual-time-budget=60000")
    done = subprocess.run(
        [BROWSER, *settings, f"--user-data-dir={folder / 'profile'}", "--dump-dom", (folder / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def computed(folder: Path, script: str, given: object) -> list:
    """What a script returns that is given the page's arithmetic as `core`, and something as `given`."""
    code = f"const given = {json.dumps(given)};\n{CORE}\nconst answer = (() => {{ {script} }})();\n"
    if BROWSER:
        write = 'document.getElementById("found").textContent = JSON.stringify(answer);'
        return browsed(folder, f'<pre id="found"></pre><script>{code}{write}</script>')
    (folder / "run.js").write_text(f"{code}console.log(JSON.stringify(answer));", encoding="utf-8")
    return json.loads(subprocess.run([NODE, str(folder / "run.js")], capture_output=True, check=True).stdout)


PLUMBING = """
const raw = (bits) => new Float32Array(Uint32Array.from(bits).buffer);
const bits = (data) => [...new Uint32Array(Float32Array.from(data).buffer)];
const tensor = (each) => each && core.tensor(each.shape, raw(each.bits));
"""


def sent(array: np.ndarray | None) -> dict | None:
    """An array as its shape and the bits of its numbers."""
    return array if array is None else {"shape": array.shape, "bits": array.ravel().view(np.uint32).tolist()}


def assert_same_bits(found: list[int], expected: np.ndarray) -> None:
    assert expected.dtype == np.float32
    assert found == expected.ravel().view(np.uint32).tolist()


# ---------------------------------------------------------------- what it is made of


@pytest.fixture(scope="module")
def make_page():
    spec = importlib.util.spec_from_file_location("make_page", PLAY / "make_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_script_makes(make_page):
    assert make_page.page() == PAGE


def test_the_page_asks_for_nothing_from_elsewhere():
    own = PAGE.replace(json.dumps(DATA["weights"]), "").replace(DATA["photo"]["bytes"], "")
    assert not re.findall(r"https?:|//\w+\.|\bsrc=|@import|\burl\(|\bimport\(|fetch\(|XMLHttpRequest", own)
    assert len(re.findall(r"<link ", own)) == 1
    assert 'href="data:,"' in own


def test_the_page_carries_the_network_that_ships():
    weights = np.frombuffer(base64.b64decode(DATA["weights"]), "<f4")
    place = 0
    for name, shape in DATA["params"].items():
        size = int(np.prod(shape))
        assert np.array_equal(weights[place : place + size].reshape(shape), NET.params[name])
        place += size
    assert (place, set(DATA["params"])) == (len(weights), set(NET.params))
    assert [node["name"] for node in DATA["nodes"]] == [node.name for node in NET.graph.nodes]


@pytest.mark.parametrize("mistake", DATA["mistakes"], ids=lambda mistake: mistake["bug"])
def test_a_mistake_is_in_refnets_words(mistake):
    assert re.fullmatch(rf"block1\.[\w.]+: wrong\. It equals .* \[{mistake['bug']}\]\.", mistake["sentence"])
    assert len(mistake["nodes"]) + len(mistake["params"]) == 1


# ---------------------------------------------------------------- its arithmetic


def drawn(rng: np.random.Generator):
    """A random legal convolution."""
    groups, C, multiple = rng.integers(1, 4), rng.integers(1, 4), rng.integers(1, 3)
    R, S = rng.integers(1, 5, 2)
    attrs = {
        "stride": tuple(rng.integers(1, 4, 2).tolist()),
        "pad": tuple(map(tuple, rng.integers(0, 4, (2, 2)).tolist())),
        "dilation": tuple(rng.integers(1, 4, 2).tolist()),
        "groups": int(groups),
    }
    least = [max(1, (k - 1) * d + 1 - sum(p)) for k, d, p in zip((R, S), attrs["dilation"], attrs["pad"], strict=True)]
    x = rng.standard_normal((1, groups * C, *(np.array(least) + rng.integers(0, 4, 2)))).astype(np.float32)
    w = rng.standard_normal((groups * multiple, C, R, S)).astype(np.float32)
    b = rng.standard_normal(len(w)).astype(np.float32) if rng.random() < 0.5 else None
    return x, w, b, attrs


@needs_javascript
def test_convolutions_have_the_bits_of_loops(tmp_path):
    rng = np.random.default_rng(0)
    cases = [drawn(rng) for _ in range(400)]
    given = [{"x": sent(x[0]), "w": sent(w), "b": sent(b), "attrs": attrs} for x, w, b, attrs in cases]
    script = "return given.map(({x, w, b, attrs}) => bits(core.convolve(tensor(x), tensor(w), tensor(b), attrs).data));"
    found = computed(tmp_path, PLUMBING + script, given)
    for (x, w, b, attrs), each in zip(cases, found, strict=True):
        y = loops.grouped_conv2d(x, w, b, **attrs)
        assert_same_bits(each, y)
        if attrs["groups"] == 1:
            assert_same_bits(each, loops.conv2d(x, w, b, **{k: v for k, v in attrs.items() if k != "groups"}))


@needs_javascript
def test_norms_activations_and_gates_have_the_bits_of_loops(tmp_path):
    rng = np.random.default_rng(1)
    special = [0.0, -0.0, 3.0, -3.0, 6.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, np.nextafter(-3, 0)]
    x = np.array([*special, *(4 * rng.standard_normal(4 * 9 * 40 - len(special)))], np.float32).reshape(1, 40, 6, 6)
    norm = [rng.standard_normal(40), rng.standard_normal(40), rng.standard_normal(40), rng.uniform(0, 3, 40)]
    norm = [each.astype(np.float32) for each in norm]
    finite = np.where(np.abs(x) < 100, x, np.float32(7))
    gate = rng.uniform(0, 1, (1, 40, 1, 1)).astype(np.float32)
    gates = [(1 / 6, 0.5), (0.2, 0.5), (0.5, 0.5)]
    script = """
    const x = tensor(given.x), finite = tensor(given.finite);
    return {
      relu: bits(core.relu(x).data), relu6: bits(core.relu6(x).data), hard_swish: bits(core.hard_swish(x).data),
      hard_sigmoid: given.gates.map(([slope, offset]) => bits(core.hard_sigmoid(x, {slope, offset}).data)),
      batch_norm: [1e-3, 1e-5, 0.1].map((eps) => bits(core.batch_norm(finite, given.norm.map(tensor), {eps}).data)),
      pool: bits(core.avg_pool2d(finite).data), scale: bits(core.scale(finite, tensor(given.gate)).data),
      add: bits(core.add(finite, core.relu(finite)).data),
    };"""
    given = {"x": sent(x[0]), "finite": sent(finite[0]), "norm": [*map(sent, norm)], "gate": sent(gate[0])}
    with np.errstate(all="ignore"):
        found = computed(tmp_path, PLUMBING + script, {**given, "gates": gates})
        for name in ("relu", "relu6", "hard_swish"):
            assert_same_bits_but_nan(found[name], getattr(loops, name)(x))
        for (slope, offset), each in zip(gates, found["hard_sigmoid"], strict=True):
            assert_same_bits_but_nan(each, loops.hard_sigmoid(x, slope=slope, offset=offset))
    for eps, each in zip((1e-3, 1e-5, 0.1), found["batch_norm"], strict=True):
        assert_same_bits(each, loops.batch_norm(finite, *norm, eps=eps))
    assert_same_bits(found["pool"], loops.avg_pool2d(finite, kernel=(6, 6), stride=(1, 1), pad=((0, 0), (0, 0))))
    assert_same_bits(found["scale"], loops.scale(finite, gate))
    assert_same_bits(found["add"], loops.add(finite, loops.relu(finite)))


def assert_same_bits_but_nan(found: list[int], expected: np.ndarray) -> None:
    """As `assert_same_bits`; NaN is NaN, whatever its sign."""
    made = np.array(found, np.uint32).view(np.float32)
    assert np.array_equal(np.isnan(made), np.isnan(expected.ravel()))
    assert np.array_equal(made[~np.isnan(made)].view(np.uint32), expected.ravel()[~np.isnan(made)].view(np.uint32))


def by_loops(graph: Graph, params, x, end: str):
    for node, y in walk(graph, loops, params, {"input": x}):
        if node.name == end:
            return y
    raise AssertionError(end)


def with_mistake(mistake):
    graph, params = NET.graph, dict(NET.params)
    for name, node in mistake["nodes"].items():
        attrs = {key: tuple(map(tuple, v)) if key == "pad" else v for key, v in node["attrs"].items()}
        graph = graph.replaced(name, replace(graph[name], op=node["op"], attrs=attrs))
    for name, values in mistake["params"].items():
        params[name] = np.array(values, np.float32).reshape(params[name].shape)
    return graph, params


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """What the page itself says at both widths, of everything below, in one run of the browser."""
    if BROWSER is None:
        pytest.skip("needs Chromium")
    frames = "".join(
        f'<iframe id="w{width}" style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(PAGE)}"></iframe>'
        for width in (375, 1280)
    )
    script = (Path(__file__).parent / "play.js").read_text(encoding="utf-8")
    return browsed(tmp_path_factory.mktemp("play"), f'{frames}<pre id="found"></pre><script>{script}</script>')


def test_the_whole_network_has_the_bits_of_loops(played):
    x = digits().inputs()[digits().held_out & (digits().labels == 0)][:1]
    assert_same_bits(played["logits"], by_loops(NET.graph, NET.params, x, NET.graph.output))


@pytest.mark.parametrize("index", range(len(DATA["mistakes"])), ids=[each["bug"] for each in DATA["mistakes"]])
def test_a_mistake_does_what_refnet_says_it_does(played, index):
    x = digits().inputs()[digits().held_out & (digits().labels == 0)][:1]
    graph, params = with_mistake(DATA["mistakes"][index])
    assert_same_bits(played["mistakes"][index], by_loops(graph, params, x, END))


def test_counters_are_those_of_cost(played):
    assert len(played["counters"]) == 24
    for each in played["counters"]:
        w = each["w"]
        attrs = {key: tuple(map(tuple, v)) if key == "pad" else v for key, v in each["attrs"].items()}
        nodes = [Node("look", "grouped_conv2d", ("input",), {"w": tuple(w)}, attrs)]
        if each["pointwise"]:
            nodes.append(Node("mix", "pointwise_conv2d", ("look",), {"w": (4, 4)}))
        rows = cost(Graph(Recipe("", 1.0, (50, 75), 1, 4), tuple(nodes)))
        total = sum(row.macs for row in rows), sum(row.params for row in rows)
        assert (f"{total[0]:,}", f"{total[1]:,}") == (each["macs"], each["params"])


def test_the_code_to_copy_gives_the_map_bit_for_bit(played):
    for each in played["codes"]:
        said: list[float] = []
        space = {"print": said.append}
        exec(each["python"], space)
        assert_same_bits(each["bits"], space["y"])
        assert f"{said[0]:.6f}" in each["python"]


@pytest.mark.parametrize("width", ["375", "1280"])
class TestReader:
    def test_nothing_is_wider_than_the_window(self, played, width):
        assert played[width]["inner"] == int(width)
        assert played[width]["wide"] == []

    def test_every_control_has_a_name_and_is_large_enough_to_touch(self, played, width):
        assert played[width]["controls"] > 25
        assert played[width]["nameless"] == []
        assert played[width]["small"] == []

    def test_the_keyboard_alone_moves_pins_and_changes(self, played, width):
        assert played[width]["keyboard"] == {
            "row": "19 of 50", "column": "32 of 75", "pinned": "true", "unreachable": [],
            "spoken": "Filter 2, row 19, column 32: 36 products sum to",
        }  # fmt: skip

    def test_a_gate_moves_the_logits(self, played, width):
        before, after = played[width]["gates"]
        assert before != after

    def test_a_refused_motion_is_not_made(self, played, width):
        assert "prefers-reduced-motion: no-preference" in PAGE
        assert not re.search(
            r"animation|transition", re.sub(r"@media \(prefers-reduced-motion.*?\n}\n", "", PAGE, flags=re.S)
        )
