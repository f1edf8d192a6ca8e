"""What a machine is told of itself: versions, extras that cannot be imported, arithmetic that is not IEEE's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from refnet import machine
from refnet.cli import doctor, main


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_HANDFUL", ("torchvision/mobilenet_v3_small",))


def test_a_healthy_machine_is_well(quick, capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "well"
    assert found["numpy"] == np.__version__
    assert found["checks"][0]["verdict"] == "agrees"
    assert found["arithmetic"] == machine.arithmetic()
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("all is well")


def test_arithmetic_that_flushes_is_a_fault(quick, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "arithmetic", lambda: {**machine.arithmetic(), "subnormal": False})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "NOT as IEEE 754 asks: subnormal NO" in out
    assert out.rstrip().endswith("small results are flushed to zero")


def test_an_extra_that_cannot_be_imported_is_a_fault(quick, capsys, monkeypatch):
    def broken(name: str) -> None:
        raise ValueError("numpy.dtype size changed\nmay indicate binary incompatibility")

    monkeypatch.setattr(doctor, "import_module", broken)
    monkeypatch.setattr(doctor, "package_versions", lambda names: dict.fromkeys(names, "1.0"))
    assert main(["doctor"]) == 1
    assert "h5py cannot be imported: ValueError: numpy.dtype size changed may indicate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rule", "function", "wrong"),
    [
        ("square root", "sqrt", lambda x: (np.asarray(x, np.float64) ** 0.5 * (1 + 1e-7)).astype(np.float32)),
        ("subnormal inputs", "full", lambda n, value, dtype=np.float64: np.zeros(n, dtype)),
    ],
)
def test_each_rule_can_be_broken(rule, function, wrong, monkeypatch):
    monkeypatch.setattr(machine.np, function, wrong)
    assert not machine.arithmetic()[rule]


def test_a_package_that_is_not_there_has_no_version():
    assert machine.package_versions(["no-such-package-of-refnet"]) == {"no-such-package-of-refnet": ""}
