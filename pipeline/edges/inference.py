"""Inference through tritonclient, over HTTP and gRPC, the way a user's own client asks.

numpy and tritonclient are imported when a client is made: a command that asks nothing pays nothing.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pipeline.core import errors

if TYPE_CHECKING:
    import numpy.typing as npt

Protocol = Literal["http", "grpc"]
LOOPBACK = "127.0.0.1"


class Client:
    """A connection to ask many questions over. Use it as a context manager, or close it."""

    def __init__(self, protocol: Protocol, port: int, *, address: str = LOOPBACK, timeout: float = 60.0) -> None:
        """Connects on the first question. `timeout` is in seconds, for each question."""
        self.protocol = protocol
        self.place = f"{address}:{port}"
        self.timeout = timeout
        if protocol == "grpc":
            import tritonclient.grpc as module  # noqa: PLC0415

            self._module: Any = module
            self._client: Any = module.InferenceServerClient(self.place)
        else:
            import tritonclient.http as module  # noqa: PLC0415

            self._module = module
            self._client = module.InferenceServerClient(
                self.place, connection_timeout=timeout, network_timeout=timeout, concurrency=1
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def infer(
        self, model: str, version: int, inputs: dict[str, npt.NDArray[Any]], outputs: tuple[str, ...]
    ) -> dict[str, npt.NDArray[Any]]:
        """Asks one version of a model; the arrays have the batch axis where the model batches.

        Texts are arrays of bytes objects. Gives every output of `outputs`. Raises PipelineError with the server's
        message where it refuses, does not answer in time, or leaves an output out.
        """
        from tritonclient import utils  # noqa: PLC0415

        asked = []
        for name, array in inputs.items():
            value = self._module.InferInput(name, list(array.shape), utils.np_to_triton_dtype(array.dtype))
            value.set_data_from_numpy(array)
            asked.append(value)
        wanted = [self._module.InferRequestedOutput(name) for name in outputs]
        # Only gRPC takes the time limit with the question; HTTP has it from its connection.
        more = {"client_timeout": self.timeout} if self.protocol == "grpc" else {}
        try:
            answer = self._client.infer(model, asked, model_version=str(version), outputs=wanted, **more)
            return {name: self._array(answer, name, model, version) for name in outputs}
        except utils.InferenceServerException as error:
            raise self._failed(model, version, _words(error.message())) from error
        # The HTTP client lets its transport's own errors through, and they share no class but this.
        except Exception as error:
            raise self._failed(model, version, _words(str(error)) or type(error).__name__) from error

    def _array(self, answer: Any, name: str, model: str, version: int) -> npt.NDArray[Any]:  # noqa: ANN401 - tritonclient has no types
        found: npt.NDArray[Any] | None = answer.as_numpy(name)
        if found is None:
            raise self._failed(model, version, f"the answer has no output {name}")
        return found

    def _failed(self, model: str, version: int, why: str) -> errors.PipelineError:
        msg = f"{model} version {version} did not answer over {self.protocol} on {self.place}: {why}"
        return errors.PipelineError(msg, hint="Read the server's log for the model's own words.")


def infer(  # noqa: PLR0913 - each is a part of the question
    protocol: Protocol,
    port: int,
    model: str,
    version: int,
    *,
    inputs: dict[str, npt.NDArray[Any]],
    outputs: tuple[str, ...],
    timeout: float = 60.0,
) -> dict[str, npt.NDArray[Any]]:
    """One question over a connection of its own; see `Client.infer`."""
    with Client(protocol, port, timeout=timeout) as client:
        return client.infer(model, version, inputs, outputs)


def _words(text: str) -> str:
    """A message from outside, with its control characters escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text.strip()
    )
