"""The command that brings the mirror of the device groups up to date."""

from __future__ import annotations

from gengfu.cli.listing import ListCommand


class DeviceGroupList(ListCommand):
    """Bring the mirror of the list of device groups up to date

    Works like device:list, into the table device_group.
    The schedule runs it only if gengfu.toml says so.

    Examples:
      gengfu device_group:list
      gengfu device_group:list --wait
    """

    name = "device_group:list"
    log_file = "device_group_list.log"
    resource = "device_group"
    title = "list of device groups"
