"""Triton's management interface over HTTP: identity, health, configs, the model repository.

The one inference in here is the health check: whether a version answers at all. What it answers is for `inference`.

Only `http.client` is used, and it is imported when a call is made: a command that asks no server pays nothing.
The paths are those of Triton's HTTP/REST protocol (KServe v2 with Triton's extensions).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec

from pipeline.core import container, errors
from pipeline.edges import record

LOOPBACK = "127.0.0.1"
DIGEST = "pipeline_digest"
"""The config parameter that names the digest of the model that is live."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers: the server's id (`--id`) and its version, such as 2.51.0."""

    name: str
    version: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor to ask with: Triton's data type without TYPE_, and the whole shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A model version as the repository index has it. `state` is READY, LOADING, UNLOADING or UNAVAILABLE."""

    name: str
    version: int | None
    state: str
    reason: str


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A Triton, by default on the loopback address. Each call has a connection of its own and ends within its timeout.

    Every method raises PipelineError where the server cannot be reached, does not answer in time, or refuses.
    """

    port: int
    timeout: float = 10.0
    address: str = LOOPBACK
    source: str | None = None
    """The address to ask from, where it matters which of two servers on a port answers."""
    key: str = ""
    """What opens the server's model control, where that is locked."""

    @property
    def place(self) -> str:
        """The server's address as people write it."""
        return f"{self.address}:{self.port}"

    def identity(self) -> Identity:
        """The server's name and version."""
        found = self._json("GET", "/v2")
        if not isinstance(found, dict) or not isinstance(found.get("name"), str):
            self._no_triton()
        return Identity(name=found["name"], version=str(found.get("version", "")))

    def expect(self, name: str) -> None:
        """Raises PipelineError where another server than the one of this name (`--id`) answers."""
        found = self.identity()
        if found.name != name:
            msg = f"the Triton that answers on {self.place} is not this project's: its id is {printable(found.name)}"
            raise errors.PipelineError(msg, hint="Stop it, or choose other ports under target.ports.")

    def live(self) -> bool:
        """Whether the server answers at all; False too where nothing listens."""
        return self._ok("/v2/health/live")

    def ready(self) -> bool:
        """Triton's own readiness: False while any model loads, and after one failed load for good."""
        return self._ok("/v2/health/ready")

    def model_ready(self, model: str, version: int) -> bool:
        """Whether Triton says that the version is READY. Only an inference proves that it answers."""
        return self._ok(f"/v2/models/{_quote(model)}/versions/{version}/ready")

    def index(self) -> tuple[Status, ...]:
        """Every model version that the server knows, with its state and the reason it gives."""
        found = self._json("POST", "/v2/repository/index", b"{}")
        if not isinstance(found, list):
            self._no_triton()
        return tuple(
            Status(
                name=str(item.get("name", "")),
                version=_number(item.get("version")),
                state=str(item.get("state", "")),
                reason=str(item.get("reason", "")),
            )
            for item in found
        )

    def ready_versions(self) -> dict[str, tuple[int, ...]]:
        """The READY versions of every model that has one, both ascending."""
        found: dict[str, list[int]] = {}
        for each in self.index():
            if each.state == "READY" and each.version is not None:
                found.setdefault(each.name, []).append(each.version)
        return {name: tuple(sorted(versions)) for name, versions in sorted(found.items())}

    def config(self, model: str) -> dict[str, Any]:
        """The config that is live, with what Triton filled in."""
        return self._object(f"/v2/models/{_quote(model)}/config")

    def configs(self, models: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The live configs of many models, asked over one connection."""
        import http.client  # noqa: PLC0415

        kept = http.client.HTTPConnection(self.address, self.port, timeout=self.timeout)
        found: dict[str, dict[str, Any]] = {}
        try:
            for model in models:
                path = f"/v2/models/{_quote(model)}/config"
                kept.request("GET", path)
                answer = kept.getresponse()
                status, data = answer.status, answer.read()
                if status != 200:
                    self._refused(status, path, data)
                found[model] = msgspec.json.decode(data, type=dict[str, Any])
        except (OSError, http.client.HTTPException, msgspec.DecodeError):
            # Whatever it was, the single question says it in the right words.
            return {model: self.config(model) for model in models}
        finally:
            kept.close()
        return found

    def digest(self, model: str) -> str | None:
        """The digest parameter of the live config: the proof of what is loaded."""
        return digest_of(self.config(model))

    def metadata(self, model: str, version: int) -> dict[str, Any]:
        """The version's tensors: names, data types and shapes."""
        return self._object(f"/v2/models/{_quote(model)}/versions/{version}")

    def statistics(self, model: str) -> dict[str, Any]:
        """The counts and times of a model's versions."""
        return self._object(f"/v2/models/{_quote(model)}/stats")

    def answers(self, model: str, version: int, tensors: Iterable[Question]) -> None:
        """Asks a version one real question, all ones, and throws the answer away: that is what health means.

        Raises PipelineError with the server's own words where it does not answer.
        """
        asked = tuple(tensors)
        parts = [_ones(tensor) for tensor in asked]
        inputs = [
            {
                "name": t.name,
                "datatype": "BYTES" if t.dtype == "STRING" else t.dtype,
                "shape": t.shape,
                "parameters": {"binary_data_size": len(part)},
            }
            for t, part in zip(asked, parts, strict=True)
        ]
        head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
        path = f"/v2/models/{_quote(model)}/versions/{version}/infer"
        headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
        status, data = self._call("POST", path, b"".join((head, *parts)), self.timeout, headers)
        if status != 200:
            self._refused(status, path, data)

    def load(self, model: str, *, timeout: float) -> None:
        """Loads a model, or loads it again; returns when Triton has, within `timeout` seconds."""
        self._json("POST", f"/v2/repository/models/{_quote(model)}/load", b"{}", timeout=timeout)

    def unload(self, model: str, *, timeout: float) -> None:
        """Unloads a model and what only it needs. Triton answers before the last request in flight is done."""
        body = b'{"parameters":{"unload_dependents":false}}'
        self._json("POST", f"/v2/repository/models/{_quote(model)}/unload", body, timeout=timeout)

    def _ok(self, path: str) -> bool:
        try:
            status, _ = self._call("GET", path, None, self.timeout)
        except errors.PipelineError:
            return False
        return status == 200

    def _object(self, path: str) -> dict[str, Any]:
        found = self._json("GET", path)
        if not isinstance(found, dict):
            self._no_triton()
        return found

    def _json(self, method: str, path: str, body: bytes | None = None, *, timeout: float | None = None) -> Any:  # noqa: ANN401 - any JSON
        """The decoded answer. A refusal becomes a PipelineError with Triton's own words."""
        status, data = self._call(method, path, body, timeout or self.timeout)
        try:
            found = msgspec.json.decode(data) if data.strip() else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._no_triton()
        if status == 200:
            return found
        return self._refused(status, path, data)

    def _refused(self, status: int, path: str, data: bytes) -> NoReturn:
        try:
            said = msgspec.json.decode(data, type=dict[str, object]).get("error")
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = None
        msg = f"Triton on {self.place} answered {status} to {path}: {printable(str(said or 'no reason given'))}"
        raise errors.PipelineError(msg, hint="Read the server's log.")

    def _call(
        self, method: str, path: str, body: bytes | None, timeout: float, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        import http.client  # noqa: PLC0415 - 10 ms that a command without a server does not pay

        connection = http.client.HTTPConnection(
            self.address, self.port, timeout=timeout, source_address=(self.source, 0) if self.source else None
        )
        try:
            connection.request(method, path, body, (headers or {}) | ({container.KEY: self.key} if self.key else {}))
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            msg = f"Triton on {self.place} did not answer {path} within {timeout:g} s"
            hint = "It may be loading or stuck: look at its log, or stop it with `down` and start it again."
            raise errors.PipelineError(msg, hint=hint) from error
        except ConnectionRefusedError as error:
            msg = f"nothing listens on {self.place}"
            raise errors.PipelineError(msg, hint="Start the server with `serve`.") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
                self._no_triton(error)
            msg = f"the connection to {self.place} broke off: {_reason(error)}"
            raise errors.PipelineError(
                msg, hint="The server may have died: look at its log, then run `serve`."
            ) from error
        finally:
            connection.close()

    def _no_triton(self, cause: Exception | None = None) -> NoReturn:
        msg = f"what answers on {self.place} is no Triton server"
        raise errors.PipelineError(msg, hint="Free the port, or choose others under target.ports.") from cause


def client(running: record.Running, *, timeout: float = 10.0, source: str | None = None) -> Client:
    """A client of a server of ours."""
    return Client(port=running.ports.http, address=running.address, timeout=timeout, source=source, key=running.key)


def digest_of(config: dict[str, Any]) -> str | None:
    """The digest parameter of a live config."""
    found = config.get("parameters", {}).get(DIGEST, {}).get("string_value")
    return found if isinstance(found, str) else None


def printable(text: str) -> str:
    """Text from outside, with its control characters escaped: a model's message must not steer the terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text.strip()
    )


def _ones(tensor: Question) -> bytes:
    """A tensor of ones as Triton's binary extension has it: little-endian, and text with its length before it."""
    one = {"BOOL": b"\1", "FP16": struct.pack("<e", 1), "BF16": b"\x80\x3f", "FP32": struct.pack("<f", 1)}
    one |= {"FP64": struct.pack("<d", 1), "BYTES": struct.pack("<I", 1) + b"1", "STRING": struct.pack("<I", 1) + b"1"}
    sizes = {"8": 1, "16": 2, "32": 4, "64": 8}
    each = one.get(tensor.dtype) or (1).to_bytes(sizes["".join(filter(str.isdigit, tensor.dtype))], "little")
    return each * math.prod(tensor.shape)


def _quote(name: str) -> str:
    import urllib.parse  # noqa: PLC0415

    return urllib.parse.quote(name, safe="")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(str(error)) or type(error).__name__


def _number(version: object) -> int | None:
    """A version number as the index has it; a model that never loaded has none."""
    text = str(version or "")
    return int(text) if text.isascii() and text.isdigit() else None
