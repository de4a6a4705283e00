"""What should be: Spec and Lock to the builds that are needed, the desired state, and the next lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from pipeline.core import build, chains, config, errors, lock, platforms, spec, state, warmup

CONFIG = "config.pbtxt"
CAPABILITY = "compute_capability"
"""Where the lock's toolchain has the GPU that TensorRT's engines are made on."""

EMBEDDED = "configs/embedded.pbtxt"
"""What the embedded server reads in place of config.pbtxt, where it is there."""

_UNPINNED = build.File(sha256="", size=0)

At = tuple[str, int]
"""A model version: the model's name and the version's number."""
EMPTY = "folder"
"""What stands for a digest where there is a folder without files: the version of an ensemble has none."""


class Makers(msgspec.Struct, frozen=True, kw_only=True):
    """What artifacts are made with: the code version of each export method (of None: of adopted files), the versions
    of the libraries that shape each format's bytes, and the opset and IR version that exports are written in.
    `capability` is that of the GPU that TensorRT's engines are made on, `tensorrt` the image's, or what stands for it;
    empty where there is none."""

    codes: Mapping[str | None, int]
    toolchains: Mapping[platforms.Format, dict[str, str]]
    written: Mapping[At, tuple[int | None, int | None]] = {}
    capability: str = ""
    tensorrt: str = ""


def builds(declared: spec.Spec, resolved: Mapping[At, build.Resolved], makers: Makers) -> dict[At, build.Build]:
    """The build of every declared version. `resolved` has the source of each."""
    made = {
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
            batches=_batches(model, version),
            tokenizer=_tokenizer(declared, model, number, resolved),
            toolchain=makers.toolchains[platforms.of(version).format],
            exporter=makers.codes[version.export.method if version.export else None],
            opset=makers.written.get((model.name, number), (None, None))[0],
            ir=makers.written.get((model.name, number), (None, None))[1],
            engine=_engine(declared.target.image, version, makers),
        )
        for model in declared.models.values()
        for number, version in model.versions.items()
    }
    return {at: chains.with_steps(declared, made, at) for at in made}


def _batches(model: spec.Model, version: spec.Version) -> tuple[int, ...]:
    """The batches of goldens to make: an export is checked against its eager model whoever can be asked later."""
    return spec.batches(model) if spec.is_finished(version) else spec.sizes(model, model.golden.batches)


def besides(
    declared: spec.Spec, keys: Mapping[At, str], digests: Mapping[tuple[str, str], str]
) -> dict[str, build.Beside]:
    """What each model's config needs beside it, by model: declared files, whose `digests` are known by model and name,
    and rows of goldens for its warm-up. Models that need nothing are left out."""
    found = {}
    for name, model in declared.models.items():
        goldens = warmup.takes_goldens(model)
        if model.files or goldens:
            found[name] = build.Beside(
                model=name,
                files={file: digests[name, file] for file in model.files},
                sources={file: each.path for file, each in model.files.items()},
                golden=keys[name, warmup.version(model)] if goldens else None,
                rows={each: warmup.file_name(model, each) for each in model.inputs} if goldens else {},
                batched=model.max_batch_size > 0,
            )
    return found


def _engine(image: str, version: spec.Version, makers: Makers) -> build.Engine | None:
    """What a TensorRT engine is made for; where the image's TensorRT is not known, its name stands for that."""
    if version.export is None or platforms.of(version).format != "tensorrt":
        return None
    return build.Engine(tensorrt=makers.tensorrt or image, capability=makers.capability, image=image)


def _tokenizer(
    declared: spec.Spec, model: spec.Model, number: int, resolved: Mapping[At, build.Resolved]
) -> build.Resolved | None:
    """The source that tokenizes the golden texts; of a named model, its lowest version's source. What takes texts needs
    none."""
    if not model.golden.texts or any(tensor.dtype == "STRING" for tensor in model.inputs.values()):
        return None
    named = model.golden.tokenizer
    return resolved[named, min(declared.models[named].versions)] if named else resolved[model.name, number]


def digest(
    model: spec.Model, versions: Mapping[int, Mapping[str, str]], beside: Mapping[str, str], rows: warmup.Rows
) -> str:
    """The digest of a model: of its config, of every version's identity, as lock.identity has it, and of the files
    beside it."""
    plain = config.model_config(model, digest=None, rows=rows)
    known = {"config": plain, "versions": {str(n): files for n, files in versions.items()}}
    return "sha256:" + build.digest({**known, "beside": beside} if beside else known)


def config_text(model: spec.Model, model_digest: str | None, rows: warmup.Rows) -> str:
    """The text of the model's config.pbtxt; without its digest where that is not known yet."""
    return config.dump(config.model_config(model, digest=model_digest, rows=rows))


def texts(plain: config.Data) -> dict[str, str]:
    """The texts of a model's config by their paths in its folder: Triton's own, and one for the embedded server where
    it needs another."""
    other = platforms.variant(plain)
    return {CONFIG: config.dump(plain), **({EMBEDDED: config.dump(other)} if other else {})}


