"""The program `gengfu`: finds the command, parses, runs it, and turns an error into a sentence and an exit code."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TextIO

import click

from gengfu import __version__
from gengfu.app import App
from gengfu.cli.base import AS_JSON, INTERRUPTED, BaseCommand
from gengfu.cli.catalogue import Catalogue
from gengfu.cli.help_text import Context, Formatter, let_click_speak
from gengfu.cli.output import Output, unwritable
from gengfu.discovery import place_of, told, within
from gengfu.errors import CodeError, ConfigError, FileError, GengfuError, UsageError
from gengfu.language import ENGLISH, either, language_of, speaking, tr, worded
from gengfu.ownership import go_home, settle
from gengfu.setting_names import STARTED_BY, TICK
from gengfu.settings import Settings, load_settings, working_folder
from gengfu.text import visible

log = logging.getLogger("gengfu.cli.console")

BROKEN_PIPE = 141
"""The exit code when whoever read stdout went away, as shells report it."""

EPILOG = """\
Examples:
  gengfu device:list --wait         bring the mirror up to date and watch
  gengfu queue:work                 serve all queues until told to stop
  gengfu device:find 张三           who has that phone?
  gengfu run:show 12                what a run read, changed and decided

`gengfu list` lists all commands, `gengfu list device` those of a family;
`gengfu help device:list` explains one. Settings: environment, .env, gengfu.toml."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program with these arguments, those of the process by default, and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks must not end the command.
            stream.reconfigure(errors="backslashreplace")
    if TICK in os.environ:
        sys.stdout, sys.stderr = _KeptOutput(sys.stdout), _KeptOutput(sys.stderr)
    # Data, logs, locks and whatever else is made is for its owner alone; what is to be read by others says so itself.
    umask = os.umask(0o077)
    go_home()
    session = Session(as_json="--json" in arguments)
    # So that what a command has begun is cleared up; a worker has handlers of its own.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    let_click_speak()
    with speaking(language_of(os.environ)):
        try:
            code = session.main(arguments)
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except BrokenPipeError:
            _silence()
            code = BROKEN_PIPE
        except OSError as error:
            _silence()
            code = session.out.fail(FileError.__name__, unwritable(error), FileError.exit_code)
        finally:
            signal.signal(signal.SIGTERM, before)
            os.umask(umask)
    return code


