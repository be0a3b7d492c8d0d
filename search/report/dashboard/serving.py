"""Serving the dashboard: its address, its port, its threads, and how it ends."""

import errno
import ipaddress
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from bottle import response
from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from kirigami.search.errors import InputError
from kirigami.search.report import page as report
from kirigami.search.report.dashboard.page import Page, load
from kirigami.search.storage.optuna_private import cached

PORT = 8080
TRIES = 20
IDLE_SECONDS = 60
HTML = "text/html; charset=UTF-8"


def serve(store: BaseStorage, host: str, port: int, change: str, study: int | None = None) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM.

    Args:
        host: the address it listens on; whoever reaches it needs no password.
        port: where 8080, the default, is taken the next free one is used; any other must be free.
        change: what a visitor may change: "notes", or "all" (rename and delete studies, fail trials).
        study: the number in the store of the study whose page the printed address opens; None: the list of studies.

    Raises:
        InputError: where the address or the port cannot be used.
    """
    _log_lines()
    server = _bound(application(store, change), host, port)
    place = f"dashboard/studies/{study}" if study is not None else ""
    if not _is_loopback(host):
        print(
            f"kirigami: host={host}: whoever reaches this machine can read every study here and change "
            f"{'its notes' if change == 'notes' else 'and delete it'}; there is no login.",
            file=sys.stderr,
        )
    print(f"dashboard http://{_shown(host)}:{server.server_port}/{place}  (Ctrl-C ends it)", flush=True)
    with server, _ended_by_signals(), suppress(KeyboardInterrupt):
        server.serve_forever()
    print()


def application(store: BaseStorage, change: str = "notes") -> Any:
    """Return the dashboard as a WSGI application, for a web server of one's own."""
    reader = cached(store)
    app = wsgi(reader)
    app.install(Page(reader, change))

    @app.get("/report/<study_id:int>", skip=True)
    def show_report(study_id: int) -> str:
        response.content_type = HTML
        try:
            return report.page(load(reader, study_id))
        except KeyError:
            response.status = 404
            return f"<p>The store has no study {study_id}."

    app.add_hook("after_request", store.remove_session)  # the thread and its connection end with the request
    return app


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a browser that opens a connection ahead of time keeps nobody waiting."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without looking up the machine's name, which may take seconds where there is no name server."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of visitors who leave before their answer comes."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests."""


def _bound(app: Callable[..., Any], host: str, wanted: int) -> _Server:
    ports = range(PORT, PORT + TRIES) if wanted == PORT else (wanted,)
    kind = _Server6 if ":" in host else _Server
    for port in ports:
        try:
            server = kind((host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            wrong = f"host={host}" if not _is_port_error(error) else f"port={port}"
            raise InputError(f"{wrong} cannot be used: {error.strerror}. Set host=127.0.0.1 or port=OTHER.") from error
        server.set_app(app)
        if port != wanted:
            print(f"port {wanted} is taken; this is {port}")
        return server
    shown = f"port={wanted} is" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]} are"
    raise InputError(f"{shown} taken by another program. Set port=OTHER.")


def _is_port_error(error: OSError) -> bool:
    return error.errno in (errno.EACCES, errno.EPERM)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    """Return a host that a browser on this machine can open."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1" if ":" not in host else "[::1]"
    return f"[{host}]" if ":" in host else host


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, with which containers are stopped, end the server as Ctrl-C does; in the main thread only.

    Ctrl-C is asked for too: what a shell starts in the background ignores it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _log_lines() -> None:
    """Have the dashboard log an error in one line, not a traceback every time a page asks again."""
    logger = logging.getLogger("optuna_dashboard")
    handler = logging.StreamHandler()
    handler.setFormatter(_FirstLine("dashboard: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False


class _FirstLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.exc_info = record.exc_text = record.stack_info = None
        return super().format(record).partition("\n")[0]
