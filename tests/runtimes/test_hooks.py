"""Hooks of frameworks: told by the class, without importing one; modules that look like theirs stand in for them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from refnet import RequestError, hook

X = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)


def test_what_is_of_no_framework_is_refused():
    with pytest.raises(RequestError, match=r"hook: dict is nothing that can be hooked; take a torch\.nn\.Module"):
        hook({})


def test_importing_the_hooks_imports_no_framework():
    assert not {"torch", "keras", "onnxruntime"} & {name.partition(".")[0] for name in sys.modules if "hooks" in name}


class Tensor:
    """As much of a PyTorch tensor as a hook needs."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype

    def is_floating_point(self):
        return self.array.dtype.kind == "f"

    def detach(self):
        return self

    def cpu(self):
        return self

    def to(self, *_):
        return self

    def numpy(self):
        return self.array


class _NoGrad:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Module:
    """As much of torch.nn.Module: children by name, hooks that are called with what each makes."""

    __module__ = "torch.nn.modules.module"

    def __init__(self, **children):
        self.children, self.hooks = children, []

    def named_modules(self):
        return [("", self), *self.children.items()]

    def parameters(self):
        return iter(())

    def register_forward_hook(self, made):
        self.hooks.append(made)
        return SimpleNamespace(remove=lambda: self.hooks.remove(made))

    def __call__(self, x):
        for child in self.children.values():
            x = child(x)
        y = self.forward(x)
        for made in self.hooks:
            made(self, (x,), y)
        return y

    def forward(self, x):
        return x


class Doubled(Module):
    def forward(self, x):
        return Tensor(x.array * 2)


class Cut(Module):
    """A ReLU that writes over its input."""

    def forward(self, x):
        np.maximum(x.array, 10, out=x.array)
        return x


@pytest.fixture
def torch(monkeypatch):
    fake = ModuleType("torch")
    fake.Tensor, fake.float32, fake.float64 = Tensor, np.float32, np.float64
    fake.from_numpy, fake.no_grad = Tensor, _NoGrad
    monkeypatch.setitem(sys.modules, "torch", fake)


def test_every_module_is_dumped_under_its_path_before_it_is_written_over(torch, tmp_path):
    shared = Doubled()
    net = Module(conv=shared, act=Cut())
    made = hook(net, tmp_path / "dump")(X)
    np.testing.assert_array_equal(made["input"], X)
    np.testing.assert_array_equal(made["conv"], 2 * X)
    np.testing.assert_array_equal(made["act"], np.maximum(2 * X, 10))
    np.testing.assert_array_equal(made["output"], made["act"])
    assert sorted(path.stem for path in (tmp_path / "dump").iterdir()) == ["act", "conv", "input", "output"]
    assert not shared.hooks  # nothing is left behind


def test_a_module_that_is_called_twice_is_dumped_twice(torch):
    twice = Doubled()

    class Again(Module):
        def __call__(self, x):
            return twice(twice(x))

    net = Again(conv=twice)
    made = hook(net)(X)
    np.testing.assert_array_equal(made["conv:2"], 4 * X)
