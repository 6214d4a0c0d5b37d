"""Coverage-guided fuzzing of the patch reader: it may refuse, and nothing else.

    pip install atheris
    python tests/fuzz_patches.py tests/fuzz_corpus -max_total_time=600

Every input gets the right digest, where it has a place for one, so that what lies behind the
digest is reached. New inputs that reach new code are added to the corpus.
"""

import hashlib
import re
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lcelib.patchfile"]):
    from lcelib import patchfile

from lcelib.errors import LceError

PLACE = re.compile(rb'digest\\": \\"([0-9a-f]{64})\\"')
SHARED = Path("/dev/shm")  # memory, where the system has it
FILE = Path(tempfile.mkdtemp(dir=SHARED if SHARED.is_dir() else None)) / "input"


def with_digest(content: bytes) -> bytes:
    """The same file with its own digest."""
    found = PLACE.search(content)
    if found is None:
        return content
    zeros = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
    digest = hashlib.sha256(zeros).hexdigest().encode()
    return content[: found.start(1)] + digest + content[found.end(1) :]


def one_input(content: bytes) -> None:
    """Read it; positions and values of what is accepted must be as promised."""
    FILE.write_bytes(with_digest(content))
    try:
        arrays, _ = patchfile.read(FILE)
    except LceError:
        return
    for index, *values in arrays.values():
        assert (index[1:] > index[:-1]).all()
        assert all(len(part) == len(index) for part in values)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
