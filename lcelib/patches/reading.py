"""Read patch files and files of located weights; reject whatever is not exactly as it was written."""

import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lcelib.errors import CorruptFileError, LceError
from lcelib.files import DATA
from lcelib.patches import schema
from lcelib.patches.algebra import Change, Changes
from lcelib.patches.format import FORMAT, LARGEST_HEADER, SECTIONS, ZEROS, Sections, read_blocks
from lcelib.patches.positions import decode
from lcelib.tensors import DTYPES, WIDTHS, Array, all_finite

SHIPPED = DATA / "patches"
PLAIN: dict[str, np.dtype[Any]] = {"U8": np.dtype(np.uint8), "U32": np.dtype(np.uint32)}
AGAIN = "Get it again, from a source that you trust."


@dataclass(frozen=True)
class File:
    """A file whose digest and header are valid."""

    path: Path
    data: Array  # the bytes after the header, memory-mapped
    tensors: dict[str, tuple[str, int, int]]  # dtype, start, stop
    info: dict[str, Any]

    def part(self, name: str) -> Array:
        """Return one array, as a view of the file."""
        dtype, start, stop = self.tensors[name]
        kind = PLAIN.get(dtype) or DTYPES[dtype]
        return np.require(self.data[start:stop].view(kind), requirements="A")


def resolve(path: str | Path) -> Path:
    """Return the path of a file, or of a shipped patch given by its name ("smollm2-gender")."""
    shipped = SHIPPED / f"{path}.lce.safetensors"
    is_name = shipped.name == f"{path}.lce.safetensors"
    return shipped if is_name and not Path(path).exists() and shipped.exists() else Path(path)


def check(path: str | Path) -> File:
    """Check header and digest of a file; raise CorruptFileError if one bit differs.

    Nothing is executed, and nothing allocated that the file's size does not bound.
    """
    path = resolve(path)
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
                raise ValueError(f"its header cannot be {length} bytes long in {size}")
            header = file.read(length)
            about, tensors = _parse(header, size - 8 - length)
            given = about["digest"]
            digest = hashlib.sha256(start + header.replace(given.encode(), ZEROS.encode(), 1))
            for block in read_blocks(file):
                digest.update(block)
        if digest.hexdigest() != given:
            raise ValueError("its content is not what was written: the digest differs")
    except FileNotFoundError as error:
        raise LceError(f"{path}", "does not exist", "Give the path of a patch.") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = f"is not a valid patch file ({error})"
        raise CorruptFileError(f"{path}", reason, AGAIN) from error
    data = (
        np.memmap(path, np.uint8, "r")[8 + length :] if size > 8 + length else np.empty(0, np.uint8)
    )
    return File(path, np.asarray(data), tensors, about)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise ValueError for repeated names."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name occurs twice in its header")
    return content


def _parse(header: bytes, size: int) -> tuple[dict[str, Any], dict[str, tuple[str, int, int]]]:
    """Return metadata and tensors (dtype, start, stop) of a header before `size` bytes of data."""
    content = json.loads(header.decode(), object_pairs_hook=_unique)
    metadata = content.pop("__metadata__", None) if isinstance(content, dict) else None
    text = metadata.get("lce") if isinstance(metadata, dict) else None
    about = json.loads(text, object_pairs_hook=_unique) if isinstance(text, str) else None
    if not isinstance(about, dict) or not isinstance(about.get("digest"), str):
        raise ValueError("its metadata are not those of a patch; is it a model?")
    if about.get("format") != FORMAT or not re.fullmatch(r"[0-9a-f]{64}", about["digest"]):
        raise ValueError(f"its format is {about.get('format')!r}; this lcelib reads {FORMAT}")
    tensors: dict[str, tuple[str, int, int]] = {}
    end = 0
    for name, entry in content.items():
        section, _, tensor = name.partition("/")
        kinds = {"index": ("U32",), "low": ("U8",), "high": ("U8",)}.get(section, tuple(DTYPES))
        if section not in SECTIONS or not tensor:
            raise ValueError(f"it holds {name!r}, which is no part of a patch")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name} is not described as a tensor")
        if entry["dtype"] not in kinds:
            raise ValueError(f"{name} has dtype {entry['dtype']!r}")
        numbers = [*_numbers(entry["shape"], 1), *_numbers(entry["data_offsets"], 2)]
        count, start, stop = numbers
        if start != end or stop - start != count * WIDTHS[entry["dtype"]] or stop > size:
            raise ValueError(
                f"{name} claims {count} values in the bytes {start} to {stop} of {size}"
            )
        tensors[name], end = (entry["dtype"], start, stop), stop
    if end != size:
        raise ValueError(f"{size - end} bytes belong to no tensor")
    return about, tensors


