"""The Redis or Valkey server that wakes workers: how it is reached, and what it means when it says no."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from gengfu.errors import BrokerError, BrokerRefused, ConfigError
from gengfu.language import tr
from gengfu.settings import Secret, Settings

if TYPE_CHECKING:
    import redis

CONNECT = 2.0
"""Seconds until a connection must stand."""
ANSWER = 3.0
"""Seconds for an answer."""
KEPT = 1000
"""The most hints on a list; older ones are dropped."""
LONGEST_HINT = 65_536
"""Bytes of what lies on a list; what is longer is none of ours, and is not read."""

_SENTINEL = "redis+sentinel:"


class _Answer(NamedTuple):
    """What an answer of the server means."""

    what: str
    remedy: str
    is_permanent: bool = False
    """Whether it stays so until somebody changes the configuration, there or here."""


_CLUSTER = "name a single server, or the Sentinels of one, in REDIS_URL"
_MASTER = "name the master in REDIS_URL, or the Sentinels, which know it"

_ANSWERS = {
    "MOVED": _Answer("it is one of a Redis cluster, and the list lies on another one", _CLUSTER, True),
    "ASK": _Answer("it is one of a Redis cluster that is moving the list to another one", _CLUSTER, True),
    "TRYAGAIN": _Answer("it is one of a Redis cluster that is moving the lists to another one", _CLUSTER, True),
    "CROSSSLOT": _Answer("it is a Redis cluster, where nobody can wait for several lists", _CLUSTER, True),
    "CLUSTERDOWN": _Answer("it is one of a Redis cluster that is down or not set up", _CLUSTER, True),
    "READONLY": _Answer("it is a replica, which takes no hints", _MASTER, True),
    "MASTERDOWN": _Answer("it is a replica that has lost its master", _MASTER, True),
    "NOAUTH": _Answer(
        "it asks for a password, and REDIS_URL has none", "write it there: redis://:PASSWORD@HOST:6379/0", True
    ),
    "WRONGPASS": _Answer(
        "it refuses the user or the password of REDIS_URL",
        "correct them; special characters in them are written as %XX",
        True,
    ),
    "NOPERM": _Answer(
        "its user may not do what is needed", "allow it there: ~{prefix}:queue:* +rpush +ltrim +blpop", True
    ),
    "DENIED": _Answer(
        "it is in protected mode, which lets in nobody from another host",
        "set a password there (requirepass), and write it in REDIS_URL",
        True,
    ),
    "NOPROTO": _Answer("it does not speak the protocol of Redis", "correct host and port in REDIS_URL", True),
    "OOM": _Answer(
        "its memory is full", "raise maxmemory there, or let it drop what is old: maxmemory-policy allkeys-lru"
    ),
    "LOADING": _Answer("it was just started and still reads its data", "nothing; it is used as soon as it is ready"),
    "BUSY": _Answer("it is busy with a script of another program", "end that script there: SCRIPT KILL"),
    "MISCONF": _Answer("it cannot write to its disk, so it takes no hints", "see to the disk of that server"),
    "NOREPLICAS": _Answer(
        "it has fewer replicas than it demands", "start its replicas, or lower min-replicas-to-write"
    ),
    "WRONGTYPE": _Answer(
        "another program keeps something else under the name of a list, {prefix}:queue:...",
        "delete that there, or set REDIS_PREFIX to another name",
    ),
}

# What the server says in words alone, or the system does.
_WORDS = {
    "max number of clients": _Answer("it has as many clients as it takes", "raise maxclients there, or end some"),
    "DB index is out of range": _Answer(
        "it has no database of that number", "write a smaller one at the end of REDIS_URL", True
    ),
    "invalid DB index": _Answer(
        "it has no database of that number", "write a smaller one at the end of REDIS_URL", True
    ),
    "unknown command": _Answer(
        "it does not know a command that is needed", "allow RPUSH, LTRIM and BLPOP there, or update the server", True
    ),
    "invalid password": _Answer("it refuses the password of REDIS_URL", "correct it", True),
    "without any password configured": _Answer(
        "REDIS_URL has a password, and the server has none", "take it out of REDIS_URL, or set requirepass there", True
    ),
    "hostname mismatch": _Answer(
        "its certificate is for another name", "write in REDIS_URL the name that the certificate has", True
    ),
    "IP address mismatch": _Answer(
        "its certificate is for another address", "write in REDIS_URL the name that the certificate has", True
    ),
    "certificate has expired": _Answer("its certificate has expired", "renew it there", True),
    "CERTIFICATE_VERIFY_FAILED": _Answer(
        "its certificate is signed by nobody whom we trust",
        "set REDIS_CA_FILE to a file with the certificate of who signed it",
        True,
    ),
    "CERTIFICATE_REQUIRED": _Answer(
        "it asks for a certificate of ours", "set REDIS_CERT_FILE and REDIS_KEY_FILE", True
    ),
    "UNKNOWN_CA": _Answer(
        "it does not trust our certificate", "set REDIS_CERT_FILE and REDIS_KEY_FILE to others", True
    ),
    "WRONG_VERSION_NUMBER": _Answer("it does not speak TLS there", "write redis:// in place of rediss://", True),
    "No master found": _Answer("the Sentinels know of no master that is up", "see to it, or correct its name"),
    "Connection refused": _Answer("nobody listens there", "start the server, or correct REDIS_URL"),
    "not known": _Answer("no host has that name", "correct the name in REDIS_URL"),
    "EOF occurred": _Answer(
        "it ends the connection", "see its log; where it asks for a certificate of ours, set REDIS_CERT_FILE"
    ),
    **dict.fromkeys(
        ("Connection closed by server", "Connection reset by peer", "Broken pipe"),
        _Answer("it ends the connection", "see its log; where it speaks TLS, REDIS_URL begins with rediss://"),
    ),
    "Timeout": _Answer("it does not answer in time", "see to the server; TLS or not, REDIS_URL must say it as it is"),
}


class RedisServer:
    """How to reach the server that `REDIS_URL` names: plain, by TLS, on a unix socket, or by way of Sentinels."""

    def __init__(self, settings: Settings, url: Secret) -> None:
        self._url = url
        self._prefix = settings.redis_prefix
        self._files = {
            "REDIS_CA_FILE": settings.redis_ca_file,
            "REDIS_CERT_FILE": settings.redis_cert_file,
            "REDIS_KEY_FILE": settings.redis_key_file,
        }

    @property
    def where(self) -> str:
        """The address for people, without user and password."""
        scheme, _, rest = self._url.reveal().partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"

    def key(self, queue: str) -> str:
        """The list of a queue."""
        return f"{self._prefix}:queue:{queue}"

    def connect(self) -> redis.Redis:
        """A new client, which connects when first used and tries nothing twice.

        Raises:
            ConfigError: the address cannot be read, or a file of certificates. The text does not repeat the address,
                since it may hold a password.
        """
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        url = self._url.reveal()
        options: dict[str, Any] = {"socket_timeout": ANSWER, "retry": Retry(NoBackoff(), 0)}
        options |= {"protocol": 2, "driver_info": None, "parser_class": _bounded_parser()}
        options["redis_connect_func"] = _greet
        if not url.startswith("unix:"):
            options |= {"socket_connect_timeout": CONNECT, "socket_keepalive": True}
        if url.startswith("rediss:"):
            options |= self._tls()
        try:
            if url.startswith(_SENTINEL):
                return _by_sentinel(url, options)
            return redis.Redis.from_url(url, **options)
        except ValueError:
            raise ConfigError(
                tr(
                    "REDIS_URL cannot be read; special characters in a password must be written as %XX; "
                    "for example: REDIS_URL=redis://user:password@127.0.0.1:6379/0"
                )
            ) from None

    def _tls(self) -> dict[str, str]:
        import ssl

        ca, certificate, key = self._files.values()
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if certificate is None and key is not None:
            raise ConfigError(tr("REDIS_KEY_FILE is set, but not REDIS_CERT_FILE, the certificate that it belongs to"))
        try:
            setting, path = "REDIS_CA_FILE", ca
            if ca is not None:
                trial.load_verify_locations(ca)
            setting, path = "REDIS_CERT_FILE", certificate
            if certificate is not None:
                trial.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            # An SSLError is an OSError whose reason says more than its text.
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise ConfigError(
                tr(
                    "{setting} names {path}, which cannot be used ({reason}); it must hold PEM certificates, "
                    "and REDIS_KEY_FILE the key of the first one, without a password",
                    setting=setting,
                    path=path,
                    reason=reason,
                )
            ) from None
        given = {"ssl_ca_certs": ca, "ssl_certfile": certificate, "ssl_keyfile": key}
        return {name: str(file) for name, file in given.items() if file is not None}

    def probe(self, queues: Iterable[str] = ()) -> None:
        """Sees whether it takes hints and gives them, and whether the lists of these queues are lists.

        Raises:
            BrokerError: it does not.
            ConfigError: the address cannot be read.
        """
        import redis

        # No queue has such a name.
        keys = [self.key("?1"), self.key("?2")]
        client = self.connect()
        try:
            with client.pipeline(transaction=False) as pipeline:
                pipeline.rpush(keys[0], "0")
                for key in (keys[0], *map(self.key, queues)):
                    pipeline.ltrim(key, -KEPT, -1)
                pipeline.execute()
            client.blpop(keys, timeout=1)
        except (redis.RedisError, OSError) as error:
            raise self.told(error) from error
        finally:
            client.close()

    def told(self, error: Exception) -> BrokerError:
        """What an error of the client means and what to do, as one sentence; `BrokerRefused` where it stays so."""
        if isinstance(error, ConfigError):
            return BrokerRefused(*error.args)
        code, text = _code_of(error)
        answer = _ANSWERS.get(code) or next((_WORDS[word] for word in _WORDS if word.lower() in text.lower()), None)
        if answer is None:
            return BrokerError(
                tr("Redis at {where} cannot be used: it says {text!r}", where=self.where, text=text[:200])
            )
        # Sentinels name another master as soon as there is one.
        by_sentinel = code in ("READONLY", "MASTERDOWN") and self._url.reveal().startswith(_SENTINEL)
        kind = BrokerRefused if answer.is_permanent and not by_sentinel else BrokerError
        return kind(
            tr(
                "Redis at {where} cannot be used: {what}; {remedy}",
                where=self.where,
                what=tr(answer.what, prefix=self._prefix),
                remedy=tr(answer.remedy, prefix=self._prefix),
            )
        )


def _code_of(error: Exception) -> tuple[str, str]:
    """The code of an error reply, such as `OOM`, or nothing; and its text."""
    text = str(error).rpartition(" of pipeline caused error: ")[2]
    word = text.partition(" ")[0]
    return str(getattr(error, "status_code", None) or (word if word.isupper() else "")), text


def _by_sentinel(url: str, options: dict[str, Any]) -> redis.Redis:
    """`redis+sentinel://[user:password@]host[:port],host[:port]/master[/db]`; the Sentinels say where the master is."""
    from redis.sentinel import Sentinel

    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", "")
        sentinels.append((name.strip("[]"), int(port or 26379)))
    master, _, number = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError("no master is named")
    known = {"username": unquote(user) or None, "password": unquote(password) or None, "db": int(number or 0)}
    asking = {name: value for name, value in options.items() if name not in ("parser_class", "redis_connect_func")}
    found: redis.Redis = Sentinel(sentinels, sentinel_kwargs=asking, **options, **known).master_for(master)  # type: ignore[no-untyped-call]
    return found


def _greet(connection: Any) -> None:
    """Hears what a server says that lets nobody in, for which the client has no ear."""
    import redis

    connection.on_connect()
    connection.send_command("PING")
    try:
        connection.read_response()
    except redis.exceptions.NoPermissionError:
        pass


@cache
def _bounded_parser() -> type[Any]:
    import redis
    from redis._parsers import _RESP2Parser

    class BoundedParser(_RESP2Parser):
        """Reads answers, but nothing that is far too long for a hint: it would come into memory whole."""

        def on_connect(self, connection: Any) -> None:
            super().on_connect(connection)  # type: ignore[no-untyped-call]
            buffer: Any = self._buffer
            read = buffer.read

            def read_at_most(length: int, **more: Any) -> bytes:
                if length > LONGEST_HINT:
                    raise redis.InvalidResponse(f"something of {length} bytes lies on a list; it was not read")
                return bytes(read(length, **more))

            buffer.read = read_at_most

    return BoundedParser
