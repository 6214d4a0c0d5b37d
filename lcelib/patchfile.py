"""Located weights and patches as safetensors files, written and read without holding them.

A tensor NAME has "index/NAME" (sorted flat positions, uint32), and in a patch
"old/NAME" and "new/NAME", the values before and at α = 1 in the tensor's dtype.
One metadata entry, "lce", says in JSON where they come from.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from safetensors import safe_open

from lcelib.checkpoint import DTYPES, Entry, complete, entries
from lcelib.errors import LceError
from lcelib.files import atomic

SECTIONS = ("index", "old", "new")


class Writer:
    """Takes consecutive parts of each tensor in order and spools them to disk."""

    def __init__(self, spools: list):
        self.spools, self.lengths = spools, {}

    def add(self, name: str, dtype: str, *parts: np.ndarray) -> None:
        """Append positions, or positions, old and new values, of the next part of a tensor."""
        count, _ = self.lengths.get(name, (0, dtype))
        self.lengths[name] = (count + len(parts[0]), dtype)
        for spool, part in zip(self.spools, (parts[0].astype(np.uint32), *parts[1:]), strict=True):
            spool.write(np.ascontiguousarray(part))

    def header(self, info: dict) -> bytes:
        """The file's header: tensors in the order of the spools, padded to eight bytes."""
        tensors, place = {"__metadata__": {"lce": json.dumps(info, sort_keys=True)}}, 0
        for section in SECTIONS[: len(self.spools)]:
            for name, (count, dtype) in self.lengths.items():
                if count == 0:
                    continue
                own = "U32" if section == "index" else dtype
                size = count * (4 if section == "index" else np.dtype(DTYPES[dtype]).itemsize)
                offsets = [place, place + size]
                tensors[f"{section}/{name}"] = {
                    "dtype": own, "shape": [count], "data_offsets": offsets
                }  # fmt: skip
                place += size
        text = json.dumps(tensors, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


@contextmanager
def writing(path: Path, info: dict, values: bool) -> Iterator[Writer]:
    """Yield a Writer; the file appears, complete, when the block ends without error."""
    with ExitStack() as stack:
        stack.enter_context(complete(path))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        spools = [
            stack.enter_context(tempfile.TemporaryFile(dir=Path(path).parent))
            for _ in SECTIONS[: 3 if values else 1]
        ]
        writer = Writer(spools)
        yield writer
        with atomic(path) as temporary, open(temporary, "wb") as out:
            out.write(writer.header(info))
            for spool in spools:
                spool.seek(0)
                shutil.copyfileobj(spool, out, 1 << 20)


def read(path: Path) -> tuple[dict[str, tuple[np.ndarray, ...]], dict]:
    """The arrays of each tensor (index, or index, old, new), memory-mapped, and the info."""
    found = entries(path)
    with safe_open(path, "np") as file:
        text = (file.metadata() or {}).get("lce")
    if text is None or any(name.split("/", 1)[0] not in SECTIONS for name in found):
        remedy = "Give a file that `lce locate` or `lce edit` wrote."
        raise LceError(f"{path}", "is not a file of located weights", remedy)
    data = np.asarray(np.memmap(path, np.uint8, "r"))
    names = [n.removeprefix("index/") for n in found if n.startswith("index/")]
    kinds = [s for s in SECTIONS if f"{s}/{names[0]}" in found] if names else list(SECTIONS)

    def view(entry: Entry, dtype) -> np.ndarray:
        return data[entry.start : entry.stop].view(dtype)

    arrays = {}
    for name in names:
        parts = [found[f"{s}/{name}"] for s in kinds]
        types = [np.uint32, *(DTYPES[e.dtype] for e in parts[1:])]
        arrays[name] = tuple(view(e, t) for e, t in zip(parts, types, strict=True))
        index = arrays[name][0]
        if len({e.size for e in parts}) > 1 or (index[1:] <= index[:-1]).any():
            raise LceError(
                f"{path}", f"index/{name} is not sorted or not complete", "Get it again."
            )
    return arrays, json.loads(text)
