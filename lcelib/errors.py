"""Errors: what is wrong with which object, and what to do about it.

Each class has an exit code of `lce`: 2 for invalid input, 3 to 7 as below. Besides, 1 means
that a check found something or a run failed, 130 and 143 that the command was stopped.
"""

import errno
import re


class LceError(Exception):
    """An error in at most three lines: the object, the reason, the remedy."""

    exit_code = 2

    def __init__(self, what: str, reason: str, remedy: str) -> None:
        super().__init__(f"{what}: {reason}\n{remedy}")
        self.what, self.reason, self.remedy = what, reason, remedy


class ResourceError(LceError):
    """Raised when memory or disk is used up."""

    exit_code = 3


class CorruptFileError(LceError):
    """Raised for a file that is corrupt, truncated or forged."""

    exit_code = 4


class MismatchError(LceError):
    """Raised for two things that do not match: a patch and a model, two models, a model and a tokenizer."""

    exit_code = 5


class UnreachableError(LceError):
    """Raised when a network, a hub or a package index does not deliver."""

    exit_code = 6


class HarmfulError(LceError):
    """Raised for an action that would raise stereotype scores and was not explicitly requested."""

    exit_code = 7


def as_resource_error(error: Exception, doing: str) -> ResourceError | None:
    """Map an out-of-memory or disk-full error to a ResourceError; return None for any other."""
    number = getattr(error, "errno", None)
    if match := re.search(r"os error (\d+)", str(error)):  # as safetensors words it
        number = int(match[1])
    if isinstance(error, MemoryError) or number == errno.ENOMEM or "allocate memory" in str(error):
        remedy = "Close other programs, or use fewer --cores, a smaller batch_size or model."
        return ResourceError(doing, "memory is used up; what was finished is kept", remedy)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        file = getattr(error, "filename", None)
        where = f" at {file}" if file else ""
        remedy = "Free some space and repeat the command: it resumes."
        return ResourceError(doing, f"the disk is full{where}; what was finished is kept", remedy)
    return None


# The names of earlier versions.
Exhausted, Unsound, Unfit = ResourceError, CorruptFileError, MismatchError
Unreachable, Harmful = UnreachableError, HarmfulError
