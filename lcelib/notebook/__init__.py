"""Notebooks: their session, widgets, and the page of `make app`."""

from lcelib.extras import require

require("lcelib.notebook", "pandas")
from lcelib.notebook.session import Session, start  # noqa: E402

__all__ = ["Session", "start"]
