"""The record of a server that was started here: which one is ours, on which ports, and what was loaded into it.

Whether it still runs is its runtime's business: a pid or a container's id alone is never trusted, the record's nonce
stands on the server's own command line.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline.core import errors, spec
from pipeline.edges import files

FORMAT = 1
LOOPBACK = "127.0.0.1"
_LIMIT = 1 << 16


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipeline knows of a model that it loaded and saw answer: the folder it came from, and the digest of the
    whole live config."""

    folder: str | None
    config: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `server.json`. It is written before the server is started, with pid 0 and no container, again
    after, and with each load."""

    format: int = FORMAT
    runtime: str = "embedded"
    nonce: str
    fingerprint: str
    ports: spec.Ports
    address: str = LOOPBACK
    stop_timeout: float
    pid: int = 0
    started: int = 0
    container: str = ""
    key: str = ""
    loaded: dict[str, Loaded] = {}


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A server of ours that runs. `address` is where it is asked, `run` the record's folder.

    `pid` is its process as this machine sees it, 0 where it does not; `started` is in clock ticks since the machine's
    boot. `container` is the id of its container, empty where it has none. `key` opens its model control, where that is
    locked.
    """

    runtime: str = "embedded"
    pid: int
    started: int
    nonce: str
    fingerprint: str
    ports: spec.Ports
    address: str = LOOPBACK
    stop_timeout: float
    run: Path
    container: str = ""
    key: str = ""
    loaded: dict[str, Loaded] = {}

    @property
    def name(self) -> str:
        """The server's id, which its own HTTP interface tells too."""
        return f"pipeline-{self.nonce}"

    @property
    def log(self) -> Path:
        """Where the server writes, or where its last words are kept when it is gone."""
        return self.run / "server.log"


def path(run: Path) -> Path:
    """Where the record lies."""
    return run / "server.json"


def write(run: Path, record: Record) -> None:
    """Writes the record in one step."""
    files.write(path(run), msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n", mode=0o600)


def read(run: Path) -> Record | None:
    """The record, or None where there is none. Raises PipelineError where it is not what the pipeline wrote."""
    data = files.read(path(run), _LIMIT)
    if data is None:
        return None
    try:
        found = msgspec.json.decode(data, type=Record)
        if found.format == FORMAT and found.nonce.isascii() and found.nonce.isalnum() and len(found.nonce) == 32:
            return found
        reason = "another format"
    except msgspec.DecodeError as error:
        reason = str(error)
    msg = f"{path(run)} is damaged: {reason}"
    raise errors.PipelineError(
        msg, hint="Stop the tritonserver that you know to be this project's, then remove the file."
    )


def remove(run: Path) -> None:
    """Removes the record: there is no such server any more."""
    with files.guard("remove", path(run)):
        path(run).unlink(missing_ok=True)


def running(known: Record, run: Path, *, pid: int, started: int, container: str = "") -> Running:
    """The server of a record, as it was found."""
    return Running(
        runtime=known.runtime,
        pid=pid,
        started=started,
        nonce=known.nonce,
        fingerprint=known.fingerprint,
        ports=known.ports,
        address=known.address,
        stop_timeout=known.stop_timeout,
        run=run,
        container=container,
        key=known.key,
        loaded=known.loaded,
    )


def remember(running: Running, loaded: dict[str, Loaded]) -> Running:
    """Writes down what is loaded now, in place of what was. A record that is gone or of another server stays so."""
    known = read(running.run)
    if known is not None and known.nonce == running.nonce:
        write(running.run, msgspec.structs.replace(known, loaded=loaded))
    return msgspec.structs.replace(running, loaded=loaded)


def adopt(running: Running, run: Path) -> Running:
    """Makes a server that was started with a record elsewhere the one whose record lies in `run`."""
    with files.guard("move", running.run):
        if running.log.exists():
            running.log.replace(run / running.log.name)
        path(running.run).replace(path(run))
        files.sync(run)
    return msgspec.structs.replace(running, run=run)
