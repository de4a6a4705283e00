"""What should be: Spec and Lock to the builds that are needed, the desired state, and the next lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from pipeline.core import build, config, errors, formats, lock, matrix, platforms, spec, state

CONFIG = "config.pbtxt"
CAPABILITY = "compute_capability"
"""Where the lock's toolchain has the GPU that TensorRT's engines are made on."""

EMBEDDED = "configs/embedded.pbtxt"
"""What the embedded server reads in place of config.pbtxt, where it is there."""

_UNPINNED = build.File(sha256="", size=0)

At = tuple[str, int]
"""A model version: the model's name and the version's number."""


class Makers(msgspec.Struct, frozen=True, kw_only=True):
    """What artifacts are made with: the code version of each export method (of None: of adopted files), the versions
    of the libraries that shape each format's bytes, and the row of the image that they are for, where it is known.
    `capability` is that of the GPU that TensorRT's engines are made on, empty where there is none."""

    codes: Mapping[str | None, int]
    toolchains: Mapping[platforms.Format, dict[str, str]]
    row: matrix.Row | None
    capability: str = ""


def builds(declared: spec.Spec, resolved: Mapping[At, build.Resolved], makers: Makers) -> dict[At, build.Build]:
    """The build of every declared version. `resolved` has the source of each."""
    return {
        (model.name, number): build.Build(
            model=model.name,
            version=number,
            source=resolved[model.name, number],
            export=version.export,
            max_batch_size=model.max_batch_size,
            inputs=model.inputs,
            outputs=model.outputs,
            axes=model.axes,
            golden=model.golden,
            batches=spec.batches(model),
            tokenizer=_tokenizer(declared, model, number, resolved),
            toolchain=makers.toolchains[platforms.of(version).format],
            exporter=makers.codes[version.export.method if version.export else None],
            opset=_written(version, makers.row)[0],
            ir=_written(version, makers.row)[1],
            engine=_engine(declared.target.image, version, makers),
        )
        for model in declared.models.values()
        for number, version in model.versions.items()
    }


def _engine(image: str, version: spec.Version, makers: Makers) -> build.Engine | None:
    """What a TensorRT engine is made for; where the image's TensorRT is not known, its name stands for that."""
    if version.export is None or platforms.of(version).format != "tensorrt":
        return None
    known = makers.row.tensorrt if makers.row else None
    return build.Engine(tensorrt=known or image, capability=makers.capability, image=image)


def _written(version: spec.Version, row: matrix.Row | None) -> tuple[int | None, int | None]:
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
    finished file nothing is known but its format. OpenVINO's exports are of IR version 11."""
    return tuple(
        formats.Artifact(
            format=platforms.of(version).format,
            model=name,
            version=number,
            torch=torch if version.export else None,
            tensorrt=row.tensorrt if row and version.export else None,
            opset=_written(version, row)[0],
            ir=11 if version.export and version.export.method == "openvino" else _written(version, row)[1],
        )
        for name, model in declared.models.items()
        for number, version in model.versions.items()
    )


def _tokenizer(
    declared: spec.Spec, model: spec.Model, number: int, resolved: Mapping[At, build.Resolved]
) -> build.Resolved | None:
    """The source that tokenizes the golden texts; of a named model, its lowest version's source."""
    if not model.golden.texts:
        return None
    named = model.golden.tokenizer
    return resolved[named, min(declared.models[named].versions)] if named else resolved[model.name, number]


def digest(model: spec.Model, versions: Mapping[int, Mapping[str, str]]) -> str:
    """The digest of a model: of its config, and of every version's identity, as lock.identity has it."""
    plain = config.model_config(model, digest=None)
    return "sha256:" + build.digest({"config": plain, "versions": {str(n): files for n, files in versions.items()}})


def config_text(model: spec.Model, model_digest: str) -> str:
    """The text of the model's config.pbtxt."""
    return config.dump(config.model_config(model, digest=model_digest))


