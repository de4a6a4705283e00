"""A run in small, for faults to be injected into: publishes an entry, installs a model of it, and drops another one.

`python publisher.py FOLDER old|new`; the end state depends on the word alone.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from pipeline.core import build, errors, state
from pipeline.edges import digests, exclusive, files, folders, repository, store

SIZE = 50_000


def sha256(data: bytes) -> str:
    """The digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def config_of(digest: str) -> str:
    """A config that claims a digest."""
    return (
        f'name: "bert"\nparameters {{\n  key: "pipeline_digest"\n  value {{\n    string_value: "{digest}"\n  }}\n}}\n'
    )


def desired(word: str) -> tuple[build.Built, dict[str, bytes], state.Model, str]:
    """The build, its bytes, the model, and its config, of `old` or `new`."""
    key, weights, golden = sha256(word.encode()), word.encode() * (SIZE // 3), b"golden of " + word.encode()
    made = build.Built(
        key=key, files={"model.pt": build.File(sha256=sha256(weights), size=len(weights))}, golden=sha256(golden)
    )
    text = config_of("sha256:" + key)
    wanted = {"config.pbtxt": sha256(text.encode()), "1/model.pt": sha256(weights)}
    model = state.Model(name="bert", files=wanted, digest="sha256:" + key, entries={1: key})
    return made, {"model.pt": weights, store.GOLDEN: golden}, model, text


def main(root: Path, word: str) -> None:
    """The run."""
    known = digests.Digests(root / ".pipeline/digests")
    stored = store.Store(root / ".pipeline/store", known)
    place = root / "model_repository"
    built, contents, model, text = desired(word)
    with exclusive.hold(root / ".pipeline/writer", command=f"publisher {word}", say=print):
        stored.sweep()
        for folder in (root, place, root / ".pipeline"):
            folders.sweep(folder)
        if stored.get(built.key) is None:
            with stored.stage() as staged:
                for name, data in contents.items():
                    files.write(staged / name, data)
                stored.publish(built.key, staged, built)
        models, _ = repository.observe(place, known)
        if models.get("bert") is None or models["bert"].files != model.files:
            repository.forget(
                repository.install(place, model, {repository.CONFIG: text}, lambda _: stored.path(built.key), known)
            )
        if word == "new":
            repository.forget(repository.remove(place, "dropped"))
        files.write(root / "pipeline.lock", build.canonical(built))
    known.save()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except errors.PipelineError as failure:
        sys.stdout.write(f"{failure.message} -- {failure.hint}\n")
        sys.exit(failure.exit_code)
