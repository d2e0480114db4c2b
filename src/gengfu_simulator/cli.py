"""The simulator's command line, made from the list of faults; the server itself is imported when it starts."""

from __future__ import annotations

import os
import sys
from dataclasses import Field
from pathlib import Path
from typing import Any

import click

from gengfu_simulator.bad_rows import RowKind
from gengfu_simulator.errors import SimulatorError
from gengfu_simulator.faults import Faults, switches
from gengfu_simulator.options import Options
from gengfu_simulator.values import FaultKind

_PASSWORD = "GENGFU_SIMULATOR_PASSWORD"
_EXAMPLES = """\
  2 000 devices that answer after 20 ms:
      --devices 2000 --latency 20ms
  a sick server: 5 % errors, now and then HTML, page 7 fails three times:
      --fail 500:0.05 --fail html:0.01 --pin 7:500:3
  a list that loses its front row every ten pages:
      --shrink-every 10
  at most 16 requests at once and 200 a second:
      --capacity 16 --rate 200
  tokens that die after every 50 calls:
      --revoke-every 50 --dead-login mixed
  some rows that are none, some emoji:
      --row null:100007 --row emoji:2%"""


class _Checked:
    """Reads a switch with the fault's own parser, so that switches and control calls understand the same."""

    def __init__(self, fault: Field[Any]) -> None:
        self._parse = fault.metadata["parse"]

    def __call__(self, ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        """The value as it is, once it is known to be readable."""
        if value not in (None, ()):
            try:
                self._parse(value)
            except SimulatorError as error:
                raise click.BadParameter(str(error), ctx, param) from None
        return value


class _Grouped(click.Command):
    """A command whose help lists its switches group by group, then the kinds and examples as they are laid out."""

    groups: dict[str, list[click.Option]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes one section for each group."""
        helping = self.get_help_option(ctx)
        for title, options in {**self.groups, "Help": [helping] if helping else []}.items():
            with formatter.section(title):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the kinds of failures and rows, and examples."""
        for title, kinds in (("KIND of --fail and --pin", FaultKind), ("KIND of --row", RowKind)):
            with formatter.section(title):
                formatter.write_dl([(kind.value, kind.sentence) for kind in kinds])
        formatter.write(f"\nExamples:\n{_EXAMPLES}\n")


def _general() -> dict[str, list[click.Option]]:
    some = click.IntRange(min=0)
    file = click.Path(dir_okay=False, path_type=Path)
    defaults = Options()

    def option(name: str, meaning: str, metavar: str | None = None, **more: Any) -> click.Option:
        return click.Option([name], help=meaning, metavar=metavar, show_default=more.get("default") is not None, **more)

    return {
        "Fleet": [
            option("--devices", "Devices on the live list.", "N", type=some, default=defaults.devices),
            option("--deleted", "Devices deleted long ago.", "N", type=some, default=defaults.deleted),
            option("--stopped", "Devices deleted and stopped long ago.", "N", type=some, default=defaults.stopped),
            option("--seed", "The same seed makes the same devices and faults.", "N", type=int, default=defaults.seed),
        ],
        "Server": [
            option("--host", "Address to listen on.", "HOST", default=defaults.host),
            option("--port", "0 picks one.", "PORT", type=click.IntRange(0, 65535), default=defaults.port),
            option("--username", "The right user name.", "NAME", default=defaults.username),
            option(
                "--password",
                "The right password.",
                "WORD",
                default=defaults.password,
                envvar=_PASSWORD,
                show_envvar=True,
            ),
            option("--tls-cert", "Speak https with this certificate ...", "FILE", type=file),
            option("--tls-key", "... and its key.", "FILE", type=file),
            option("--ready-file", "Write the address there once the server listens.", "FILE", type=file),
            option("--exit-with-parent", "End when the parent process ends.", is_flag=True),
        ],
    }


def _switch(fault: Field[Any]) -> click.Option:
    name, meaning = f"--{fault.name.replace('_', '-')}", fault.metadata["help"]
    if isinstance(fault.default, bool):
        return click.Option([name], is_flag=True, help=meaning)
    many = fault.default == ()
    return click.Option(
        [name], callback=_Checked(fault), multiple=many, help=meaning, metavar=fault.metadata["metavar"]
    )


def _run(**given: Any) -> None:
    parent = os.getppid() if given.pop("exit_with_parent") else None
    wanted = {fault.name: given.pop(fault.name) for fault in switches()}
    faults = Faults().changed({name: value for name, value in wanted.items() if value not in (None, (), False)})
    if (given["tls_cert"] is None) is not (given["tls_key"] is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    options = Options(parent=parent, **given)
    from gengfu_simulator.server import serve

    serve(options, faults)


def _command() -> click.Command:
    groups = _general()
    for fault in switches():
        groups.setdefault(fault.metadata["group"], []).append(_switch(fault))
    made = _Grouped(
        "simulate",
        callback=_run,
        params=[option for options in groups.values() for option in options],
        help="Runs a vendor API with a seeded fleet, for demonstrations, tests and benchmarks. Every fault has a"
        " switch, and can be set while it runs by POST /_control. Times are written 20ms, 1.5s or 0; shares 0..1.",
    )
    made.groups = groups
    return made


command = _command()


def main(argv: list[str] | None = None) -> int:
    """Runs the program; returns its exit code: 0 stopped as told, 1 could not serve, 2 wrong usage."""
    try:
        command.main(args=argv, prog_name="gengfu simulate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SimulatorError as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 1
    except click.Abort:
        return 1
    return 0
