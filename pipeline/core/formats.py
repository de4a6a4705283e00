"""What an artifact needs of an image, against the image's row: formats, their versions, operators.

A cell that is empty gives a finding whose rule ends with `-unknown`: nobody can say that it is fine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from pipeline.core import findings, matrix, platforms

ONNXRUNTIME = "measured; https://onnxruntime.ai/docs/reference/compatibility.html"
OPENVINO = "https://docs.openvino.ai/2022.1/openvino_docs_MO_DG_IR_and_opsets.html"
OPENVINO_OPSETS = "https://docs.openvino.ai/2024/documentation/openvino-ir-format/operation-sets/available-opsets.html"
TENSORRT = "https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html"
MEASURED = "measured: archives of torch 2.13 loaded in 1.12 and 2.1"

_ONNX: dict[matrix.Numbers, tuple[int, int]] = {
    (1, 10): (8, 15),
    (1, 11): (8, 16),
    (1, 12): (8, 17),
    (1, 13): (8, 17),
    (1, 14): (8, 18),
    (1, 15): (9, 19),
    (1, 16): (9, 19),
    (1, 17): (9, 20),
    (1, 18): (10, 21),
    (1, 19): (10, 21),
    (1, 20): (10, 21),
    (1, 21): (10, 22),
    (1, 22): (10, 22),
    (1, 23): (11, 23),
    (1, 24): (13, 25),
    (1, 27): (13, 26),
    (1, 28): (13, 26),
}
"""ONNX Runtime's versions, with the newest IR version and the newest opset that each loads; measured."""

OPSET = 18
"""The opset of exports: the one that torch's exporter writes, and every image from 23.03 on loads."""

_OPERATORS: dict[str, tuple[matrix.Numbers, matrix.Numbers]] = {
    "scaled_dot_product_attention": ((1, 13), (2, 0)),
    "rms_norm": ((2, 1), (2, 4)),
    "_upsample_lanczos2d_aa": ((2, 1), (2, 13)),
}
"""Operators with the last torch known to lack them, and the first known to have them. A scripted `interpolate` names
the last of them, whether it runs or not."""

_BACKENDS = {"torchscript": "pytorch", "torch_aoti": "pytorch", "onnx": "onnxruntime"}
"""The backend that serves a format, where it has another name. Older images have its release after the name:
`openvino_2022_1`, `tensorflow2`."""

_CALL = re.compile(r"\b(?:torch|ops\.aten)\.([a-z_]\w*)\(")
_OPENVINO: dict[matrix.Numbers, int] = {
    (2022, 1): 8,
    (2022, 2): 9,
    (2022, 3): 10,
    (2023, 0): 11,
    (2023, 1): 12,
    (2023, 2): 13,
    (2024, 0): 14,
    (2024, 5): 15,
}
"""OpenVINO's versions that brought a set of operators, from OPENVINO_OPSETS; each has those before it too."""
_LAST_KNOWN = (2025, 0)
_NEWEST_IR = 11
_FIRST_IR_11 = (2022, 1)


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An artifact as far as an image matters to it. None is what is not known of it.

    `opset` and `ir` are those of ONNX, or of OpenVINO; `operators` the names of TorchScript's calls,
    without `aten::`; `torch`, `tensorrt` and `python` (`3.11`) the versions that it was made with.
    """

    format: platforms.Format
    model: str | None = None
    version: int | None = None
    opset: int | None = None
    ir: int | None = None
    operators: tuple[str, ...] | None = None
    torch: str | None = None
    tensorrt: str | None = None
    python: str | None = None


def operators(code: str) -> tuple[str, ...]:
    """The operators that TorchScript calls, out of the code in its archive, sorted."""
    return tuple(sorted(set(_CALL.findall(code))))


def onnx(row: matrix.Row | None, wanted: int | None = None) -> tuple[int, int]:
    """The opset to export to, and the IR version to write it in: the oldest that has the opset.

    Without `wanted` it is OPSET, or the newest that the image of the row loads where that is older.
    """
    limits = _ONNX.get(matrix.numbers(row.onnxruntime)[:2]) if row else None
    opset = wanted or (min(OPSET, limits[1]) if limits else OPSET)
    return opset, min((ir for ir, newest in _ONNX.values() if newest >= opset), default=max(_ONNX.values())[0])


def openvino(row: matrix.Row | None) -> int | None:
    """The newest set of operators that the OpenVINO of the row's image has; None where that is not known."""
    has = _openvino_version(row) if row else ()
    if not has or has >= _LAST_KNOWN:
        return None
    return max((opset for version, opset in _OPENVINO.items() if version <= has), default=None)


