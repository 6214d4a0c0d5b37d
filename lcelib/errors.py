"""Errors: what is wrong with which object, and what to do about it.

Their classes are the exit codes of `lce`: 2 for a refused input, 3 to 7 as below; 1 where a
check found something or a run failed, 130 and 143 when stopped.
"""

import errno
import re


class LceError(Exception):
    """A refusal in at most three lines: the object, the reason, the remedy."""

    exit_code = 2

    def __init__(self, what: str, reason: str, remedy: str):
        super().__init__(f"{what}: {reason}\n{remedy}")
        self.what, self.reason, self.remedy = what, reason, remedy


class ResourceError(LceError):
    """Memory or disk is used up."""

    exit_code = 3


class CorruptFileError(LceError):
    """A file is damaged, cut off or forged."""

    exit_code = 4


class MismatchError(LceError):
    """Two things do not belong together: a patch and a model, two models, a model and a tokenizer."""

    exit_code = 5


class UnreachableError(LceError):
    """A network, a hub or a package index does not give what was asked for."""

    exit_code = 6


class HarmfulError(LceError):
    """It would raise stereotype scores, and nobody asked for that."""

    exit_code = 7


def as_resource_error(error: Exception, doing: str) -> ResourceError | None:
    """Map an out-of-memory or disk-full error to a ResourceError; return None for any other."""
    number = getattr(error, "errno", None)
    if found := re.search(r"os error (\d+)", str(error)):  # safetensors says it so
        number = int(found[1])
    if isinstance(error, MemoryError) or number == errno.ENOMEM or "allocate memory" in str(error):
        remedy = (
            "Close other programs, or give it less: fewer --cores, a smaller batch_size or model."
        )
        return ResourceError(doing, "memory is used up; what was finished is kept", remedy)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        file = getattr(error, "filename", None)
        place = f" at {file}" if file else ""
        remedy = "Free some space and call it again: it goes on where it was."
        return ResourceError(doing, f"the disk is full{place}; what was finished is kept", remedy)
    return None


# The names of earlier versions.
Exhausted, Unsound, Unfit = ResourceError, CorruptFileError, MismatchError
Unreachable, Harmful = UnreachableError, HarmfulError
