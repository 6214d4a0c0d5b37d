"""Sphinx settings of the book; `make book` gathers its sources first (docs/book.py)."""

import re
from importlib.util import find_spec

from lcelib.files import DATA

project = "lcelib"
author = "The lcelib authors"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "index"
exclude_patterns = ["docs/conf.py", "docs/_static"]
html_theme = "furo"
html_title = "Local contrastive editing"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["book.css"]
nb_execution_mode = "off"  # the notebooks come executed
nb_ipywidgets_js = {}  # and their controls as static text: the page needs no network
myst_heading_anchors = 3
autodoc_mock_imports = [] if find_spec("triton") else ["triton"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def plain(app, what, name, obj, options, lines):
    """The docstrings are plain text: single backticks are code, bars and stars are themselves."""
    for i, line in enumerate(lines):
        parts = _CODE.split(line)  # text, code, text, …
        parts[::2] = [re.sub(r"([|*_]+)", r"\\\1", text) for text in parts[::2]]
        parts[1::2] = [f"``{code}``" for code in parts[1::2]]
        lines[i] = "".join(parts)


def here(app, what, name, obj, options, signature, returns):
    """Signatures without the folder of the machine that built the book."""
    root = f"{DATA.parent.parent}/"
    return (signature or "").replace(root, "") or signature, returns


def setup(app):
    app.connect("autodoc-process-signature", here)
    app.connect("autodoc-process-docstring", plain)
