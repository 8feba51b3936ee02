"""optuna-dashboard on a run, to be read: a copy of the study in memory, made from rows and claims.

The study itself is never opened: workers take turns at its lock, and a page asks every few
seconds. The copy is made again when the run has moved on, so that a running sweep is followed.
"""

import importlib.util
import json
import os
import socketserver
import threading
import time
import webbrowser
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from sweeps.dashboard.study_copy import copy_study, fingerprint
from sweeps.dashboard.trial_notes import row_text
from sweeps.definition.errors import ConfigError
from sweeps.run.directory import Run
from sweeps.run.logs import tail_logs

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


HOST = "127.0.0.1"  # whoever reaches the port reads the run: nobody but this machine does
REFRESH_S = 2.0
REST = 5.0  # a run of thousands of trials takes seconds to read: rest so many times as long
LOG_LINES = 2000
READ_ONLY = "this is a copy to read: nothing is changed here; a run is steered with `lmopt`"


class Dashboard:
    """WSGI application: optuna-dashboard on the newest copy, and each trial's row and log."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._made_from: Any = None
        self._next_look = 0.0
        self._app: WSGIApplication = self._refreshed()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request; whatever would change the copy is refused."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            body = json.dumps({"reason": READ_ONLY})
            return _answer(start_response, HTTPStatus.FORBIDDEN, body, "application/json")
        match environ["PATH_INFO"].strip("/").split("/"):
            case ["lmopt", ("row" | "log") as what, number] if number.isdecimal():
                return self._page(what, int(number), start_response)
            case ["api", *_]:
                return self._refreshed()(environ, start_response)
            case _:
                return self._app(environ, start_response)

    def _page(self, what: str, number: int, start_response: "StartResponse") -> Iterable[bytes]:
        try:
            if what == "row":
                text = row_text(self.run, number)
            else:
                text = (
                    "\n".join(map(str, tail_logs(self.run, number, LOG_LINES)))
                    or "the log is empty"
                )
        except ConfigError as error:
            return _answer(start_response, HTTPStatus.NOT_FOUND, f"{error}\n")
        return _answer(start_response, HTTPStatus.OK, f"{text}\n")

    def _refreshed(self) -> "WSGIApplication":
        """Return the dashboard of the run as it is now, as far as that costs little."""
        from optuna_dashboard import wsgi

        with self._lock:
            started = time.monotonic()
            if started >= self._next_look and (now := fingerprint(self.run)) != self._made_from:
                self._app, self._made_from = wsgi(copy_study(self.run)), now
                # A run of thousands of trials takes seconds to read: most of the time is idle.
                self._next_look = time.monotonic() + max(
                    REFRESH_S, REST * (time.monotonic() - started)
                )
            return self._app


def serve(run: Run, port: int, *, browser: bool) -> None:
    """Show the dashboard of a run on loopback until Ctrl-C.

    Raises:
        ConfigError: optuna-dashboard is not installed, or the port cannot be had.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ConfigError(
            "the dashboard is an extra: install it with pip install 'lmopt[dashboard]'"
        )
    with listen(run, port) as server:
        url = f"http://{HOST}:{server.server_port}/dashboard/studies/0"
        print(f"{run.name}: {url}   (Ctrl-C ends it)")
        print(f"from another machine: ssh -L {server.server_port}:{HOST}:{server.server_port} "
              f"{os.uname().nodename}", flush=True)  # fmt: skip
        # Without a screen Python would start a text browser in this terminal.
        if browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def listen(run: Run, port: int) -> "Server":
    """Return a server of a run's dashboard that listens on loopback; port 0 takes a free one.

    Raises:
        ConfigError: The port is taken, or not for everybody.
    """
    try:
        server = Server((HOST, port), QuietHandler)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot listen on port {port} ({reason}): choose another with --port, 0 for any free"
        ) from None
    server.set_app(Dashboard(run))
    return server


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request: a page asks for several things at once."""

    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    """No line for every request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a page asks every few seconds."""


def _answer(
    start_response: "StartResponse", status: HTTPStatus, text: str, kind: str = "text/plain"
) -> Iterable[bytes]:
    body = text.encode()
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
    ]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
