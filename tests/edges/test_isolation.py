"""A process that has shut itself in: what it can do no more, what it still can, and what is said where it cannot be."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.edges import isolation

ROOT = Path(__file__).parents[2]
ANOTHER_USER = ["unshare", "--user", "--map-user=4321", "--map-group=4321"]
NOBODY = ["unshare", "--user", "--map-user=4321"]
"""A user whose group has no name where it is: such a one may make no namespaces."""

CODE = """
import json, os, socket, sys
from pathlib import Path
from pipeline.edges import isolation

own, other, acts = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
memory = own / "shm"
memory.mkdir()
open_file = (other / "open").open("w")
exec(sys.argv[4])
left = isolation.enter([own], memory)
told = {}
for act in acts:
    try:
        exec(act)
        told[act] = ""
    except Exception as error:
        told[act] = f"{type(error).__name__}: {error}"
print(json.dumps([left, told]))
"""

UNREACHABLE = "OSError: [Errno 101] Network is unreachable"
READ_ONLY = "OSError: [Errno 30] Read-only file system"
FORBIDDEN = {
    "socket.create_connection(('192.0.2.1', 80), 3)": UNREACHABLE,
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))": UNREACHABLE,
    "socket.create_connection(('127.0.0.1', PORT), 3)": "ConnectionRefusedError",
    "(other / 'new').write_text('')": READ_ONLY,
    "(other / 'file').write_text('')": READ_ONLY,
    "(other / 'file').unlink()": READ_ONLY,
    "(other / 'file').chmod(0o777)": READ_ONLY,
    "os.utime(other / 'file', (0, 0))": READ_ONLY,
    "(other / 'file').rename(other / 'moved')": READ_ONLY,
    "(own / 'linked').hardlink_to(other / 'file')": "OSError: [Errno 18] Invalid cross-device link",
    "(own / 'up').symlink_to(other); (own / 'up/new').write_text('')": READ_ONLY,
    "Path('/proc/self/oom_score_adj').write_text('0')": READ_ONLY,
    "Path('/dev/zero').unlink()": READ_ONLY,
    "open(DISK, 'rb')": "PermissionError",
    "Path(f'/proc/{os.getppid()}/environ').read_bytes()": "PermissionError",
    "assert not os.system('mount -o remount,rw,bind /')": "AssertionError",
    "assert not os.system('unshare --user --map-root-user --mount mount -o remount,rw,bind /')": "AssertionError",
}
ALLOWED = [
    "(own / 'new').write_text('x'); (own / 'new').rename(own / 'more'); (own / 'more').chmod(0o600)",
    "(other / 'file').read_text()",
    "open_file.write('x')",
    "Path('/dev/shm', own.parent.name).write_text('x'); assert Path(memory, own.parent.name).exists()",
    "Path('/dev/null').write_text('x'); Path('/dev/urandom').open('rb').read(1)",
    "import multiprocessing; multiprocessing.Lock()",
    "server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname(), 3)",
    "import subprocess; subprocess.run(['true'], check=True)",
    "import threading; one = threading.Thread(target=int); one.start(); one.join()",
    "assert os.getuid() == UID",
]


def shut_in(root: Path, acts: list[str], *tool: str, before: str = "") -> tuple[tuple[str, ...], dict[str, str]]:
    """What stays open, and what became of the acts, of a process that was shut in with the folder `own`."""
    for name in ("own", "other"):
        (root / name).mkdir(mode=0o777)
        (root / name).chmod(0o777)
    (root / "other/file").write_text("theirs")
    (root / "other/file").chmod(0o666)
    words = [*tool, sys.executable, "-c", CODE, str(root / "own"), str(root / "other"), json.dumps(acts), before]
    ended = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    left, told = json.loads(ended.stdout.splitlines()[-1])
    return tuple(left), told


def disk() -> str:
    """A device of this machine that no program needs."""
    return next(str(path) for path in Path("/dev").iterdir() if path.is_block_device() or path.name == "kmsg")


@pytest.mark.parametrize("tool", [[], ANOTHER_USER], ids=["as we are", "as another user"])
def test_shut_in(tmp_path: Path, tool: list[str]) -> None:
    """Row 18: no network, nothing written outside, no look at its parent, no way back; its own folder stays."""
    user = 4321 if tool else os.getuid()
    with socket.create_server(("127.0.0.1", 0)) as ours:  # what listens here, a shut-in process must not reach
        facts = {"PORT": str(ours.getsockname()[1]), "DISK": repr(disk())}
        names = {act: functools.reduce(lambda text, fact: text.replace(*fact), facts.items(), act) for act in FORBIDDEN}
        allowed = [act.replace("UID", str(user)) for act in ALLOWED]
        left, told = shut_in(tmp_path, [*names.values(), *allowed], *tool)
    assert left == ()
    for act, wanted in FORBIDDEN.items():
        assert told[names[act]].startswith(wanted), (act, told[names[act]])
    assert {act: told[act] for act in allowed} == dict.fromkeys(allowed, "")
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"file", "open"}
    assert (tmp_path / "other/file").read_text() == "theirs"
    assert not Path("/dev/shm", tmp_path.name).exists()


def test_what_cannot_be_forbidden_is_told(tmp_path: Path) -> None:
    """Where the kernel allows no namespaces all stays open, the process is as it was, and both are told."""
    left, told = shut_in(tmp_path, ["(other / 'new').write_text('')", "assert os.getuid() == 4321"], *NOBODY)
    assert left == (isolation.NETWORK, isolation.FILES)
    assert set(told.values()) == {""}


def test_an_old_kernel_forbids_the_network_at_least(tmp_path: Path) -> None:
    """A kernel that cannot make mounts read-only (before 5.12) takes the network all the same; files are told."""
    acts = ["(other / 'new').write_text('')", "socket.create_connection(('192.0.2.1', 80), 3)"]
    left, told = shut_in(tmp_path, acts, before="isolation._MOUNT_SETATTR = 100_000")
    assert left == (isolation.FILES,)
    assert list(told.values()) == ["", UNREACHABLE]
