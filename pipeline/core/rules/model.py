"""The rules of a whole document and of a model: names, ports, versions, goldens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import msgspec

from pipeline.core import errors, image, paths, platforms, spec, tree
from pipeline.core.rules import subject

_WINDOWS = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{name}{n}" for name in ("COM", "LPT") for n in range(10))})
_INTER_OP = "INTER_OP_THREAD_COUNT"
_TOKENIZED = frozenset({"wheel", "path", "hub"})


def document(written: spec.Document | None, built: tree.Tree) -> Iterator[tree.Fault]:
    """What is wrong with the document as a whole; names are checked even where the rest is faulty."""
    data = built.data if isinstance(built.data, dict) else {}
    names = data.get("models")
    yield from _names(list(names) if isinstance(names, dict) else [], built)
    target = target_of(written, built)
    yield from _together(written.models if written else {})
    if target is not None:
        yield from _image(target.image)
        yield from _ports(target.ports)
        yield from _signature(target.policies)


def _signature(policy: spec.Policy) -> Iterator[tree.Fault]:
    """A signature is checked with a key, which lies in the project as all that a spec names."""
    path: tree.Path = ("target", "policy")
    if policy.signature == "required" and policy.key is None:
        hint = "add `key: keys/models.pub`, the public key's file"
        message = "a signature is required, and no key is named to check it with"
        yield tree.Fault(path=(*path, "signature"), rule="signature-key", message=message, hint=hint)
    if policy.key is not None and (wrong := paths.outside(policy.key)):
        hint = "copy the public key into the project"
        yield tree.Fault(path=(*path, "key"), rule="bad-path", message=f"the key's path {wrong}", hint=hint)


def _together(models: Mapping[str, spec.ModelEntry]) -> Iterator[tree.Fault]:
    """Two models that set the threads between operators: the second to load would end NVIDIA's server."""
    first = ""
    for name, entry in models.items():
        path: tree.Path = ("models", name)
        model = subject.Subject(entry=entry, target=None, path=path)
        if model.backend != "pytorch" or not _sets(entry):
            continue
        if first:
            message = f"`{_INTER_OP}` is set by the model `{first}` already: a process can set it once"
            hint = "NVIDIA's C++ server ends at the second: set it for one model only"
            yield model.fault("inter-op-twice", message, "parameters", _INTER_OP, hint=hint, on_key=True)
        first = first or name


def _sets(entry: spec.ModelEntry) -> bool:
    given = entry.config.get("parameters", {})
    value = given.get(_INTER_OP, {}) if isinstance(given, dict) else {}
    text = value.get("string_value") if isinstance(value, dict) else None
    return isinstance(text, str) and text.isdecimal() and int(text) > 0


def target_of(written: spec.Document | None, built: tree.Tree) -> spec.Target | None:
    """The target, of a document that has faults elsewhere too; None where it has faults itself."""
    if written is not None:
        return written.target
    try:
        return msgspec.convert(built.data.get("target") if isinstance(built.data, dict) else None, spec.Target)
    except msgspec.ValidationError:
        return None


def _names(names: list[str], built: tree.Tree) -> Iterator[tree.Fault]:
    """A model's name is a folder's: on some file systems CON is a device, and `Bert` is `bert`."""
    seen: dict[str, str] = {}
    for name in names:
        path = ("models", name)
        if name.split(".")[0].upper() in _WINDOWS:
            message = f"`{name[:80]!a}` names a device on Windows"
            yield tree.Fault(path=path, rule="bad-name", message=message, hint="choose another name", on_key=True)
        if name.endswith("."):
            message = "a model's name may not end with a dot"
            yield tree.Fault(path=path, rule="bad-name", message=message, on_key=True)
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            line = built.where(("models", twin), on_key=True).line
            message = f"`{name[:80]}` differs only by case from `{twin[:80]}` in line {line}"
            hint = "some file systems hold only one of the two"
            yield tree.Fault(path=path, rule="case-twin", message=message, hint=hint, on_key=True)


def _image(text: str) -> Iterator[tree.Fault]:
    path = ("target", "image")
    try:
        reference = image.parse(text)
    except errors.InvalidSpec as error:
        yield tree.Fault(path=path, rule="bad-image", message=error.message, hint=error.hint)
        return
    if meant := image.near(reference):
        message = f"the image `{reference.repository}` is not NVIDIA's"
        yield tree.Fault(path=path, rule="bad-image", message=message, hint=f"did you mean `{meant}`?")
    if reference.tag is None and reference.digest is None:
        message = f"the image `{reference.repository}` has no tag"
        yield tree.Fault(path=path, rule="bad-image", message=message, hint="write its release, such as :23.08-py3")


def _ports(ports: spec.Ports) -> Iterator[tree.Fault]:
    seen: dict[int, str] = {}
    for key, port in (("http", ports.http), ("grpc", ports.grpc), ("metrics", ports.metrics)):
        if port in seen:
            message = f"the port {port} is `{seen[port]}`'s already"
            yield tree.Fault(path=("target", "ports", key), rule="port-twice", message=message)
        seen.setdefault(port, key)


