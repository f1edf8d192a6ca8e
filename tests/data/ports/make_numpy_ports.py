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
        """A convolution with a square kernel, of each channel by itself or of all."""
        if self.wrong.get("valid") == name:
            pads = ((0, 0), (0, 0))
        if self.wrong.get("dense") == name:
            stride = 1
        if self.wrong.get("coarse") == name:
            stride = 2
        x = self.border(x, pads)
        side = w.shape[-1]
        P, Q = (x.shape[2] - side) // stride + 1, (x.shape[3] - side) // stride + 1
        y = f32(0)
        for r in range(side):
            for s in range(side):
                part = x[:, :, r : r + P * stride : stride, s : s + Q * stride : stride]
                part = part[:, :, :P, :Q]
                y = y + (part * w[:, r, s, None, None] if w.ndim == 3 else self.mix(part, w[:, :, r, s]))
        return y

    @staticmethod
    def mix(x, w):
        return np.tensordot(w, x, axes=(1, 1)).transpose(1, 0, 2, 3)

    def norm(self, x, name):
        gamma, beta, mean, var = (self.p[f"{name}.{slot}"][:, None, None] for slot in ("gamma", "beta", "mean", "var"))
        if name in self.wrong.get("exchanged", ()):
            gamma, beta = beta, gamma
        if self.wrong.get("unbiased"):
            mean = x.mean(axis=(0, 2, 3), dtype=np.float64)[:, None, None]
            var = x.var(axis=(0, 2, 3), dtype=np.float64, ddof=1)[:, None, None]
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

    def given(self):
        """The input, as the port prepares it."""
        if self.wrong.get("bgr"):
            return self.x[:, ::-1]
        if self.wrong.get("turned"):
            return np.rot90(self.x, 1, (2, 3))
        if self.wrong.get("light"):
            pre = self.graph.recipe.preprocessing
            mean, std = (np.array(each)[:, None, None] for each in (pre.mean, pre.std))
            stored = ((self.x * std + mean) * pre.scale / 255).clip(0, 1)
            light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
            return ((light * 255 / pre.scale - mean) / std).astype(f32)
        return self.x

    def __call__(self):
        pads = {node.name: node.attrs["pad"] for node in self.graph.nodes if "dilation" in node.attrs}
        for one, other in self.wrong.get("swapped", ()):
            for name in self.graph.params():
                if name.startswith(f"{one}."):
                    there = f"{other}.{name.removeprefix(f'{one}.')}"
                    self.p[name], self.p[there] = self.p[there], self.p[name]
        for name in self.wrong.get("lanes", ()):
            w = self.p[f"{name}.w"] = self.p[f"{name}.w"].copy()
            w[3::4] = w[2::4]
        x = self.stem(self.given(), pads)
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


