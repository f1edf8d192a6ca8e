"""Mistakes: functions that take a port and give a subclass with one method written wrongly, for some layers."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from honest_ports import CLASSES, in_c

# ---------------------------------------------------------------------------------- mistakes: geometry and weights


def tf_same(base, *here):
    """TF's SAME: all that is needed, the odd one at the end."""

    class Wrong(base):
        def filter(self, kind, name, x, stride=1):
            if name not in here:
                return super().filter(kind, name, x, stride)
            w = self.p[name + ".w"]
            n = w.shape[-1]
            total_h, total_w = (max((-(-side // stride) - 1) * stride + n - side, 0) for side in x.shape[2:])
            x = F.pad(x, (total_w // 2, total_w - total_w // 2, total_h // 2, total_h - total_h // 2))
            w, groups = (w, 1) if kind == "conv" else (w.unsqueeze(1), w.shape[0])
            return self.dump(name, F.conv2d(x, w, stride=stride, groups=groups))

    return Wrong


def reflect(base, *here):
    class Wrong(base):
        def filter(self, kind, name, x, stride=1):
            if name not in here:
                return super().filter(kind, name, x, stride)
            w = self.p[name + ".w"]
            m = w.shape[-1] // 2
            x = F.pad(x, (m, m, m, m), mode="reflect")
            return self.dump(name, F.conv2d(x, w.unsqueeze(1), stride=stride, groups=w.shape[0]))

    return Wrong


MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def black_border(base):
    """The image is padded before it is normalised: the border is black, not mean."""

    class Wrong(base):
        def conv_(self, x, w, b, stride):
            pixels = F.pad(x * STD + MEAN, (1, 1, 1, 1))
            return F.conv2d((pixels - MEAN) / STD, w, b, stride=stride)

    return Wrong


def dilated(base, here, rate=2):
    class Wrong(base):
        def filter(self, kind, name, x, stride=1):
            if name != here:
                return super().filter(kind, name, x, stride)
            w = self.p[name + ".w"]
            pad = rate * (w.shape[-1] // 2)
            return self.dump(name, F.conv2d(x, w.unsqueeze(1), None, stride, pad, rate, w.shape[0]))

    return Wrong


def loaded(base, change):
    """`change(params)` is what the import of the weights gets wrong."""

    class Wrong(base):
        def load(self):
            super().load()
            change(self.p)

    return Wrong


def kernel_transposed(*here):
    return lambda p: p.update({f"{name}.w": p[f"{name}.w"].transpose(-1, -2).contiguous() for name in here})


def read_as_rsc(here):
    """The bytes of (C, R, S) taken for TF's (R, S, C)."""

    def change(p):
        w = p[f"{here}.w"]
        c, r, s = w.shape
        p[f"{here}.w"] = w.reshape(r, s, c).permute(2, 0, 1).contiguous()

    return change


def matrix_transposed(here):
    return lambda p: p.update({f"{here}.w": p[f"{here}.w"].t().contiguous()})


def channels_swapped(here, i, j):
    def change(p):
        w = p[f"{here}.w"].clone()
        w[[i, j]] = w[[j, i]]
        p[f"{here}.w"] = w

    return change


def halves_swapped(here):
    return lambda p: p.update({f"{here}.w": torch.cat(p[f"{here}.w"].chunk(2)[::-1])})


def one_in_c(function, *here):
    """One wrong C function in a port whose other layers are PyTorch's."""

    def make(base):
        wrong_c = in_c(base)

        class Wrong(wrong_c):
            def filter(self, kind, name, x, stride=1):
                if name not in here:
                    return super().filter(kind, name, x, stride)
                w, b = self.p[name + ".w"], self.p.get(name + ".b")
                return self.dump(name, getattr(self, kind + "_")(x, w, b, stride, function=function))

        return Wrong

    return make


def stride_in_expand(base, here):
    """The stride on the block's first layer, as in the older ResNet."""

    class Wrong(base):
        def block(self, name, x, kind, stride, se):
            if name != here:
                return super().block(name, x, kind, stride, se)
            x = self.expand(name, x[:, :, ::stride, ::stride], kind)
            return self.project(name, self.spatial(name, x, kind, 1, se))

    return Wrong


# --------------------------------------------------------------------------------------------- mistakes: batch norm


def eps_is(base, value, *here):
    class Wrong(base):
        def bn(self, name, x):
            saved, self.eps = self.eps, value if name in here else self.eps
            y = super().bn(name, x)
            self.eps = saved
            return y

    return Wrong


def no_gamma(here):
    return lambda p: p[f"{here}.gamma"].fill_(1)


def swapped(here, one, two):
    def change(p):
        p[f"{here}.{one}"], p[f"{here}.{two}"] = p[f"{here}.{two}"], p[f"{here}.{one}"]

    return change


def training_mode(base):
    class Wrong(base):
        def bn(self, name, x):
            gamma, beta = self.p[f"{name}.gamma"], self.p[f"{name}.beta"]
            return self.dump(name, F.batch_norm(x, None, None, gamma, beta, True, 0.1, self.eps))

    return Wrong


def training_mode_at(base, here):
    class Wrong(base):
        def bn(self, name, x):
            if name != here:
                return super().bn(name, x)
            mean = x.mean((0, 2, 3), keepdim=True)
            var = x.var((0, 2, 3), keepdim=True, unbiased=False)
            gamma, beta = (self.p[f"{name}.{slot}"].view(1, -1, 1, 1) for slot in ("gamma", "beta"))
            return self.dump(name, (x - mean) / torch.sqrt(var + self.eps) * gamma + beta)

    return Wrong


def var_for_std(base, here):
    class Wrong(base):
        def bn(self, name, x):
            if name != here:
                return super().bn(name, x)
            gamma, beta, mean, std = (self.p[f"{name}.{s}"].view(1, -1, 1, 1) for s in ("gamma", "beta", "mean", "var"))
            return self.dump(name, (x - mean) / (std + self.eps) * gamma + beta)

    return Wrong


def no_bn(base, here, *, named=False):
    """`named`: a fused runtime, whose layer has the same name with and without batch norm."""

    class Wrong(base):
        def bn(self, name, x):
            if name != here:
                return super().bn(name, x)
            return self.dump(name, x) if named else x

    return Wrong


def fold_without_mean(w, gamma, beta, mean, var, eps):
    scale = gamma / torch.sqrt(var + eps)
    return w * scale.view(-1, *[1] * (w.ndim - 1)), beta


def fold_gamma_only(w, gamma, beta, mean, var, eps):
    scale = gamma / torch.sqrt(var + eps)
    return w * scale.view(-1, *[1] * (w.ndim - 1)), beta - mean * gamma


# ---------------------------------------------------------------------------------- mistakes: blocks and activations


def gated_by(base, function, *here):
    class Wrong(base):
        def gate(self, name, x):
            return self.dump(name, function(x)) if name in here else super().gate(name, x)

    return Wrong


def activated_by(base, function, *here):
    class Wrong(base):
        def act(self, name, x, kind):
            return self.dump(name, function(x)) if name in here else super().act(name, x, kind)

    return Wrong


def no_act(base, here):
    class Wrong(base):
        def act(self, name, x, kind):
            return x if name == here else super().act(name, x, kind)

    return Wrong


def relu_on(base, here):
    """In place: the batch norm's tensor is dumped with the ReLU in it."""

    class Wrong(base):
        def bn(self, name, x):
            y = super().bn(name, x)
            return self.dump(name, F.relu(y)) if name == here else y

    return Wrong


def relu_before(base, here):
    class Wrong(base):
        def filter(self, kind, name, x, stride=1):
            return super().filter(kind, name, F.relu(x) if name == here else x, stride)

    return Wrong


def relu_after_add(base, *here):
    class Wrong(base):
        def add(self, name, x, y):
            return self.dump(name, F.relu(x + y)) if name in here else super().add(name, x, y)

    return Wrong


def no_se(base, here):
    class Wrong(base):
        def se(self, name, x):
            return x if name == here else super().se(name, x)

    return Wrong


def se_before_act(base, *here):
    class Wrong(base):
        def spatial(self, name, x, kind, stride, se):
            if name not in here:
                return super().spatial(name, x, kind, stride, se)
            x = self.filter_bn("depthwise", f"{name}.depthwise", f"{name}.depthwise.bn", x, stride)
            return self.act(f"{name}.depthwise.act", self.se(f"{name}.se", x), kind)

    return Wrong


def without(*names):
    return lambda p: [p.pop(name) for name in names]


def no_shortcut(base, here):
    class Wrong(base):
        def shortcut(self, name, entry, x, stride):
            return x if name == here else super().shortcut(name, entry, x, stride)

    return Wrong


def option_a_shortcut(base, here):
    """ResNet's shortcut without weights: every second pixel, missing channels zero. Added in place."""

    class Wrong(base):
        def shortcut(self, name, entry, x, stride):
            if name != here:
                return super().shortcut(name, entry, x, stride)
            entry = F.pad(entry[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, x.shape[1] - entry.shape[1]))
            return self.dump(f"{name}.project.bn", x + entry)

    return Wrong


def act_after_pool(base):
    class Wrong(base):
        def last(self, x, kind):
            x = self.filter_bn("pointwise", "head.conv", "head.bn", x)
            return self.act("head.pool", x.mean((2, 3), keepdim=True), kind)

    return Wrong


# ----------------------------------------------------------------------- mistakes: input, output, precision, layout


def input_is(base, function):
    class Wrong(base):
        def prepare(self, x):
            return function(x)

    return Wrong


def with_softmax(base):
    class Wrong(base):
        def classify(self, x):
            return self.dump("head.flatten", super().classify(x).softmax(1))

    return Wrong


def one_based(p):
    """for i in range(n): new[i] = old[i - 1]"""
    for slot in ("w", "b"):
        p[f"head.logits.{slot}"] = torch.stack([p[f"head.logits.{slot}"][i - 1] for i in range(CLASSES)])


def background_first(p):
    """A row of zeros for a background class, cut to the number of classes that the output has room for."""
    for slot in ("w", "b"):
        old = p[f"head.logits.{slot}"]
        p[f"head.logits.{slot}"] = torch.cat([torch.zeros_like(old[:1]), old])[:CLASSES]


def stored_as(base, dtype):
    class Wrong(base):
        def dump(self, name, y):
            return super().dump(name, y.to(dtype).float())

    return Wrong


def weights_as(dtype):
    return lambda p: p.update({name: w.to(dtype).float() for name, w in p.items() if name.endswith(".w")})


def weights_int8(p):
    for name, w in p.items():
        if name.endswith(".w"):
            step = w.abs().max() / 127
            p[name] = (w / step).round().clamp(-128, 127) * step


def nhwc(base, here=None):
    """Computed and dumped in NHWC, read back under the shape of NCHW."""

    class Wrong(base):
        def __call__(self, x):
            out = super().__call__(x)
            for name, y in out.items():
                if y.ndim == 4 and here in (None, name):
                    out[name] = np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(y.shape)
            return out

    return Wrong
