"""The command line `lce`."""

from lcelib.cli.main import app, main

__all__ = ["app", "main"]
