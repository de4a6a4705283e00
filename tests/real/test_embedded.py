"""The embedded runtime with the real tritonserver: started, changed, stopped, and failing in every way we know of."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline import edges
from pipeline.core import diff, errors, serverlog, spec, state
from pipeline.edges import embedded, family, inference, ports, record, triton
from pipeline.edges.embedded import server
from pipeline.stages import choose, down, observe, serve
from tests.real import modules, repository

pytestmark = pytest.mark.real

SAID: list[str] = []
EMBEDDED = choose.Choice(runtime="embedded", why="the tests say so")


class Place:
    """A project with a repository of tiny models, and what is wanted of its server."""

    def __init__(self, root: Path) -> None:
        self.project = edges.Project(spec=root / "pipeline.yaml")
        self.project.repository.mkdir()
        self.ports = repository.free_ports()
        self.ready_timeout = 60.0
        self.stop_timeout = 10.0
        self.digests: dict[str, str] = {}

    def add(self, name: str, module: str = "Pair", digest: str = "d1", dtype: str = "FP32") -> Path:
        """Writes a model with one version, and gives the path of its file."""
        text = repository.config(
            name, [("x__0", "FP32", [4])], [("y__0", dtype, [4])], parameters={triton.DIGEST: digest}
        )
        repository.write(self.project.repository, name, getattr(modules, module)(), text)
        self.digests[name] = digest
        return self.project.repository / name / "1" / "model.pt"

    def spec(self) -> spec.Spec:
        target = spec.Target(
            image="none", ports=self.ports, ready_timeout=self.ready_timeout, stop_timeout=self.stop_timeout
        )
        tensor = spec.Input(dtype="FP32", shape=("batch", 4))
        model = spec.Model(
            name="",
            max_batch_size=8,
            inputs={"x__0": tensor},
            outputs={"y__0": spec.Output(dtype="FP32", shape=("batch", 4))},
            axes={},
            versions={1: spec.Version(number=1, source=spec.Source(), export=None)},
            version_policy=None,
            golden=spec.Golden(),
            config={},
        )
        return spec.Spec(
            target=target, models={name: msgspec.structs.replace(model, name=name) for name in self.digests}
        )

    def launch(self) -> embedded.Launch:
        made = choose.launch(self.project, self.spec(), EMBEDDED, python=Path(sys.executable))
        assert isinstance(made, embedded.Launch)
        return made

    def wanted(self) -> state.Server:
        models = {name: state.Live(digest=digest, versions=(1,)) for name, digest in sorted(self.digests.items())}
        return state.Server(runtime="embedded", fingerprint=embedded.fingerprint(self.launch()), models=models)

    def changes(self) -> tuple[diff.Change, ...]:
        nothing = state.State(store=frozenset(), models={})
        wanted = msgspec.structs.replace(nothing, server=self.wanted())
        return diff.changes(wanted, msgspec.structs.replace(nothing, server=observe.observe(self.project)))

    def serve(self) -> record.Running:
        serve.serve(self.project, self.spec(), self.wanted(), self.launch(), self.changes(), say=SAID.append)
        return self.running()

    def running(self) -> record.Running:
        found = embedded.find(self.project.run)
        assert found is not None
        return found

    def refused(self) -> errors.PipelineError:
        with pytest.raises(errors.PipelineError) as refused:
            self.serve()
        return refused.value

    def ask(self, name: str, value: float = 1) -> float:
        sent = {"x__0": np.full((1, 4), value, np.float32)}
        return float(inference.infer("http", self.ports.http, name, 1, inputs=sent, outputs=("y__0",))["y__0"][0, 0])

    def nothing_left(self) -> bool:
        """Neither record nor process nor shared memory nor a listening port of a server is there."""
        gone = embedded.find(self.project.run) is None and not record.path(self.project.run).exists()
        ours = [line for line in _commands() if str(self.project.root) in line]
        regions = [path for path in Path("/dev/shm").glob("pipeline_*") if any(n in path.name for n in self.nonces)]
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", self.ports.http))
        return gone and not ours and not regions

    nonces: list[str] = []


def _commands() -> list[str]:
    return [" ".join(process.argv) for process in family._all() if "triton" in " ".join(process.argv[:1])]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A project without models; its server is ended at the end."""
    found = Place(tmp_path)
    try:
        yield found
    finally:
        embedded.tidy(found.project.run)


def test_serve_starts_once_and_down_ends_it(place: Place) -> None:
    """A first serve starts, a second does nothing, what is observed is what was wanted, and down leaves nothing."""
    place.add("one")
    place.add("two", "Rows")
    assert observe.observe(place.project) is None
    first = place.serve()
    place.nonces.append(first.nonce)
    assert place.ask("one") == 2
    assert place.serve().pid == first.pid
    assert place.changes() == ()
    assert down.down(place.project, say=SAID.append)
    assert place.nothing_left()
    assert not down.down(place.project, say=SAID.append)


