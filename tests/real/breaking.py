"""A Docker engine that breaks off in the middle: a forwarder before the real one, gone after a call that is awaited."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path


class Forwarder:
    """Takes connections on a socket of its own and passes everything on, until `word` was passed: then it is gone."""

    def __init__(self, path: Path, engine: str, word: bytes) -> None:
        self.address, self._engine, self._word = f"unix://{path}", engine, word
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._path = path
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        """Nobody listens any more, and every connection is cut."""
        self._ended.set()
        self._path.unlink(missing_ok=True)
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                ours, _ = self._listener.accept()
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(self._engine)
                self._open += [ours, theirs]
                threading.Thread(target=self._pass, args=(ours, theirs, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(theirs, ours, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, watched: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                if watched and self._word in data:
                    self.end()


@contextlib.contextmanager
def breaking(path: Path, engine: str, word: bytes) -> Iterator[Forwarder]:
    """The forwarder, gone at the latest at the end."""
    made = Forwarder(path, engine.removeprefix("unix://"), word)
    try:
        yield made
    finally:
        made.end()
