"""Traffic for tests on a live server: clients that ask again and again while something else happens, and what they got.

The clients are threads of one process of their own: what the test does meanwhile neither slows nor stops them. Each
has a connection of its own, kept open as tritonclient keeps it, or, with `fresh`, a new one for each request.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import threading
import time
from collections.abc import Mapping
from multiprocessing import connection, synchronize
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

Arrays = Mapping[str, Any]
NEITHER = "neither"
HOST = "127.0.0.1"
# gRPC does not live through a fork: but it may be imported before, by a process that never uses it.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.traffic", "tritonclient.grpc", "tritonclient.http"])
_LIMIT = 60.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request: when it began and ended (`time.monotonic`), whose answer it got, or the words it failed with."""

    client: int
    protocol: str
    began: float
    ended: float
    label: str = ""
    words: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients ask, and which answers they know."""

    ports: Mapping[str, int]
    clients: tuple[str, ...]
    model: str
    version: str
    questions: Arrays
    known: Mapping[str, Arrays]
    rtol: float
    atol: float
    fresh: bool
    pause: float


class Traffic:
    """Clients that ask from the start of the block to its end. What they got can be read after it."""

    def __init__(
        self,
        http_port: int,
        grpc_port: int,
        model: str,
        questions: Arrays,
        known: Mapping[str, Arrays],
        *,
        version: int | None = None,
        http_clients: int = 4,
        grpc_clients: int = 4,
        fresh: bool = False,
        pause: float = 0.0,
        rtol: float = 1e-4,
        atol: float = 1e-5,
    ) -> None:
        """`questions`: the input arrays by name; `known`: for each label, the outputs by name that bear it.

        `version` pins every request to a version; without it the server chooses. `fresh`: a connection a request.
        `pause`: seconds between an answer and the next request, where the machine is needed for something else too.
        """
        self._order = Order(
            ports={"http": http_port, "grpc": grpc_port},
            clients=("http",) * http_clients + ("grpc",) * grpc_clients,
            model=model,
            version="" if version is None else str(version),
            questions=questions,
            known=known,
            rtol=rtol,
            atol=atol,
            fresh=fresh,
            pause=pause,
        )
        self._answers = _CONTEXT.Semaphore(0)
        self._ours, self._theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_ask_all, args=(self._order, self._answers, self._theirs))
        self.requests: tuple[Asked, ...] = ()

    def __enter__(self) -> Self:
        """Returns when every client has had its first answer, or its first failure."""
        self._process.start()
        self._theirs.close()
        try:
            self._hear("begun")
        except BaseException:
            self._process.kill()
            self._process.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._ours.send_bytes(b"end")
            self.requests = msgspec.json.decode(self._hear("done"), type=tuple[Asked, ...])
        finally:
            self._process.join(_LIMIT)
            self._process.kill()
            self._process.join()

    def proceed(self, count: int = 1, timeout: float = _LIMIT) -> None:
        """Waits for `count` more answers or failures. Raises TimeoutError where none comes for `timeout` seconds."""
        while self._answers.acquire(block=False):
            pass
        for _ in range(count):
            if not self._answers.acquire(timeout=timeout):
                msg = f"no client had an answer within {timeout:g} s"
                raise TimeoutError(msg)

    @property
    def asked(self) -> int:
        """How many requests there were."""
        return len(self.requests)

    @property
    def failed(self) -> list[tuple[str, str]]:
        """The protocol and the words of each request that failed."""
        return [(each.protocol, each.words) for each in self.requests if each.words]

    @property
    def counts(self) -> collections.Counter[str]:
        """How many answers bear each label, `neither` among them."""
        return self.since(0.0)

    def since(self, moment: float) -> collections.Counter[str]:
        """The same for the requests that began after a moment of `time.monotonic`."""
        return collections.Counter(each.label for each in self.requests if each.label and each.began > moment)

    def _hear(self, wanted: str) -> bytes:
        if not self._ours.poll(_LIMIT):
            msg = f"the clients have not {wanted} within {_LIMIT:g} s"
            raise TimeoutError(msg)
        heard: bytes = self._ours.recv_bytes()
        return heard


def _ask_all(order: Order, answers: synchronize.Semaphore, report: connection.Connection) -> None:
    """The clients' process: it ends when the test says so, or is gone."""
    requests: list[Asked] = []
    ended = threading.Event()
    begun = threading.Barrier(len(order.clients) + 1)
    threads = [
        threading.Thread(target=_ask, args=(number, protocol, order, ended, answers, begun, requests))
        for number, protocol in enumerate(order.clients)
    ]
    for thread in threads:
        thread.start()
    begun.wait(_LIMIT)
    report.send_bytes(b"begun")
    with contextlib.suppress(EOFError):
        report.recv_bytes()
    ended.set()
    for thread in threads:
        thread.join()
    report.send_bytes(msgspec.json.encode(requests))


def _ask(  # noqa: PLR0917 - what a thread starts with
    number: int,
    protocol: str,
    order: Order,
    ended: threading.Event,
    answers: synchronize.Semaphore,
    begun: threading.Barrier,
    requests: list[Asked],
) -> None:
    """One client: asks until the end, over one connection, or over a new one each time."""
    client, module = _connect(protocol, order)
    inputs = [_tensor(module, name, array) for name, array in order.questions.items()]
    first = True
    while first or not ended.is_set():
        label = words = ""
        began = time.monotonic()
        try:
            answer = client.infer(order.model, inputs, model_version=order.version)
            ends = time.monotonic()
            label = _label(answer, order)
        except Exception as error:  # every failure counts, and the transports' own share no class
            ends = time.monotonic()
            words = str(error) or type(error).__name__
        requests.append(Asked(client=number, protocol=protocol, began=began, ended=ends, label=label, words=words))
        answers.release()
        if first:
            begun.wait(_LIMIT)
            first = False
        if words or order.pause:
            time.sleep(max(order.pause, 0.01 if words else 0.0))  # who refuses is not asked a thousand times a second
        if order.fresh:
            client.close()
            client, _ = _connect(protocol, order)
    client.close()


def _connect(protocol: str, order: Order) -> tuple[Any, Any]:
    place = f"{HOST}:{order.ports[protocol]}"
    if protocol == "grpc":
        import tritonclient.grpc as remote  # noqa: PLC0415

        # Channels of one process share a connection where they can: users are processes of their own.
        return remote.InferenceServerClient(place, channel_args=[("grpc.use_local_subchannel_pool", 1)]), remote
    import tritonclient.http as web  # noqa: PLC0415

    return web.InferenceServerClient(place, connection_timeout=_LIMIT, network_timeout=_LIMIT), web


def _tensor(module: Any, name: str, array: Any) -> Any:
    from tritonclient import utils  # noqa: PLC0415

    tensor = module.InferInput(name, list(array.shape), utils.np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _label(answer: Any, order: Order) -> str:
    """The label whose outputs the answer is close to."""
    for label, outputs in order.known.items():
        if all(_close(answer.as_numpy(name), array, order) for name, array in outputs.items()):
            return label
    return NEITHER


def _close(found: Any, wanted: Any, order: Order) -> bool:
    if found is None or found.shape != wanted.shape:
        return False
    if found.dtype.kind in "OSU":
        return bool(np.array_equal(found, wanted))
    return bool(np.allclose(found, wanted, rtol=order.rtol, atol=order.atol))
