"""How an embedded server is started: its command line, its environment, and the fingerprint of both.

Nothing is started here, and the files that are read are the backend's own few sources.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import msgspec

from pipeline.core import build, spec
from pipeline.edges import record
from pipeline.edges.embedded import toolkit

_PASSED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""What the server gets of this process's environment: nothing that could be a secret."""

_FIXED = (
    "--model-control-mode=explicit",
    # One bad model must not take the good ones' reasons along: `serve` decides what a failure means.
    "--exit-on-error=false",
    # The configs are whole. Completion would start each model's stub twice, and import torch twice.
    "--disable-auto-complete-config",
    # A model that this release knows by another name than NVIDIA's image has `configs/embedded.pbtxt` too.
    "--model-config-name=embedded",
    f"--http-address={record.LOOPBACK}",
    f"--grpc-address={record.LOOPBACK}",
    f"--metrics-address={record.LOOPBACK}",
    "--allow-sagemaker=false",
    "--allow-vertex-ai=false",
    "--allow-gpu-metrics=false",
    "--pinned-memory-pool-byte-size=0",
)


_MEMORY = {
    # Activations of a batch are megabytes: glibc would map and unmap each (mallopt(3); 32 MiB is its upper limit),
    # and fault every page in again. torch then asks for huge pages. The numbers stay the same.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "THP_MEM_ALLOC_ENABLE": "1",
}


_SHARED = ("--reuse-http-port=true", "--reuse-grpc-port=true")


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A server to start.

    `python` is the interpreter of the torch environment, `backends` the folder that backend directories are made in,
    `stop_timeout` the seconds that a stopping server leaves to requests in flight. A `shared` server lets another of
    the same user listen on its HTTP and gRPC ports, so that `handover` can replace it; not part of the fingerprint.
    `libraries` are the versions of those that run its models' formats, beside torch. `foreign` says that models bring
    files of their own, Python code perhaps: no bytecode may be written beside it.
    """

    repository: Path
    backends: Path
    python: Path
    ports: spec.Ports
    models: tuple[str, ...]
    stop_timeout: float = 30.0
    shared: bool = True
    libraries: dict[str, str] = {}
    foreign: bool = False


def fingerprint(launch: Launch) -> str:
    """The digest of all that only a new server can change; the list of models can change in a running one."""
    return build.digest(
        {
            "repository": str(launch.repository),
            "python": str(launch.python),
            "ports": launch.ports,
            "stop_timeout": launch.stop_timeout,
            "options": _FIXED,
            "memory": _MEMORY,
            "backend": {name: _digest(path) for name, path in toolkit.ours().items()},
            "installed": _installed(launch.python),
            "libraries": launch.libraries,
            **({"foreign": True} if launch.foreign else {}),
        }
    )


def command(launch: Launch, *, server: Path, backends: Path, nonce: str) -> list[str]:
    """The server's command line. The nonce is in it, so that the process can be known again for certain."""
    return [
        str(server),
        f"--id=pipeline-{nonce}",
        f"--model-repository={launch.repository}",
        f"--backend-directory={backends}",
        f"--http-port={launch.ports.http}",
        f"--grpc-port={launch.ports.grpc}",
        f"--metrics-port={launch.ports.metrics}",
        f"--exit-timeout-secs={math.ceil(launch.stop_timeout)}",
        f"--backend-config=python,shm-region-prefix-name=pipeline_{nonce}_",
        *_FIXED,
        *(_SHARED if launch.shared else ()),
        *(f"--load-model={name}" for name in launch.models),
    ]


def environment(programs: Path, libraries: tuple[Path, ...]) -> dict[str, str]:
    """The server's whole environment. Triton's stub takes the Python environment of the first `python3` on PATH: it is
    in `programs`."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return (
        passed
        | _MEMORY
        | {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": ":".join(str(path) for path in libraries),
        }
    )


def _installed(python: Path) -> list[str]:
    """The releases of torch and Triton beside an interpreter, read off the names of their metadata folders."""
    site = python.parent.parent.glob("lib/python3*/site-packages")
    return sorted(
        path.name
        for folder in site
        for name in ("torch", "nvidia_pytriton")
        for path in folder.glob(f"{name}-*.dist-info")
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
