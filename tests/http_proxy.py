"""A small HTTP proxy, as companies have them before the internet."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class HttpProxy:
    """Passes requests on and builds tunnels until `close`; `seen` has the method and the target of each.

    With a `login` such as `user:password` it wants that; with a `status` it answers each request by that alone.
    """

    def __init__(self, login: str | None = None, status: int | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login is not None else None
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                seen.append((self.command, self.path))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                refused = 407 if wanted is not None and self.headers.get("Proxy-Authorization") != wanted else status
                if refused is not None:
                    self.send_response(refused)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.command == "CONNECT":
                    self.tunnel()
                else:
                    self.pass_on(body)

            def tunnel(self) -> None:
                self.close_connection = True
                host, _, port = self.path.rpartition(":")
                with socket.create_connection((host.strip("[]"), int(port)), 10) as there:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=_pump, args=(there, self.connection))
                    back.start()
                    _pump(self.connection, there)
                    back.join()

            def pass_on(self, body: bytes) -> None:
                parts = urlsplit(self.path)
                there = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
                headers = {name: value for name, value in self.headers.items() if not name.startswith("Proxy-")}
                target = f"{parts.path}?{parts.query}" if parts.query else parts.path
                there.request(self.command, target, body, headers)
                answer = there.getresponse()
                told = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)
                there.close()

            def log_message(self, *_: object) -> None:
                pass

        for method in ("GET", "POST", "HEAD", "CONNECT"):
            setattr(Handler, f"do_{method}", Handler.handle_any)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.place = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
