"""An in-toto statement about what was built: the SLSA provenance of every file that is served.

The fields are those of the in-toto Statement v1 and of SLSA's provenance v1 (slsa.dev/spec/v1.0/provenance). There is
no clock and no run's number in it: whoever builds the same gets the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.core import build, lock, origins

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:triton-pipeline:export:1"
"""What kind of build this was: `externalParameters` have the shape that `statement` gives them."""

Data = dict[str, Any]


def statement(known: origins.Origins) -> Data:
    """The statement over every file of the repository that the lock pins."""
    return {
        "_type": TYPE,
        "subject": list(subjects(known)),
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": _definition(known), "runDetails": _run(known)},
    }


def subjects(known: origins.Origins) -> Iterator[Data]:
    """What is attested: the files of the repository by their paths there, each with its sha256."""
    found: dict[str, str] = {}
    for each in origins.artifacts(known):
        found |= {f"{each.name}/{path}": file.sha256 for path, file in each.files.items()}
    for name in known.declared.models:
        model = known.locked.models[name]
        found[f"{name}/config.pbtxt"] = model.config
        found |= {f"{name}/{path}": file.sha256 for path, file in (model.beside.files if model.beside else {}).items()}
    yield from (_descriptor(name, sha256=digest) for name, digest in sorted(found.items()))


def checksums(known: origins.Origins) -> str:
    """The same as lines that `sha256sum --check` reads in the repository's folder."""
    return "".join(f"{each['digest']['sha256']}  {each['name']}\n" for each in subjects(known))


def _definition(known: origins.Origins) -> Data:
    """What was asked for, and what went in."""
    asked = {}
    for each in origins.artifacts(known):
        method = {"method": each.export.method, "precision": each.export.precision} if each.export else {}
        asked[each.name] = {"source": {"kind": each.locked.source.kind, **each.locked.source.identity}, **method}
    keys = lock.keys(known.locked)
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {"image": known.declared.target.image, "versions": asked},
        "internalParameters": {"keys": keys, "toolchain": known.locked.toolchain},
        "resolvedDependencies": list(_dependencies(known)),
    }


def _dependencies(known: origins.Origins) -> Iterator[Data]:
    """Sources, packages and the image, each once."""
    sources = {build.digest(each.locked.source): each.locked.source for each in origins.artifacts(known)}
    yield from _once(found for _, source in sorted(sources.items()) for found in _source(source))
    for name, version in origins.packages(known):
        yield _descriptor(f"{name}=={version}", uri=origins.package_url(name, version))
    image = known.locked.image
    pinned = {"sha256": image.digest.removeprefix("sha256:")} if image.digest else {}
    yield _descriptor(image.reference, uri=origins.image_url(image), **pinned)


def _source(source: build.Resolved) -> Iterator[Data]:
    told, url = source.identity, origins.source_url(source)
    if source.kind == "hub":
        yield _descriptor(told["repo"], uri=url, gitCommit=told["commit"])
    if source.kind == "wheel":
        yield _descriptor(f"{told['name']}=={told['version']}", uri=url, sha256=told["sha256"])
    if source.kind == "file" and "sha256" in told:
        yield _descriptor(told["path"], sha256=told["sha256"])
    prefix = f"{told['repo']}/" if source.kind == "hub" else f"{told['folder']}/" if source.kind == "path" else ""
    for path, digest in sorted(source.files.items()):
        yield _descriptor(prefix + path, sha256=digest)


def _once(found: Iterable[Data]) -> Iterator[Data]:
    seen: set[str] = set()
    for each in found:
        known = build.digest(each)
        if known not in seen:
            seen.add(known)
            yield each


def _run(known: origins.Origins) -> Data:
    """Who built it, and what else came out: the goldens, and the lock that names all of it."""
    goldens = [
        _descriptor(f"{each.name}/golden.safetensors", sha256=each.locked.golden)
        for each in origins.artifacts(known)
        if each.locked.golden
    ]
    text = lock.dump(known.locked)
    return {
        "builder": {"id": known.builder, "version": {"triton-pipeline": known.version}},
        "byproducts": [*goldens, _descriptor("pipeline.lock", sha256=hashlib.sha256(text).hexdigest())],
    }


def _descriptor(name: str, *, uri: str = "", **digests: str) -> Data:
    """A resource descriptor, without the fields that it has nothing for."""
    made: Data = {"name": name}
    if uri:
        made["uri"] = uri
    if digests:
        made["digest"] = digests
    return made
