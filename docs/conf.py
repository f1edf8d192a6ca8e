"""How the site is built: python -m sphinx -W -b html docs OUT. Nothing of it comes from elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import refnet

project = "refnet"
author = "the authors of refnet"
release = version = refnet.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["play/*.md"]
html_theme = "furo"
html_title = "refnet"
html_copy_source = False
html_show_copyright = False
html_theme_options = {"source_repository": "", "source_branch": "", "source_directory": ""}

myst_heading_anchors = 3
myst_links_external_new_tab = False
# README's own links, and files beside the pages, are no pages of the site.
suppress_warnings = ["myst.header", "misc.highlighting_failure", "ref.python"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units stand in the docstrings
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False


def setup(app: Any) -> None:
    """Put the page to play with into the site as it is."""
    app.connect("build-finished", _with_play)


def _with_play(app: Any, failed: Exception | None) -> None:
    if failed is None:
        folder = Path(app.outdir) / "play"
        folder.mkdir(exist_ok=True)
        shutil.copy(Path(__file__).parent / "play/index.html", folder)
