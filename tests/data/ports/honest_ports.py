"""Honest PyTorch ports of two small networks: a class with a method per kind of layer; in C, and folded."""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

HERE = Path(__file__).parent
V3_MODEL, V2_MODEL = ("torchvision/mobilenet_v3_small", 0.35), ("torchvision/mobilenet_v2", 0.25)
CLASSES = 10
LIMIT = 3_000_000  # bytes
OWN = "v[23]_*.npz"  # the files that are written here: those of make_numpy_ports stay


class Port:
    """Layers; each dumps what it makes under its name."""

    def __init__(self, params):
        self.p = {name: torch.from_numpy(array.copy()) for name, array in params.items()}
        self.out = {}
        self.load()

    def load(self):
        """What is done to the weights once."""

    def prepare(self, x):
        """What is done to the input."""
        return x

    def __call__(self, x):
        self.out = {}
        self.network(self.prepare(torch.from_numpy(x.copy())))
        return {name: y.numpy().astype(np.float32) for name, y in self.out.items()}

    def dump(self, name, y):
        self.out[name] = y.clone()
        return y

    # arithmetic, without names
    def conv_(self, x, w, b, stride):
        return F.conv2d(x, w, b, stride=stride, padding=w.shape[-1] // 2)

    def depthwise_(self, x, w, b, stride):
        return F.conv2d(x, w.unsqueeze(1), b, stride=stride, padding=w.shape[-1] // 2, groups=x.shape[1])

    def pointwise_(self, x, w, b, stride=1):
        return F.conv2d(x, w[:, :, None, None], b)

    def hard_swish_(self, x):
        return x * F.relu6(x + 3) / 6

    def hard_sigmoid_(self, x):
        return F.relu6(x + 3) / 6

    # layers
    def filter(self, kind, name, x, stride=1):
        y = getattr(self, kind + "_")(x, self.p[name + ".w"], self.p.get(name + ".b"), stride)
        return self.dump(name, y)

    def bn(self, name, x):
        gamma, beta, mean, var = (self.p[f"{name}.{slot}"] for slot in ("gamma", "beta", "mean", "var"))
        return self.dump(name, F.batch_norm(x, mean, var, gamma, beta, False, 0.0, self.eps))

    def filter_bn(self, kind, name, bn, x, stride=1):
        return self.bn(bn, self.filter(kind, name, x, stride))

    def act(self, name, x, kind):
        match kind:
            case "relu":
                y = F.relu(x)
            case "relu6":
                y = F.relu6(x)
            case "hswish":
                y = self.hard_swish_(x)
        return self.dump(name, y)

    def gate(self, name, x):
        return self.dump(name, self.hard_sigmoid_(x))

    def se(self, name, x):
        s = self.dump(f"{name}.pool", x.mean((2, 3), keepdim=True))
        s = self.act(f"{name}.reduce.act", self.filter("pointwise", f"{name}.reduce", s), "relu")
        s = self.gate(f"{name}.gate", self.filter("pointwise", f"{name}.expand", s))
        return self.dump(f"{name}.scale", x * s)

    def add(self, name, x, y):
        return self.dump(name, x + y)

    # parts
    def stem(self, x, kind):
        return self.act("stem.act", self.filter_bn("conv", "stem.conv", "stem.bn", x, 2), kind)

    def expand(self, name, x, kind):
        x = self.filter_bn("pointwise", f"{name}.expand", f"{name}.expand.bn", x)
        return self.act(f"{name}.expand.act", x, kind)

    def spatial(self, name, x, kind, stride, se):
        x = self.filter_bn("depthwise", f"{name}.depthwise", f"{name}.depthwise.bn", x, stride)
        x = self.act(f"{name}.depthwise.act", x, kind)
        return self.se(f"{name}.se", x) if se else x

    def project(self, name, x):
        return self.filter_bn("pointwise", f"{name}.project", f"{name}.project.bn", x)

    def block(self, name, x, kind, stride, se):
        entry = x
        if f"{name}.expand.w" in self.p:
            x = self.expand(name, x, kind)
        x = self.project(name, self.spatial(name, x, kind, stride, se))
        return self.shortcut(name, entry, x, stride)

    def shortcut(self, name, entry, x, stride):
        return self.add(f"{name}.add", entry, x) if stride == 1 and entry.shape[1] == x.shape[1] else x

    def last(self, x, kind):
        x = self.act("head.act", self.filter_bn("pointwise", "head.conv", "head.bn", x), kind)
        return self.dump("head.pool", x.mean((2, 3), keepdim=True))

    def classify(self, x):
        return self.dump("head.flatten", self.filter("pointwise", "head.logits", x).flatten(1))


class V2(Port):
    model, width = V2_MODEL
    eps = 1e-5

    def network(self, x):
        x = self.stem(x, "relu6")
        number = 0
        for repeats, first_stride in ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)):
            for i in range(repeats):
                number += 1
                x = self.block(f"block{number}", x, "relu6", first_stride if i == 0 else 1, False)
        self.classify(self.last(x, "relu6"))


