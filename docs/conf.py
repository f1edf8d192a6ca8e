"""How the site is built: python -m sphinx -W -b html docs OUT. Nothing of it comes from elsewhere."""

from __future__ import annotations

import refnet

project = "refnet"
author = "the authors of refnet"
release = version = refnet.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["play/*.md"]
html_theme = "furo"
html_title = "refnet"
html_extra_path = ["play"]
html_copy_source = False
html_theme_options = {"source_repository": "", "source_branch": "", "source_directory": ""}

myst_heading_anchors = 3
myst_links_external_new_tab = False
# README's own links, and files beside the pages, are no pages of the site.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units stand in the docstrings
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
