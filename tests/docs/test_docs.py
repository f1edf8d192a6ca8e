"""Every block of the docs and of the README runs, page by page, from top to bottom, and prints what the page shows.

So does every docstring.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys

import pytest
from pages import run_page
from support import CHECKOUT

import refnet

MODULES = [module.name for module in pkgutil.walk_packages(refnet.__path__, "refnet.")]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
COURSE = CHECKOUT / "docs/learn"
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]\w)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_print_what_it_shows(page, tmp_path):
    with contextlib.chdir(tmp_path):
        for block in run_page(page):
            must = block.shown or page.parent == COURSE  # the course shows all that its blocks print
            assert block.same or not must, f"line {block.line}: {block.printed}"


@pytest.mark.parametrize("page", sorted(COURSE.glob("[01]*.md")), ids=lambda page: page.name)
def test_every_number_of_a_chapter_is_computed_in_it(page):
    text = page.read_text(encoding="utf-8")
    computed = {number.rstrip(",") for number in NUMBER.findall(" ".join(FENCED.findall(text)))}
    prose = re.sub(r"arXiv [\d.v]+|section [\d.]+|\]\([^)]*\)", "", FENCED.sub("", text))
    told = [number.rstrip(",") for number in NUMBER.findall(prose)]
    assert [number for number in told if ("." in number or len(number) > 2) and number not in computed] == []


def test_the_pictures_of_the_course_are_drawn_again_byte_for_byte(tmp_path):
    subprocess.run(
        [sys.executable, COURSE / "make_pictures.py", tmp_path],
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in COURSE.glob("*.svg")}


def test_every_chapter_has_a_picture_and_an_exercise():
    for page in COURSE.glob("[01]*.md"):
        text = page.read_text(encoding="utf-8")
        assert re.search(r"!\[[^\]]+\]\([\w-]+\.svg\)", text), page.name
        assert "refnet exercise" in text, page.name


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
