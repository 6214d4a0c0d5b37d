"""Child processes that end with this one."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

GRACE = 5  # seconds that a child has to end by itself


@contextmanager
def child_process(command: Sequence[str], **options) -> Iterator[subprocess.Popen]:
    """A process, in a group of its own, that does not outlive an end of this one that can be seen.

    On Ctrl-C, SIGTERM, SIGHUP or an error inside the block it and all of its group are
    asked to stop (Snakemake then cancels the jobs of a cluster), and killed after GRACE seconds.
    """

    def terminated(number, frame):
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # others may not handle signals
        before = {n: signal.signal(n, terminated) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with subprocess.Popen(command, process_group=0, **options) as process:
            try:
                yield process
            except BaseException:
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, signal.SIGINT)
                    process.wait(GRACE)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
