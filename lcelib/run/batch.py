"""A grid file, profiles × bias specifications × changes, all seeds: what to run, and what came of it."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lcelib.errors import LceError
from lcelib.run.paths import Run, results_folder
from lcelib.run.profiles import PATHS, Profile, profile

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
        """The run's name in table and report."""
        return "-".join(x for x in (self.settings.name, self.bias, self.change) if x)


@dataclass(frozen=True)
class Grid:
    """The runs of one grid file, and where their common results go."""

    path: Path
    cells: tuple[Cell, ...]

    @property
    def folder(self) -> Path:
        """results/grid-<name of the file>."""
        return results_folder() / f"grid-{self.path.stem}"

    @property
    def results(self) -> Path:
        """The results tables of all runs in one, with the columns run, folder, bias and change before."""
        return self.folder / "results.csv"

    @property
    def report(self) -> Path:
        """The page that says what came out."""
        return self.folder / "report.html"

    @property
    def runs(self) -> list[Run]:
        """The runs, in the order of the file."""
        return [Run(cell.settings) for cell in self.cells]


def read(path: Path | str) -> Grid:
    """Read a grid file.

    Keys, none of them needed: `profiles` and `seeds` are lists; each table `[bias.NAME]`
    and `[change.NAME]` holds fields of a profile to replace (of nothing, where it is
    empty). Paths are relative to the file. Every combination is a run; each has all seeds.

    Raises LceError for an unknown key, a bad name or value, and for two equal runs.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LceError(f"grid {path}", "is no file", "Give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LceError(f"grid {path}", f"is not TOML: {error}", "See docs/how_to.") from None
    for key in content:
        if key not in KEYS:
            raise LceError(f"grid {path}, {key!r}", "is unknown", f"Keys: {', '.join(KEYS)}.")
    tables = {key: content.get(key, {"": {}}) for key in ("bias", "change")}
    for key, table in tables.items():
        for name, fields in table.items() if isinstance(table, dict) else [(key, None)]:
            if not isinstance(fields, dict) or (name and not NAME.fullmatch(name)):
                remedy = f"Write [{key}.NAME] with a NAME of letters, digits and _."
                raise LceError(f"grid {path}, {key}.{name}", "is no table with a name", remedy)
    cells = []
    for name in _list(path, content, "profiles", ["toy"]):
        for bias, first in tables["bias"].items():
            for change, second in tables["change"].items():
                fields = first | second
                if "seeds" in content:
                    fields = {"seeds": _list(path, content, "seeds", [])} | fields
                try:
                    settings = profile(name, _absolute(path, fields))
                except LceError as error:
                    where = f"grid {path}, {'-'.join(x for x in (name, bias, change) if x)}"
                    raise LceError(f"{where}, {error.what}", error.reason, error.remedy) from None
                cells.append(Cell(bias, change, settings))
    return Grid(path.resolve(), _distinct(path, cells))


def _list(path: Path, content: dict, key: str, default: list) -> list:
    value = content.get(key, default)
    if not isinstance(value, list) or not value:
        raise LceError(f"grid {path}, {key} = {value!r}", "is no list", f"Write {key} = {default}.")
    return value


def _absolute(path: Path, fields: dict) -> dict:
    """Paths that exist beside the grid file, whole."""

    def whole(value):
        if isinstance(value, list):
            return [whole(x) for x in value]
        beside = path.parent / value if isinstance(value, str) and value else None
        return str(beside.resolve()) if beside and beside.exists() else value

    return {k: whole(v) if k in PATHS else v for k, v in fields.items()}


def _distinct(path: Path, cells: list[Cell]) -> tuple[Cell, ...]:
    """Two runs with the same settings would write the same files."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.settings.run_name, cell)
        if other is not cell:
            reason = f"are the same run, {cell.settings.run_name}"
            raise LceError(f"grid {path}: {other.name} and {cell.name}", reason, "Leave one out.")
    return tuple(cells)
