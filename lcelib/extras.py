"""Optional dependencies: which extra brings a package, and the error where it is missing."""

import re
from importlib import metadata
from importlib.util import find_spec

from lcelib.errors import LceError


def declared() -> dict[str, list[str]]:
    """Return the packages that lcelib declares, by extra; those of the core are under ""."""
    packages: dict[str, list[str]] = {"": []}
    for requirement in metadata.requires("lcelib") or []:
        name = re.split(r"[^\w.-]", requirement)[0]
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        if name != "lcelib":  # "notebooks" contains "paper"
            packages.setdefault(extra[1] if extra else "", []).append(name)
    return packages


def missing(what: str, package: str) -> LceError | None:
    """Return the error that `what` needs `package`, or None where no extra brings it."""
    extras = (extra for extra, names in declared().items() if extra and package in names)
    if (extra := next(extras, None)) is None:
        return None
    reason = f"needs {package}, which is not installed"
    return LceError(what, reason, f"pip install 'lcelib[{extra}]', or in a clone '.[{extra}]'")


def require(what: str, package: str) -> None:
    """Raise LceError where `package`, which `what` needs, is not installed."""
    if find_spec(package.replace("-", "_")) is None and (error := missing(what, package)):
        raise error
