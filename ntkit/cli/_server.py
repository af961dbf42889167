"""A server for one person's browser on this machine: a page, its state, and what the person says.

It listens on 127.0.0.1 alone. Every request but that for the empty page needs the secret, in a
header that no other site can send. It serves values that the run hands over, and no file.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})
SECRET, TAB, VERSION = "X-Ntkit-Secret", "X-Ntkit-Tab", "X-Ntkit-Version"
"""Headers of each request: the secret, a window's own number, the version that it shows."""
_LARGEST = 1 << 20  # bytes of what a window sends
_PATIENCE = 10  # seconds until a silent connection is closed, or the writing window counts as gone
_MOST_CONNECTIONS = 64
_NONE = -1  # version of a window that shows nothing yet
_CLOSING = 0.05  # seconds until the server sees that it ends
Heard = Callable[[str, Mapping[str, Any]], None]
"""What takes a word of the person and its values; ValueError refuses it."""


class Server:
    """Serves a page to windows that know the secret; the first of them may write.

    Attributes
    ----------
    secret : str
        What every request must hold.
    port : int
        Where it listens.
    last : float
        Time of the last word of a person, as time.monotonic tells it.
    """

    def __init__(
        self,
        page: str,
        policy: str,
        state: Callable[[str, int], Mapping[str, Any]],
        content: Callable[[], str],
        heard: Heard,
        hosts: Collection[str] = (),
    ) -> None:
        self.page, self.policy, self.state, self.content = page, policy, state, content
        self.heard, self.hosts = heard, LOCAL | {each.lower() for each in hosts}
        self.secret, self.last = secrets.token_urlsafe(32), time.monotonic()
        self._writer, self._seen = "", dict[str, float]()
        self.lock = threading.RLock()
        self._server = _Threads(("127.0.0.1", 0), self._handler())
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_CLOSING,), daemon=True
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"of": self})

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def windows(self) -> set[str]:
        """Windows that asked for something just now."""
        with self.lock:
            now = time.monotonic()
            return {tab for tab, at in self._seen.items() if now - at < _PATIENCE}

    def may_write(self, tab: str) -> bool:
        """Whether a window is the one that writes; the first one is, until it is gone."""
        with self.lock:
            if self._writer not in self.windows:
                self._writer = tab
            self._seen[tab] = time.monotonic()
            return tab == self._writer


class _Threads(ThreadingHTTPServer):
    """A thread for each connection, and no more connections than allowed."""

    daemon_threads = True
    request_queue_size = _MOST_CONNECTIONS
    allow_reuse_address = allow_reuse_port = False  # no other program shares the port

    def __init__(self, address: Any, handler: Any) -> None:
        self._open = set[Any]()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Take the port for this program alone, and ask nobody for the name of the machine."""
        if sys.platform == "win32":  # elsewhere a port in use is never given away
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread, or close the connection if there are too many."""
        if len(self._open) >= _MOST_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and count it no more."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close all connections, also those that a browser keeps for its next request."""
        super().server_close()
        for each in tuple(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks does not end the run."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    of: Server
    timeout = _PATIENCE
    server_version, sys_version = "ntkit", ""
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # answers to what nobody understands have headers too

    def do_GET(self) -> None:
        """The empty page, the state, or the content that the window shows."""
        if self.path == "/" and self._is_for_us():
            self._answer(200, self.of.page, "text/html")
        elif self.path in ("/state", "/page") and self._is_allowed():
            writes = self.of.may_write(self.headers[TAB])
            if self.path == "/page":
                self._answer(200, self.of.content(), "text/html")
            else:
                state = self.of.state(self.headers[TAB], self._version())
                self._answer(200, {**state, "writes": writes})
        else:
            self._refuse()

    def do_POST(self) -> None:
        """A word of the person: its name is the path, its values are JSON."""
        if not self._is_allowed():
            self._refuse()
            return
        try:
            size = int(self.headers["Content-Length"])
            if "Transfer-Encoding" in self.headers:
                raise ValueError("the length counts for nothing")
        except (TypeError, ValueError):
            self._answer(411, {"error": "The request does not say how long it is."})
            return
        if not 0 <= size <= _LARGEST:
            self._answer(413, {"error": "The request is too large."})
            return
        if not self.of.may_write(self.headers[TAB]):
            self._answer(409, {"error": "Another window answers; this one only reads."})
            return
        try:
            values = json.loads(self.rfile.read(size))
            if not isinstance(values, dict):
                raise ValueError("values have names")
            self.of.last = time.monotonic()
            self.of.heard(self.path[1:], values)
        except (ValueError, RecursionError):  # JSON and UTF-8 errors as well
            self._answer(400, {"error": "This cannot be done now."})
            return
        self._answer(200, {**self.of.state("", _NONE), "writes": True})

    def _version(self) -> int:
        """The version that the window shows."""
        with suppress(ValueError):
            return int(self.headers.get(VERSION, _NONE))
        return _NONE

    def _is_for_us(self) -> bool:
        """Whether the host is allowed, so that no other name leads here."""
        name = re.sub(r":\d+\Z", "", self.headers.get("Host", ""))  # forwarding has another port
        return name.lower() in self.of.hosts

    def _is_allowed(self) -> bool:
        """Whether a window of ours asks: by host, origin, secret and number."""
        given = self.headers.get(SECRET, "").encode("latin-1", "replace")
        host, tab = self.headers.get("Host"), self.headers.get(TAB, "")
        same = self.headers.get("Origin") in (None, f"http://{host}", f"https://{host}")
        known = secrets.compare_digest(given, self.of.secret.encode())
        return self._is_for_us() and same and known and 0 < len(tab) <= _LONGEST_TAB

    def _refuse(self) -> None:
        self._answer(403, {"error": "Open the address that ntkit printed."})

    def send_error(self, code: int, message: Any = None, explain: Any = None) -> None:
        """Refuse what Python's server refuses by itself, with the headers of every answer."""
        self._answer(code, {"error": "Nobody understands this request."})

    def _answer(self, status: int, content: Any, kind: str = "application/json") -> None:
        """Send a status and a content; no browser keeps it, frames it or guesses its kind."""
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        sent = text.encode("utf-8", "replace")
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(sent)),
            "Content-Security-Policy": self.of.policy,
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }.items():
            self.send_header(name, value)
        if status != 200:  # what is left of the request is not read
            self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(sent)
        self.close_connection = self.close_connection or status != 200

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing in the terminal."""


_LONGEST_TAB = 64
