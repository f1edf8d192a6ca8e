"""Write index.html, the page to play with: one file that needs no server and no network.

Usage: PYTHONPATH=. python docs/play/make_page.py. The page is made of the parts beside this script, of the network that
ships trained and of a photograph that ships too. What it calls a mistake is what `compare` says of a port that makes
that mistake. The same parts give the same bytes.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import refnet
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Change
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.files import shipped
from refnet.files.digits import digits
from refnet.graph import Graph
from refnet.network import Network
from refnet.report.comparison import comparison_document
from refnet.report.words import causes

Array = npt.NDArray[Any]

HERE = Path(__file__).parent
SCRIPTS = ("core.js", "draw.js", "operation.js", "block.js", "mistakes.js")

# Four ways to look at a neighbourhood, by the size of the kernel, and how much of each channel a filter takes. All
# are whole numbers over powers of two: a sum of them is easy to follow, and no decimal rounds them.
LOOKS = ("blur", "left–right", "top–bottom", "spots")
_SMOOTH, _STEEP, _POINT = {3: (1, 2, 1), 5: (1, 4, 6, 4, 1)}, {3: (-1, 0, 1), 5: (-1, -2, 0, 2, 1)}, {}
MIX = np.array([[4, 2, 1, 1], [2, 4, 1, -1], [1, -2, 4, 1], [1, 1, -2, 4]], np.float32) / 4

MISTAKES = (  # bug, form, node: those that the exercises and ports show most
    ("kernel-flip", "180", "block1.depthwise"),
    ("bn-eps", "1e-05", "block1.depthwise.bn"),
    ("hsigmoid-slope", "", "block1.se.gate"),
    ("pad-same", "same", "block1.depthwise"),
)


def patterns(side: int) -> Array:
    """(4, side, side): one kernel for each way to look; of one point, a number each."""
    if side == 1:
        return np.array([1, 0.5, -0.5, -1], np.float32).reshape(4, 1, 1)
    smooth, steep = np.array(_SMOOTH[side]), np.array(_STEEP[side])
    spots = -np.ones((side, side), int)
    spots[side // 2, side // 2] = side**2 - 1
    total = smooth.sum()
    found = (np.outer(smooth, smooth) / total**2, np.outer(smooth, steep) / total**2 * 4)
    return np.array([*found, found[1].T, spots / (16 if side == 3 else 32)], np.float32)


def photograph() -> Array:
    """(4, 50, 75) uint8: red, green, blue and their mean, of the photograph that ships, at a third of its size."""
    with np.load(shipped.path("photograph.npz"), allow_pickle=False) as archive:
        pixels = archive["pixels"]
    H, W, C = pixels.shape
    small = np.rint(pixels.reshape(H // 3, 3, W // 3, 3, C).mean(axis=(1, 3)))
    return (
        np.concatenate([small, np.rint(small.mean(axis=2, keepdims=True))], axis=2).astype(np.uint8).transpose(2, 0, 1)
    )


def scans() -> tuple[Array, Array]:
    """Two scans of each digit that training never saw, and their labels."""
    data = digits()
    chosen = [np.flatnonzero(data.held_out & (data.labels == digit))[:2] for digit in range(10)]
    order = np.concatenate(chosen)
    return data.scans[order], data.labels[order]


class Shown(NamedTuple):
    """A mistake of a port: what is changed, and what refnet says of such a port."""

    change: Change
    bug: str
    graph: Graph
    params: dict[str, Array]
    sentence: str


def network_input(scan: Array) -> Array:
    """(1, 3, 32, 32), as the digits network takes it."""
    return refnet.files.digits.Digits(scan[None], scan, scan, scan).inputs()


def mistakes(net: Network, x: Array) -> Iterator[Shown]:
    """Each mistake, made in the network, and diagnosed by `compare` from the tensors of the run alone."""
    whole = cut(Parts(net.graph), net.params, net.graph.output, {"input": x}, judged=False)
    with tempfile.TemporaryDirectory() as folder:
        pack = Path(folder) / "pack"
        refnet.write_pack(net, x, pack)
        for bug, form, node in MISTAKES:
            change = next(c for c in BUGS[bug].changes(whole) if (c.form, c.node) == (form, node))
            made = whole.changed(change)
            params = {name: np.asarray(made.params[name], np.float32) for name in made.graph.params()}
            found = refnet.compare(pack, Network(made.graph, params).trace(x))
            document = comparison_document(found, pack="", candidate="", precision="float32")
            sentence = next(sentence for sentence, _ in causes(document) if f"[{bug}]" in sentence)
            yield Shown(change, bug, made.graph, params, sentence)


def data() -> dict[str, Any]:
    """All that the page's scripts are given."""
    net = refnet.load()
    pixels, labels = scans()
    names = sorted(net.params)
    x = network_input(pixels[0])
    return {
        "photo": {"shape": photograph().shape, "bytes": _text(photograph())},
        "channels": ["red", "green", "blue", "mean"],
        "looks": LOOKS,
        "patterns": {side: patterns(side).tolist() for side in (1, 3, 5)},
        "mix": MIX.tolist(),
        "nodes": [_node(node) for node in net.graph.nodes],
        "params": {name: net.params[name].shape for name in names},
        "weights": _text(np.concatenate([net.params[name].ravel() for name in names]).astype("<f4")),
        "scans": {"labels": labels.tolist(), "bytes": _text(pixels.astype(np.uint8))},
        "mistakes": [
            {
                "bug": each.bug,
                "node": each.change.node,
                "sentence": each.sentence,
                "nodes": {name: _node(node) for name, (node,) in each.change.nodes.items()},
                "params": {name: each.params[name].ravel().tolist() for name in each.change.params},
            }
            for each in mistakes(net, x)
        ],
    }


def _node(node: refnet.Node) -> dict[str, Any]:
    return {"name": node.name, "op": node.op, "inputs": node.inputs, "attrs": dict(node.attrs)}


def _text(array: Array) -> str:
    return base64.b64encode(array.tobytes()).decode()


def page() -> str:
    """The whole page."""
    text = (HERE / "page.html").read_text(encoding="utf-8")
    scripts = {name: (HERE / name).read_text(encoding="utf-8") for name in SCRIPTS}
    parts = {
        "STYLE": (HERE / "style.css").read_text(encoding="utf-8"),
        "DATA": json.dumps(data(), separators=(",", ":")),
        "CORE": scripts.pop("core.js"),
        "SCRIPTS": "\n".join(scripts.values()),
    }
    for name, part in parts.items():
        text = text.replace(f"/*{name}*/", part)
    return text


def main() -> None:
    """Write the page."""
    (HERE / "index.html").write_text(page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
