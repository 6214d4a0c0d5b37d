"""One error class: what is wrong with which object, and what to do about it."""


class LceError(Exception):
    """A refusal in at most three lines: the object, the reason, the remedy."""

    def __init__(self, what: str, reason: str, remedy: str):
        super().__init__(f"{what}: {reason}\n{remedy}")
        self.what, self.reason, self.remedy = what, reason, remedy
