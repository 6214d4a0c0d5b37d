"""Coverage-guided fuzzing of the patch reader: it may refuse, and nothing else.

    pip install atheris
    python tests/fuzz_patches.py tests/fuzz_corpus -max_total_time=600

Every input gets the right digest, where it has a place for one, so that what lies behind the
digest is reached. New inputs that reach new code are added to the corpus.
"""

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lcelib.patchfile"]):
    from lcelib.patches import format as patchfile
    from lcelib.patches import reading

from lcelib.errors import LceError

PLACE = re.compile(rb'digest\\": \\"([0-9a-f]{64})\\"')
BUILD = b"build"  # inputs that begin so are choices, others are files
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


def built(choices: atheris.FuzzedDataProvider) -> bytes:
    """A file of the right syntax whose entries the fuzzer chooses."""

    def rarely() -> bool:
        return choices.ConsumeIntInRange(0, 19) == 0

    tensors, place = {}, 0
    value = choices.PickValueInList(["F32", "F16", "BF16"])
    kinds = {"index": "U32", "low": "U8", "high": "U8", "old": value, "new": value}
    for name in ("w", "v")[: choices.ConsumeIntInRange(0, 2)]:
        for section, kind in kinds.items():
            if choices.ConsumeBool():
                continue
            kind = "I64" if rarely() else kind
            count = choices.ConsumeIntInRange(0, 6)
            stop = place + {"U8": 1, "U32": 4, "F32": 4, "I64": 8}.get(kind, 2) * count
            entry = {"dtype": kind, "shape": [count], "data_offsets": [place, stop]}
            if rarely():
                part = choices.PickValueInList([*entry])
                entry[part] = choices.PickValueInList([[], [-1], [2**63], None, {}, [1, 2, 3], "a"])
            tensors["x/" if rarely() else f"{section}/{name}"] = entry
            place = stop
    shapes = choices.PickValueInList([[9], [3, 300], [2**30]])
    if rarely():
        shapes = choices.PickValueInList([[], [-1], [2**80], None, "9"])
    about = {"format": 1, "digest": patchfile.ZEROS, "alpha": "1" if rarely() else 1}
    about["base"] = {"tensors": {"w": {"shape": shapes, "sha256": ""}}}
    content = {"__metadata__": {"lce": json.dumps(about)}} | tensors
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + choices.ConsumeBytes(place)


def one_input(content: bytes) -> None:
    """Read it; positions and values of what is accepted must be as promised."""
    if content.startswith(BUILD):
        content = built(atheris.FuzzedDataProvider(content[len(BUILD) :]))
    FILE.write_bytes(with_digest(content))
    try:
        arrays, _ = reading.read(FILE)
    except LceError:
        return
    for index, *values in arrays.values():
        assert (index[1:] > index[:-1]).all()
        assert all(len(part) == len(index) for part in values)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
