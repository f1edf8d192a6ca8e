"""Say what a built site would fetch from elsewhere, and which of its links lead nowhere.

python docs/check_site.py FOLDER
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}


class Page(HTMLParser):
    """The links of a page, what it fetches, and the names of its places."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        found = {name: value or "" for name, value in attrs}
        if tag in FETCHED and FETCHED[tag] in found:
            self.fetched.append(found[FETCHED[tag]])
        if tag == "link" and found.get("rel") not in ("canonical", "search", "index", "next", "prev", "author"):
            self.fetched.append(found.get("href", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.places |= {found[name] for name in ("id", "name") if name in found}


def faults(folder: Path) -> list[str]:
    """Each in a line."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    said = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        said += [f"{name} fetches {each}" for each in page.fetched if urlsplit(each).netloc]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                said.append(f"{name} links to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                said.append(f"{name} links to {link}, which has no such place")
    for style in sorted(folder.rglob("*.css")):
        found = re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""", style.read_text(encoding="utf-8"))
        said += [f"{style.relative_to(folder)} fetches {each}" for each in found]
    return said


if __name__ == "__main__":
    found = faults(Path(sys.argv[1]).resolve())
    print("\n".join(found) or "nothing from elsewhere, no dead link")
    raise SystemExit(bool(found))