def completed(declared: spec.Spec, locked: lock.Lock | None) -> spec.Spec:
    """The spec with what only the lock knows written out: the samples of warm-ups that are made from goldens."""
    models = {}
    for name, model in declared.models.items():
        pinned = locked.models.get(name) if locked else None
        rows = pinned.beside.rows if pinned and pinned.beside else {}
        samples = {"model_warmup": warmup.samples(model, rows)} if model.warmup else {}
        models[name] = msgspec.structs.replace(model, warmup=None, config={**model.config, **samples})
    return msgspec.structs.replace(declared, models=models)


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of all store entries that a spec asks for: of its versions, and, by model, of the files beside configs.
    `copied` are those of versions that nobody exports."""

    versions: Mapping[At, str]
    beside: Mapping[str, str] = {}
    copied: frozenset[str] = frozenset()


def state_of(
    declared: spec.Spec,
    locked: lock.Lock | None,
    keys: Keys,
    server: state.Server | None,
    *,
    local: Mapping[str, build.Built] | None = None,
) -> state.State:
    """The desired state. A model with a version, or with files beside its config, that the lock does not know yet has
    no digest and no files: they are known after the export. Its config, but for the digest, is known before. `local`
    has what the store holds of the locked keys whose bytes differ from build to build.
    """
    beside = keys.beside
    return state.State(
        store=frozenset({*keys.versions.values(), *beside.values()}),
        models={name: _model(model, locked, keys, local or {}) for name, model in declared.models.items()},
        server=server,
        locked={
            **{f"{name}/{number}": key for (name, number), key in keys.versions.items()},
            **{f"{name}/{lock.BESIDE}": key for name, key in beside.items()},
        },
        copied=keys.copied | frozenset(beside.values()),
    )


def _model(model: spec.Model, locked: lock.Lock | None, keys: Keys, local: Mapping[str, build.Built]) -> state.Model:
    entries = {number: keys.versions[model.name, number] for number in model.versions}
    beside = keys.beside.get(model.name)
    pinned = locked.models.get(model.name) if locked else None
    lying = pinned.beside if pinned and beside is not None else None
    unknown = state.Model(name=model.name, files={}, entries=entries, beside=beside)
    if beside is not None and (lying is None or lying.key != beside):
        return unknown
    rows = lying.rows if lying else {}
    unbuilt = msgspec.structs.replace(unknown, config=config.model_config(model, digest=None, rows=rows))
    versions = {number: lock.version(locked, model.name, number) for number in model.versions}
    files: dict[str, str] = {}
    known: dict[int, dict[str, str]] = {}
    for number, version in versions.items():
        if version is None or version.key != entries[number]:
            return unbuilt
        built = version.files if version.reproducible else local[version.key].files if version.key in local else None
        if built is None:
            return unbuilt
        known[number] = lock.identity(version)
        files |= {f"{number}/{name}": file.sha256 for name, file in built.items()} or {str(number): EMPTY}
    aside = {name: file.sha256 for name, file in lying.files.items()} if lying else {}
    model_digest = digest(model, known, aside, rows)
    plain = config.model_config(model, digest=model_digest, rows=rows)
    files |= {**aside, CONFIG: _config_sha256(model, model_digest, rows, locked)}
    if platforms.variant(plain):
        files[EMBEDDED] = hashlib.sha256(texts(plain)[EMBEDDED].encode()).hexdigest()
    return state.Model(
        name=model.name,
        files=files,
        digest=model_digest,
        config=config.model_config(model, digest=model_digest, rows=rows),
        entries=entries,
        beside=beside,
    )


def _config_sha256(model: spec.Model, model_digest: str, rows: warmup.Rows, locked: lock.Lock | None) -> str:
    """The sha256 of config.pbtxt: out of the lock where it holds for this digest, so that a plan of an up-to-date
    tree needs no protobuf."""
    known = locked.models.get(model.name) if locked else None
    if known and known.digest == model_digest:
        return known.config
    return hashlib.sha256(config_text(model, model_digest, rows).encode()).hexdigest()


def next_lock(  # noqa: PLR0913 - all that a lock is made of
    declared: spec.Spec,
    made: Mapping[At, build.Build],
    built: Mapping[At, build.Built],
    *,
    image: lock.Image,
    kept: Mapping[str, lock.Model],
    beside: Mapping[str, build.Built] | None = None,
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
        models[name] = _locked(model, versions, (beside or {}).get(name))
    return lock.Lock(image=image, toolchain=toolchain, models=models)


def _locked(model: spec.Model, versions: dict[str, lock.Version], beside: build.Built | None) -> lock.Model:
    known = {int(number): lock.identity(each) for number, each in versions.items()}
    lying = lock.Beside(key=beside.key, files=beside.files, rows=beside.rows) if beside else None
    rows = lying.rows if lying else {}
    model_digest = digest(model, known, {k: f.sha256 for k, f in lying.files.items()} if lying else {}, rows)
    text = config_text(model, model_digest, rows).encode()
    return lock.Model(digest=model_digest, config=hashlib.sha256(text).hexdigest(), versions=versions, beside=lying)
