"""One name, one meaning: across the package, and at its front."""

from __future__ import annotations

import ast
import doctest
import inspect
import pkgutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import refnet
from refnet.ops import OPS

PACKAGE = Path(refnet.__file__).parent


def homonyms() -> dict[str, list[str]]:
    """Names that two classes or public functions have, with their modules.

    A reading is a module of operations, a container is a module with `read` and `write`, and a scheme one with the
    names of modules and of entries: those may share names.
    """
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).with_suffix("").as_posix()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                # A runtime's integers are a reading too, and have operations of their own.
                reading = module.startswith(("readings/integer/loops/", "readings/integer/fast/")) or (
                    module.startswith("readings/") and node.name in OPS
                )
                container = module.startswith("files/containers/") and node.name in ("read", "write")
                scheme = module.startswith("files/schemes/") and node.name in ("modules", "entries", "unused")
                if not (reading or container or scheme or node.name.startswith("_")):
                    found[node.name].append(module)
            elif isinstance(node, ast.ClassDef):
                found[node.name].append(module)
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def test_a_class_or_public_function_has_its_name_alone():
    assert not homonyms()


def test_the_front_is_stated_alike_three_times():
    """For people, for checkers of types, and for the import itself."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: node.module.removeprefix("refnet.") for node in block.body for alias in node.names
    }
    assert typed == refnet._ROOMS
    assert sorted(typed) == refnet.__all__


def test_dir_has_every_name():
    assert set(refnet.__all__) <= set(dir(refnet))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'refnet' has no attribute 'nothing'"):
        refnet.nothing  # noqa: B018


def test_no_room_is_called_as_a_verb_is():
    assert not {module.name for module in pkgutil.iter_modules(refnet.__path__)} & set(refnet.__all__)


def test_import_refnet_imports_nothing_else():
    """It is quick because it waits with NumPy until something is asked for."""
    line = "import refnet, sys; print([m for m in sys.modules if m.startswith(('numpy', 'scipy', 'refnet.'))])"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", refnet.__all__)
def test_each_name_is_documented_and_has_an_example_among_those_that_run(name):
    """tests/docs/test_docs.py runs those that are found so in every module."""
    thing = getattr(refnet, name)
    text = inspect.getdoc(thing)
    assert not text.splitlines()[1:2] or not text.splitlines()[1], "a summary is one line"
    if inspect.isfunction(thing):
        for parameter in inspect.signature(thing).parameters:
            assert parameter in text.partition("Parameters\n---")[2].partition("Examples\n---")[0]
    found = {each.name: each.examples for each in doctest.DocTestFinder().find(sys.modules[thing.__module__])}
    examples = found[f"{thing.__module__}.{thing.__qualname__}"]
    assert any(not example.options for example in examples)
