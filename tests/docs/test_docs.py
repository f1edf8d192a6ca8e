"""Every Python block of the docs and of the README runs, page by page, from top to bottom; so does every docstring."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import pytest
from support import CHECKOUT

import refnet

MODULES = [module.name for module in pkgutil.walk_packages(refnet.__path__, "refnet.")]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, capsys):
    names: dict[str, object] = {"__name__": "docs"}
    text = page.read_text()
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(page), "exec"), names)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", FENCED.sub("", page.read_text())):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command():
    from refnet.cli import _COMMANDS

    readme = (CHECKOUT / "README.md").read_text()
    assert all(f"refnet {command}" in readme for command in _COMMANDS)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "refnet.__main__"])
def test_the_examples_of_a_module_run(name, capsys):
    assert doctest.testmod(importlib.import_module(name)).failed == 0, capsys.readouterr().out
