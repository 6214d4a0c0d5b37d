"""The stages of the dependency graph: one module a stage, each with `run(settings, …)`.

A rule of the Snakefile depends on the modules that its stage imports.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module

from lcelib.errors import LceError


def names() -> list[str]:
    """Return the names of all stages."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def find(name: str) -> Callable[..., None]:
    """Return the function of a stage; raise LceError for an unknown name."""
    if name not in names():
        raise LceError(f"stage {name!r}", "is unknown", f"Known: {', '.join(names())}.")
    return import_module(f"{__name__}.{name}").run
