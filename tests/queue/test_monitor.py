"""Signs of life: a row that is renewed by progress only, and the words for systemd and for `gengfu up`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gengfu.clock import utcnow
from gengfu.process import monitor
from gengfu.process.liveness import Liveness
from gengfu.process.monitor import DEAD_AFTER, GONE_AFTER, Monitor, ProcessLoss, loss_of
from gengfu.process.notify_socket import ALIVE, READY, STOPPING, NotifyClient, Parent
from gengfu.process.pids import birth_of, host_name, is_here, lives, machine
from gengfu.queue.options import WorkerOptions
from gengfu.queue.worker import WorkerProcess
from gengfu.settings import Secret
from gengfu.store.database import Database
from gengfu.store.leases import Lease, Leases, ProcessInfo
from gengfu.store.tables import lease
from servers import absent
from stage import Stage, wait_for


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "RENEW_EVERY", 0.03)
    monkeypatch.setattr(monitor, "FEED", 0.03)


class Work:
    """What a heartbeat is asked to show."""

    stuck: str | None = None

    def progress(self) -> str | None:
        return self.stuck


def rows(db: Database) -> list[Lease]:
    return Leases(db).all()


def add_row(db: Database, name: str, **more: Any) -> None:
    now = utcnow() - timedelta(hours=2)
    row = {"kind": "worker", "name": name, "host": host_name(), "pid": 1, "birth": birth_of(1), "details": {}}
    row |= {"renewals": 5, "progress": None, "started_at": now, "renewed_at": now} | more
    db.write(lambda connection: connection.execute(insert(lease).values(**row)))


def test_a_lease_is_renewed_and_tells_what_is_stuck_and_its_row_goes_at_the_end(database: Database) -> None:
    work = Work()
    with Monitor(database, "scheduler", "here:1", {"queues": ["a"]}, work.progress):
        wait_for(lambda: rows(database) and rows(database)[0].renewals > 2)
        work.stuck = "its loop is stuck"
        wait_for(lambda: rows(database)[0].progress == "its loop is stuck")
        before = rows(database)[0]
        work.stuck = None
        wait_for(lambda: rows(database)[0].progress is None and rows(database)[0].renewals > before.renewals)
        seen = rows(database)[0]
        assert (seen.kind, seen.name, seen.host, seen.pid) == ("scheduler", "here:1", host_name(), os.getpid())
        assert (seen.birth, seen.details) == (birth_of(os.getpid()), {"queues": ["a"]})
        assert seen.renewed_at > before.renewed_at >= seen.started_at
    assert rows(database) == []


def test_a_progress_that_cannot_be_told_is_no_progress(sqlite_database: Database) -> None:
    def broken() -> str | None:
        raise ValueError("no idea")

    with Monitor(sqlite_database, "worker", "here:1", {}, broken):
        wait_for(lambda: rows(sqlite_database) and rows(sqlite_database)[0].progress)
        assert rows(sqlite_database)[0].progress == "its progress cannot be told: no idea"


def test_a_row_that_others_removed_is_made_again(sqlite_database: Database) -> None:
    with Monitor(sqlite_database, "worker", "here:1", {}, lambda: None):
        wait_for(lambda: rows(sqlite_database))
        sqlite_database.write(lambda connection: connection.execute(lease.delete()))
        wait_for(lambda: rows(sqlite_database))


def test_rows_of_dead_processes_of_this_host_are_removed(database: Database) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    add_row(database, "gone", pid=ended.pid, birth=f"{machine()}12")
    add_row(database, "another with that number", pid=os.getpid(), birth=f"{machine()}12")
    add_row(database, "alive")
    add_row(database, "elsewhere", host="other", pid=ended.pid, birth="another:1:12")
    with Monitor(database, "worker", "here:1", {}, lambda: None):
        wait_for(lambda: len(rows(database)) == 3)
        assert {seen.name for seen in rows(database)} == {"alive", "elsewhere", "here:1"}


@pytest.mark.parametrize(
    ("host", "birth", "silence", "fate"),
    [
        ("here", None, 0.0, None),
        ("here", None, DEAD_AFTER - 1, None),
        ("here", None, 10_000.0, ProcessLoss.SILENT),
        ("here", f"{machine()}1", 0.0, ProcessLoss.GONE),
        ("here", "before the boot", DEAD_AFTER - 1, None),
        ("here", "before the boot", DEAD_AFTER, ProcessLoss.SILENT),
        ("there", "another machine", DEAD_AFTER, ProcessLoss.SILENT),
        ("there", "another machine", GONE_AFTER - 1, ProcessLoss.SILENT),
        ("there", "another machine", GONE_AFTER, ProcessLoss.GONE),
        ("there", None, 0.0, None),
    ],
)
def test_when_a_process_counts_as_dead(host: str, birth: str | None, silence: float, fate: ProcessLoss | None) -> None:
    now = utcnow()
    born = birth or birth_of(os.getpid()) or ""
    seen = Lease("worker", "name", host, os.getpid(), born, {}, 1, 1, None, now, now, None)
    assert loss_of(seen, "here", silence) is fate


def test_a_process_that_is_silent_loses_its_lease_and_the_row_of_a_living_one_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "DEAD_AFTER", 0.3)
    add_row(database, "frozen")
    with Monitor(database, "worker", "here:1", {}):
        wait_for(lambda: len(rows(database)) == 2 and rows(database)[0].lost_at)
        with pytest.raises(TimeoutError):
            wait_for(lambda: len(rows(database)) == 1, timeout=0.3)


def test_a_process_that_others_took_for_dead_is_told_and_gets_a_new_lease(database: Database) -> None:
    lost = threading.Event()
    with Monitor(database, "worker", "here:1", {}, on_lost=lost.set) as watched:
        first = watched.lease()
        Leases(database).lose(rows(database)[0], utcnow())
        assert lost.wait(10)
        wait_for(lambda: watched.current_lease)
        assert watched.lease() > first
        wait_for(lambda: [seen.lost_at for seen in rows(database)] == [None])


def test_a_lease_that_was_renewed_meanwhile_is_not_lost(database: Database) -> None:
    add_row(database, "alive")
    seen = rows(database)[0]
    assert Leases(database).renew(seen.id, None, utcnow())
    assert not Leases(database).lose(seen, utcnow())
    assert not Leases(database).remove(seen)
    assert [found.lost_at for found in rows(database)] == [None]


def test_the_number_of_a_lease_is_never_given_twice(database: Database) -> None:
    me = ProcessInfo("worker", "a", "here", 1, "", {})
    first = Leases(database).open(me, utcnow())
    Leases(database).close("a")
    assert Leases(database).open(me, utcnow()) > first


def test_a_silent_process_of_another_host_is_removed_and_one_that_renews_is_not(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "GONE_AFTER", 0.5)
    add_row(sqlite_database, "silent", host="other")
    add_row(sqlite_database, "renewing", host="other")
    grow = lease.update().where(lease.c.name == "renewing").values(renewals=lease.c.renewals + 1)
    with Monitor(sqlite_database, "worker", "here:1", {}, lambda: None):

        def silent_is_gone() -> bool:
            sqlite_database.write(lambda connection: connection.execute(grow))
            return "silent" not in {seen.name for seen in rows(sqlite_database)}

        wait_for(silent_is_gone, every=0.02)
        assert {seen.name for seen in rows(sqlite_database)} == {"renewing", "here:1"}


def test_a_birth_tells_a_process_from_others_and_ends_with_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = birth_of(child.pid)
    assert born is not None
    assert born == birth_of(child.pid) != birth_of(os.getpid())
    assert len(born) <= 64
    assert is_here(born)
    assert not is_here("0123:4:5")
    assert lives(child.pid, born)
    assert not lives(child.pid, f"{machine()}1")
    child.communicate()
    assert birth_of(child.pid) is None
    assert not lives(child.pid, born)


def test_a_database_that_is_away_neither_ends_nor_delays_the_process(
    tmp_path: Path, listener: Callable[..., Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = listener("@gengfu-test-away", watchdog=0.2)
    away = Database(Secret("postgresql://nobody@127.0.0.1:9/none"), tmp_path)
    started = time.monotonic()
    with Monitor(away, "worker", "here:1", {}, lambda: None) as beating:
        assert time.monotonic() - started < 0.5
        wait_for(lambda: heard.words.count(ALIVE) >= 3)
        assert beating.answered_for() == 0.0
        ending = time.monotonic()
    assert time.monotonic() - ending < monitor.LAST_WRITE + 0.5


class Heard:
    """The other end of the line: what a service manager hears."""

    def __init__(self, address: str) -> None:
        self.words: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while word := self._socket.recv(100).decode():
            self.words.append(word)

    def close(self, address: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.sendto(b"", "\0" + address[1:] if address.startswith("@") else address)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Heard]]:
    """`listener(address, watchdog=seconds)`: listens there and says so in the environment."""
    opened: list[tuple[Heard, str]] = []

    def listen(address: str, watchdog: float) -> Heard:
        opened.append((Heard(address), address))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", str(int(watchdog * 1e6)))
        return opened[-1][0]

    yield listen
    for heard, address in opened:
        heard.close(address)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_ready_progress_and_stopping(
    kind: str, sqlite_database: Database, tmp_path: Path, listener: Callable[..., Heard]
) -> None:
    heard = listener(str(tmp_path / "notify") if kind == "path" else f"@gengfu-test-{os.getpid()}", watchdog=0.2)
    work = Work()
    with Monitor(sqlite_database, "worker", "here:1", {}, work.progress):
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(os.environ)
        wait_for(lambda: heard.words.count(ALIVE) >= 3)
        assert heard.words[0] == READY
        work.stuck = "its loop is stuck"
        time.sleep(0.1)
        fed = heard.words.count(ALIVE)
        time.sleep(0.3)
        assert heard.words.count(ALIVE) == fed
        work.stuck = None
        wait_for(lambda: heard.words.count(ALIVE) > fed)
    wait_for(lambda: heard.words[-1] == STOPPING)
    assert heard.words.count(READY) == heard.words.count(STOPPING) == 1


@pytest.mark.parametrize(
    ("environ", "watchdog"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, None),
        ({"NOTIFY_SOCKET": "/nowhere"}, None),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "3000000"}, 3.0),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_environment_says_who_watches(environ: dict[str, str], watchdog: float | None) -> None:
    notifier = NotifyClient.take(environ)
    assert environ == {}
    assert notifier.watchdog == watchdog
    notifier.say(READY)
    assert notifier.due() is (watchdog is not None)
    assert not notifier.due()


def test_a_parent_hears_by_an_open_socket_that_goes_no_further() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.settimeout(5)
        theirs.set_inheritable(True)
        environ = {"GENGFU_NOTIFY_FD": str(theirs.fileno()), "WATCHDOG_USEC": "3000000"}
        notifier = NotifyClient.take(environ)
        assert (environ, notifier.watchdog, theirs.get_inheritable()) == ({}, 3.0, False)
        notifier.say(READY)
        assert ours.recv(100).decode() == READY
        ours.close()
        notifier.say(ALIVE)


def test_a_parent_that_is_gone_is_told_of_once() -> None:
    environ = {"GENGFU_PARENT": "1"}
    parent = Parent.take(environ)
    assert environ == {}
    assert [parent.is_gone(), parent.is_gone()] == [os.getppid() != 1, False]
    assert not Parent.take({"GENGFU_PARENT": str(os.getppid())}).is_gone()
    assert not Parent.take({}).is_gone()


def test_a_worker_has_a_row_that_stays_when_it_is_killed_and_its_successor_removes(stage: Stage) -> None:
    first = stage.start(queues=["default", "urgent"]).ready()
    seen = wait_for(lambda: rows(stage.database))[0]
    assert (seen.kind, seen.pid, seen.details["queues"]) == ("worker", first.pid, ["default", "urgent"])
    first.signal(signal.SIGKILL)
    first.exit_code()
    assert rows(stage.database)[0].pid == first.pid
    second = stage.start().ready()
    wait_for(lambda: [found.pid for found in rows(stage.database)] == [second.pid])
    second.signal(signal.SIGTERM)
    assert second.exit_code() == 0
    assert rows(stage.database) == []


def test_a_worker_that_was_frozen_and_goes_on_is_not_stuck(stage: Stage) -> None:
    worker = stage.start(sleep=0.2, more={"slow_after": 2.0, "renew_every": 0.1}).ready()
    wait_for(lambda: rows(stage.database))
    worker.signal(signal.SIGSTOP)
    wait_for(lambda: utcnow() - rows(stage.database)[0].renewed_at > timedelta(seconds=2.0))
    frozen = rows(stage.database)[0]
    worker.signal(signal.SIGCONT)
    seen = [frozen]
    wait_for(lambda: seen.append(rows(stage.database)[0]) or seen[-1].renewals > frozen.renewals + 2)
    assert {found.progress for found in seen} == {None}


@pytest.mark.parametrize(("answered_for", "stuck"), [(5.0, False), (100.0, True)])
def test_a_dispatcher_that_waits_for_the_database_is_stuck_only_where_others_are_answered(
    answered_for: float, stuck: bool, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Monitor, "answered_for", lambda self: answered_for)
    monkeypatch.setattr(Liveness, "seconds", lambda self: 30.0)
    worker = WorkerProcess(WorkerOptions(), db=stage.database, jobs={}, notifier=stage.notifier)
    assert worker.progress() == ("its dispatcher has made no progress for 30 seconds" if stuck else None)


def test_each_process_of_a_worker_has_its_own_row(stage: Stage) -> None:
    parent = stage.start(processes=2)
    wait_for(lambda: len(rows(stage.database)) == 2)
    assert parent.pid not in {seen.pid for seen in rows(stage.database)}
    parent.signal(signal.SIGTERM)
    assert parent.exit_code() == 0
    assert rows(stage.database) == []


def test_a_worker_whose_dispatcher_is_stuck_says_so_and_ends_for_another(stage: Stage) -> None:
    more = {"hang": True, "slow_after": 0.5, "longest": 2.0, "renew_every": 0.1}
    worker = stage.start(more=more).ready()
    wait_for(lambda: rows(stage.database) and rows(stage.database)[0].progress)
    assert str(rows(stage.database)[0].progress).startswith("its dispatcher has made no progress for ")
    assert worker.exit_code() == 1


IN_CONTAINER = """
import sys, threading
from pathlib import Path
from gengfu.process import monitor
from gengfu.process.pids import birth_of, process_name
from gengfu.store.database import Database
from gengfu.settings import Secret

