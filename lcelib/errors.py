"""One error class: what is wrong with which object, and what to do about it."""

import errno
import re


class LceError(Exception):
    """A refusal in at most three lines: the object, the reason, the remedy."""

    def __init__(self, what: str, reason: str, remedy: str):
        super().__init__(f"{what}: {reason}\n{remedy}")
        self.what, self.reason, self.remedy = what, reason, remedy


def explained(error: Exception, doing: str) -> LceError | None:
    """What the system refuses in the middle of work, as a refusal: memory or disk is used up."""
    number = getattr(error, "errno", None)
    if found := re.search(r"os error (\d+)", str(error)):  # safetensors says it so
        number = int(found[1])
    if isinstance(error, MemoryError) or number == errno.ENOMEM or "allocate memory" in str(error):
        remedy = (
            "Close other programs, or give it less: fewer --cores, a smaller batch_size or model."
        )
        return LceError(doing, "memory is used up; what was finished is kept", remedy)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        file = getattr(error, "filename", None)
        place = f" at {file}" if file else ""
        remedy = "Free some space and call it again: it goes on where it was."
        return LceError(doing, f"the disk is full{place}; what was finished is kept", remedy)
    return None
