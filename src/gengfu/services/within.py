"""A question with a time limit, for parts that may hang and not only fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gengfu.errors import GengfuError
from gengfu.language import tr

T = TypeVar("T")


class NoAnswer(GengfuError):
    """Nobody has answered in time."""


TOLD_AFTER = 1.0
"""Seconds after which whoever waits is told what for."""


@contextmanager
def telling(what: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Tells what is waited for, where the block takes long."""
    timer = threading.Timer(TOLD_AFTER, tell, [tr("waiting for {what}", what=what)])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def within(seconds: float, what: str, ask: Callable[[], T]) -> T:
    """What `ask` returns. It is run in a thread, which is left behind where it takes longer.

    Raises:
        NoAnswer: `what` has not answered within so many seconds.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def work() -> Any:
        try:
            answers.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="gengfu-question", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise NoAnswer(tr("{what} has not answered within {seconds:g} s", what=what, seconds=seconds))
    return answers[0]
