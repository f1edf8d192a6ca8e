"""Make ports in plain NumPy, each with a mistake that is everywhere, changes a size, or shows at the end alone.

Usage: PYTHONPATH=. python tests/data/ports/make_numpy_ports.py. Written from reports of people who ported such
networks, apart from the catalogue: of refnet it takes the weights and the input, and no arithmetic. What it writes
beside itself is listed in numpy_ports.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from refnet import build, random_input, random_params

HERE = Path(__file__).parent
V1 = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
f32 = np.float32


class Port:
    """MobileNet V1 as somebody would write it, with switches for what went wrong."""

    def __init__(self, **wrong):
        self.wrong, self.dumped = wrong, {}
        self.graph = build("timm/mobilenetv1_100", width=0.25, size=(64, 64), classes=10)
        self.p, self.x = random_params(self.graph), random_input(self.graph, 1)

    def border(self, x, pads):
        if not np.any(pads):
            return x
        if self.wrong.get("border") == "circular":
            rows = np.concatenate([x[:, :, x.shape[2] - pads[0][0] :], x, x[:, :, : pads[0][1]]], axis=2)
            left, right = rows[..., rows.shape[3] - pads[1][0] :], rows[..., : pads[1][1]]
            return np.concatenate([left, rows, right], axis=3)
        if self.wrong.get("border") == "replicate":
            rows = np.concatenate([x[:, :, :1]] * pads[0][0] + [x] + [x[:, :, -1:]] * pads[0][1], axis=2)
            return np.concatenate([rows[..., :1]] * pads[1][0] + [rows] + [rows[..., -1:]] * pads[1][1], axis=3)
        y = np.zeros((*x.shape[:2], x.shape[2] + sum(pads[0]), x.shape[3] + sum(pads[1])), f32)
        y[:, :, pads[0][0] : pads[0][0] + x.shape[2], pads[1][0] : pads[1][0] + x.shape[3]] = x
        return y

    def slide(self, x, w, stride, pads, name):
        """A 3 x 3 convolution, of each channel by itself or of all."""
        if self.wrong.get("valid") == name:
            pads = ((0, 0), (0, 0))
        if self.wrong.get("dense") == name:
            stride = 1
        if self.wrong.get("coarse") == name:
            stride = 2
        x = self.border(x, pads)
        P, Q = (x.shape[2] - 3) // stride + 1, (x.shape[3] - 3) // stride + 1
        y = f32(0)
        for r in range(3):
            for s in range(3):
                part = x[:, :, r : r + P * stride : stride, s : s + Q * stride : stride]
                part = part[:, :, :P, :Q]
                y = y + (part * w[:, r, s, None, None] if w.ndim == 3 else self.mix(part, w[:, :, r, s]))
        return y

    @staticmethod
    def mix(x, w):
        return np.tensordot(w, x, axes=(1, 1)).transpose(1, 0, 2, 3)

    def norm(self, x, name):
        gamma, beta, mean, var = (self.p[f"{name}.{slot}"][:, None, None] for slot in ("gamma", "beta", "mean", "var"))
        if self.wrong.get("darknet"):
            return (x - mean) / (np.sqrt(var) + f32(1e-6)) * gamma + beta
        eps = f32(self.wrong.get("eps", self.graph[name].attrs["eps"]))
        if self.wrong.get("eps_depthwise") and "depthwise" in name:
            eps = f32(self.wrong["eps_depthwise"])
        return gamma * ((x - mean) / np.sqrt(var + eps)) + beta

    def act(self, x):
        if self.wrong.get("act") == "relu":
            return np.maximum(x, 0)
        if self.wrong.get("act") == "none":
            return x
        return np.clip(x, 0, 6)

    def unit(self, x, name, run):
        raw = run(x)
        normal = self.norm(raw, f"{name}.bn")
        y = self.act(normal)
        self.dumped[name] = normal if self.wrong.get("late") == "everywhere" else raw
        self.dumped[f"{name}.bn"], self.dumped[f"{name}.act"] = normal, y
        return y

    def __call__(self):
        pads = {node.name: node.attrs["pad"] for node in self.graph.nodes if "dilation" in node.attrs}
        x = self.x[:, ::-1] if self.wrong.get("bgr") else self.x
        x = self.stem(x, pads)
        for number, (_, stride) in enumerate(V1, 1):
            name = f"block{number}.depthwise"
            x = self.unit(x, name, lambda x: self.slide(x, self.p[f"{name}.w"], stride, pads[name], name))  # noqa: B023
            name = f"block{number}.project"
            x = self.unit(x, name, lambda x: self.mix(x, self.p[f"{name}.w"]))  # noqa: B023
        x = x.sum(axis=(2, 3)) / f32(x.shape[2] * x.shape[3])
        self.dumped["head.pool"] = x[:, :, None, None]
        x = x @ self.p["head.logits.w"].T + self.p["head.logits.b"]
        self.dumped["head.flatten"] = x
        return self.dumped

    def stem(self, x, pads):
        raw = self.slide(x, self.p["stem.conv.w"], 2, pads["stem.conv"], "stem.conv")
        normal = self.norm(raw, "stem.bn")
        self.dumped["stem.conv"] = normal if self.wrong.get("late") == "everywhere" else raw
        self.dumped["stem.bn"], self.dumped["stem.act"] = normal, self.act(normal)
        return self.dumped["stem.act"]


def of(graph, *ops, kind=""):
    return [node.name for node in graph.nodes if node.op in ops and kind in node.name]


def ports():
    graph = Port().graph
    norms, acts, convs = of(graph, "batch_norm"), of(graph, "relu", "relu6"), of(graph, "conv2d", "depthwise_conv2d")
    every = [node.name for node in graph.nodes]
    fused = [*acts, "head.pool", "head.flatten"]

    def until(last, first="stem.conv"):
        return every[every.index(first) : every.index(last) + 1]

    yield "np_eps_end", "eps 1e-6 everywhere; logits alone", ["bn-eps"], norms, ["head.flatten"], {"eps": 1e-6}
    yield "np_eps_fused", "eps 3e-4 everywhere; fused", ["bn-eps"], norms, fused, {"eps": 3e-4}
    yield (
        "np_eps_depthwise_end",
        "eps 1e-2 in the depthwise layers; logits alone",
        ["bn-eps"],
        of(graph, "batch_norm", kind="depthwise"),
        ["head.flatten"],
        {"eps_depthwise": 1e-2},
    )
    yield (
        "np_darknet_end",
        "sqrt(var) + 1e-6; logits alone",
        ["bn-eps-outside", "bn-eps"],
        norms,
        ["head.flatten"],
        {"darknet": True},
    )
    yield (
        "np_circular_end",
        "circular padding everywhere; logits alone",
        ["pad-value"],
        convs,
        ["head.flatten"],
        {"border": "circular"},
    )
    yield (
        "np_replicate_fused",
        "padding repeats the edge everywhere; fused",
        ["pad-value"],
        convs,
        fused,
        {"border": "replicate"},
    )
    other = "relu" if graph["stem.act"].op == "relu6" else "none"
    ids = ["relu6-relu"] if other == "relu" else ["act-missing"]
    yield "np_act_end", f"activation {other} everywhere; logits alone", ids, acts, ["head.flatten"], {"act": other}
    yield "np_bgr_end", "colours reversed; logits alone", ["input-bgr"], every, ["head.flatten"], {"bgr": True}
    yield (
        "np_dense",
        "stride 1 for 2 in block 4; all",
        ["stride-changed"],
        ["block4.depthwise"],
        until("block6.project.act", "block3.project.act"),
        {"dense": "block4.depthwise"},
    )
    yield (
        "np_dense_end",
        "stride 1 for 2 in block 4; logits alone",
        ["stride-changed"],
        ["block4.depthwise"],
        ["head.flatten"],
        {"dense": "block4.depthwise"},
    )
    yield (
        "np_moved",
        "the stride of block 4 is taken in block 5; fused",
        ["stride-changed"],
        [
            "block4.depthwise",
            "block5.depthwise",
        ],
        fused,
        {"dense": "block4.depthwise", "coarse": "block5.depthwise"},
    )
    yield (
        "np_valid",
        "no padding in the first layer; all",
        ["pad-amount"],
        ["stem.conv"],
        until("block2.project.act"),
        {"valid": "stem.conv"},
    )
    yield (
        "np_late",
        "tensors of convolutions dumped after batch norm; all",
        ["already-normalised"],
        [graph[norm].inputs[0] for norm in norms],
        until("block3.project.act"),
        {"late": "everywhere"},
    )


if __name__ == "__main__":
    kept = []
    for name, what, bug, places, dumped, wrong in ports():
        tensors = Port(**wrong)()
        np.savez_compressed(HERE / f"{name}.npz", **{n: y.astype(f32) for n, y in tensors.items() if n in dumped})
        recipe = {"model": "timm/mobilenetv1_100", "width": 0.25, "size": [64, 64], "classes": 10, "batch": 1}
        mistakes = [{"bug": bug, "places": places}]
        kept.append({"file": f"{name}.npz", **recipe, "what": what, "mistakes": mistakes})
    origin = "hand-written ports in NumPy, each with one mistake; weights and input are refnet's, in float32"
    listed = {"format": "refnet ports 1", "origin": origin, "script": "make_numpy_ports.py", "ports": kept}
    (HERE / "numpy_ports.json").write_text(json.dumps(listed, indent=1) + "\n")
