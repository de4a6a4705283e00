"""The `hub` source: a repository of the Hugging Face hub, at one full commit, its safetensors weights only.

The hub's own plain HTTPS interface is used (`/api/models/REPO/revision/REV?blobs=true` for commit, names, sizes and
digests; `/REPO/resolve/COMMIT/NAME` for bytes, as its HTTP documentation has them). HF_ENDPOINT names another hub,
HF_TOKEN is sent to it and stands nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import edges
from pipeline.core import build, errors, spec
from pipeline.edges.sources import request, weights

if TYPE_CHECKING:
    import torch

COMMIT = re.compile(r"[0-9a-f]{40}")
LISTING_BYTES = 16 * 2**20
SMALL_BYTES = 64 * 2**20


def resolve(declared: spec.HubSource, asked: request.Request) -> build.Resolved:
    """The commit with the digest and size of every file taken: from the lock where it has this, else from the hub.

    Raises errors.PipelineError when the hub must be asked and may not be, or has nothing that can be used.
    """
    if asked.locked is not None and _is_for(asked.locked, declared):
        return asked.locked
    if not asked.online:
        msg = f"{declared.repo} at {declared.revision} is not pinned in the lock"
        raise errors.PipelineError(msg, hint="Run `lock` (with network) to resolve it to a commit and digests.")
    listing = _listing(declared)
    sizes, digests = _files(declared, listing)
    _check_code(declared, listing["sha"], digests, sizes)
    identity: dict[str, Any] = {"repo": declared.repo, "commit": listing["sha"], "sizes": sizes}
    identity |= {name: getattr(declared, name) for name in ("architecture", "remote_code") if getattr(declared, name)}
    if declared.revision != listing["sha"]:
        identity["revision"] = declared.revision
    return build.Resolved(kind="hub", identity=identity, files=digests, licence=_licence(listing))


def fetch(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> Path:  # noqa: ARG001 - one shape for all
    """The folder with every locked file, each checked by digest now. Raises errors.Unverified for other bytes."""
    identity = resolved.identity
    folder = cache / f"hub-{build.digest(msgspec.structs.replace(resolved, licence=''))}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, digest in resolved.files.items():
        path = folder / name
        if not (path.is_file() and request.sha256_of(path) == digest):
            say(f"fetching {identity['repo']} {name} ({identity['sizes'][name] / 1e6:.1f} MB)")
            _bring(identity, name, path, digest)
    return folder


def load(resolved: build.Resolved, folder: Path | None, root: Path) -> torch.nn.Module:  # noqa: ARG001
    """The pretrained model; with the repository's own code only where the spec allows it by digest."""
    assert folder is not None  # noqa: S101 - fetch gave it
    identity = resolved.identity
    return weights.load(folder, identity.get("architecture"), remote_code=bool(identity.get("remote_code")))


def newest(declared: spec.HubSource, branch: str) -> str:
    """The commit that a branch has now, if what is declared can be taken from it.

    Raises errors.PipelineError where the hub cannot be asked, and where that commit has no weights that can be used, or
    code that the spec does not allow.
    """
    asked = request.Request(root=Path(), cache=Path(), locked=None, online=True, digest_file=str)
    found = resolve(msgspec.structs.replace(declared, revision=branch), asked)
    return str(found.identity["commit"])


def _is_for(locked: build.Resolved, declared: spec.HubSource) -> bool:
    identity = locked.identity
    return (
        locked.kind == "hub"
        and identity.get("repo") == declared.repo
        and declared.revision in (identity.get("revision"), identity.get("commit"))
        and identity.get("architecture") == declared.architecture
        and identity.get("remote_code") == declared.remote_code
    )


def describe(repo: str, revision: str) -> tuple[str, frozenset[str], bytes]:
    """The commit of a revision, the names of its files, and its config.json. Raises PipelineError where it has none."""
    declared = spec.HubSource(repo=repo, revision=revision)
    listing = _listing(declared)
    names = frozenset(entry["rfilename"] for entry in listing["siblings"])
    weights.check_names(names, repo)
    return listing["sha"], names, _get(_place(repo, listing["sha"], "config.json"), SMALL_BYTES)


def licence(resolved: build.Resolved, root: Path, cache: Path, say: edges.Say) -> str:  # noqa: ARG001 - one shape for all
    """What the model's card said when it was locked."""
    return resolved.licence


