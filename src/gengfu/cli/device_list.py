"""The command that brings the mirror of the device list up to date."""

from __future__ import annotations

import click

from gengfu.cli.listing import HOW_TO_END, ListCommand


class DeviceList(ListCommand):
    """Bring the mirror of the device list up to date

    Records a run, queues it and prints its number; a worker does the rest. A run
    of the same scope that is still active is not started twice: its number is
    printed.

    Examples:
      gengfu device:list              queue a run, as a schedule does
      gengfu device:list --wait       queue it and watch; exit 0 only if complete
      gengfu device:list --now        without a queue, in this process
      gengfu device:list --is-del 1   read the list of deleted devices
    """

    name = "device:list"
    options = (
        click.Option(
            ["--is-del", "scope"],
            type=click.Choice(["0", "1", "2"]),
            default="0",
            show_default=True,
            help="0: the live list, 1: the deleted devices, 2: the deleted and stopped ones.",
        ),
        *HOW_TO_END,
    )
    log_file = "device_list.log"
    schedule = "*/5 * * * *"
    resource = "device"
    title = "device list"
    first_scope = "0"
