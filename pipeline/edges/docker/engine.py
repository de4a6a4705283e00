"""The connection to a Docker engine, and what its refusals mean.

Every answer is waited for so many seconds and no longer, also where the SDK by itself would wait for ever. What cannot
be done because of the engine is Unfit; what it refuses in words has its translation, with what mends it, in REFUSALS.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import urlsplit

import msgspec

from pipeline.core import errors

TIMEOUT = 20.0
_WORDS = 400
_INSTALL = (
    "Install Docker's engine (https://docs.docker.com/engine/install/) and start it: sudo systemctl start docker. For "
    "an engine elsewhere set DOCKER_HOST. Without one use `target.runtime: embedded`."
)
_MEMBER = (
    'Let this user in with `sudo usermod -aG docker "$USER"` and log in anew (that group has root\'s rights), or use '
    "rootless Docker."
)
_TOOLKIT = (
    "Install NVIDIA's container toolkit "
    "(https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html), then: "
    "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker. Without GPUs set "
    "`target.gpus: none`."
)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says, as a pattern, and how that is told. The named groups of the pattern fill `message`."""

    pattern: str
    message: str
    hint: str
    unfit: bool = False


REFUSALS = (
    Refusal(
        pattern=r"could not select device driver|[Uu]nknown (?:or invalid )?runtime (?:name|specified)",
        message="the Docker engine cannot give GPUs to containers: NVIDIA's container toolkit is missing",
        hint=_TOOLKIT,
        unfit=True,
    ),
    Refusal(
        pattern=r"unsatisfied condition: (?P<need>cuda ?>= ?[0-9.]+)",
        message="the NVIDIA driver is too old for this image, which needs {need}",
        hint="Update the driver, or take an older release of the image.",
        unfit=True,
    ),
    Refusal(
        pattern=r"nvidia-container-cli: device error: (?P<id>[^:]+): unknown device",
        message="there is no GPU {id}",
        hint="`nvidia-smi -L` lists the GPUs; name some of these under target.gpus.",
        unfit=True,
    ),
    Refusal(
        pattern=r"nvidia-container-cli: (?:initialization|ldcache|mount) error: (?P<why>[^\n]+)",
        message="the NVIDIA driver of this machine does not work in containers: {why}",
        hint="`nvidia-smi` must work on the machine itself; then restart Docker.",
        unfit=True,
    ),
    Refusal(
        pattern=r"(?:listen tcp4? |Bind for )(?P<address>[0-9.]+):(?P<port>[0-9]+)[: ].*(?:in use|already allocated)",
        message="the port {port} on {address} is in use",
        hint="Stop what holds it (`ss -ltnp` tells), or choose another under target.ports.",
    ),
    Refusal(
        pattern=r"listen tcp4? (?P<address>[0-9.]+):[0-9]+.*cannot assign requested address",
        message="{address} is no address of this machine",
        hint="Set target.container.address to one that is, such as 127.0.0.1.",
    ),
    Refusal(
        pattern=r"[Nn]o such image: ?(?P<image>\S*)",
        message="the image {image} is not here",
        hint="Pull it with `docker pull`, or name another under target.image.",
        unfit=True,
    ),
    Refusal(
        pattern=r"The container name \"?/?(?P<name>[^\" ]+)\"? is already in use",
        message="a container with the name {name} is there, and not this project's",
        hint="See whose it is with `docker inspect {name}`; rename or remove it.",
    ),
    Refusal(
        pattern=r"bind source path does not exist: (?P<path>.*)",
        message="the engine does not see the folder {path}",
        hint="The engine must run on this very machine, or have the same folder there.",
        unfit=True,
    ),
    Refusal(
        pattern=r"exec: \\?\"?(?P<program>[^\\\": ]+)\\?\"?: executable file not found",
        message="the image has no {program}",
        hint="Name an image of Triton under target.image.",
        unfit=True,
    ),
    Refusal(
        pattern=r"exec (?P<program>\S+) failed: No such file or directory",  # the words of `init: true`'s first process
        message="the image has no program {program}",
        hint="Name an image of Triton under target.image.",
        unfit=True,
    ),
    Refusal(
        pattern=r"error setting rlimit",
        message="the engine may not set the limits of a process so high",
        hint="Its own hard limits (`ulimit -H -a`) hold where it has no CAP_SYS_RESOURCE, as in a container: lower "
        "memlock and stack under target.container.ulimits.",
        unfit=True,
    ),
    Refusal(
        pattern=r"no space left on device",
        message="the engine's disk is full",
        hint="See what takes it with `docker system df`.",
        unfit=True,
    ),
)


class Engine:
    """A connection to an engine. `api` is the SDK's low-level client, `address` where the engine is, for messages."""

    def __init__(self, api: Any, address: str) -> None:  # noqa: ANN401 - the SDK has no types
        self.api = api
        self.address = address

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()

    def close(self) -> None:
        """Closes the connection."""
        self.api.close()


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is: its version, its machine's architecture as Docker names it, and its container runtimes."""

    version: str
    os: str
    architecture: str
    runtimes: tuple[str, ...]
    default_runtime: str


