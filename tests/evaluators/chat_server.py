"""A real HTTP server on this machine that answers like an OpenAI-compatible endpoint, or fails like one."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Said:
    """What the server says to one request."""

    text: Any = '{"answer": "yes"}'  # of the model
    status: int = 200
    body: str | None = None  # in place of a chat completion
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0  # before the status
    drip_s: float = 0.0  # between the bytes of the body


@dataclass
class Chat:
    """A running server: where it is and what it was asked."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def chat(*says: Said | Callable[[dict[str, Any]], Said]) -> Iterator[Chat]:
    """Serve ``says`` in order, the last of them again and again; a function is given the request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                said = says[min(len(server.requests), len(says) - 1)]
                server.requests.append(request)
                server.paths.append(self.path)
                server.headers.append(dict(self.headers))
            said = said(request) if callable(said) else said
            completion = {
                "choices": [{"message": {"role": "assistant", "content": said.text}}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 7},
            }
            body = (json.dumps(completion) if said.body is None else said.body).encode()
            time.sleep(said.delay_s)
            with contextlib.suppress(OSError):  # the client has given up
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(body)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for byte in [body] if not said.drip_s else (body[i : i + 1] for i in range(len(body))):
                    self.wfile.write(byte)
                    self.wfile.flush()
                    time.sleep(said.drip_s)

        def log_message(self, *_: Any) -> None:
            pass

    lock = threading.Lock()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = Chat(f"http://127.0.0.1:{listener.server_port}/v1")
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def closed_url() -> str:
    """An address on this machine at which nothing listens."""
    with chat(Said()) as server:
        return server.url
