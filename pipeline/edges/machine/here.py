"""The machine itself: its system, driver and GPUs, container toolkit, room, ports, and the environment with torch."""

from __future__ import annotations

import csv
import errno
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from pipeline.core import machine, spec

_WORDS = 200
_SMI = ["--query-gpu=driver_version,name,compute_cap", "--format=csv,noheader"]
_OLDER_SMI = ["--query-gpu=driver_version,name", "--format=csv,noheader"]  # before 510 it knew no compute_cap
_KERNEL = Path("/proc/driver/nvidia/version")
_PYTHON = """
import importlib.metadata, json, os, platform, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or ""
path = os.path.join(sysconfig.get_config_var("LIBDIR") or "", name)
try:
    torch = importlib.metadata.version("torch")
except importlib.metadata.PackageNotFoundError:
    torch = ""
shared = ".so" in name and os.path.exists(path)
print(json.dumps([platform.python_version(), path if shared else "", torch]))
"""


class Silent(Exception):
    """A program did not end in time."""


def system() -> machine.System:
    """The operating system, by os-release. Raises OSError where it has none."""
    facts = platform.freedesktop_os_release()
    return machine.System(
        id=facts.get("ID", ""),
        version=facts.get("VERSION_ID", ""),
        name=facts.get("PRETTY_NAME", ""),
        like=tuple(facts.get("ID_LIKE", "").split()),
        architecture=platform.machine(),
    )


def driver(limit: float) -> machine.Driver:
    """NVIDIA's driver and its GPUs, as `nvidia-smi` tells them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return machine.Driver(state="missing", words=_kernel_module())
    end = time.monotonic() + limit
    try:
        code, text = _run([program, *_SMI], limit)
        if code and "compute_cap" in text:
            code, text = _run([program, *_OLDER_SMI], max(0.1, end - time.monotonic()))
    except Silent:
        return machine.Driver(state="hung")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if len(row) >= 2]
    if code or not rows or not re.match(r"[0-9]+\.", rows[0][0]):
        return machine.Driver(state="failed", words=_line(text) or f"it ended with {code}")
    gpus = tuple(machine.Gpu(name=row[1], capability=_capability(row)) for row in rows)
    return machine.Driver(state="works", version=rows[0][0], gpus=gpus)


def _capability(row: list[str]) -> str | None:
    return row[2] if len(row) > 2 and re.fullmatch(r"[0-9]+\.[0-9]+", row[2]) else None


def _kernel_module() -> str:
    """That a driver is loaded nevertheless, as in a container that got no programs of it."""
    try:
        return _line(_KERNEL.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def toolkit(limit: float) -> str | None:
    """The version of NVIDIA's container toolkit, None where it is not installed. Raises Silent."""
    program = shutil.which("nvidia-ctk")
    if program is None:
        return None
    _, text = _run([program, "--version"], limit)
    found = re.search(r"version ([0-9][\w.+~-]*)", text)
    return found[1] if found else "of unknown version"


def space(folder: Path) -> machine.Space:
    """The room where a folder lies, or would. Raises OSError."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    room = os.statvfs(there)
    return machine.Space(folder=str(folder), free=room.f_bavail * room.f_frsize, size=room.f_blocks * room.f_frsize)


def ports(wanted: spec.Ports, address: str) -> tuple[machine.Port, ...]:
    """Whether the ports can be listened on. Nothing stays bound. Raises OSError for an address that is not here."""
    named = {"http": wanted.http, "grpc": wanted.grpc, "metrics": wanted.metrics}
    return tuple(machine.Port(name=name, number=port, free=_free(address, port)) for name, port in named.items())


def _free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def python(interpreter: Path, limit: float) -> machine.Python:
    """The interpreter's version and shared library, and the torch that it has; torch is not imported. Raises Silent."""
    code, text = _run([str(interpreter), "-I", "-c", _PYTHON], limit)
    if code:
        return machine.Python(program=str(interpreter), words=_line(text))
    version, library, torch = json.loads(text.splitlines()[-1])
    return machine.Python(program=str(interpreter), version=version, library=library, torch=torch)


def _run(words: list[str], limit: float) -> tuple[int, str]:
    """A program's exit code and all that it has said. Raises Silent where it has not ended within `limit` seconds; it
    is killed then with all that it has started, and not waited for: one that hangs in its driver cannot be ended."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        msg = f"{Path(words[0]).name} did not end within {limit:.1f} s"
        raise Silent(msg) from error
    return process.returncode, output.decode("utf-8", "replace")


def _line(text: str) -> str:
    return " ".join(text.split())[:_WORDS]
