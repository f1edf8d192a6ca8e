"""Every block of the docs and of the README runs, page by page, from top to bottom, and prints what the page shows.

So does every docstring.
"""

from __future__ import annotations

import argparse
import doctest
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys

import pytest
from pages import folder_of, run_page
from support import CHECKOUT

import refnet
from refnet.cli import main
from refnet.readings.cost import cost
from refnet.search.layers import multiply_adds
from refnet.search.proposals import shrinkables

SHOWING = [  # modules with examples
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((CHECKOUT / "refnet").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
COURSE = CHECKOUT / "docs/learn"
KINDS = {"python", "output", "console", "bash", "text", "c", "rust", "javascript", "{eval-rst}", "{toctree}"}
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d[\d,_]*(?:\.\d+)?(?:e-?\d+)?(?![\w.]\w)")
# Names that hold a number, and what an article says: no fact of a chapter's own.
OF_OTHERS = re.compile(
    r"^#.*|^\| \d+ \|[^|]*|arXiv [\d.v]+|section [\d.]+|\]\([^)]*\)|\"[^\"]*\"|[Bb]lock \d+|Keras \d|\d+장"
    r"|([Cc]hapters?|[Cc]laims?|주장) \d+\W*(and|to|와|과)? ?\d*|30 million and 10 million",
    re.MULTILINE,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_print_what_it_shows(page, tmp_path):
    ran = 0
    with folder_of(page, tmp_path):
        for block in run_page(page):
            assert block.same, f"line {block.line}: {block.printed}"
            ran += 1
    blocks = re.findall(r"^```(?:python|console)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert ran == len(blocks) or shutil.which("cc") is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_of_a_run_is_in_a_block_that_runs(page):
    """Commands to type are in `bash`, sources in their language, figures of letters in `text`: none shows a run."""
    for kind, block in re.findall(r"^```(\S*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        assert kind in KINDS, f"{kind}: {block}"
        assert kind == "console" or not re.search(r"^\$ ", block, re.MULTILINE), block


def plain_number(text: str) -> str:
    return text.rstrip(",").replace(",", "").replace("_", "")


@pytest.mark.parametrize("page", sorted(COURSE.glob("[01]*.md")), ids=lambda page: page.name)
def test_every_number_of_a_chapter_is_computed_in_it(page):
    text = page.read_text(encoding="utf-8")
    computed = {plain_number(each) for each in NUMBER.findall(" ".join(FENCED.findall(text)))}
    computed.add(str(len(re.findall(r"^\| \d+ \|", text, re.MULTILINE))))  # the claims of chapter 12
    told = [plain_number(each) for each in NUMBER.findall(OF_OTHERS.sub("", FENCED.sub("", text)))]
    assert [number for number in told if number not in computed] == []


def test_the_pictures_of_the_course_are_drawn_again_byte_for_byte(tmp_path):
    subprocess.run(
        [sys.executable, COURSE / "make_pictures.py", tmp_path],
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in COURSE.glob("*.svg")}


def test_the_pictures_of_the_page_on_speed_are_those_of_its_tables():
    spec = importlib.util.spec_from_file_location("make_speed_pictures", CHECKOUT / "docs/make_speed_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = module.pictures()
    assert sorted(drawn) == ["beside.svg", "speed.svg"]
    for name, picture in drawn.items():
        assert picture == (CHECKOUT / "docs" / name).read_text(encoding="utf-8"), name


def test_the_picture_of_the_objective_is_what_the_command_draws(tmp_path):
    assert main(["search", "--objective", str(tmp_path / "drawn.svg")]) == 0
    assert (tmp_path / "drawn.svg").read_bytes() == (CHECKOUT / "docs/search-objective.svg").read_bytes()


def test_every_chapter_has_a_picture_and_an_exercise():
    for page in COURSE.glob("[01]*.md"):
        text = page.read_text(encoding="utf-8")
        assert re.search(r"!\[[^\]]+\]\([\w-]+\.svg\)", text), page.name
        assert "refnet exercise" in text, page.name


def test_the_steps_of_netadapt_cost_what_the_page_says():
    """The run takes minutes; what a step shrinks says what is left."""
    text = (CHECKOUT / "docs/13-netadapt.md").read_text(encoding="utf-8")
    graph = refnet.load().graph
    whole = multiply_adds(graph)
    steps = re.findall(
        r"^\| \d+ \| `([\w.]+)` \| (\w+) \| (\d+) -> (\d+) \| ([\d,]+) \| ([\d.]+)% \|", text, re.MULTILINE
    )
    assert len(steps) == 27
    for name, kind, before, after, macs, share in steps:
        part = next(part for part in shrinkables(graph) if part.name == name)
        assert (part.kind, part.channels) == (kind, int(before))
        graph = part.at(graph, int(after))
        assert (f"{multiply_adds(graph):,}", f"{multiply_adds(graph) / whole:.1%}") == (macs, f"{share}%")
    params = sum(row.params for row in cost(graph))
    assert re.search(rf"^\| NetAdapt \| {multiply_adds(graph):,} \| .* \| {params:,} \|$", text, re.MULTILINE)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", FENCED.sub("", page.read_text())):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command():
    from refnet.cli import _COMMANDS

    readme = (CHECKOUT / "README.md").read_text()
    assert all(f"refnet {command}" in readme for command in _COMMANDS)


@pytest.fixture(scope="module")
def options():
    """The options of each command."""
    from refnet.cli import _COMMANDS

    found = {}
    for name in _COMMANDS:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"refnet.cli.{name}").COMMAND.declare(parser)
        found[name] = {option for action in parser._actions for option in action.option_strings}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_has_the_options_that_it_gives_it(page, options):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    typed = re.findall(r"^(?:\$ |\S*/)?refnet (\w+)(.*)$", "\n".join(FENCED.findall(text)), re.MULTILINE)
    said = re.findall(r"`refnet (?!is`)(\w+)([^`]*)`", FENCED.sub("", text))
    for name, words in [*typed, *said]:
        assert name in options, name
        assert set(re.findall(r"(?<=\s)--?[a-z][\w-]*", words)) <= options[name], f"{name}{words}"
    alone = set(re.findall(r"`(--[a-z][\w-]*)", FENCED.sub("", text)))
    assert alone <= {"--no-deps"}.union(*options.values()), alone


@pytest.mark.parametrize("name", SHOWING)
def test_the_examples_of_a_module_run(name, capsys):
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        if test.examples:  # else the runner reads the state of every file that Python knows all the same
            runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out
