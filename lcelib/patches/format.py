"""Located weights and patches as safetensors files: self-checking, small, written part by part.

For each tensor NAME with n listed weights:

- in a patch "old/NAME" and "new/NAME" (n), the values before and at α = 1 in the
  tensor's dtype;
- their sorted flat positions: either "index/NAME" (uint32, n), or, where that is smaller,
  in Elias and Fano's code: "low/NAME" (uint8, n), the lower eight bits of each, and
  "high/NAME" (uint8), the rest: bit (p >> 8) + i, counted from the least significant
  bit of the first byte, is set for the i-th position p.

The metadata entry "lce" is JSON (docs/patch_format.md). Its "digest" is the SHA-256 of
the whole file with the digest's own 64 digits replaced by zeros.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from lcelib.checkpoints.writing import write_errors
from lcelib.files import atomic
from lcelib.patches.positions import encode
from lcelib.tensors import WIDTHS, Array

FORMAT = 1
SECTIONS = ("index", "low", "high", "old", "new")
ZEROS = "0" * 64
LARGEST_HEADER = 1 << 24  # bytes
BLOCK = 1 << 22  # bytes
Sections = dict[str, tuple[Array, ...]]  # by tensor: positions, or positions, old, new


class Writer:
    """Spools consecutive parts of each tensor to disk; `lengths` has their counts and dtypes."""

    def __init__(self, spools: list[IO[bytes]]) -> None:
        self.spools = spools
        self.lengths: dict[str, tuple[int, str]] = {}

    def add(self, name: str, dtype: str, *parts: Array) -> None:
        """Append the next part of a tensor: positions, or positions, old and new values."""
        count, _ = self.lengths.get(name, (0, dtype))
        self.lengths[name] = (count + len(parts[0]), dtype)
        for spool, part in zip(self.spools, (parts[0].astype(np.uint32), *parts[1:]), strict=True):
            spool.write(np.ascontiguousarray(part).data)

    def encode_positions(self, spool: IO[bytes]) -> dict[str, tuple[str, int]]:
        """Replace the spool of positions by their shorter code; return its sections."""
        plain, self.spools[0] = self.spools[0], spool
        sections: dict[str, tuple[str, int]] = {}
        plain.seek(0)
        for name, (count, _) in self.lengths.items():
            index = np.frombuffer(plain.read(4 * count), np.uint32)
            for section, part in encode(index).items() if count else ():
                sections[f"{section}/{name}"] = ("U32" if section == "index" else "U8", len(part))
                spool.write(part.data)
        return sections


def _header(tensors: dict[str, tuple[str, int]], info: dict[str, Any]) -> bytes:
    """Return the file's header with a digest of zeros, padded to eight bytes."""
    about = {"format": FORMAT, "digest": ZEROS} | info
    content: dict[str, Any] = {"__metadata__": {"lce": json.dumps(about, sort_keys=True)}}
    start = 0
    for name, (dtype, count) in tensors.items():
        stop = start + count * WIDTHS[dtype]
        content[name] = {"dtype": dtype, "shape": [count], "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file in blocks."""
    while block := file.read(BLOCK):
        yield block


@contextmanager
def open_writer(path: Path, info: dict[str, Any], values: bool) -> Iterator[Writer]:
    """Yield a Writer; the file appears, complete, when the block ends without error.

    `info`, the description, may be filled until then. `values` says whether the parts
    have old and new values. Raises LceError if the file cannot be written.
    """
    with ExitStack() as stack:
        stack.enter_context(write_errors(path))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        code, *spools = [
            cast(IO[bytes], stack.enter_context(tempfile.TemporaryFile(dir=Path(path).parent)))
            for _ in range(4 if values else 2)
        ]
        writer = Writer(spools)
        yield writer
        listed = {n: (dtype, count) for n, (count, dtype) in writer.lengths.items() if count}
        tensors = {
            f"{section}/{name}": entry
            for section in (("old", "new") if values else ())
            for name, entry in listed.items()
        } | writer.encode_positions(code)
        spools = [*writer.spools[1:], writer.spools[0]]  # values first: they must be aligned
        header = _header(tensors, info)
        digest = hashlib.sha256(header)
        for spool in spools:
            spool.seek(0)
            for block in read_blocks(spool):
                digest.update(block)
        with atomic(path) as temporary, open(temporary, "wb") as out:
            out.write(header.replace(ZEROS.encode(), digest.hexdigest().encode(), 1))
            for spool in spools:
                spool.seek(0)
                shutil.copyfileobj(spool, out, BLOCK)
