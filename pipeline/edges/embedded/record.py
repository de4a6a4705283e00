"""Which process is ours: the record of a server, and what /proc says about it.

A pid alone is never trusted. A process is ours when it is the program we start, has the record's nonce on its command
line, and, where the record knows it, started when the record says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.core import errors, spec
from pipeline.edges import files

FORMAT = 1
_LIMIT = 1 << 16
_PROGRAMS = frozenset({"tritonserver", "triton_python_backend_stub"})


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipeline knows of a model that it loaded and saw answer: the folder it came from, and the digest of the
    whole live config."""

    folder: str | None
    config: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `server.json`. It is written before the server is spawned, with pid 0, again after, and with
    each load."""

    format: int = FORMAT
    nonce: str
    fingerprint: str
    ports: spec.Ports
    stop_timeout: float
    pid: int = 0
    started: int = 0
    loaded: dict[str, Loaded] = {}


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A server of ours that runs. `started` is in clock ticks since the machine's boot, `run` the record's folder."""

    pid: int
    started: int
    nonce: str
    fingerprint: str
    ports: spec.Ports
    stop_timeout: float
    run: Path
    loaded: dict[str, Loaded] = {}

    @property
    def name(self) -> str:
        """The server's id, which its own HTTP interface tells too."""
        return f"pipeline-{self.nonce}"

    @property
    def log(self) -> Path:
        """Where the server writes."""
        return self.run / "server.log"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process as /proc has it."""

    pid: int
    started: int
    argv: tuple[str, ...]


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


def find(run: Path) -> Running | None:
    """The server that runs, or None. A record of a process that is gone, or is another one, gives None."""
    record = read(run)
    if record is None:
        return None
    leader = next(iter(_leaders(record)), None)
    if leader is None:
        return None
    return Running(
        pid=leader.pid,
        started=leader.started,
        nonce=record.nonce,
        fingerprint=record.fingerprint,
        ports=record.ports,
        stop_timeout=record.stop_timeout,
        run=run,
        loaded=record.loaded,
    )


def recorded(run: Path) -> bool:
    """Whether a server was started here and not stopped, running or not."""
    return read(run) is not None


def remember(running: Running, loaded: dict[str, Loaded]) -> Running:
    """Writes down what is loaded now, in place of what was. A record that is gone or of another server stays so."""
    known = read(running.run)
    if known is not None and known.nonce == running.nonce:
        write(running.run, msgspec.structs.replace(known, loaded=loaded))
    return msgspec.structs.replace(running, loaded=loaded)


def processes(running: Running) -> dict[str, dict[str, int]]:
    """How many processes serve each version of each model: Triton's stubs have the version's file in their words."""
    found: dict[str, dict[str, int]] = {}
    for each in family(running.nonce):
        if Path(each.argv[0]).name == "triton_python_backend_stub" and len(each.argv) > 1:
            folder = Path(each.argv[1]).parent
            versions = found.setdefault(folder.parent.name, {})
            versions[folder.name] = versions.get(folder.name, 0) + 1
    return found


def family(nonce: str) -> tuple[Process, ...]:
    """Every living process of a server: itself and its stubs."""
    return tuple(process for process in _all() if _is_ours(process, nonce))


def process(pid: int) -> Process | None:
    """A living process, or None where it is gone or only waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    # The command's name stands in brackets and may itself hold blanks and brackets: what follows the last is fixed.
    fields = state.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    argv = tuple(word.decode("utf-8", "replace") for word in words.split(b"\0")[:-1])
    return Process(pid=pid, started=int(fields[19]), argv=argv)


def _leaders(record: Record) -> Iterator[Process]:
    """The server's process: where the record says, or, where it was written before the spawn only, anywhere."""
    found = [process(record.pid)] if record.pid else _all()
    for each in found:
        if each is None or (record.pid and each.started != record.started):
            continue
        if f"--id=pipeline-{record.nonce}" in each.argv and _is_ours(each, record.nonce):
            yield each


def _is_ours(each: Process, nonce: str) -> bool:
    """Whether it is one of a server's programs. Triton starts a stub by a shell, which is one already: else the stub
    would appear after all others were ended."""
    words = each.argv
    if len(words) == 3 and words[0].endswith("sh") and words[1] == "-c":
        words = tuple(words[2].partition("exec ")[2].split())
    return bool(words) and Path(words[0]).name in _PROGRAMS and any(nonce in word for word in words)


def _all() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        if (found := process(int(folder.name))) is not None:
            yield found
