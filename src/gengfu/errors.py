"""Every error that Gengfu raises on purpose; the console alone turns one into a sentence and an exit code."""

from __future__ import annotations


class GengfuError(Exception):
    """The root of the tree. Its text is one sentence for a person: what failed, the value, what to do next."""

    exit_code = 1


class ConfigError(GengfuError):
    """A setting is missing or malformed. The text names the setting, what is wrong and an example."""

    exit_code = 2


class UsageError(GengfuError):
    """The command line asks for something that does not exist or cannot be combined."""

    exit_code = 2


class NotFound(GengfuError):
    """What was asked for by its number is not there."""


class FileError(GengfuError):
    """A file that was asked for cannot be written."""


class CodeError(GengfuError):
    """A piece of user code cannot be used as it is. The text names the file, the line and what is wrong there."""


class StoreError(GengfuError):
    """The database cannot do its work: unreachable, read-only, full, or not migrated."""

    def __init__(self, text: str, *, what: str = "", remedy: str = "") -> None:
        """`what` and `remedy`: the two parts of the text, where it has them."""
        super().__init__(text)
        self.what = what or text
        self.remedy = remedy


class StoreRefused(StoreError):
    """The database will refuse until a setting or a right is changed: no further try helps."""

    exit_code = 2


class TooLarge(StoreError):
    """One statement is longer than the database server takes; the connection goes on."""


class BackupError(GengfuError):
    """A backup cannot be made, read or put back: a program or the room for it is missing, or the file is damaged."""


class Fenced(GengfuError):
    """What this worker held has passed to another: its write was refused and nothing was changed."""


class BrokerError(GengfuError):
    """Redis or Valkey cannot be used: it is unreachable, or refuses."""


class BrokerRefused(BrokerError):
    """It refuses, and goes on to until somebody changes its configuration or ours, which the text names."""

    exit_code = 2


class Postpone(GengfuError):
    """The job should be tried again after `seconds`; waiting is no failed attempt."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Stopped(GengfuError):
    """The work was asked to stop before it was done (shutdown, time limit, Ctrl-C); it can be taken up again."""


class VendorError(GengfuError):
    """The vendor's server could not be used as its contract says."""


class LoginRefused(VendorError):
    """The vendor refused the credentials. No further login is made until they change or `auth:reset` is run."""


class AnswerError(VendorError):
    """An answer that is not what the contract says; the text names the request, the status and what it began with."""


class RunError(GengfuError):
    """A run cannot go on; the text is the reason that `run:show` prints."""
