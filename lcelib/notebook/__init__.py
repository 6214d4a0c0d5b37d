"""What notebooks open with: a session, widgets, and the page of `make app`."""

from lcelib.notebook.session import Session, start

__all__ = ["Session", "start"]
