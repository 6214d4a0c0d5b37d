"""Grid files: runs for every combination of profile, bias specification and change."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from lcelib.errors import LceError
from lcelib.run.paths import Run, results_folder
from lcelib.run.profiles import PATHS, Profile, profile

Table = dict[str, Any]  # of a TOML file
KEYS = ("profiles", "seeds", "bias", "change")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Cell:
    """One run of a grid: a profile with the replacements of a bias specification and of a change."""

    bias: str
    change: str
    settings: Profile

    @property
    def name(self) -> str:
        """Return the run's name in table and report."""
        return "-".join(x for x in (self.settings.name, self.bias, self.change) if x)


@dataclass(frozen=True)
class Grid:
    """The runs of one grid file, and the paths of their common results."""

    path: Path
    cells: tuple[Cell, ...]

    @property
    def folder(self) -> Path:
        """Return results/grid-<name of the file>."""
        return results_folder() / f"grid-{self.path.stem}"

    @property
    def results(self) -> Path:
        """Return the path of the combined results table: columns run, folder, bias and change first."""
        return self.folder / "results.csv"

    @property
    def report(self) -> Path:
        """Return the path of the report on all runs."""
        return self.folder / "report.html"

    @property
    def runs(self) -> list[Run]:
        """Return the runs in the order of the file."""
        return [Run(cell.settings) for cell in self.cells]


def read(path: Path | str) -> Grid:
    """Read a grid file.

    All keys are optional: `profiles` and `seeds` are lists; each table `[bias.NAME]` and
    `[change.NAME]` replaces fields of a profile (an empty one replaces none). Paths are
    relative to the file. Every combination is a run, with all seeds.

    Raises LceError for an unknown key, an invalid name or value, and for two equal runs.
    """
    path = Path(path)
    return Grid(path.resolve(), _distinct(path, _cells(path, _parse(path))))


def _parse(path: Path) -> Table:
    """Read the TOML file and check its keys and the names of its tables."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LceError(f"grid {path}", "is not a file", "Give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LceError(f"grid {path}", f"is not valid TOML: {error}", "See docs/how_to.") from None
    for key in content:
        if key not in KEYS:
            raise LceError(f"grid {path}, {key!r}", "is unknown", f"Keys: {', '.join(KEYS)}.")
    for key in ("bias", "change"):
        table = content.setdefault(key, {"": {}})
        for name, fields in table.items() if isinstance(table, dict) else [(key, None)]:
            if not isinstance(fields, dict) or (name and not NAME.fullmatch(name)):
                reason = "is not a table with a valid name"
                remedy = f"Write [{key}.NAME] with a NAME of letters, digits and _."
                raise LceError(f"grid {path}, {key}.{name}", reason, remedy)
    return content


def _cells(path: Path, content: Table) -> Iterator[Cell]:
    """Yield a cell for each combination of profile, bias and change; a change has the last word."""
    profiles = _list(path, content, "profiles", ["toy"])
    seeds = {"seeds": _list(path, content, "seeds", [])} if "seeds" in content else {}
    for name, bias, change in product(profiles, content["bias"], content["change"]):
        fields = seeds | content["bias"][bias] | content["change"][change]
        try:
            settings = profile(name, _absolute(path, fields))
        except LceError as error:
            where = f"grid {path}, {'-'.join(x for x in (name, bias, change) if x)}"
            raise LceError(f"{where}, {error.what}", error.reason, error.remedy) from None
        yield Cell(bias, change, settings)


def _list(path: Path, content: Table, key: str, default: list[Any]) -> list[Any]:
    value = content.get(key, default)
    if not isinstance(value, list) or not value:
        raise LceError(
            f"grid {path}, {key} = {value!r}", "is not a list", f"Write {key} = {default}."
        )
    return value


def _absolute(path: Path, fields: Table) -> Table:
    """Make paths that exist beside the grid file absolute."""

    def absolute(value: Any) -> Any:
        if isinstance(value, list):
            return [absolute(x) for x in value]
        beside = path.parent / value if isinstance(value, str) and value else None
        return str(beside.resolve()) if beside and beside.exists() else value

    return {k: absolute(v) if k in PATHS else v for k, v in fields.items()}


def _distinct(path: Path, cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return the cells; raise LceError for two with the same settings, which share their files."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.settings.run_name, cell)
        if other is not cell:
            reason = f"are the same run, {cell.settings.run_name}"
            raise LceError(f"grid {path}: {other.name} and {cell.name}", reason, "Leave one out.")
    return tuple(seen.values())
