"""What exports are written in, so that an image can load them, and what artifacts an image has to load."""

from __future__ import annotations

from pipeline.core import formats, matrix, platforms, spec


def written(version: spec.Version, row: matrix.Row | None) -> tuple[int | None, int | None]:
    """The opset and IR version that an export is written in: ONNX's, or the newest operators that the image's OpenVINO
    has. None of other formats, nor of finished files."""
    match version.export and platforms.of(version).format:
        case "onnx":
            return formats.onnx(row, version.export.opset if version.export else None)
        case "openvino":
            return formats.openvino(row), None
        case _:
            return None, None


def artifacts(declared: spec.Spec, *, torch: str | None, row: matrix.Row | None) -> tuple[formats.Artifact, ...]:
    """Every version's artifact as an image must load it. `torch` is the version that exports are made with; of a
    finished file nothing is known but its format; what has no format that is known is left out. OpenVINO's exports are
    of IR version 11, engines of the image's own TensorRT."""
    return tuple(
        formats.Artifact(
            format=platforms.of(version).format,
            model=name,
            version=number,
            torch=torch if version.export else None,
            tensorrt=row.tensorrt if row and version.export else None,
            opset=written(version, row)[0],
            ir=11 if version.export and version.export.method == "openvino" else written(version, row)[1],
        )
        for name, model in declared.models.items()
        for number, version in model.versions.items()
        if version.export or platforms.finished(version)
    )