def test_nothing_listens_off_loopback(place: Place) -> None:
    """Every socket of the server and its stubs listens on 127.0.0.1 only (row 61)."""
    place.add("one")
    running = place.serve()
    inodes = set()
    for process in family.members(running.nonce):
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]]
    listening = {
        (row[1].split(":")[0], int(row[1].split(":")[1], 16)) for row in rows if row[3] == "0A" and row[9] in inodes
    }
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert {address for address, _ in listening} <= loopback
    assert {port for _, port in listening} == {place.ports.http, place.ports.grpc, place.ports.metrics}


def test_models_change_in_the_running_server(place: Place) -> None:
    """A changed, an added and a removed model are loaded and unloaded live: the process stays."""
    place.add("kept")
    place.add("changed")
    place.add("removed")
    first = place.serve()
    place.add("changed", "Rows", digest="d2")
    place.add("added")
    del place.digests["removed"]
    assert place.serve().pid == first.pid
    assert place.changes() == ()
    assert place.ask("changed", 5) == 1


def test_a_load_that_changes_nothing_is_seen(place: Place) -> None:
    """Triton answers 200 to a load of an unchanged folder: the digest that is read back tells (row 38)."""
    place.add("one")
    first = place.serve()
    place.digests["one"] = "d2"
    refused = place.refused()
    assert refused.findings[0].rule == "stale-model"
    assert "d1" in refused.message
    assert "d2" in refused.message
    assert place.running() == first


def test_a_failed_load_keeps_the_old_model_serving(place: Place) -> None:
    """A broken new file is refused with model and reason, and the old model goes on answering."""
    file = place.add("one")
    first = place.serve()
    place.add("one", digest="d2")
    file.write_bytes(b"broken")
    refused = place.refused()
    assert refused.findings[0].model == "one"
    assert "failed to load model 'one'" in refused.message
    assert place.running() == first
    assert place.ask("one") == 2


def test_another_port_needs_another_server(place: Place) -> None:
    """What only a new server can change replaces the old one."""
    place.add("one")
    first = place.serve()
    place.ports = repository.free_ports()
    second = place.serve()
    assert second.nonce != first.nonce
    assert not embedded.alive(first)
    assert place.ask("one") == 2


def test_a_bad_model_among_good_ones(place: Place) -> None:
    """A corrupt file stops the start with the model, the version and Triton's reason, and leaves nothing."""
    place.add("good")
    place.add("bad").write_bytes(b"no TorchScript at all")
    refused = place.refused()
    assert {(finding.model, finding.version) for finding in refused.findings} == {("bad", 1)}
    assert "Triton does not serve bad version 1: Internal: failed to load model 'bad'" in refused.message
    assert "At:" not in refused.message
    assert place.nothing_left()


def test_a_config_that_triton_cannot_read(place: Place) -> None:
    """A damaged config.pbtxt is named with its model."""
    place.add("bad")
    (place.project.repository / "bad" / "config.pbtxt").write_text("name: [")
    refused = place.refused()
    assert refused.findings[0].model == "bad"
    assert refused.findings[-1].message
    assert place.nothing_left()


def test_a_model_that_loads_and_does_not_answer(place: Place) -> None:
    """READY is not believed: the first real question shows that the output's type is wrong."""
    place.add("odd", dtype="FP64")
    refused = place.refused()
    assert [(finding.rule, finding.model, finding.version) for finding in refused.findings] == [
        ("model-does-not-answer", "odd", 1)
    ]
    assert "configuration expects datatype TYPE_FP64 for output 'y__0', model provides TYPE_FP32" in refused.message
    assert place.nothing_left()


def test_a_server_that_ends_at_its_start(place: Place) -> None:
    """A server that cannot even read its repository says why out of its own log, and leaves nothing."""
    place.add("one")
    launch = msgspec.structs.replace(place.launch(), repository=place.project.root / "nowhere")
    with pytest.raises(errors.PipelineError, match=r"Triton listens and is not live: .*nowhere"):
        serve.serve(place.project, place.spec(), place.wanted(), launch, place.changes(), say=SAID.append)
    assert place.nothing_left()


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_gives_up_is_started_once_more(place: Place, times: int) -> None:
    """A machine too busy for Triton's processes ends it: that is told, and tried again, once."""
    file = place.add("slow")
    good = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    words = "terminate called after throwing an instance of 'boost::interprocess::lock_exception'\n"

    def give_up() -> None:
        killed: set[int] = set()
        while len(killed) < times:
            found = embedded.find(place.project.run)
            up = len([line for line in SAID if line.startswith("started Triton")]) > len(killed)
            if up and found and found.pid not in killed and serverlog.loading(embedded.log(found)):
                killed.add(found.pid)
                if times == 1:
                    file.unlink()
                    file.write_bytes(good)
                with found.log.open("a") as log:
                    log.write(words)
                os.kill(found.pid, signal.SIGKILL)
            time.sleep(0.05)

    SAID.clear()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        ended = pool.submit(give_up)
        if times == 1:
            place.serve()
            assert place.ask("slow") == 2
        else:
            assert "this machine is too busy for them" in place.refused().message
            assert place.nothing_left()
        ended.result()
    assert len([line for line in SAID if "starting it once more" in line]) == 1