def _openvino_version(row: matrix.Row) -> matrix.Numbers:
    """Some images have two: the newer one serves."""
    return max((matrix.numbers(part) for part in (row.openvino or "").split(";")), default=())[:2]


def judge(row: matrix.Row, artifact: Artifact) -> tuple[findings.Finding, ...]:
    """What in an image of the row cannot serve the artifact, or nobody knows whether it can."""
    missing = _missing(row, artifact.format)
    found = (missing,) if missing else _JUDGES[artifact.format](row, artifact)
    return tuple(msgspec.structs.replace(each, model=artifact.model, version=artifact.version) for each in found)


def _missing(row: matrix.Row, kind: platforms.Format) -> findings.Finding | None:
    """An image that was looked into, and does not have the backend: one that somebody has built or cut down."""
    backend = _BACKENDS.get(kind, kind)
    if row.backends is None or any(re.fullmatch(rf"{backend}(?:_.*|[0-9]*)", name) for name in row.backends):
        return None
    return findings.Finding(
        rule="backend-missing",
        message=f"the image {row.tag} has no backend `{backend}`, only {', '.join(row.backends) or 'none'}",
        hint="Take NVIDIA's whole image (`-py3`), or build one with this backend.",
        source="the image itself",
    )


def _unknown(row: matrix.Row, what: str, rule: str, source: str = "") -> findings.Finding:
    return findings.Finding(
        rule=rule,
        severity=findings.Severity.WARNING,
        message=f"which {what} the image {row.tag} has is not known",
        hint="Try the artifact in the image before you count on it.",
        source=source,
    )


def _torchscript(row: matrix.Row, artifact: Artifact) -> Iterator[findings.Finding]:
    has = matrix.numbers(row.pytorch)[:2]
    if not has:
        yield _unknown(row, "PyTorch", "torch-unknown")
        return
    source = matrix.source(row, "pytorch")
    for name in artifact.operators or ():
        last, first = _OPERATORS.get(name, ((), ()))
        if first and has < first:
            yield _operator(row, name, certain=has <= last)
    made = matrix.numbers(artifact.torch)[:2]
    if artifact.operators is None and not () < made <= has:
        yield findings.Finding(
            rule="torchscript-unknown",
            severity=findings.Severity.WARNING,
            message=f"it is of torch {artifact.torch or '(unknown)'}, the image {row.tag} has {row.pytorch}, "
            "and which operators it calls is not known",
            hint="Build the artifact first: its operators are read out of it.",
            source=source,
        )


def _operator(row: matrix.Row, name: str, *, certain: bool) -> findings.Finding:
    if certain:
        message = f"the TorchScript calls `{name}`, which torch {row.pytorch} of the image {row.tag} does not have"
        hint = "Triton would say `Unknown builtin op`: take a newer image, or `export: trace`."
        return findings.Finding(rule="torchscript-operator", message=message, hint=hint, source=MEASURED)
    return findings.Finding(
        rule="torchscript-operator-unknown",
        severity=findings.Severity.WARNING,
        message=f"whether torch {row.pytorch} of the image {row.tag} has the operator `{name}` is not known",
        hint="Try the artifact in the image before you count on it.",
        source=MEASURED,
    )


def _aoti(row: matrix.Row, artifact: Artifact) -> Iterator[findings.Finding]:
    if row.torch_aoti is None:
        yield _unknown(row, "support of compiled `.pt2` packages", "torch-aoti-unknown")
    elif row.torch_aoti == "no":
        yield findings.Finding(
            rule="torch-aoti-missing",
            message=f"the image {row.tag} cannot load compiled `.pt2` packages: `torch_aoti` came with 26.03",
            hint="Take an image of 26.03 or later, or export TorchScript.",
            source=matrix.source(row, "torch_aoti"),
        )
    made, has = matrix.numbers(artifact.torch)[:2], matrix.numbers(row.pytorch)[:2]
    if made and has and made > has:
        yield findings.Finding(
            rule="torch-aoti-newer",
            severity=findings.Severity.WARNING,
            message=f"the package was compiled by torch {artifact.torch}, and the image {row.tag} has {row.pytorch}",
            hint="What is compiled for a newer torch may not load in an older one: try it, or take a newer image.",
            source=matrix.source(row, "pytorch"),
        )


