"""Small data sets in IDX files, written without the reader under test, and a mirror of them."""

import gzip
import hashlib
import http.server
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def idx_bytes(values: np.ndarray) -> bytes:
    """The IDX file of an array of bytes, written down independently of the reader."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def small_files(seed: int = 0, n_train: int = 20, n_test: int = 10) -> dict[str, bytes]:
    """The four files of a small data set shaped as MNIST is."""
    rng = np.random.default_rng(seed)
    files = {}
    for split, n in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(0, 256, (n, 28, 28))
        files[f"{split}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{split}-labels-idx1-ubyte"] = idx_bytes(np.arange(n) % 10)
    return files


def write_files(raw: Path, files: dict[str, bytes]) -> Path:
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return raw


class Mirror:
    """A web server on this machine; `alter` changes what it sends for a path."""

    def __init__(self) -> None:
        self.files = {f"{k}.gz": gzip.compress(v, mtime=0) for k, v in small_files().items()}
        self.md5 = {
            name.removesuffix(".gz"): hashlib.md5(content).hexdigest()
            for name, content in self.files.items()
        }
        self.requested: list[str] = []
        self.alter: Callable[[str, bytes], bytes | None] = lambda name, content: content
        self.announce_more = 0  # bytes promised by Content-Length that never come
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.respond(send_body=False)

            def do_GET(self) -> None:
                self.respond(send_body=True)

            def respond(self, send_body: bool) -> None:
                name = self.path.rsplit("/", 1)[-1]
                if send_body:
                    mirror.requested.append(self.path)
                content = mirror.alter(name, mirror.files[name])
                if content is None or self.path.startswith("/dead/"):
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + mirror.announce_more))
                self.end_headers()
                if send_body:
                    self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        host, port = self.server.server_address[:2]
        self.address = f"http://{host}:{port}"
