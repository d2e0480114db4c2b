"""What jobs and queues of a list are called."""

from __future__ import annotations


def list_job(resource: str) -> str:
    """The name of the jobs that bring a list up to date: `DeviceListJob`."""
    return "".join(part.capitalize() for part in resource.split("_")) + "ListJob"


def list_queue(resource: str) -> str:
    """Their queue: `device_list`."""
    return f"{resource}_list"


def run_subject(run_id: int) -> str:
    """How a job names the run that it works for."""
    return f"run:{run_id}"
