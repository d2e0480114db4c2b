"""What a command is: its name, its options, its help, and how it reaches the program."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import click

from gengfu.cli.help_text import Context, help_of, in_language, wrapped
from gengfu.language import tr, worded
from gengfu.schedule.policy import JobRequest, RunRequest, Schedule

if TYPE_CHECKING:
    from gengfu.app import App
    from gengfu.cli.output import Output
    from gengfu.settings import Settings

AS_JSON = "as_json"
"""The option that every command has and that is for the console, not for `handle`."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells report it."""


class BaseCommand:
    """One command of the console. A subclass names itself, lists its options and does its work in `handle`.

    Its docstring is its help: the first line stands in the list of commands, the rest keeps its line breaks. The
    settings are read when `app` is first used, so a command that does without never fails on them. Every command knows
    `--json`.
    """

    name: ClassVar[str] = ""
    """As typed: `family:verb`, or the family alone."""
    options: ClassVar[Sequence[click.Parameter]] = ()
    log_file: ClassVar[str | None] = None
    """The file in the log folder that this command writes."""
    creates: ClassVar[bool] = False
    """Whether it may make the database in a working folder that has none: not what only reads or decides."""
    begins: ClassVar[bool] = False
    """Whether it may be used where no working folder is yet."""
    schedule: ClassVar[Schedule | str | None] = None
    """When the schedule runs it; `gengfu.toml` may say otherwise, or add further entries."""

    def __init__(self, open_app: Callable[[], App], out: Output) -> None:
        self.open_app = open_app
        self.out = out

    @cached_property
    def app(self) -> App:
        """The program's parts, each made when first asked for.

        Raises:
            ConfigError: a setting is malformed.
        """
        return self.open_app()

    def handle(self, *_: Any, **options: Any) -> int | None:
        """Does the work and returns the exit code; None means 0."""
        raise NotImplementedError

    @classmethod
    def mirrors(cls, options: Mapping[str, Any]) -> tuple[str, str] | None:  # noqa: ARG003 (for those that do)
        """The list and the scope that a start with these options brings up to date."""
        return None

    @classmethod
    def queues(cls, options: Mapping[str, Any]) -> RunRequest | JobRequest | None:  # noqa: ARG003 (for those that do)
        """What a start with these options queues, where it does nothing else: the schedule queues that itself then, in
        the transaction that records its tick, and starts no process. None where `handle` must be called."""
        return None

    @classmethod
    def logs_to_stderr(cls, settings: Settings) -> bool:  # noqa: ARG003 (for those that depend on it)
        """Whether log records are for people too: where there is no file, warnings are."""
        return cls.log_file is None

    @classmethod
    def stderr_is_its_log(cls, settings: Settings) -> bool:
        """Whether stderr is the log file itself, as where a crontab line redirects it there."""
        try:
            return cls.log_file is not None and os.path.samestat(os.stat(settings.logs / cls.log_file), os.fstat(2))
        except OSError:
            return False

    @classmethod
    def summary(cls) -> str:
        """The line in the list of commands."""
        return help_of(cls).partition("\n")[0]

    @classmethod
    def click_command(cls, run: Callable[[type[BaseCommand], dict[str, Any]], int]) -> click.Command:
        """The command as click parses it; `run` is called with the class and the options."""

        def callback(**options: Any) -> int:
            return run(cls, options)

        as_json = click.Option(
            ["--json", AS_JSON], is_flag=True, help="Print one JSON object on stdout, text on stderr."
        )
        params = [in_language(option) for option in (*cls.options, as_json)]
        return _Command(cls.name, params=params, callback=callback, help=help_of(cls))


class _Command(click.Command):
    """A click command whose help text is printed as it was written, and whose values the program can bear."""

    context_class = Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises click.BadParameter where a value is a number or a text that nothing here takes."""
        rest = super().parse_args(ctx, args)
        for param in self.params:
            given = ctx.params.get(param.name or "")
            for value in given if isinstance(given, (tuple, list)) else (given,):
                if (wrong := _unbearable(param, value)) is not None:
                    raise click.BadParameter(wrong, ctx, param)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What stands behind the name in the line of usage."""
        return [worded(piece) for piece in super().collect_usage_pieces(ctx)]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            indent = " " * formatter.current_indent
            for line in (self.help or "").splitlines():
                # Examples stand as they are.
                lines = [line] if line.startswith(" ") else wrapped(line, formatter.width) or [""]
                formatter.write("".join(f"{indent}{part}".rstrip() + "\n" for part in lines))


def _unbearable(param: click.Parameter, value: object) -> str | None:
    if isinstance(value, (int, float)) and not -(2**63) < value < 2**63 - 1:
        return tr("{value} is more than any number here can be", value=str(value)[:40])
    if isinstance(value, str) and not isinstance(param.type, click.Path):
        try:
            value.encode()
        except UnicodeEncodeError:
            return tr("the text is not UTF-8")
    return None
