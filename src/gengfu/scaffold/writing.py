"""Writes new files into the working folder, whole, and never over one that is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gengfu.errors import FileError
from gengfu.language import tr


def write_new(home: Path, files: Mapping[str, str], *, force: bool) -> None:
    """Writes the files, named from the working folder. A file appears whole or not at all.

    Args:
        force: overwrite files that are there.

    Raises:
        FileError: one is there already, and then nothing is written; or one cannot be written.
    """
    there = [name for name in files if os.path.lexists(home / name)]
    if there and not force:
        raise FileError(
            tr("{home} exists already; choose another name, or overwrite it with --force", home=home / there[0])
        )
    for name, text in files.items():
        try:
            _write(home / name, text, force=force)
        except FileExistsError:
            raise FileError(tr("{home} exists already; it was written at this very moment", home=home / name)) from None
        except OSError as error:
            raise FileError(
                tr("{home} cannot be written: {strerror}", home=home / name, strerror=error.strerror or error)
            ) from error


def _write(path: Path, text: str, *, force: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        if force:
            os.replace(part, path)
        else:
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