class _KeptOutput(io.TextIOWrapper):
    """Hides secrets in what a command of the schedule prints. That is kept, and the scheduler may not know a
    token of this process."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.buffer, stream.encoding, stream.errors, line_buffering=True)

    def write(self, text: str) -> int:
        from gengfu.logs import redact

        return super().write(redact(text))


def _open_what_is_closed() -> None:
    """Gives a process that was started without stdin, stdout or stderr nothing in their places: what is opened later
    must not be taken for one of them."""
    for number, (name, mode) in enumerate([("stdin", "r"), ("stdout", "w"), ("stderr", "w")]):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (for as long as the process lasts)


def _silence() -> None:
    """stdout takes no more; what is still to be flushed at exit must not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class Session:
    """One run of the program: it owns the output, and the app as soon as a command asks for it.

    `catalogue`: the commands there are; by default, with those of the working folder.
    """

    def __init__(self, *, as_json: bool, catalogue: Catalogue | None = None) -> None:
        self.out = Output(as_json=as_json, zone=lambda: self.open().settings.gengfu_timezone)
        self._given = catalogue
        self._command: type[BaseCommand] | None = None
        self._app: App | None = None

    @cached_property
    def catalogue(self) -> Catalogue:
        """The commands there are."""
        return self._given or Catalogue(working_folder())

    def language(self) -> str:
        """The language of people's text: as the settings say, else as the locale."""
        try:
            named = load_settings().gengfu_lang
        except ConfigError:
            named = None
        return named or language_of(os.environ)

    def main(self, arguments: list[str]) -> int:
        """Parses and runs; whatever goes wrong is told, once, and becomes the exit code."""
        try:
            self._settle(arguments)
        except ConfigError as error:
            return self._failed(error)
        with speaking(self.language()):
            return self._main(arguments)

    def _main(self, arguments: list[str]) -> int:
        try:
            try:
                console = Console(self)
                with console.make_context("gengfu", arguments or ["help"]) as context:
                    return int(console.invoke(context))
            finally:
                if self._app is not None:
                    self._app.close()
        except click.exceptions.Exit as end:
            return end.exit_code
        except GengfuError as error:
            return self._failed(error)
        except click.ClickException as error:
            return self._misused(error, arguments)
        except (KeyboardInterrupt, click.Abort):
            return self.out.fail("Interrupted", "interrupted", INTERRUPTED)
        except BrokenPipeError:
            raise
        except Exception as error:
            if _came_of_interrupt(error):
                return self.out.fail("Interrupted", "interrupted", INTERRUPTED)
            return self._bug(error)

    def _settle(self, arguments: list[str]) -> None:
        """Before anything of the working folder is imported: root runs no code of other accounts."""
        stays_root = arguments[:1] == ["deploy"] and "--write" not in arguments
        became = settle(working_folder(), stays_root=stays_root)
        if became is not None:
            self.out.note(became)
        if stays_root:
            self._given = self._given or Catalogue()

    def run(self, command: type[BaseCommand], options: dict[str, Any]) -> int:
        """Runs a command with the options that click parsed."""
        self._command = command
        self.out.as_json = options.pop(AS_JSON, False)
        return command(self.open, self.out).handle(**options) or 0

    def open(self) -> App:
        """The app, put together at the first call, and the log as the command wants it."""
        if self._app is None:
            # The demonstration has moved into a working folder of its own since the language was looked for.
            settings = load_settings()
            # Whoever started this process has told them already.
            for remark in settings.remarks if STARTED_BY.isdisjoint(os.environ) else ():
                self.out.note(remark)
            app = App(settings, self.catalogue)
            command = self._command or BaseCommand
            if not command.begins:
                app.require_working_folder(creates=command.creates)
            self._log_to(settings)
            self._app = app
        return self._app

    def _log_to(self, settings: Settings, *, loud: bool = False) -> None:
        from gengfu import logs

        command = self._command or BaseCommand
        to_stderr = loud or command.logs_to_stderr(settings)
        level = "warning" if command.log_file is None else None
        logs.setup(settings, file=command.log_file, to_stderr=to_stderr, level=level)

    def _failed(self, error: GengfuError) -> int:
        from gengfu.logs import redact

        if self._command is not None and self._command.log_file is not None and self._app is not None:
            log.error(str(error), extra={"command": self._command.name})
        return self.out.fail(type(error).__name__, redact(str(error)), error.exit_code)

    def _misused(self, error: click.ClickException, arguments: list[str]) -> int:
        english = ""
        if self.out.as_json:
            with speaking(ENGLISH):
                english = _complaint(self._parse(arguments) or error)
        return self.out.fail(UsageError.__name__, _complaint(error), UsageError.exit_code, english)

    def _parse(self, arguments: list[str]) -> click.ClickException | None:
        """What click has against the arguments, in the current language; nothing is run."""
        console = Console(self, lambda *_: 0)
        try:
            with console.make_context("gengfu", list(arguments)) as context:
                console.invoke(context)
        except click.ClickException as error:
            return error
        return None

    def _bug(self, error: Exception) -> int:
        from gengfu.logs import redact

        where = ""
        if self._app is not None and self._command is not None:
            self._log_to(self._app.settings, loud=True)
            if self._command.log_file is not None:
                where = tr(", and in {logs}", logs=self._app.settings.logs / self._command.log_file)
        folder = self.catalogue.folder
        log.critical("an unexpected error", exc_info=error if folder is None else within(error, folder))
        text = redact(tr("{culprit}; its trace is above{where}", culprit=self._culprit(error), where=where))
        return self.out.fail(type(error).__name__, text, 1)

    def _culprit(self, error: Exception) -> str:
        folder = self.catalogue.folder
        place = place_of(error, folder) if folder is not None else None
        if place is not None:
            return tr("{file}, line {line}: {what}", file=place[0], line=place[1], what=told(error))
        package = "gengfu" if self._command is None else self._command.__module__.partition(".")[0]
        kind = type(error).__name__
        return (
            tr("this is a bug in Gengfu {version} ({kind})", version=__version__, kind=kind)
            if package == "gengfu"
            else tr("{package} failed: {kind}", package=package, kind=kind)
        )


