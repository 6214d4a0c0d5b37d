"""Read patch files and files of located weights; reject whatever is not exactly as it was written."""

import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcelib.errors import CorruptFileError, LceError
from lcelib.files import DATA
from lcelib.patches import schema
from lcelib.patches.format import FORMAT, LARGEST_HEADER, SECTIONS, ZEROS, Arrays, _blocks
from lcelib.patches.positions import decode
from lcelib.tensors import DTYPES, WIDTHS

SHIPPED = DATA / "patches"
AGAIN = "Get it again, from somebody you trust."


@dataclass(frozen=True)
class File:
    """A file whose digest and structure have been found sound."""

    path: Path
    data: np.ndarray  # the bytes after the header, memory-mapped
    tensors: dict[str, tuple[str, int, int]]  # dtype, start, stop
    info: dict

    def part(self, name: str) -> np.ndarray:
        """One array, as a view of the file."""
        dtype, start, stop = self.tensors[name]
        kind = {"U8": np.uint8, "U32": np.uint32}.get(dtype) or DTYPES[dtype]
        return np.require(self.data[start:stop].view(kind), requirements="A")


def find(path: Path) -> Path:
    """A file's path, or that of a patch which the package brings, by its name."""
    own = SHIPPED / f"{path}.lce.safetensors"
    return (
        own
        if not Path(path).exists() and own.name == f"{path}.lce.safetensors" and own.exists()
        else Path(path)
    )


def check(path: Path) -> File:
    """Read header and digest, and refuse whatever is not exactly as it was written.

    Nothing is executed, and nothing allocated that the file's own size does not bound.
    """
    path = find(path)
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
            for block in _blocks(file):
                digest.update(block)
        if digest.hexdigest() != given:
            raise ValueError("its content is not what was written: the digest differs")
    except FileNotFoundError as error:
        raise LceError(f"{path}", "is not there", "Give the path of a patch.") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = f"is no sound file of located weights ({error})"
        raise CorruptFileError(f"{path}", reason, AGAIN) from error
    data = (
        np.memmap(path, np.uint8, "r")[8 + length :] if size > 8 + length else np.empty(0, np.uint8)
    )
    return File(path, np.asarray(data), tensors, about)


def _once(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object without repeated names."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in its header")
    return found


def _parse(header: bytes, size: int) -> tuple[dict, dict[str, tuple[str, int, int]]]:
    """The metadata and the tensors of a header, whose data have `size` bytes."""
    content = json.loads(header.decode(), object_pairs_hook=_once)
    metadata = content.pop("__metadata__", None) if isinstance(content, dict) else None
    text = metadata.get("lce") if isinstance(metadata, dict) else None
    about = json.loads(text, object_pairs_hook=_once) if isinstance(text, str) else None
    if not isinstance(about, dict) or not isinstance(about.get("digest"), str):
        raise ValueError("it has no metadata of that kind")
    if about.get("format") != FORMAT or not re.fullmatch(r"[0-9a-f]{64}", about["digest"]):
        raise ValueError(f"its format is {about.get('format')!r}; this lcelib reads {FORMAT}")
    tensors, place = {}, 0
    for name, entry in content.items():
        section, _, own = name.partition("/")
        kinds = {"index": ("U32",), "low": ("U8",), "high": ("U8",)}.get(section, tuple(DTYPES))
        if section not in SECTIONS or not own:
            raise ValueError(f"it holds {name!r}, which is no part of a patch")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name} is not described as a tensor")
        if entry["dtype"] not in kinds:
            raise ValueError(f"{name} has dtype {entry['dtype']!r}")
        numbers = [*_numbers(entry["shape"], 1), *_numbers(entry["data_offsets"], 2)]
        count, start, stop = numbers
        if start != place or stop - start != count * WIDTHS[entry["dtype"]] or stop > size:
            raise ValueError(
                f"{name} claims {count} values in the bytes {start} to {stop} of {size}"
            )
        tensors[name], place = (entry["dtype"], start, stop), stop
    if place != size:
        raise ValueError(f"{size - place} bytes belong to no tensor")
    return about, tensors


def _numbers(value: object, length: int) -> list[int]:
    """A list of that many numbers ≥ 0."""
    fine = isinstance(value, list) and len(value) == length
    if not fine or any(type(x) is not int or not 0 <= x < 1 << 63 for x in value):
        raise ValueError(f"{value!r} where {length} numbers ≥ 0 belong")
    return value


def read(path: Path) -> tuple[Arrays, dict]:
    """The arrays of each tensor (index, or index, old, new) and the info, all checked.

    Values are memory-mapped. Raises LceError for anything but sorted positions inside
    their tensors (where the info has its shape) with as many finite values.
    """
    file = check(path)
    arrays: Arrays = {}
    try:
        base = schema.check_structure(file.info)
        shapes = {n: t["shape"] for n, t in base.get("tensors", {}).items()}
        for name in dict.fromkeys(n.partition("/")[2] for n in file.tensors):
            arrays[name] = _arrays(file, name, shapes.get(name))
        if len({len(a) for a in arrays.values()}) > 1:
            raise ValueError("some tensors have values, others have not")
    except (ValueError, TypeError, KeyError) as error:
        reason = f"is no sound file of located weights ({error})"
        raise CorruptFileError(f"{path}", reason, AGAIN) from error
    return arrays, file.info


def _arrays(file: File, name: str, shape: list[int] | None) -> tuple[np.ndarray, ...]:
    """Positions, or positions, old and new values, of one tensor."""
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
    for values in (old, new):
        bits = values.view(np.uint32 if values.itemsize == 4 else np.uint16)
        exponent = {np.float32: 0x7F800000, np.float16: 0x7C00}.get(values.dtype.type, 0x7F80)
        if ((bits & exponent) == exponent).any():
            raise ValueError(f"{name} has values that are NaN or infinite")
    return index, old, new
