"""A machine without a network: what is locked and fetched is built, served and proven; nobody elsewhere is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import project

pytestmark = pytest.mark.real
_PLACE = re.compile(r"sa_family=(AF_INET6?),.*?inet_(?:addr|pton)\((?:AF_INET6?, )?\"([^\"]+)\"")


def elsewhere(trace: str) -> set[str]:
    """The addresses that were called or written to, but for this machine's own."""
    found = {address.removeprefix("::ffff:") for _, address in _PLACE.findall(trace)}
    return {address for address in found if not address.startswith("127.") and address != "::1"}


def test_a_locked_project_asks_nobody(tmp_path: Path) -> None:
    """Row 14: with lock and sources there, an apply exports, serves and verifies real weights, and no process of it
    opens a connection but to this machine; with the store there too, nothing is exported.
    """
    made = project.make(tmp_path / "project", spec=project.minilm())
    made.good("export")
    shutil.rmtree(made.root / ".pipeline/store")
    log = tmp_path / "calls"
    calls = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(log)]
    for wanted in (True, False):
        code, said = traced(made, calls)
        assert code == 0, said
        assert ("exporting minilm" in said) is wanted
        assert elsewhere(log.read_text()) == set()
    assert elsewhere('connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 0')
    assert elsewhere('connect(3, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "2001::1", &x)}, 28)')


def traced(made: project.Project, calls: list[str]) -> tuple[int, str]:
    """The end of an apply whose every process is watched, and all that it said. The server is watched too: it must be
    gone before the watch ends."""
    variables = project.environment({"DOCKER_HOST": "unix:///nowhere"})
    words = [*calls, sys.executable, "-m", "pipeline", "apply"]
    said = made.root.with_name("said")
    with said.open("w") as sink, subprocess.Popen(
        words, cwd=made.root, env=variables, stdout=sink, stderr=subprocess.STDOUT
    ) as watched:  # fmt: skip
        end = time.monotonic() + made.timeout
        try:
            while watched.poll() is None and "is live" not in said.read_text() and time.monotonic() < end:
                time.sleep(0.2)
        finally:
            made.good("down")
            code = watched.wait(60)
    return code, said.read_text()
