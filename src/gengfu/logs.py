"""Log files and their lines: `time level message key=value ...`, one record a line, secrets as stars."""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import fields
from datetime import datetime, tzinfo
from pathlib import Path

from gengfu.addresses import passwords
from gengfu.errors import ConfigError
from gengfu.language import tr, worded
from gengfu.locks import alone
from gengfu.ownership import open_own, why_refused
from gengfu.redaction import Redactor
from gengfu.settings import Address, Secret, Settings
from gengfu.text import visible

MAX_BYTES = 10_000_000
"""A log file longer than this is set aside as `<name>.1` ..."""

MAX_AGE = 7 * 86_400.0
"""... and so is one whose first line is older than so many seconds ..."""

KEPT = 10
"""... and so many of those are kept."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_PLAIN = re.compile(r"[^\s\"'=\\]+")


def setup(settings: Settings, *, file: str | None = None, to_stderr: bool = False, level: str | None = None) -> None:
    """Sends the program's log records to `<log folder>/<file>`, to stderr, or to both; called again, it replaces what
    an earlier call set up. `level` stands above the setting `LOG_LEVEL`; of libraries only warnings are logged, of user
    code as much as of the program.

    Raises:
        ConfigError: the log file cannot be written.
    """
    from zoneinfo import ZoneInfo

    _learn(settings)
    formatter = LineFormatter(ZoneInfo(settings.gengfu_timezone), _secrets)
    handlers: list[logging.Handler] = []
    if file is not None:
        handlers.append(SharedFileHandler(_open_folder(settings) / file))
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in list(root.handlers):
        if isinstance(handler.formatter, LineFormatter):
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    for name in ("gengfu", "app"):
        logging.getLogger(name).setLevel((level or settings.log_level).upper())


def open_file(settings: Settings, name: str) -> logging.Handler:
    """A handler that writes records to `<log folder>/<name>` in the program's form, whatever `setup` set up.

    Raises:
        ConfigError: the file cannot be written.
    """
    from zoneinfo import ZoneInfo

    _learn(settings)
    handler = SharedFileHandler(_open_folder(settings) / name)
    handler.setFormatter(LineFormatter(ZoneInfo(settings.gengfu_timezone), _secrets))
    return handler


def redact(text: str) -> str:
    """The text with stars for the secrets that are known by now."""
    return _secrets.redact(text)


def register_secret(value: str) -> None:
    """Makes every log line from now on show `value` as stars, plain or escaped; the latest 64 such values are kept."""
    _secrets.add(value)


_secrets = Redactor()


class LineFormatter(logging.Formatter):
    """Formats a record as one line; only a traceback follows, on lines that start with four spaces."""

    def __init__(self, zone: tzinfo, secrets: Redactor) -> None:
        super().__init__()
        self._zone = zone
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, self._zone).isoformat(timespec="milliseconds")
        redact = self._secrets.redact
        pairs = {key: str(value) for key, value in vars(record).items() if key not in _STANDARD}
        message, *values = self._secrets.redact_all([_message(record), *pairs.values()])
        told = [f"{key}={_value(value)}" for key, value in zip(pairs, values)]
        line = redact(" ".join([time, record.levelname, visible(message), *told]))
        trace = self.formatException(record.exc_info) if record.exc_info else record.exc_text or ""
        if record.stack_info:
            trace = f"{trace}\n{record.stack_info}"
        return "\n    ".join([line, *map(visible, redact(trace).splitlines())])


class SharedFileHandler(logging.Handler):
    """Appends to a log file that other processes append to as well, and rotates it by size and by age.

    A record is one write, so records of several processes do not mix. Whoever finds the file too long, or too old,
    locks it and sets it aside; the others write on, notice that the name has become another file, and open that.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT, max_age: float = MAX_AGE) -> None:
        """Raises ConfigError when the file cannot be written."""
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._max_age = max_age
        self._begun = 0.0
        self._complained = False
        self._file = -1
        try:
            self._reopen()
        except OSError as error:
            raise _unwritable(path, error) from error

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            if self._moved():
                self._reopen()
            size = os.fstat(self._file).st_size
            if size and (size + len(line) > self._max_bytes or record.created - self._begun > self._max_age):
                self._rotate()
            while line:
                line = line[os.write(self._file, line) :]
            self._complained = False
        except OSError as error:
            self._complain(error)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self.acquire()
        try:
            self._close_file()
        finally:
            self.release()
        super().close()

    def _moved(self) -> bool:
        """Whether the name has become another file, or none, since it was opened."""
        if self._file < 0:
            return True
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            return True

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _reopen(self) -> None:
        self._close_file()
        self._file = open_own(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._begun = self._begin()

    def _begin(self) -> float:
        """When the file's first line was written, as it says itself; else when the file was last written to."""
        try:
            first = os.pread(self._file, 64, 0).decode("ascii", "replace").partition(" ")[0]
            return datetime.fromisoformat(first).timestamp()
        except (ValueError, OSError):
            return os.fstat(self._file).st_mtime

    def _rotate(self) -> None:
        with alone(self._file) as is_mine:
            if not is_mine:
                return
            if not self._moved():
                for number in range(self._kept - 1, 0, -1):
                    if os.path.exists(f"{self._path}.{number}"):
                        os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
                os.replace(self._path, f"{self._path}.1")
        self._reopen()

    def _complain(self, error: OSError) -> None:
        """Says once on stderr that lines are being lost; a full disk must not end the work."""
        if not self._complained and sys.stderr is not None:
            self._complained = True
            print(f"gengfu: {worded(str(_unwritable(self._path, error)))}", file=sys.stderr)


def _message(record: logging.LogRecord) -> str:
    """The message with its arguments; a record whose arguments do not fit is worth a line too."""
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} {record.args!r}"


def _open_folder(settings: Settings) -> Path:
    try:
        settings.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(settings.logs, error) from error
    return settings.logs


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        tr(
            "LOG_DIR: {path} cannot be written ({reason}); for example: LOG_DIR=logs",
            path=path,
            reason=why_refused(error, path),
        )
    )


def _learn(settings: Settings) -> None:
    values = [getattr(settings, each.name) for each in fields(settings)]
    # What stands in other settings, too, such as a user or a database of the same name, is no word to hide everywhere.
    others = "\n".join(str(value) for value in values)
    for value in values:
        if isinstance(value, Address):
            secrets = passwords(value.reveal())
        elif isinstance(value, Secret):
            secrets = [value.reveal()]
        else:
            continue
        for each in secrets:
            _secrets.add(each, lasting=True, common=each in others)


def _value(text: str) -> str:
    shown = visible(text.replace("\\", "\\\\").replace('"', '\\"'))
    return text if shown == text and _PLAIN.fullmatch(text) else f'"{shown}"'
