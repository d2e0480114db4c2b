"""Checks of what the program works with: database, Redis, clock, the vendor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gengfu.errors import ConfigError, GengfuError, StoreError
from gengfu.language import tr
from gengfu.services.doctor.findings import PATIENCE, DoctorContext, Finding, Level, error, ok, warning
from gengfu.services.doctor.reachability import Reachability, reach
from gengfu.services.within import NoAnswer, within
from gengfu.vendor.proxies import proxy_for

if TYPE_CHECKING:
    from gengfu.store.database import Database

SKEW = 5.0
"""Seconds by which the clocks of this host and of the database server may differ ..."""
WRONG = 60.0
"""... and beyond which times in the tables are misleading."""
VENDOR_SKEW = 60.0
EXPIRES_SOON = timedelta(days=14)
SHORT = 4_000_000
"""Bytes of a statement; where a server takes no longer ones, a large row may not fit."""
CHECKED_WHOLE = 200_000_000
"""The most bytes of an SQLite file that is read through."""


def database(context: DoctorContext) -> Iterator[Finding]:
    """Whether it can be used, has this program's tables, and, where it is a file, is whole."""
    from gengfu.store import schema
    from gengfu.store.diagnosis import damage_of, longest_statement

    try:
        db = context.db()
        lack = within(PATIENCE, tr("the database {where}", where=db.where), lambda: schema.lack(db))
    except StoreError as problem:
        yield error(problem.what, problem.remedy or tr("see that it runs, and that DATABASE_URL is its address"))
        return
    except (ConfigError, NoAnswer) as problem:
        yield error(str(problem), tr("see that it runs, and that DATABASE_URL is its address"))
        return
    if lack:
        is_file = db.path is not None
        level, fix = (Level.WARNING, lambda: _upgrade(db)) if is_file else (Level.ERROR, None)
        yield Finding(level, tr("the database {db.where} {lack}", db=db, lack=lack), "gengfu db:upgrade", fix)
        return
    if db.path is not None and db.path.stat().st_size <= CHECKED_WHOLE:
        damage = damage_of(db.path, PATIENCE)
        if damage is not None:
            yield error(
                tr("the database {db.where} is damaged: {damage}", db=db, damage=damage),
                "put it aside and restore a backup of it",
            )
            return
    yield ok(tr("{db.where} can be used; its tables are of version {schema.HEAD}", db=db, schema=schema))
    longest = within(PATIENCE, tr("the database {where}", where=db.where), lambda: longest_statement(db))
    if longest is not None and longest < SHORT:
        told = tr("its max_allowed_packet is {bytes} bytes: a larger row is set aside", bytes=longest)
        yield warning(told, "SET GLOBAL max_allowed_packet = 67108864")


def _upgrade(db: Database) -> str:
    from gengfu.store import schema

    return tr("upgraded to {schema.HEAD} ({steps})", schema=schema, steps=schema.upgrade(db))


def redis(context: DoctorContext) -> Iterator[Finding]:
    """Whether it takes and gives hints, where it is in use."""
    server = context.redis
    if server is None:
        yield ok("Redis is not in use: REDIS_URL is not set, so workers look for jobs by themselves")
        return
    try:
        within(PATIENCE, "Redis", server.probe)
    except GengfuError as problem:
        yield error(
            str(problem), "see to the server, or correct REDIS_URL; workers look for jobs by themselves meanwhile"
        )
        return
    yield ok(tr("Redis at {server.where} takes and gives what wakes workers", server=server))


def clock(context: DoctorContext) -> Iterator[Finding]:
    """Whether this host agrees with the database server on the time, and which zones are in use."""
    import zoneinfo

    from gengfu.store.diagnosis import clock_ahead

    now = context.clock()
    here, people = now.astimezone().strftime("%z"), context.settings.gengfu_timezone
    if len(zoneinfo.available_timezones()) < 300:
        yield warning("this machine knows few time zones", "pip install tzdata")
    shown = now.astimezone(zoneinfo.ZoneInfo(people)).strftime("%Y-%m-%d %H:%M:%S")
    yield ok(
        tr(
            "it is {shown} in {people}, where people read times; this machine is set to UTC{offset}",
            shown=shown,
            people=people,
            offset=f"{here[:3]}:{here[3:]}",
        )
    )
    db = context.db()
    if db.path is None:
        yield _difference(
            within(PATIENCE, tr("the database {db.where}", db=db), lambda: clock_ahead(db, context.clock))
        )