def model(
    entry: spec.ModelEntry,
    models: Mapping[str, spec.ModelEntry],
    platform: platforms.Platform | None,
    built: tree.Tree,
    path: tree.Path,
) -> Iterator[tree.Fault]:
    """What is wrong with one model of a platform, but its tensors, sources and config. `models` are all of the spec."""
    yield from _versions(entry, path)
    yield from _policy(entry, path)
    yield from _batches(entry, built, path)
    yield from _texts(entry, models, built, path)
    if platform is not None:
        yield from _limits(entry, platform, path)


def _limits(entry: spec.ModelEntry, platform: platforms.Platform, path: tree.Path) -> Iterator[tree.Fault]:
    """What the platform's backend cannot do."""
    if platform.batches is not None and entry.max_batch_size > platform.batches:
        message = f"the {platform.platform} backend takes no batch above {platform.batches}"
        hint = f"set it to {platform.batches} or 0, or choose another `export`"
        yield tree.Fault(path=(*path, "max_batch_size"), rule="batch-limit", message=message, hint=hint)
    if not platform.sequences and "sequence_batching" in entry.config:
        message = f"the {platform.platform} backend serves no sequences"
        at = (*path, "config", "sequence_batching")
        yield tree.Fault(path=at, rule="no-sequences", message=message, hint="choose another `export`", on_key=True)


def _versions(entry: spec.ModelEntry, path: tree.Path) -> Iterator[tree.Fault]:
    numbers = sorted(int(name) for name in entry.versions)
    at = (*path, "versions")
    if not numbers:
        message = "a model needs a version"
        yield tree.Fault(path=at, rule="version-gap", message=message, hint="write `1: {}`", on_key=True)
    # An adopted model keeps the numbers that its clients know.
    for before, after in itertools.pairwise([] if subject.is_finished(entry) else numbers):
        if after != before + 1:
            message = f"there is no version {before + 1} between {before} and {after}"
            hint = "number the versions without gaps; old ones may be removed from the low end"
            yield tree.Fault(path=(*at, str(after)), rule="version-gap", message=message, hint=hint, on_key=True)


def _policy(entry: spec.ModelEntry, path: tree.Path) -> Iterator[tree.Fault]:
    policy = entry.version_policy
    if not isinstance(policy, spec.VersionPolicy):
        return
    at = (*path, "version_policy")
    written = [key for key in policy.__struct_fields__ if getattr(policy, key) is not None]
    if len(written) != 1:
        yield tree.exactly_one(at, written, policy.__struct_fields__)
        return
    for index, number in enumerate(policy.specific or ()):
        where = (*at, "specific", index)
        if str(number) not in entry.versions:
            message = f"the model has no version {number}: it has {', '.join(entry.versions)}"
            yield tree.Fault(path=where, rule="unknown-version", message=message)
        if number in (policy.specific or ())[:index]:
            yield tree.Fault(path=where, rule="unknown-version", message=f"version {number} is named twice")


def _batches(entry: spec.ModelEntry, built: tree.Tree, path: tree.Path) -> Iterator[tree.Fault]:
    at = (*path, "golden", "batches")
    if at not in built.values:
        return
    most = max(entry.max_batch_size, 1)
    for index, size in enumerate(entry.golden.batches):
        if isinstance(size, int) and size > most:
            message = f"the batch {size} is above max_batch_size, {entry.max_batch_size}"
            yield tree.Fault(path=(*at, index), rule="golden-batch", message=message)


def _texts(
    entry: spec.ModelEntry, models: Mapping[str, spec.ModelEntry], built: tree.Tree, path: tree.Path
) -> Iterator[tree.Fault]:
    """Texts need an input that takes them, or somebody to tokenize them and an input that takes the tokens."""
    at = (*path, "golden", "texts")
    named = entry.golden.tokenizer
    names = built.data["models"]
    if named is not None and named not in names:
        message = f"there is no model `{named[:80]}`"
        yield tree.Fault(
            path=(*path, "golden", "tokenizer"), rule="unknown-model", message=message, hint=tree.nearest(named, names)
        )
    if not entry.golden.texts or "STRING" in {tensor.dtype for tensor in entry.inputs.values()}:
        return
    if "input_ids" not in {tensor.argument for tensor in entry.inputs.values()}:
        message = "texts need an input whose argument is input_ids"
        yield tree.Fault(path=at, rule="golden-texts", message=message, hint="name one with `argument:`", on_key=True)
    owner = models.get(named) if named is not None else entry
    kinds = ("ensemble",) if owner is None or owner.source == "ensemble" else spec.kinds(owner.source)
    if owner is not None and not set(kinds) <= _TOKENIZED:
        whose = f"the source of `{named}`" if named else "this model's source"
        message = f"texts need a tokenizer, and {whose} has none"
        hint = "name a model with a wheel, path or hub source as `golden.tokenizer`"
        where = (*path, "golden", "tokenizer") if named else at
        yield tree.Fault(path=where, rule="golden-texts", message=message, hint=hint, on_key=not named)
