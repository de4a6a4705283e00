"""One model's folder to its entry of a spec: its config in the spec's own keys, its files by their digests.

What the spec cannot say, and what Triton refuses, is told and never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.core import backends, config, errors, platforms
from pipeline.core.adopt import said as keys

CONFIG = "config.pbtxt"
_VERSION = re.compile(r"([1-9][0-9]{0,8})/(.+)")
_NO_FILES = frozenset({"link", "hardlink", "special"})
_TAKEN = ("name", "max_batch_size", "input", "output", "version_policy")


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder as it was found: its path in the project, the text of its config (None where there is none),
    and everything else in it by its path there: the sha256, or the kind of what is no plain file."""

    name: str
    path: str
    config: str | None
    files: dict[str, str]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it: the model's entry, and comments for its head; `config` is what its text said."""

    data: dict[str, Any]
    config: dict[str, Any]
    notes: tuple[str, ...] = ()


def entry(folder: Folder) -> Entry:
    """The entry of a model. Raises Refused."""
    for path, kind in folder.files.items():
        if kind in _NO_FILES:
            msg = f"{path} is {'a link' if 'link' in kind else 'no plain file'}"
            raise keys.Refused(msg, "Put the file itself there: `cp -rL` copies what links lead to.")
    if folder.config is None:
        msg = f"it has no {CONFIG}: Triton makes one up from the artifact, and this pipeline does not let it"
        raise keys.Refused(msg, "Ask a server that has it loaded (/v2/models/NAME/config), and write what it says.")
    try:
        said = config.parse(folder.config)
    except errors.PipelineError as error:
        raise keys.Refused(error.message, "Correct it until Triton reads it.") from None
    if said.get("name", folder.name) != folder.name:
        msg = f"its config is that of `{said['name']}`: Triton wants the folder's name"
        raise keys.Refused(msg, "Rename one of the two.")
    notes = list(_assumed(said, folder))
    versions = _versions(folder)
    rest = {key: keys.short(value) for key, value in said.items() if key not in _TAKEN}
    rest.get("parameters", {}).pop(config.DIGEST, None)
    if not rest.get("parameters", True):
        del rest["parameters"]
    data = _artifacts(said, folder, versions, rest)
    data |= keys.tensors(said)
    data |= keys.policy(said)
    golden = _asking(data, said, folder)
    if golden:
        data["golden"] = {"none": golden}
    else:
        notes.append("Its goldens are what the file itself answers to random inputs: `values` of an input bounds them.")
    beside = {path: {"path": f"{folder.path}/{path}", "sha256": value} for path, value in _beside(folder).items()}
    data |= {key: value for key, value in (("files", beside), ("config", rest)) if value}
    return Entry(data=data, config=said, notes=tuple(notes))


def _assumed(said: Mapping[str, Any], folder: Folder) -> Iterator[str]:
    """What Triton fills in where the config says nothing, and what it does not look at."""
    if "name" not in said:
        yield "Its config has no name: Triton takes the folder's."
    files = {found[2].partition("/")[0] for path in folder.files if (found := _VERSION.fullmatch(path))}
    if file := backends.found(said, files):
        yield f"Its config names no backend: Triton takes {backends.FILES[file]}, by the file {file}."
    chain = "ensemble_scheduling" in said
    ignored = sorted(
        path
        for path, value in folder.files.items()
        if _is_ignored(path) or (chain and value != "folder" and _VERSION.fullmatch(path))
    )
    if ignored:
        yield f"Left out, since Triton does not look at it: {', '.join(ignored)[:200]}."


def _is_ignored(path: str) -> bool:
    """A folder whose number begins with 0 is no version, and a name with a dot in front is nobody's."""
    top = path.partition("/")[0]
    return path.startswith(".") or ("/" in path and top.isdecimal() and not _VERSION.fullmatch(path))


def _versions(folder: Folder) -> dict[int, dict[str, str]]:
    """The files of each version, by number."""
    found: dict[int, dict[str, str]] = {}
    for path, value in folder.files.items():
        if path.isdecimal() and value == "folder":
            found.setdefault(int(path), {})
        elif (parts := _VERSION.fullmatch(path)) and value != "folder":
            found.setdefault(int(parts[1]), {})[parts[2]] = value
        elif parts:
            found.setdefault(int(parts[1]), {})
    if not found:
        msg = "it has no version: no folder with a number"
        raise keys.Refused(msg, "Triton loads no model without one.")
    return dict(sorted(found.items()))


def _beside(folder: Folder) -> dict[str, str]:
    """The files beside the config."""
    return {
        path: value
        for path, value in sorted(folder.files.items())
        if value != "folder" and path != CONFIG and not _VERSION.fullmatch(path) and not _is_ignored(path)
    }


def _artifacts(
    said: Mapping[str, Any], folder: Folder, versions: Mapping[int, dict[str, str]], rest: dict[str, Any]
) -> dict[str, Any]:
    """The source of the first version, and what the others change. `rest` loses what the source says."""
    if "ensemble_scheduling" in said:
        rest.pop("platform", None)
        if said.get("platform") != backends.ENSEMBLE:
            msg = "it has ensemble_scheduling, and its platform is not `ensemble`: Triton refuses that"
            raise keys.Refused(msg, 'Write platform: "ensemble".')
        return {"source": "ensemble", **_numbered({number: {} for number in versions})}
    if empty := next((number for number, files in versions.items() if not files), None):
        msg = f"version {empty} has no file"
        raise keys.Refused(msg, "Triton waits for ever for a version without its model: remove the folder.")
    single = _is_torchscript(said, versions)
    if single:
        rest.pop("platform", None)
    sources = {
        number: {"path": f"{folder.path}/{number}/model.pt", "sha256": files["model.pt"]}
        if single
        else {"path": f"{folder.path}/{number}", "files": files}
        for number, files in versions.items()
    }
    first, *others = sources
    overrides = {first: {}, **{number: {"source": {"file": sources[number]}} for number in others}}
    return {"source": {"file": sources[first]}, **_numbered(overrides)}


def _numbered(versions: Mapping[int, Any]) -> dict[str, Any]:
    """The key `versions`, which one version 1 does not need."""
    return {} if list(versions) == [1] else {"versions": {str(number): each for number, each in versions.items()}}


def _is_torchscript(said: Mapping[str, Any], versions: Mapping[int, dict[str, str]]) -> bool:
    """Whether every version is the one file that this pipeline can run, under its usual name."""
    runs = (
        said.get("platform") == platforms.TORCHSCRIPT.platform
        and "backend" not in said
        and "default_model_filename" not in said
    )
    return runs and all(set(files) == {"model.pt"} for files in versions.values())


def _asking(data: Mapping[str, Any], said: Mapping[str, Any], folder: Folder) -> str:
    """Why nobody can ask it for goldens; empty where the file itself can be asked."""
    source = data["source"]
    if source == "ensemble":
        return "an ensemble has no reference"
    if "files" in source["file"]:
        files = {name.partition("/")[0] for name in source["file"]["files"]}
        named = backends.backend(said) or backends.FILES.get(backends.found(said, files), "")
        return f"the files of {named or folder.name} are served as they were found"
    if "sequence_batching" in said:
        return "a sequence is more than one request"
    if said.get("model_transaction_policy", {}).get("decoupled"):
        return "a decoupled model answers to streams only"
    reshaped = any("reshape" in tensor for tensor in (*said.get("input", []), *said.get("output", [])))
    return "the artifact takes another shape than clients send" if reshaped else ""