def texts(model: spec.Model, model_digest: str) -> dict[str, str]:
    """The model's configs by their paths in its folder: Triton's own, and one for the embedded server where it needs
    another."""
    plain = config.model_config(model, digest=model_digest)
    other = platforms.variant(plain)
    return {CONFIG: config.dump(plain), **({EMBEDDED: config.dump(other)} if other else {})}


def state_of(
    declared: spec.Spec,
    locked: lock.Lock | None,
    keys: Mapping[At, str],
    server: state.Server | None,
    *,
    local: Mapping[str, build.Built] | None = None,
) -> state.State:
    """The desired state. A model with a version that the lock does not know yet has no digest and no files: they are
    known after the export. `local` has what the store holds of the locked keys whose bytes differ from build to build.
    """
    models = {name: _model(model, locked, keys, local or {}) for name, model in declared.models.items()}
    return state.State(
        store=frozenset(keys.values()),
        models=models,
        server=server,
        locked={f"{name}/{number}": key for (name, number), key in keys.items()},
    )


def _model(
    model: spec.Model, locked: lock.Lock | None, keys: Mapping[At, str], local: Mapping[str, build.Built]
) -> state.Model:
    entries = {number: keys[model.name, number] for number in model.versions}
    versions = {number: lock.version(locked, model.name, number) for number in model.versions}
    files: dict[str, str] = {}
    known: dict[int, dict[str, str]] = {}
    for number, version in versions.items():
        if version is None or version.key != entries[number]:
            return state.Model(name=model.name, files={}, entries=entries)
        built = version.files if version.reproducible else local[version.key].files if version.key in local else None
        if built is None:
            return state.Model(name=model.name, files={}, entries=entries)
        known[number] = lock.identity(version)
        files |= {f"{number}/{name}": file.sha256 for name, file in built.items()}
    model_digest = digest(model, known)
    files[CONFIG] = _config_sha256(model, model_digest, locked)
    if platforms.variant(config.model_config(model, digest=model_digest)):
        files[EMBEDDED] = hashlib.sha256(texts(model, model_digest)[EMBEDDED].encode()).hexdigest()
    return state.Model(
        name=model.name,
        files=files,
        digest=model_digest,
        config=config.model_config(model, digest=model_digest),
        entries=entries,
    )


def _config_sha256(model: spec.Model, model_digest: str, locked: lock.Lock | None) -> str:
    """The sha256 of config.pbtxt: out of the lock where it holds for this digest, so that a plan of an up-to-date
    tree needs no protobuf."""
    known = locked.models.get(model.name) if locked else None
    if known and known.digest == model_digest:
        return known.config
    return hashlib.sha256(config_text(model, model_digest).encode()).hexdigest()


def next_lock(
    declared: spec.Spec,
    made: Mapping[At, build.Build],
    built: Mapping[At, build.Built],
    *,
    kept: Mapping[str, lock.Model],
) -> lock.Lock:
    """The lock after every build is there; models in `kept` stay as they are."""
    models: dict[str, lock.Model] = dict(kept)
    toolchain = {name: version for each in made.values() for name, version in each.toolchain.items()}
    engines = [each.engine for each in made.values() if each.engine]
    if engines:
        toolchain |= {"tensorrt": engines[0].tensorrt, CAPABILITY: engines[0].capability}
    for name, model in declared.models.items():
        if name in kept:
            continue
        versions: dict[str, lock.Version] = {}
        for number in sorted(model.versions):
            at = (name, number)
            if at not in built:
                msg = f"{name} version {number} is not built"
                raise errors.PipelineError(msg, hint="Run `export` first.")
            versions[str(number)] = lock.Version(
                source=made[at].source,
                key=built[at].key,
                files=built[at].files if built[at].reproducible else dict.fromkeys(built[at].files, _UNPINNED),
                golden=built[at].golden,
                reproducible=built[at].reproducible,
            )
        model_digest = digest(model, {int(number): lock.identity(each) for number, each in versions.items()})
        text = config_text(model, model_digest).encode()
        models[name] = lock.Model(digest=model_digest, config=hashlib.sha256(text).hexdigest(), versions=versions)
    return lock.Lock(image=declared.target.image, toolchain=toolchain, models=models)