def _numbers(value: object, length: int) -> list[int]:
    """Return a list of that many integers ≥ 0; raise ValueError for anything else."""
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{value!r} is not a list of {length} numbers ≥ 0")
    if any(type(x) is not int or not 0 <= x < 1 << 63 for x in value):
        raise ValueError(f"{value!r} is not a list of {length} numbers ≥ 0")
    return value


def read_changes(path: str | Path) -> tuple[Changes, dict[str, Any]]:
    """Read a patch: its changes, memory-mapped, with positions in uint32, and its description.

    Raises LceError for a file that is missing, corrupt, or without values.
    """
    sections, info = read(path)
    if any(len(arrays) != 3 for arrays in sections.values()):
        raise LceError(f"{path}", "lists positions without values", "Give a file of `lce edit`.")
    return {name: Change(*arrays) for name, arrays in sections.items()}, info


def read(path: str | Path) -> tuple[Sections, dict[str, Any]]:
    """Read the arrays of each tensor (index, or index, old, new) and the description, all checked.

    Values are memory-mapped. Raises CorruptFileError unless positions are sorted and
    inside their tensors (whose shapes the description has), and values as many and finite.
    """
    file = check(path)
    arrays: Sections = {}
    try:
        base = schema.check_structure(file.info)
        shapes = {n: t["shape"] for n, t in base.get("tensors", {}).items()}
        for name in dict.fromkeys(n.partition("/")[2] for n in file.tensors):
            arrays[name] = _arrays(file, name, shapes.get(name))
        if len({len(a) for a in arrays.values()}) > 1:
            raise ValueError("only some of its tensors have values")
    except (ValueError, TypeError, KeyError) as error:
        reason = f"is not a valid patch file ({error})"
        raise CorruptFileError(f"{path}", reason, AGAIN) from error
    return arrays, file.info


def _arrays(file: File, name: str, shape: list[int] | None) -> tuple[Array, ...]:
    """Return positions, or positions, old and new values, of one tensor."""
    has = {section for section in SECTIONS if f"{section}/{name}" in file.tensors}
    coded, valued = has >= {"low", "high"}, has >= {"old", "new"}
    if has != ({"low", "high"} if coded else {"index"}) | ({"old", "new"} if valued else set()):
        raise ValueError(f"{name} has {', '.join(sorted(has))}")
    code = [file.part(f"{section}/{name}") for section in ("low", "high")] if coded else []
    index = decode(*code) if coded else file.part(f"index/{name}")
    if (index[1:] <= index[:-1]).any():
        raise ValueError(f"the positions of {name} are not sorted, or repeat")
    if shape is not None and len(index) and index[-1] >= math.prod(shape):
        raise ValueError(f"a position of {name} is outside of its shape {shape}")
    if not valued:
        return (index,)
    old, new = (file.part(f"{section}/{name}") for section in ("old", "new"))
    if not len(index) == len(old) == len(new) or old.dtype != new.dtype:
        raise ValueError(f"{name} has {len(index)} positions, {len(old)} and {len(new)} values")
    if not (all_finite(old) and all_finite(new)):
        raise ValueError(f"{name} has values that are NaN or infinite")
    return index, old, new
