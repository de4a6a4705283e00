"""A stand-in for Triton on two loopback ports, for tests of what asks it: real HTTP and real gRPC, any answers.

It speaks as much of the protocol as tritonclient and `edges.triton` use. What a real server does is tested in real/.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from http import server
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from tritonclient import utils
from tritonclient.grpc import service_pb2, service_pb2_grpc

Arrays = dict[str, Any]
Model = Callable[[int, Arrays], Arrays]
"""Version and inputs to outputs; an exception is the server's refusal."""


class Triton:
    """What the stand-in serves; change it while it runs."""

    def __init__(self) -> None:
        self.id = "ours"
        self.models: dict[str, Model] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.metadata: dict[str, dict[str, Any]] = {}
        self.index: list[dict[str, str]] = []
        self.http = self.grpc = 0
        self.connections = 0  # of HTTP
        self.asked: list[tuple[str, str, int]] = []

    def answer(self, protocol: str, model: str, version: str, inputs: Arrays) -> Arrays:
        """The outputs of one question."""
        self.asked.append((protocol, model, int(version)))
        return self.models[model](int(version), inputs)


@contextlib.contextmanager
def serve() -> Iterator[Triton]:
    """A running stand-in on free ports."""
    triton = Triton()
    web = _Web(triton)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    remote = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(triton), remote)
    triton.http, triton.grpc = web.server_port, remote.add_insecure_port("127.0.0.1:0")
    thread.start()
    remote.start()
    try:
        yield triton
    finally:
        remote.stop(None).wait()
        web.shutdown()
        thread.join()
        web.server_close()


class _Web(server.ThreadingHTTPServer):
    """Counts its connections."""

    def __init__(self, triton: Triton) -> None:
        super().__init__(("127.0.0.1", 0), _handler(triton))
        self.triton = triton

    def verify_request(self, *_: Any) -> bool:
        self.triton.connections += 1
        return True


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, triton: Triton) -> None:
        self.triton = triton

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        inputs = {
            given.name: np.frombuffer(raw, utils.triton_to_np_dtype(given.datatype)).reshape(list(given.shape))
            for given, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        try:
            outputs = self.triton.answer("grpc", request.model_name, request.model_version, inputs)
        except Exception as error:  # whatever a model raises is its refusal
            context.abort(grpc.StatusCode.INTERNAL, str(error))
            raise  # abort has raised already
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=request.model_version)
        for name, array in outputs.items():
            answer.outputs.add(name=name, datatype=utils.np_to_triton_dtype(array.dtype), shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        return answer


def _handler(triton: Triton) -> type[server.BaseHTTPRequestHandler]:
    class Handler(server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 20  # an answer leaves in one piece: two would wait 40 ms for each other

        def do_GET(self) -> None:
            match self.path.split("/")[2:]:
                case []:
                    self._reply(200, {"name": triton.id, "version": "2.51.0", "extensions": []})
                case ["models", name, "config"] if name in triton.configs:
                    self._reply(200, triton.configs[name])
                case ["models", name, "versions", _] if name in triton.metadata:
                    self._reply(200, triton.metadata[name])
                case _:
                    self._reply(400, {"error": "Request for unknown model"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v2/repository/index":
                self._reply(200, triton.index)
                return
            inputs = _inputs(body, int(self.headers.get("Inference-Header-Content-Length", len(body))))
            _, _, _, name, _, version, _ = self.path.split("/")
            try:
                outputs = triton.answer("http", name, version, inputs)
            except Exception as error:  # whatever a model raises is its refusal
                self._reply(500, {"error": str(error)})
                return
            told = [_told(output, array) for output, array in outputs.items()]
            self._reply(200, {"model_name": name, "model_version": version, "outputs": told})

        def _reply(self, status: int, document: object) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    return Handler


def _inputs(body: bytes, size: int) -> Arrays:
    """The tensors of a question: a JSON header of `size` bytes, then their bytes one after the other."""
    rest = body[size:]
    inputs: Arrays = {}
    for given in json.loads(body[:size])["inputs"]:
        count = given["parameters"]["binary_data_size"]
        raw, rest = rest[:count], rest[count:]
        inputs[given["name"]] = np.frombuffer(raw, utils.triton_to_np_dtype(given["datatype"])).reshape(given["shape"])
    return inputs


def _told(name: str, array: Any) -> dict[str, Any]:
    kind = utils.np_to_triton_dtype(array.dtype)
    return {"name": name, "datatype": kind, "shape": list(array.shape), "data": array.ravel().tolist()}