def _difference(ahead: float) -> Finding:
    early = tr("the clock of the database server is {seconds:.1f} s ahead of this one", seconds=ahead)
    behind = tr("the clock of the database server is {seconds:.1f} s behind this one", seconds=-ahead)
    told = early if ahead > 0 else behind
    if abs(ahead) > WRONG:
        return error(told, "timedatectl set-ntp true, on both")
    return warning(told, "timedatectl set-ntp true, on both") if abs(ahead) > SKEW else ok(told)


def vendor(context: DoctorContext) -> Iterator[Finding]:
    """Whether the vendor's server can be reached, by TLS that can be trusted for some time to come."""
    settings = context.settings
    if settings.api_wechat_url is None:
        yield warning("not checked, since API_WECHAT_URL is not set")
        return
    proxy = proxy_for(settings)
    way = tr(" by the proxy {proxy} ({setting})", proxy=proxy.url, setting=proxy.setting) if proxy is not None else ""
    found = reach(settings, PATIENCE)
    values = {"address": settings.api_wechat_url, "way": way}
    if found.problem:
        remedy = "" if found.untrusted else tr("correct API_WECHAT_URL or API_PROXY, or open the way")
        yield error(tr("{address}{way} cannot be used: {problem}", problem=found.problem, **values), remedy)
        return
    yield ok(tr("{address}{way} answers ({status})", status=found.status, **values))
    yield from _tls(found, context)
    yield from _vendor_clock(found, context.clock())


def _tls(found: Reachability, context: DoctorContext) -> Iterator[Finding]:
    if not found.encrypted:
        if not found.local:
            yield warning("the password goes to the vendor unencrypted", "API_WECHAT_URL with https://, if it has that")
    elif not context.settings.api_verify_tls:
        yield warning("API_VERIFY_TLS is off: whoever stands in between can read the login", "set API_CA_FILE instead")
    elif found.expires is not None:
        left = found.expires - context.clock()
        told = tr("the vendor's certificate is valid until {expires}", expires=f"{found.expires:%Y-%m-%d}")
        yield warning(told, "tell the vendor to renew it") if left < EXPIRES_SOON else ok(told)


def _vendor_clock(found: Reachability, now: datetime) -> Iterator[Finding]:
    if found.date is not None and abs((found.date - now).total_seconds()) > VENDOR_SKEW:
        ahead = (found.date - now).total_seconds()
        early = tr("the vendor's clock is {seconds:.0f} s ahead of this one", seconds=ahead)
        told = early if ahead > 0 else tr("the vendor's clock is {seconds:.0f} s behind this one", seconds=-ahead)
        yield warning(told, "timedatectl set-ntp true")


def login(context: DoctorContext) -> Iterator[Finding]:
    """How things stand with the login. One is made only where that is asked for, and never where one was refused."""
    from gengfu.store import schema

    try:
        context.settings.api()
    except ConfigError:
        yield warning("not checked, since the credentials are not set")
        return
    if within(PATIENCE, "the database", lambda: schema.pending(context.db())):
        yield warning(
            "whether a login was refused is not known before the database has its tables", "gengfu db:upgrade"
        )
        return
    status = within(PATIENCE, "the database", lambda: context.auth().status())
    if status.gate_until is not None:
        yield warning(
            tr(
                "no request is sent before {gate_until} UTC: {status.gate_reason}",
                gate_until=f"{status.gate_until:%Y-%m-%d %H:%M:%S}",
                status=status,
            ),
            "nothing; or, if the vendor says that it need not be: gengfu auth:reset",
        )
    if status.refused_at is not None:
        yield error(
            tr(
                "the vendor refused the login of {status.username} on {refused_at} UTC ({status.reason}); it is "
                "not tried again, lest the account be locked",
                status=status,
                refused_at=f"{status.refused_at:%Y-%m-%d %H:%M}",
            ),
            "correct API_USERNAME and API_PASSWORD; or, if they are right: gengfu auth:reset",
        )
    elif context.log_in:
        try:
            context.auth().login()
        except GengfuError as problem:
            yield error(str(problem), "correct API_USERNAME and API_PASSWORD")
        else:
            yield ok(tr("{status.username} can log in", status=status))
    else:
        state = "is logged in" if status.generation is not None else "is not logged in at present"
        yield ok(
            tr(
                "{status.username} {state}, and no login was refused; gengfu doctor --login tries one",
                status=status,
                state=state,
            )
        )