def _onnx(row: matrix.Row, artifact: Artifact) -> Iterator[findings.Finding]:
    limits = _ONNX.get(matrix.numbers(row.onnxruntime)[:2])
    if limits is None:
        yield _unknown(row, "ONNX opsets", "onnxruntime-unknown", ONNXRUNTIME)
        return
    enough = [known for known, (ir, newest) in _ONNX.items()
              if newest >= (artifact.opset or 0) and ir >= (artifact.ir or 0)]  # fmt: skip
    newer = f", or take an image with ONNX Runtime {'.'.join(map(str, min(enough)))} or later" if enough else ""
    hint = f"Export to opset {limits[1]} or older{newer}."
    for rule, word, needed, most in (
        ("onnx-ir", "IR version", artifact.ir, limits[0]),
        ("onnx-opset", "opset", artifact.opset, limits[1]),
    ):
        if needed is None:
            message = f"the ONNX {word} of the artifact is not known; the image {row.tag} loads up to {most}"
            yield findings.Finding(
                rule=f"{rule}-unknown",
                severity=findings.Severity.WARNING,
                message=message,
                hint="Build the artifact first.",
                source=ONNXRUNTIME,
            )
        elif needed > most:
            message = f"ONNX {word} {needed} is newer than {most}, the newest that ONNX Runtime {row.onnxruntime} of "
            yield findings.Finding(
                rule=rule, message=f"{message}the image {row.tag} loads", hint=hint, source=ONNXRUNTIME
            )


def _openvino(row: matrix.Row, artifact: Artifact) -> Iterator[findings.Finding]:
    has = _openvino_version(row)
    if not has:
        yield _unknown(row, "OpenVINO", "openvino-unknown", OPENVINO)
        return
    if artifact.ir is None or artifact.ir > _NEWEST_IR:
        message = f"whether OpenVINO {row.openvino} reads the artifact's IR version is not known"
        hint = "OpenVINO 2022.1 and later are known to read IR versions 10 and 11."
        yield findings.Finding(
            rule="openvino-ir-unknown",
            severity=findings.Severity.WARNING,
            message=message,
            hint=hint,
            source=OPENVINO,
        )
    elif artifact.ir == _NEWEST_IR and has < _FIRST_IR_11:
        message = f"OpenVINO {row.openvino} of the image {row.tag} reads no IR version 11, which came with 2022.1"
        hint = "Take an image of 22.09 or later."
        yield findings.Finding(rule="openvino-ir", message=message, hint=hint, source=OPENVINO)


def _tensorflow(row: matrix.Row, _artifact: Artifact) -> Iterator[findings.Finding]:
    if row.tensorflow_backend is None:
        yield _unknown(row, "TensorFlow", "tensorflow-unknown")
    elif row.tensorflow_backend == "no":
        message = f"the image {row.tag} has no TensorFlow: it is gone since 25.03"
        hint = "Export to ONNX, or take 25.02, the last image with it."
        source = matrix.source(row, "tensorflow_backend")
        yield findings.Finding(rule="tensorflow-gone", message=message, hint=hint, source=source)


def _tensorrt(row: matrix.Row, artifact: Artifact) -> Iterator[findings.Finding]:
    made, has = matrix.numbers(artifact.tensorrt)[:2], matrix.numbers(row.tensorrt)[:2]
    if not has or not made:
        yield _unknown(row, "TensorRT", "tensorrt-unknown", TENSORRT)
    elif made != has:
        message = f"the plan is of TensorRT {artifact.tensorrt}, and the image {row.tag} has {row.tensorrt}"
        hint = "A plan runs in the version that made it: make it anew in this image."
        yield findings.Finding(rule="tensorrt-version", message=message, hint=hint, source=TENSORRT)


def _python(row: matrix.Row, artifact: Artifact) -> Iterator[findings.Finding]:
    if row.python is None:
        yield _unknown(row, "Python", "python-unknown")
    elif artifact.python is not None and matrix.numbers(artifact.python)[:2] != matrix.numbers(row.python)[:2]:
        yield findings.Finding(
            rule="python-version",
            severity=findings.Severity.WARNING,
            message=f"the model is of Python {artifact.python}, and the image {row.tag} has {row.python}",
            hint="Pack its own environment with it (EXECUTION_ENV_PATH), or use nothing that differs.",
            source=matrix.source(row, "python"),
        )


_JUDGES: dict[platforms.Format, Callable[[matrix.Row, Artifact], Iterator[findings.Finding]]] = {
    "torchscript": _torchscript,
    "torch_aoti": _aoti,
    "onnx": _onnx,
    "openvino": _openvino,
    "tensorflow": _tensorflow,
    "tensorrt": _tensorrt,
    "python": _python,
}