def _complaint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "gengfu"
    text = error.format_message().rstrip(".。")
    return worded(tr("{text}; see: {path} --help", text=text, path=path))


def _came_of_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: in the middle of an import Python may turn that into another error."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


class Console(click.Group):
    """Finds commands by their family, so that only the module that is needed is imported."""

    context_class = Context

    def __init__(self, session: Session, run: Callable[[type[BaseCommand], dict[str, Any]], int] | None = None) -> None:
        super().__init__("gengfu", help=worded("Keeps a true, fresh copy of a vendor's device list in your database."))
        self._run = run or session.run
        self._catalogue = session.catalogue
        self.params.append(_version_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, by family."""
        return list(self._catalogue.commands)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What stands behind the name in the line of usage."""
        return [worded(piece) for piece in super().collect_usage_pieces(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None where there is none."""
        found = self._catalogue.command(cmd_name)
        return found.click_command(self._run) if found is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError, with the nearest names, where there is no such command; CodeError where it is broken."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            broken = self._catalogue.why_missing(args[0])
            if broken is not None:
                raise CodeError(
                    tr("there is no command {name!r}, since this cannot be used: {broken}", name=args[0], broken=broken)
                )
            raise UsageError(_unknown(args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def family(self, name: str | None) -> dict[str, str]:
        """The commands of that family, or all, with what they do in one line.

        Raises:
            UsageError: there is no such family.
        """
        every = {each: command.summary() for each, command in self._catalogue.commands.items()}
        found = {each: line for each, line in every.items() if name in (None, each, each.partition(":")[0])}
        if not found:
            raise UsageError(_unknown(str(name), list(every)))
        return found

    def overview(self) -> str:
        """What there is, on one screen."""
        families: dict[str, list[str]] = {}
        for name in self._catalogue.commands:
            family, _, verb = name.rpartition(":")
            families.setdefault(family, []).append(verb)
        formatter = Formatter(width=79)
        formatter.write(f"gengfu {__version__}: {worded(self.help or '')}\n\n")
        alone = families.pop("", [])
        rows = [(f"{family}:", " ".join(verbs)) for family, verbs in families.items()]
        formatter.write_dl([*rows, ("", " ".join(alone))], col_max=14)
        formatter.write(f"\n{worded(EPILOG)}\n")
        return formatter.getvalue().rstrip()

    def help_of(self, context: click.Context, name: str) -> str:
        """What explains the command, or lists the family.

        Raises:
            UsageError: there is neither.
        """
        command = self.get_command(context, name)
        if command is not None:
            return command.get_help(Context(command, info_name=name, parent=context))
        return "\n".join(f"{each}  {line}" for each, line in self.family(name).items())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section per family with several commands; the others come first."""
        families: dict[str, list[tuple[str, str]]] = {"": []}
        for name, command in self._catalogue.commands.items():
            family, colon, _ = name.partition(":")
            families.setdefault(family if colon else "", []).append((name, command.summary()))
        width = max(len(name) for lines in families.values() for name, _ in lines)
        for family, lines in families.items():
            with formatter.section(family or worded("Commands")):
                formatter.write_dl([(name.ljust(width), line) for name, line in lines])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, as they are written, and what of user code cannot be used."""
        formatter.write(f"\n{worded(EPILOG)}\n")
        if self._catalogue.broken:
            formatter.write(worded("\nThis cannot be used until it is corrected:\n"))
        for broken in self._catalogue.broken:
            formatter.write(f"  {visible(worded(str(broken)))}\n")


def console_of(context: click.Context) -> tuple[Console, click.Context]:
    """The console that a command was started from, and its context."""
    root = context.find_root()
    assert isinstance(root.command, Console)
    return root.command, root


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    family = [other for other in known if other.partition(":")[0] == name.partition(":")[0]]
    near = get_close_matches(name, known, 1, 0.75) or family or get_close_matches(name, known, 3, 0.4)
    hint = tr("did you mean {near}?", near=either(near)) if near else "see: gengfu --help"
    return tr("there is no command {name!r}; {hint}", name=name, hint=hint)


def _version_option() -> click.Option:
    def show(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted:
            click.echo(f"gengfu {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help=worded("Print the version.")
    )
