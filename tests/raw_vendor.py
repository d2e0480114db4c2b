"""A vendor that answers with the very bytes that a test gives it, where the simulator would send sound JSON."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = b'{"access_token":"tok-0123456789","token_type":"bearer","expires_in":7200}'


class RawVendor:
    """Lists `rows`, each as it stands, in pages; `size` is that of its pages, whatever is asked for."""

    username, password = "demo", "secret-of-the-test"

    def __init__(self, rows: Sequence[bytes] = (), size: int | None = None) -> None:
        self.rows = rows
        self.size = size
        self.total: int | None = None
        self.calls = 0
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._send(TOKEN)

            def do_GET(self) -> None:
                vendor.calls += 1
                query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
                listed = query.get("deleteType", ["unDeleted"]) == ["unDeleted"] and not any(query.get("imei", []))
                index, asked = (int(query.get(name, ["0"])[0]) for name in ("pageIndex", "pageSize"))
                self._send(vendor.page(index, asked) if listed else b'{"results":[],"total":0}')

            def _send(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def page(self, index: int, asked: int) -> bytes:
        """The body of a page; a test may put another function in its place."""
        size = self.size or asked
        total = len(self.rows) if self.total is None else self.total
        return self.body(self.rows[index * size : (index + 1) * size], total)

    @staticmethod
    def body(rows: Sequence[bytes], total: int) -> bytes:
        """A page of these rows."""
        return b'{"results":[%b],"total":%d}' % (b",".join(rows), total)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
