"""What a worker may be asked to do."""

from __future__ import annotations

from gengfu.queue.options import QUEUE_NAME, WorkerOptions

__all__ = ["QUEUE_NAME", "WorkerOptions"]
