"""What is known of a build, made up for tests: a hub model in fp16, a wheel's, a seeded one, a finished file."""

from __future__ import annotations

import msgspec

from pipeline.core import build, lock, origins, parse

SPEC = """\
version: 1
target: {image: "nvcr.io/nvidia/tritonserver:24.10-py3"}
models:
  hubbed: {source: {hub: {repo: team/Model_1, revision: main}}, export: {method: onnx, precision: fp16}, TENSORS}
  packed:
    source: {wheel: {name: Some_Weights, version: 1.0+cpu, sha256: DIGEST, path: weights/model}}
    export: trace
    TENSORS
  seeded:
    source: {config: {architecture: BertModel, seed: 3}}
    export: trace
    TENSORS
  taken: {source: {file: {path: taken.pt, sha256: DIGEST}}, golden: {none: it is served as it is}, TENSORS}
"""
FLOW = (
    "max_batch_size: 4, inputs: {x: {dtype: FP32, shape: [batch, 3]}}, outputs: {y: {dtype: FP32, shape: [batch, 2]}}"
)
BLOCK = FLOW.replace(", inputs", "\n    inputs").replace(", outputs", "\n    outputs")
A, B, C = "a" * 64, "b" * 64, "c" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCES = {
    "hubbed": build.Resolved(
        kind="hub",
        identity={"repo": "team/Model_1", "commit": COMMIT, "revision": "main", "sizes": {"config.json": 2}},
        files={"config.json": A, "model.safetensors": B},
        licence="apache-2.0",
    ),
    "packed": build.Resolved(
        kind="wheel",
        identity={"name": "Some_Weights", "version": "1.0+cpu", "sha256": C, "path": "weights/model"},
    ),
    "seeded": build.Resolved(kind="config", identity={"architecture": "BertModel", "options": {}, "seed": 3}),
    "taken": build.Resolved(kind="file", identity={"path": "taken.pt", "sha256": C}),
}


def spec() -> bytes:
    """The text of the spec."""
    lines = [line.replace("TENSORS", FLOW if "{source" in line else BLOCK) for line in SPEC.splitlines()]
    return "\n".join(lines).replace("DIGEST", C).encode()


def known(**changed: object) -> origins.Origins:
    """All of it; `changed` are other values of its fields."""
    declared = parse.parse_spec(spec(), file="pipeline.yaml")
    files = {"model.pt": build.File(sha256=A, size=5)}
    models = {
        name: lock.Model(
            digest=f"sha256:{B}",
            config=B,
            versions={"1": lock.Version(source=source, key=build.digest(name), files=files, golden=C)},
        )
        for name, source in SOURCES.items()
    }
    image = lock.Image(reference="nvcr.io/nvidia/tritonserver:24.10-py3", digest=f"sha256:{C}")
    checks = ("batch 4: max abs error 2.4e-07", "batch 4: cosine 0.999998, max abs error 1.2e-03")
    made = origins.Origins(
        declared=declared,
        locked=lock.parse(lock.dump(lock.Lock(image=image, toolchain={"torch": "2.13.0"}, models=models)), file="x"),
        built={
            build.digest(name): build.Built(key=build.digest(name), files=files, golden=C, checks=checks)
            for name in models
        },
        licences={"hubbed/1": "apache-2.0", "packed/1": "Somebody's own"},
        packages={"core": {"numpy": "1.26.4"}, "torch": {"numpy": "1.26.4", "torch": "2.13.0"}},
        version="0.1.0",
    )
    return msgspec.structs.replace(made, **changed)