def test_a_server_that_never_gets_ready(place: Place) -> None:
    """A load that hangs ends at ready_timeout, and the wedged server is killed with its stubs."""
    file = place.add("stuck")
    file.unlink()
    os.mkfifo(file)
    place.ready_timeout = 3
    before = time.monotonic()
    refused = place.refused()
    assert time.monotonic() - before < 10
    assert "not ready within 3 s (target.ready_timeout)" in refused.message
    assert [(each.model, each.version) for each in refused.findings] == [("stuck", 1)]
    assert place.nothing_left()


def test_a_port_in_use_is_named_with_its_holder(place: Place) -> None:
    """The port, and the process that holds it, are told before anything is started (row 50)."""
    place.add("one")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.ports.grpc))
        taken.listen()
        refused = place.refused()
    assert f"the grpc port {place.ports.grpc} is in use by pid {os.getpid()}" in refused.message
    assert refused.exit_code == 1
    assert place.nothing_left()


@pytest.mark.parametrize("name", ["http", "grpc", "metrics"])
def test_a_port_taken_between_the_check_and_the_start(place: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken at the last moment is told out of Triton's log, and nothing is left (row 50)."""
    place.add("one")
    monkeypatch.setattr(ports, "check", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", getattr(place.ports, name)))
        taken.listen()
        refused = place.refused()
    assert f"Socket '127.0.0.1:{getattr(place.ports, name)}' already in use" in refused.message
    assert place.nothing_left()


def test_a_server_apart_has_ports_of_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What models are proven in shares no port, and starts on others where somebody was quicker (row 50)."""
    place.add("one")
    with socket.socket() as quicker:
        quicker.bind(("127.0.0.1", 0))
        quicker.listen()
        taken = msgspec.structs.replace(place.ports, grpc=quicker.getsockname()[1])
        chosen = iter([taken, repository.free_ports()])
        monkeypatch.setattr(ports, "free", lambda: next(chosen))
        apart = serve.candidate(place.project.run, place.spec(), place.wanted().models, place.launch(), say=SAID.append)
        with apart as running:
            assert running.ports.grpc != taken.grpc
            assert b"--reuse" not in Path(f"/proc/{running.pid}/cmdline").read_bytes()
    assert list(chosen) == []


def test_a_foreign_triton_is_never_taken_for_ours(place: Place, tmp_path: Path) -> None:
    """A Triton of someone else on our port is neither used nor stopped (row 51)."""
    place.add("one")
    foreign = embedded.start(place.launch(), run=tmp_path / "elsewhere", say=SAID.append)
    try:
        client = triton.Client(port=place.ports.http)
        while not client.live():
            time.sleep(0.05)
        assert "(tritonserver)" in place.refused().message
        stolen = record.read(tmp_path / "elsewhere")
        assert stolen is not None
        # A record that names the foreign process, with a nonce that is not its own: pid and start time fit.
        record.write(place.project.run, msgspec.structs.replace(stolen, nonce="0" * 32))
        assert embedded.find(place.project.run) is None
        ours = msgspec.structs.replace(foreign, nonce="0" * 32)
        with pytest.raises(errors.PipelineError, match="is not this project's"):
            client.expect(ours.name)
        embedded.tidy(place.project.run)
        assert embedded.alive(foreign)
    finally:
        embedded.kill(foreign)


def test_a_server_whose_record_was_not_finished_is_found(place: Place) -> None:
    """A crash between spawn and record leaves a record without a pid: the nonce finds the server."""
    place.add("one")
    running = place.serve()
    written = record.read(place.project.run)
    assert written is not None
    record.write(place.project.run, msgspec.structs.replace(written, pid=0, started=0))
    assert place.running() == running
    assert place.serve() == running


def test_requests_in_flight_are_answered_at_down(place: Place) -> None:
    """Down drains: the question that runs is answered, and a new one is refused (row 59)."""
    place.add("slow", "Slow")
    place.stop_timeout = 30
    place.serve()
    took = []
    for _ in range(4):  # the first is compiled, and any may have waited for the machine
        before = time.monotonic()
        place.ask("slow", 40)
        took.append(time.monotonic() - before)
    rounds = int(40 * 4 / min(took))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(place.ask, "slow", rounds)
        time.sleep(0.5)
        assert not answer.done()
        down.down(place.project, say=SAID.append)
        assert answer.result() == rounds
    with pytest.raises(errors.PipelineError):
        place.ask("slow")
    assert place.nothing_left()


def test_a_server_that_does_not_end_is_killed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM without effect is followed by KILL, and the shared memory is swept, ours only (row 58)."""
    place.add("one")
    place.stop_timeout = 1
    running = place.serve()
    place.nonces.append(running.nonce)
    other = Path("/dev/shm/pipeline_test_of_someone_else")
    other.touch()
    try:
        monkeypatch.setattr(server, "_SLACK", 0.5)
        os.kill(running.pid, signal.SIGSTOP)
        assert list(Path("/dev/shm").glob(f"pipeline_{running.nonce}*"))
        assert down.down(place.project, say=SAID.append)
        assert other.exists()
    finally:
        other.unlink()
    assert place.nothing_left()


def test_a_dead_stub_does_not_keep_the_server_from_ending(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton waits for a stub that is dead when it drains: down ends in its time all the same (row 58)."""
    place.add("one")
    place.stop_timeout = 2
    monkeypatch.setattr(server, "_SLACK", 1)
    running = place.serve()
    place.nonces.append(running.nonce)
    for stub in family.members(running.nonce):
        if stub.pid != running.pid:
            os.kill(stub.pid, signal.SIGKILL)
    with pytest.raises(errors.PipelineError):
        place.ask("one")
    began = time.monotonic()
    assert down.down(place.project, say=SAID.append)
    assert time.monotonic() - began < 10
    assert place.nothing_left()


def test_a_killed_server_is_seen_and_replaced(place: Place) -> None:
    """After a kill nothing is observed, and the next serve clears what is left and starts anew."""
    place.add("one")
    first = place.serve()
    place.nonces.append(first.nonce)
    os.kill(first.pid, signal.SIGKILL)
    while embedded.alive(first):
        time.sleep(0.02)
    assert observe.observe(place.project) is None
    second = place.serve()
    assert second.nonce != first.nonce
    assert not list(Path("/dev/shm").glob(f"pipeline_{first.nonce}*"))


PROGRAM = """
import sys
from pathlib import Path
import msgspec
from pipeline import edges
from pipeline.core import diff, spec, state
from pipeline.edges import embedded
from pipeline.stages import choose, serve
root = Path(sys.argv[1])
declared = msgspec.json.decode(sys.argv[2], type=spec.Spec)
project = edges.Project(spec=root / "pipeline.yaml")
where = choose.Choice(runtime="embedded", why="")
launch = choose.launch(project, declared, where, python=Path(sys.executable))
models = {name: state.Live(digest="d1", versions=(1,)) for name in declared.models}
wanted = state.Server(runtime="embedded", fingerprint=embedded.fingerprint(launch), models=models)
changes = (diff.Change(kind=diff.Kind.SERVER, act=diff.Act.ADD, subject="embedded"),)
serve.serve(project, declared, wanted, launch, changes, say=lambda line: print(line, flush=True))
"""


def _command(place: Place, secret: str = "") -> subprocess.Popen[str]:
    """The stage in a process of its own, as the command line has it."""
    words = [sys.executable, "-c", PROGRAM, str(place.project.root), msgspec.json.encode(place.spec()).decode()]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "SECRET_TOKEN": secret}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_the_server_outlives_the_command_and_knows_no_secret(place: Place) -> None:
    """Row 63: the command ends, the server stays; nothing of the command's environment but a few names is in it."""
    place.add("one")
    with _command(place, "tok-4711") as child:
        said, wrong = child.communicate(timeout=60)
    assert child.returncode == 0, wrong
    assert "every version answers: one 1" in said
    running = place.running()
    assert place.ask("one") == 2
    for process in family.members(running.nonce):
        assert "tok-4711" not in Path(f"/proc/{process.pid}/environ").read_text()
        assert os.getsid(process.pid) != os.getsid(0)
    assert "tok-4711" not in record.path(place.project.run).read_text()


def test_ctrl_c_while_starting_removes_everything(place: Place) -> None:
    """An interrupted start leaves no server behind."""
    file = place.add("stuck")
    file.unlink()
    os.mkfifo(file)
    with _command(place) as child:
        assert child.stdout is not None
        assert "started Triton" in child.stdout.readline()
        time.sleep(1.5)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)
    assert child.returncode != 0
    assert place.nothing_left()
