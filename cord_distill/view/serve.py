"""`cord view --serve`: the page on 127.0.0.1, for a browser on this machine or through an SSH tunnel."""

from __future__ import annotations

from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cord_distill.common.errors import CordError

HOST = "127.0.0.1"


class PageServer(ThreadingHTTPServer):
    """Serves `page` alone, and only to requests for `localhost` or 127.0.0.1: under another name that leads here it is
    another site's script that asks."""

    page: Path | None = None


class _OnePage(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        page = self.server.page
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in (HOST, "localhost"):
            self.send_error(403)
        elif page is None or self.path not in ("/", f"/{page.name}"):
            self.send_error(404)
        else:
            body = page.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line per request would hide the address."""


def page_server(port: int = 0) -> PageServer:
    """Bound but not serving yet; port 0: any free one (`server_port`). Raises CordError where the port is taken."""
    try:
        return PageServer((HOST, port), _OnePage)
    except OverflowError:
        raise CordError(f"--port {port}: give a number from 1 to 65535") from None
    except OSError as error:
        raise CordError(f"--port {port}: {error.strerror}; give another one, or none for any free one") from None


def serve(server: PageServer, page: Path) -> None:
    """Until Ctrl-C."""
    server.page = page
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