class V3(Port):
    model, width = V3_MODEL
    eps = 1e-3

    def network(self, x):
        x = self.stem(x, "hswish")
        x = self.block("block1", x, "relu", 2, True)
        x = self.block("block2", x, "relu", 2, False)
        x = self.block("block3", x, "relu", 1, False)
        for number in range(4, 12):
            x = self.block(f"block{number}", x, "hswish", 2 if number in (4, 9) else 1, True)
        x = self.last(x, "hswish")
        self.classify(self.hidden(x))

    def hidden(self, x):
        return self.act("head.hidden.act", self.filter("pointwise", "head.hidden", x), "hswish")


def compiled():
    with tempfile.TemporaryDirectory() as folder:
        so = str(Path(folder) / "layers.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", so, str(HERE / "layers.c")], check=True)
        return ctypes.CDLL(so)


LIB = compiled()


def pointer(x):
    return None if x is None else ctypes.c_void_p(x.data_ptr())


def in_c(base, pointwise="pointwise", depthwise="depthwise", hard_swish="hard_swish"):
    """The port with its layers in C; the arguments are names of functions in layers.c."""

    class InC(base):
        def pointwise_(self, x, w, b, stride=1, function=pointwise):
            x, w = x.contiguous(), w.contiguous()
            y = torch.empty((x.shape[0], w.shape[0], *x.shape[2:]))
            for i in range(len(x)):
                sizes = (x.shape[1], w.shape[0], x.shape[2] * x.shape[3])
                getattr(LIB, function)(pointer(x[i]), pointer(w), pointer(b), pointer(y[i]), *sizes)
            return y

        def depthwise_(self, x, w, b, stride, function=depthwise):
            x, w = x.contiguous(), w.contiguous()
            _, c, h, width = x.shape
            n = w.shape[-1]
            oh, ow = ((side + 2 * (n // 2) - n) // stride + 1 for side in (h, width))
            y = torch.empty((len(x), c, oh, ow))
            for i in range(len(x)):
                sizes = (c, h, width, n, stride, n // 2, oh, ow)
                getattr(LIB, function)(pointer(x[i]), pointer(w), pointer(b), pointer(y[i]), *sizes)
            return y

        def hard_swish_(self, x):
            x = x.contiguous()
            y = torch.empty_like(x)
            getattr(LIB, hard_swish)(pointer(x), pointer(y), x.numel())
            return y

    return InC


def fold_right(w, gamma, beta, mean, var, eps):
    scale = gamma / torch.sqrt(var + eps)
    return w * scale.view(-1, *[1] * (w.ndim - 1)), beta - mean * scale


def folded(base, wrong=fold_right, here=()):
    """The port with every batch norm folded into the filter before it; has no tensor before the batch norm."""

    class Folded(base):
        def filter_bn(self, kind, name, bn, x, stride=1):
            slots = (self.p[f"{bn}.{slot}"] for slot in ("gamma", "beta", "mean", "var"))
            w, b = (wrong if bn in here else fold_right)(self.p[name + ".w"], *slots, self.eps)
            return self.dump(bn, getattr(self, kind + "_")(x, w, b, stride))

    return Folded