def connect(*, timeout: float = TIMEOUT) -> Engine:
    """The engine that DOCKER_HOST names, or the one that `docker` itself would use.

    Raises Unfit where there is none, where this user may not use it, where it does not answer within `timeout`
    seconds, or where what answers is no Docker engine.
    """
    address = shown(os.environ.get("DOCKER_HOST", "")) or "unix:///var/run/docker.sock"
    with translated("reach the engine", address, timeout):
        place = _place()
        address = shown(str(place.get("base_url", address)))
    with translated("reach the engine", address, timeout):
        return Engine(_client(place, timeout), address)


def facts(engine: Engine) -> Facts:
    """What the engine says of itself. Raises Unfit."""
    with asking(engine, "describe itself"):
        known, more = engine.api.version(), engine.api.info()
        return Facts(
            version=str(known["Version"]),
            os=str(known["Os"]),
            architecture=str(known["Arch"]),
            runtimes=tuple(sorted(more.get("Runtimes") or {})),
            default_runtime=str(more.get("DefaultRuntime", "")),
        )


@contextlib.contextmanager
def asking(engine: Engine, act: str) -> Iterator[None]:
    """Translates what goes wrong in the block, in which the engine was asked to `act`."""
    with translated(act, engine.address, engine.api.timeout):
        yield


@contextlib.contextmanager
def translated(act: str, address: str, timeout: float) -> Iterator[None]:
    """Every error of the SDK in the block as one of ours: a refusal in words, or an engine that does not answer."""
    try:
        # By name: a folder called docker beside the program would be taken for the package itself.
        from docker.errors import APIError, DockerException  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415
    except ImportError as error:
        msg = "the Docker SDK for Python is missing"
        raise errors.Unfit(msg, hint="Install requirements/core.txt.") from error
    try:
        yield
    except APIError as error:
        raise refusal(act, str(error.explanation or error)) from error
    except (DockerException, RequestException, HTTPError, OSError, ValueError, KeyError, TypeError) as error:
        _unanswered(error, address, timeout)


def refusal(act: str, words: str) -> errors.PipelineError:
    """What the engine says, as our error with what to do."""
    known = recognized(words)
    if known is not None:
        return known
    msg = f"the Docker engine would not {act}: {clean(words)}"
    return errors.PipelineError(msg, hint="Its own log says more: `journalctl -u docker`.")


def recognized(words: str) -> errors.PipelineError | None:
    """The error of words that are known, None for others."""
    for known in REFUSALS:
        if found := re.search(known.pattern, words):
            parts = {name: clean(text) for name, text in found.groupdict().items()}
            kind = errors.Unfit if known.unfit else errors.PipelineError
            return kind(known.message.format(**parts), hint=known.hint.format(**parts), details=[clean(words)])
    return None


def clean(text: str) -> str:
    """Words of the engine on one line, not too many, without control characters."""
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)[:_WORDS]


def shown(address: str) -> str:
    """An engine's address without user names and passwords."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else address


def _place() -> dict[str, Any]:
    """Where the engine is, as the SDK wants it: the environment says, else the context that `docker` itself uses."""
    from docker.context import ContextAPI  # noqa: PLC0415 - a command without containers does not pay for it
    from docker.utils import kwargs_from_env  # noqa: PLC0415

    found: dict[str, Any] = kwargs_from_env()
    return found if "base_url" in found else ContextAPI.kwargs_from_context(environment=os.environ) | found


def _client(place: dict[str, Any], timeout: float) -> Any:  # noqa: ANN401 - the SDK has no types
    from docker.api import APIClient  # noqa: PLC0415

    class Bounded(APIClient):  # type: ignore[misc]
        """Has no call without a limit: pulls and builds, too, must say something within it."""

        def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
            if kwargs.get("timeout") is None:
                kwargs["timeout"] = self.timeout
            return kwargs

    return Bounded(version="auto", timeout=timeout, **place)


def _unanswered(error: BaseException, address: str, timeout: float) -> NoReturn:
    """Raises Unfit for an engine that is not there, not ours to use, or not answering as one."""
    chain = list(_causes(error))
    words = " ".join(str(each) for each in chain)

    def came(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if came(PermissionError) or "Permission denied" in words:
        msg, hint = f"this user may not use the Docker engine at {address}", _MEMBER
    elif came(FileNotFoundError, ConnectionRefusedError, socket.gaierror) or "Failed to establish" in words:
        msg, hint = f"no Docker engine answers at {address}", _INSTALL
    elif came(TimeoutError) or "timed out" in words:
        msg = f"the Docker engine at {address} did not answer within {timeout:g} s"
        hint = "Restart it: sudo systemctl restart docker. Containers of this project are found again by their labels."
    elif came(ConnectionError, http.client.IncompleteRead):
        msg = f"the Docker engine at {address} broke off"
        hint = "See whether it was restarted (`journalctl -u docker`), then run this again."
    else:
        said = "" if "@" in str(error) else f": {clean(str(error))}"  # an address may have a password in it
        msg = f"what answers at {address} is no Docker engine{said}"
        hint = "Set DOCKER_HOST to the engine's address, such as unix:///var/run/docker.sock."
    raise errors.Unfit(msg, hint=hint) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error with all that it came from, also where libraries keep that in their arguments."""
    left: list[object] = [error]
    seen: set[int] = set()
    while left:
        each = left.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            left += [each.__cause__, each.__context__, *each.args, getattr(each, "reason", None)]