# Nobody is dead by silence.
monitor.DEAD_AFTER = monitor.GONE_AFTER = 1e9
monitor.RENEW_EVERY = 0.03
monitor.Monitor(Database(Secret(sys.argv[1]), Path(sys.argv[2])), "worker", process_name(), {}).start()
threading.Event().wait()
"""


@contextmanager
def container(home: Path, layer: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the number 1 in a container of its own, as engines make them: a root of layers, the uppermost of
    which is the container's, and which comes back when the container is started anew. It has the name of this host."""
    place = home / "place"
    place.mkdir(exist_ok=True)
    folders = {name: place / f"{layer}-{name}" for name in ("upper", "work", "root")}
    lines = [
        f"mount -t tmpfs tmpfs {place}",
        f"mkdir {' '.join(map(str, folders.values()))}",
        f"mount -t overlay -o lowerdir=/,upperdir={folders['upper']},workdir={folders['work']} none {folders['root']}",
        f"mount -t proc proc {folders['root']}/proc",
        f"mount --bind {home} {folders['root']}{home}",
        f'exec chroot {folders["root"]} {sys.executable} -c "$1" {url} {home}',
    ]
    spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    try:
        process = subprocess.Popen([*spaces, "sh", "-ec", "\n".join(lines), "sh", IN_CONTAINER], cwd="/")
    except FileNotFoundError:
        absent("containers", "unshare is not installed")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_who_was_killed_with_its_container_is_known_as_dead_when_the_container_is_started_anew(
    sqlite_database_url: str, sqlite_database: Database, tmp_path: Path
) -> None:
    def others() -> set[str]:
        return {seen.name for seen in rows(sqlite_database)}

    with container(tmp_path, "first", sqlite_database_url) as process:
        wait_for(lambda: others() or process.poll() is not None)
        if not others():
            absent("containers", "namespaces or layers are not allowed")
        (killed,) = others()
    with container(tmp_path, "second", sqlite_database_url):
        wait_for(lambda: len(others()) == 2)
        (second,) = others() - {killed}
        renewed = {seen.name: seen.renewals for seen in rows(sqlite_database)}[second]
        wait_for(lambda: {seen.name: seen.renewals for seen in rows(sqlite_database)}[second] > renewed + 5)
        assert killed in others(), "another container of the same name may well be alive"
        with container(tmp_path, "first", sqlite_database_url):
            wait_for(lambda: len(others()) == 2 and killed not in others())
            assert second in others()