class Port3(Port):
    """MobileNet V3 Small as somebody would write it, a batch of two."""

    def __init__(self, **wrong):
        self.wrong, self.dumped = wrong, {}
        self.graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
        self.p, self.x = random_params(self.graph), random_input(self.graph, 2)

    def curve(self, x, op):
        if op == "relu":
            return np.maximum(x, 0)
        return x * np.clip(x + 3, 0, 6) / f32(8 if self.wrong.get("shift") else 6)

    def layer(self, x, name):
        """What a convolution makes after its activation, and before it."""
        node, w = self.graph[name], self.p[f"{name}.w"]
        raw = self.mix(x, w) if w.ndim == 2 else self.slide(x, w, node.attrs["stride"][0], node.attrs["pad"], name)
        unit = name.removesuffix(".conv")
        y = normal = self.norm(raw, f"{unit}.bn")
        self.dumped[name], self.dumped[f"{unit}.bn"] = raw, normal
        if f"{unit}.act" in self.graph:
            y = self.dumped[f"{unit}.act"] = self.curve(normal, self.graph[f"{unit}.act"].op)
        return y, normal

    def dense(self, x, name):
        y = self.dumped[name] = self.mix(x, self.p[f"{name}.w"]) + self.p[f"{name}.b"][:, None, None]
        return y

    def squeezed(self, x, before, name):
        pooled = (before if self.wrong.get("early") else x).mean(axis=(2, 3), keepdims=True, dtype=np.float64)
        s = self.dumped[f"{name}.pool"] = pooled.astype(f32)
        s = self.dumped[f"{name}.reduce.act"] = np.maximum(self.dense(s, f"{name}.reduce"), 0)
        s = self.dense(s, f"{name}.expand") / f32(6) + f32(0.5)
        s = self.dumped[f"{name}.gate"] = s if self.wrong.get("uncut") else s.clip(0, 1)
        return x * s

    def __call__(self):
        x, _ = self.layer(self.x[::-1] if self.wrong.get("batch") else self.x, "stem.conv")
        for number in range(1, 12):
            block, entry = f"block{number}", x
            if f"{block}.expand" in self.graph:
                x, _ = self.layer(x, f"{block}.expand")
            x, before = self.layer(x, f"{block}.depthwise")
            if f"{block}.se.pool" in self.graph:
                x = self.dumped[f"{block}.se.scale"] = self.squeezed(x, before, f"{block}.se")
            x, _ = self.layer(x, f"{block}.project")
            if f"{block}.add" in self.graph:
                x = self.dumped[f"{block}.add"] = entry + x
        x, _ = self.layer(x, "head.conv")
        x = self.dumped["head.pool"] = x.mean(axis=(2, 3), keepdims=True, dtype=np.float64).astype(f32)
        x = self.dumped["head.hidden.act"] = self.curve(self.dense(x, "head.hidden"), "hard_swish")
        self.dumped["head.flatten"] = self.dense(x, "head.logits")[:, :, 0, 0]
        return self.dumped


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
        ["stride-moved"],
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
    late = ["block12.depthwise.bn", "block13.depthwise.bn"]
    yield (
        "np_gamma_beta_fused",
        "gamma and beta exchanged in the last two depthwise layers; fused",
        ["bn-swapped"],
        late,
        fused[fused.index("block11.project.act") :],
        {"exchanged": late},
    )
    yield (
        "np_unbiased",
        "statistics of the batch, the variance of one point fewer; all",
        ["bn-batch-stats"],
        norms,
        until("block12.project.act", "block11.project.act"),
        {"unbiased": True},
    )
    yield (
        "np_swapped",
        "blocks 8 and 9 with each other's arrays; all",
        ["weights-elsewhere"],
        [name for name in every if name.startswith(("block8.", "block9.")) and not name.endswith(".act")],
        until("block9.project.act", "block7.project.act"),
        {"swapped": [("block8", "block9")]},
    )
    yield (
        "np_lanes",
        "every fourth channel is its neighbour, in one layer; fused",
        ["channel-permute"],
        ["block9.project"],
        ["block9.depthwise.act", "block9.project.bn", "block9.project.act"],
        {"lanes": ["block9.project"]},
    )
    yield (
        "np_light_end",
        "pixels made light of; logits alone",
        ["input-gamma"],
        every,
        ["head.flatten"],
        {"light": True},
    )
    yield "np_turned_end", "a quarter turn; logits alone", ["input-turned"], every, ["head.flatten"], {"turned": True}


def ports3():
    graph = Port3().graph
    swishes, gates = of(graph, "hard_swish"), of(graph, "hard_sigmoid")
    pools = of(graph, "avg_pool2d", kind=".se.")
    near = ["block3.project.bn", *(node.name for node in graph.nodes if node.name.startswith(("block4.", "block5.")))]
    yield (
        "np3_shift",
        "hard swish shifted by three bits; fused",
        ["hswish-divisor"],
        swishes,
        [name for name in near if name.endswith((".act", ".add"))],
        {"shift": True},
    )
    yield (
        "np3_shift_end",
        "hard swish shifted by three bits; logits alone",
        ["hswish-divisor"],
        swishes,
        ["head.flatten"],
        {"shift": True},
    )
    yield (
        "np3_early",
        "gates made of what comes before the activation; all",
        ["se-order"],
        pools,
        near,
        {"early": True},
    )
    yield "np3_uncut", "gates not cut off at 0 and 1; all", ["gate-bare"], gates, near, {"uncut": True}
    yield (
        "np3_batch_end",
        "two images exchanged; logits alone",
        ["input-batch"],
        [node.name for node in graph.nodes],
        ["head.flatten"],
        {"batch": True},
    )


if __name__ == "__main__":
    kept = []
    v1 = {"model": "timm/mobilenetv1_100", "width": 0.25, "size": [64, 64], "classes": 10, "batch": 1}
    v3 = {"model": "torchvision/mobilenet_v3_small", "width": 0.35, "size": [32, 32], "classes": 10, "batch": 2}
    made = [(Port, v1, *port) for port in ports()] + [(Port3, v3, *port) for port in ports3()]
    for port, recipe, name, what, bug, places, dumped, wrong in made:
        tensors = port(**wrong)()
        np.savez_compressed(HERE / f"{name}.npz", **{n: y.astype(f32) for n, y in tensors.items() if n in dumped})
        mistakes = [{"bug": bug, "places": places}]
        kept.append({"file": f"{name}.npz", **recipe, "what": what, "mistakes": mistakes})
    origin = "hand-written ports in NumPy, each with one mistake; weights and input are refnet's, in float32"
    listed = {"format": "refnet ports 1", "origin": origin, "script": "make_numpy_ports.py", "ports": kept}
    (HERE / "numpy_ports.json").write_text(json.dumps(listed, indent=1) + "\n")
