"""Imports run one way, from the leaves to the command line; docs/architecture.md draws the same arrows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support import CHECKOUT

import refnet

PACKAGE = Path(refnet.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))

# Floor by floor: a module imports from floors below its own, or from its own room.
FLOORS = (
    ("text", "child", "interrupts", "memory", "ops", "networks/preprocessing"),
    ("errors", "shares", "threads"),
    ("graph", "machine"),
    (
        "networks/tables",
        "readings/loops",
        "readings/fast",
        "readings/precision",
        "readings/shapes",
        "readings/integer",
        "files/containers",
        "files/published",
        "files/resample",
        "files/shipped",
    ),
    (
        "networks/dialects",
        "readings/adjoint",
        "readings/orders",
        "readings/carried",
        "readings/quantised",
        "readings/limits",
        "files/digits",
        "files/graph_text",
        "files/labels",
        "files/images",
        "files/fetch",
    ),
    ("networks/plan",),
    (
        "networks/build",
        "networks/random",
        "networks/rewrite",
        "readings/cost",
        "readings/bounds",
        "readings/short_sums",
    ),
    (
        "files/schemes",
        "files/importers",
        "files/exporters",
        "files/integers_npz",
        "networks/folded",
        "networks/resize",
        "session",
    ),
    ("alignment",),
    ("report/differences",),
    ("files/identify",),
    ("files/checkpoint",),
    ("files/write", "files/quantised"),
    ("network",),
    ("inputs",),
    ("pack/matching", "judge/verdicts", "runtimes", "evaluation", "search"),
    ("pack",),
    ("bugs/language", "bench"),
    ("bugs/numbers", "bugs/inputs"),
    ("bugs/layers", "bugs/integers"),
    ("bugs/memory", "bugs/readers"),
    ("bugs/files",),
    ("bugs",),
    ("judge/measures", "judge/reference"),
    ("judge/dumps",),
    ("judge/causes", "judge/integers"),
    ("judge",),
    ("verification", "study"),
    ("report/mistakes", "report/pictures"),
    ("report",),
    ("exercises",),
    ("cli",),
    ("__init__", "__main__"),
)
LEAVES = (
    "readings/loops",
    "readings/fast",
    "networks/tables",
    "networks/preprocessing",
    "ops",
    "text",
    "child",
    "interrupts",
    "memory",
)


def floor(module: str) -> int:
    for level, rooms in enumerate(FLOORS):
        if any(module == room or module.startswith(room + "/") for room in rooms):
            return level
    raise AssertionError(f"{module} has no place in the house: add it to FLOORS and to docs/architecture.md")


def test_the_page_draws_the_same_floors():
    page = (CHECKOUT / "docs/architecture.md").read_text()
    drawn = []
    for row in re.findall(r"^\| \d+ \| (.*?) \|", page, re.MULTILINE):
        names = []
        for name in re.findall(r"`(.*?)`", row):
            head, brace, tail = name.partition("{")
            names += [head + each for each in tail.rstrip("}").split(",")] if brace else [name]
        drawn.append(set(names))
    *floors, _ = FLOORS
    assert drawn == [*map(set, floors), {"refnet"}]


def room(module: str) -> str:
    return next(r for rooms in FLOORS for r in rooms if module == r or module.startswith(r + "/"))


def imports(module: str) -> set[str]:
    """The modules of refnet that a module imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            path = name.replace(".", "/").removeprefix("refnet/")
            if name.startswith("refnet."):
                found.add(
                    path if (PACKAGE / f"{path}.py").exists() or (PACKAGE / path).is_dir() else str(Path(path).parent)
                )
    return found


def test_imports_run_downwards():
    for module in (m for m in MODULES if not m.endswith("__init__") or "/" not in m or "cli" in m):
        for other in imports(module) - {"."}:
            if room(module) != room(other):
                assert floor(other) < floor(module), f"{module} imports {other}, which is not below it"


def parts(leaf: str) -> list[str]:
    """The modules of a leaf, which may be a folder."""
    return [module for module in MODULES if module == leaf or module.startswith(f"{leaf}/")]


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaves_import_nothing_of_refnet(leaf):
    for module in parts(leaf):
        assert {other for other in imports(module) if other not in parts(leaf)} <= {leaf}


def test_fast_and_loops_share_nothing():
    for leaf in ("readings/fast", "readings/loops"):
        for module in parts(leaf):
            text = (PACKAGE / f"{module}.py").read_text()
            assert "refnet" not in text.replace("refnet:", "").replace(f"refnet.{leaf.replace('/', '.')}.", "")


def test_modules_import_only_numpy():
    """Extras, and SciPy, are imported inside the functions that need them."""
    extras = {"PIL", "tqdm", "safetensors", "h5py", "onnx", "tflite", "pooch", "requests", "matplotlib", "scipy"}
    extras |= {"dask", "distributed", "torch", "tensorflow", "onnxruntime"}
    for module in MODULES:
        tree = ast.parse((PACKAGE / f"{module}.py").read_text())
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in top if isinstance(node, ast.ImportFrom)]
        assert not {name.split(".")[0] for name in names} & extras, module
