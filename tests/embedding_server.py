"""A server that speaks the embedding calls of Gemini and of OpenAI, with the faults they have."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


@dataclass
class EmbeddingServer:
    """`faults` are used up one a request: a status, or a word that `_answer` knows."""

    url: str = ""
    dimension: int = 8
    length: float = 3.0
    faults: list[int | str] = field(default_factory=list)
    retry_after: float | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request."""
        return [texts_of(body) for body in self.requests]

    def vector(self, text: str) -> list[float]:
        """The text's own vector, longer than 1, as a truncated one is shorter."""
        seed = int.from_bytes(text.encode()[:6].ljust(6, b"\0"), "big") + len(text)
        made = np.random.default_rng(seed).normal(size=self.dimension)
        return [float(x) for x in self.length * made / np.linalg.norm(made)]


def texts_of(body: dict[str, Any]) -> list[str]:
    """The texts of a request of either protocol."""
    if "requests" in body:
        return ["".join(p["text"] for p in r["content"]["parts"]) for r in body["requests"]]
    if "content" in body:
        return ["".join(p["text"] for p in body["content"]["parts"])]
    given = body["input"]
    return given if isinstance(given, list) else [given]


@contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    """Serves on a free port of this machine."""
    state = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(size))
            state.requests.append(body)
            state.headers.append({k.lower(): v for k, v in self.headers.items()})
            state.paths.append(self.path)
            fault = state.faults.pop(0) if state.faults else None
            if fault == "slow":
                state.stalled.wait(20)
            if isinstance(fault, int):
                self._send(fault, _error(fault, state.retry_after))
            else:
                self._send(200, _answer(state, body, fault, self.path))

        def _send(self, status: int, document: Any) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status != 200 and state.retry_after is not None:
                self.send_header("Retry-After", str(state.retry_after))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        state.stalled.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _error(status: int, retry_after: float | None) -> dict[str, Any]:
    details = []
    if retry_after is not None:
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        details.append({"@type": kind, "retryDelay": f"{retry_after}s"})
    return {"error": {"code": status, "message": "no", "status": "X", "details": details}}


def _answer(state: EmbeddingServer, body: dict[str, Any], fault: Any, path: str) -> dict[str, Any]:
    vectors = [state.vector(text) for text in texts_of(body)]
    if fault == "count":
        vectors = vectors[:-1]
    elif fault == "dimension":
        vectors[0] = vectors[0][:-1]
    elif fault == "nan":
        vectors[0] = [float("nan")] * state.dimension
    elif fault == "zero":
        vectors[0] = [0.0] * state.dimension
    elif fault == "shape":
        return {"data": None, "embeddings": None}
    if path.endswith("/embeddings"):
        rows = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
        rows.reverse()  # the order is in `index`
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "data": rows, "model": body["model"], "usage": usage}
    return {"embeddings": [{"values": v} for v in vectors]}
