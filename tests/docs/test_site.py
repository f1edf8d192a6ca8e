"""The site: what it is made of comes from the project alone."""

from __future__ import annotations

import re

from support import CHECKOUT

DOCS = CHECKOUT / "docs"
PAGES = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}


def test_every_page_is_in_the_index_once():
    listed = re.findall(
        r"^(?!:)([\w./-]+)$",
        "".join(re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)),
        re.MULTILINE,
    )
    assert sorted(listed) == sorted(page for page in PAGES if page != "index" and not page[0].isdigit())


def test_every_verb_of_the_front_is_in_the_reference():
    import refnet

    said = (DOCS / "reference.md").read_text()
    assert [name for name in refnet.__all__ if f"refnet.{name}\n" not in said] == []


def test_a_page_has_no_picture_of_another_host():
    for page in DOCS.rglob("*.md"):
        assert re.findall(r"!\[[^\]]*\]\(https?:", page.read_text(encoding="utf-8")) == [], page.name
