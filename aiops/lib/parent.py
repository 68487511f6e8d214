"""Ending together with the process that started this one, however that one ends. Standard library only."""

from __future__ import annotations

import os
import signal
import threading
import time

INTERVAL = 0.5  # seconds


def stop_with_parent(parent: int) -> None:
    """Send this process SIGTERM once its parent, of that process id, is gone: killed with -9, it could not stop its children.

    The id is told, not asked for: the parent may have gone while this process was starting.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
