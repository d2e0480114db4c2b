"""What a worker may be asked to do."""

from __future__ import annotations

from gengfu.queue.options import GRACE, QUEUE_NAME, WorkerOptions

__all__ = ["GRACE", "QUEUE_NAME", "WorkerOptions"]
