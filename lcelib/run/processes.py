"""Child processes that end with this one."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

GRACE = 5  # seconds that a child has to end by itself
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

if sys.platform == "win32":
    GROUP: dict[str, Any] = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}

    def interrupt(process: subprocess.Popen[str]) -> None:
        """Ask the process and its group to stop."""
        process.send_signal(signal.CTRL_BREAK_EVENT)

    def kill(process: subprocess.Popen[str]) -> None:
        """Kill the process."""
        process.kill()

else:
    GROUP: dict[str, Any] = {"process_group": 0}

    def interrupt(process: subprocess.Popen[str]) -> None:
        """Ask the process and its group to stop."""
        os.killpg(process.pid, signal.SIGINT)

    def kill(process: subprocess.Popen[str]) -> None:
        """Kill the process and its group."""
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def child_process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command in its own process group and stop the group when this process is stopped.

    On Ctrl-C, SIGTERM, SIGHUP or an error inside the block the group is interrupted, so that
    Snakemake can cancel the jobs of a cluster, and killed after GRACE seconds.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # others may not handle signals
        before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        with subprocess.Popen(command, **GROUP, **options) as process:
            try:
                yield process
            except BaseException:
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    interrupt(process)
                    process.wait(GRACE)
                with suppress(ProcessLookupError):
                    kill(process)
                raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