def _licence(listing: dict[str, Any]) -> str:
    """The licence in the model's card, by the name that the hub has for it; empty where it names none, or several."""
    card = listing.get("cardData")
    found = card.get("license") if isinstance(card, dict) else None
    return found[:100] if isinstance(found, str) and found.isprintable() else ""


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _headers() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _get(url: str, limit: int) -> bytes:
    from pipeline.edges.sources import download  # noqa: PLC0415 - ssl and http cost more than all else here

    return download.get(url, headers=_headers(), limit=limit, bounds=download.Bounds(total_seconds=120.0))


def _listing(declared: spec.HubSource) -> dict[str, Any]:
    """Commit and files of a revision, as the hub has them. Raises errors.PipelineError for an answer unlike one."""
    from urllib.parse import quote  # noqa: PLC0415

    url = f"{_endpoint()}/api/models/{declared.repo}/revision/{quote(declared.revision, safe='')}?blobs=true"
    try:
        listing = json.loads(_get(url, LISTING_BYTES))
        commit, names = listing["sha"], [entry["rfilename"] for entry in listing["siblings"]]
        good = COMMIT.fullmatch(commit) is not None and all(isinstance(name, str) for name in names)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"the hub's answer about {declared.repo} is not understood: {type(error).__name__}: {error}"
        raise errors.PipelineError(msg, hint="Check HF_ENDPOINT.") from error
    if not good or (COMMIT.fullmatch(declared.revision) and commit != declared.revision):
        msg = f"the hub answered commit {commit!r} for {declared.repo} at {declared.revision}"
        raise errors.PipelineError(msg, hint="Check HF_ENDPOINT.")
    for name in names:
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or not name.isprintable():
            msg = f"{declared.repo} has a file with an unsafe name: {name!r}"
            raise errors.PipelineError(msg, hint="Do not use this repository.")
    return dict(listing)


def _files(declared: spec.HubSource, listing: dict[str, Any]) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes and digests of the files to take. Large files have a sha256 in the listing, small ones are read."""
    entries = {entry["rfilename"]: entry for entry in listing["siblings"]}
    weights.check_names(entries, declared.repo)
    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    for name in sorted(entries):
        code = "/" not in name and name.endswith(".py")
        if not (weights.wanted(name) or code):
            continue
        try:
            sizes[name] = int(entries[name]["size"])
            digests[name] = str((entries[name].get("lfs") or {}).get("sha256") or "")
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            msg = f"the hub does not tell the size of {declared.repo} {name}"
            raise errors.PipelineError(msg, hint="Check HF_ENDPOINT.") from error
        digests[name] = digests[name] or _digest(declared.repo, listing["sha"], name, sizes[name])
    return sizes, digests


def _digest(repo: str, commit: str, name: str, size: int) -> str:
    if size > SMALL_BYTES:
        msg = f"the hub tells no sha256 for {repo} {name}, of {size} bytes"
        raise errors.PipelineError(msg, hint="Use a repository that keeps its weights in LFS.")
    return hashlib.sha256(_get(_place(repo, commit, name), size)).hexdigest()


def _check_code(declared: spec.HubSource, commit: str, digests: dict[str, str], sizes: dict[str, int]) -> None:
    """Refuse code that is not allowed by digest; without leave, the Python files are not taken at all."""
    config = _get(_place(declared.repo, commit, "config.json"), sizes["config.json"])
    code = {name: digest for name, digest in digests.items() if name.endswith(".py")}
    weights.check_code(config, code, declared.remote_code, declared.repo)
    if declared.remote_code is None:
        for name in code:
            del digests[name], sizes[name]


def _place(repo: str, commit: str, name: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415

    return f"{_endpoint()}/{repo}/resolve/{commit}/{quote(name)}"


def _bring(identity: dict[str, Any], name: str, path: Path, digest: str) -> None:
    """Write the file aside, check it, and move it into place whole."""
    from pipeline.edges.sources import download  # noqa: PLC0415

    size = identity["sizes"][name]
    aside = path.with_name(f".{name}.{os.getpid()}")
    url = _place(identity["repo"], identity["commit"], name)
    bounds = download.Bounds(total_seconds=120.0 + size / 250_000)
    try:
        with aside.open("wb") as sink:
            for piece in download.stream(url, headers=_headers(), limit=size, bounds=bounds):
                sink.write(piece)
        hint = "The hub, or something between, gave other bytes: try again; if it stays so, run `lock` and review."
        request.check(aside, digest, f"{identity['repo']} {name}", hint)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
