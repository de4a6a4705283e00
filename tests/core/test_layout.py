"""What should lie beside a config, and what of it the lock and the model's digest know."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.core import build, config, layout, lock, parse, spec, state

GOOD = Path(__file__).parents[1] / "specs/good/adopted.yaml"
SPEC = parse.parse_spec(GOOD.read_bytes(), file=GOOD.name)
HEX = "ab" * 32
KEYS = {(name, number): f"{name}/{number}" for name, model in SPEC.models.items() for number in model.versions}
DIGESTS = {(name, file): f"digest of {file}" for name, model in SPEC.models.items() for file in model.files}
BESIDES = layout.besides(SPEC, KEYS, DIGESTS)


def built(key: str, **files: str) -> build.Built:
    """What the store holds."""
    found = {name: build.File(sha256=sha256, size=1) for name, sha256 in files.items()}
    return build.Built(key=key, files=found, golden=HEX)


def locked(*, labels: str = "digest of labels.txt") -> lock.Lock:
    """The lock after everything is there."""
    beside = {
        name: msgspec.structs.replace(
            built(build.key_beside(each), **{**each.files, **({"labels.txt": labels} if name == "onnx" else {})}),
            rows={"input_ids": (7,)} if name == "warm" else {},
        )
        for name, each in BESIDES.items()
    }
    versions = {at: built(key, **({} if at[0] == "chain" else {"model": HEX})) for at, key in KEYS.items()}
    made = {at: stub(at) for at in KEYS}
    return layout.next_lock(SPEC, made, versions, image=lock.image(None, "x"), kept={}, beside=beside)


def stub(at: layout.At) -> build.Build:
    """The build of a version, as far as a lock reads it."""
    model = SPEC.models[at[0]]
    return build.Build(
        model=at[0],
        version=at[1],
        source=build.Resolved(kind="file", identity={}),
        export=None,
        max_batch_size=0,
        inputs=model.inputs,
        outputs=model.outputs,
        axes={},
        golden=model.golden,
        batches=(),
        tokenizer=None,
        toolchain={},
        exporter=1,
    )


def desired(known: lock.Lock | None) -> dict[str, state.Model]:
    """The desired models."""
    keys = layout.Keys(versions=KEYS, beside={name: build.key_beside(each) for name, each in BESIDES.items()})
    return layout.state_of(SPEC, known, keys, None).models


def test_who_needs_files() -> None:
    """Models with declared files, and those that are warmed up with goldens: their newest version's."""
    assert set(BESIDES) == {"onnx", "python", "warm"}
    assert BESIDES["onnx"].sources == {"labels.txt": "adopted/onnx/labels.txt", "doc/read me.md": "README.md"}
    assert (BESIDES["warm"].golden, BESIDES["warm"].rows) == ("warm/1", {"input_ids": "golden-0-input_ids.bin"})


def test_the_key_is_the_bytes() -> None:
    """The key depends on what the files hold and on whose goldens are taken, not on the model or on where they lie."""
    first = BESIDES["onnx"]
    moved = msgspec.structs.replace(first, model="other", sources=dict.fromkeys(first.sources, "elsewhere"))
    assert build.key_beside(moved) == build.key_beside(first)
    others = [
        msgspec.structs.replace(first, files={**first.files, "labels.txt": "other"}),
        msgspec.structs.replace(first, golden="key"),
        msgspec.structs.replace(first, batched=False),
        msgspec.structs.replace(first, rows={"x": "y"}),
    ]
    assert len({build.key_beside(each) for each in (first, *others)}) == 5


def test_files_lie_beside_the_config() -> None:
    """They stand in the desired folder, with the digests that the lock has of them."""
    models = desired(locked())
    assert models["onnx"].files["labels.txt"] == "digest of labels.txt"
    assert set(models["onnx"].files) == {"config.pbtxt", "labels.txt", "doc/read me.md", "3/model", "4/model"}
    assert models["onnx"].digest == locked().models["onnx"].digest


def test_nothing_is_known_before_they_are_locked() -> None:
    """A model whose files are not locked, or are other ones now, has neither digest nor files yet."""
    assert desired(None)["onnx"].digest is None
    known = locked()
    onnx = known.models["onnx"]
    assert onnx.beside is not None
    stale = msgspec.structs.replace(onnx, beside=msgspec.structs.replace(onnx.beside, key="other"))
    bare = msgspec.structs.replace(onnx, beside=None)
    for each in (stale, bare):
        changed = msgspec.structs.replace(known, models={**known.models, "onnx": each})
        assert desired(changed)["onnx"].digest is None
        assert desired(changed)["warm"].digest is not None


def test_a_changed_file_changes_the_digest() -> None:
    """Only the digest in the config forces a reload: it names the files beside the config too."""
    assert locked().models["onnx"].digest != locked(labels="other").models["onnx"].digest
    assert locked().models["zeros"].digest == locked(labels="other").models["zeros"].digest


def test_samples_have_the_locked_rows() -> None:
    """A warm-up with goldens has the shapes that the lock knows, on disk and in what a live server is held against."""
    models = desired(locked())
    (first, *_) = (models["warm"].config or {})["model_warmup"]
    assert first["inputs"]["input_ids"]["dims"] == [7]
    live = layout.completed(SPEC, locked()).models["warm"]
    digest = models["warm"].digest
    assert config.model_config(live, digest=digest) == models["warm"].config


def test_a_lock_without_files_is_as_before() -> None:
    """A model without files has a lock entry and a digest that know nothing of files."""
    text = lock.dump(locked())
    assert b'"beside"' in text
    assert lock.dump(lock.parse(text, file="l")) == text
    zeros = msgspec.to_builtins(locked().models["zeros"])
    assert set(zeros) == {"digest", "config", "versions"}
    files = {1: {"model": HEX}}
    plain = config.model_config(SPEC.models["zeros"], digest=None)
    expected = "sha256:" + build.digest({"config": plain, "versions": {"1": files[1]}})
    assert layout.digest(SPEC.models["zeros"], files, {}, {}) == expected == zeros["digest"]


def test_an_ensemble_has_an_empty_version() -> None:
    """Triton wants a folder for its version, and nothing in it."""
    model = desired(locked())["chain"]
    assert model.files == {"1": "folder", "config.pbtxt": model.files["config.pbtxt"]}
    assert (model.config or {})["platform"] == "ensemble"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnx", {"platform": "onnxruntime_onnx", "backend": "onnxruntime"}),
        ("python", {"backend": "python"}),
        ("model.identity", {}),
        ("warm", {"platform": "pytorch_libtorch"}),
        ("chain", {"platform": "ensemble"}),
    ],
)
def test_what_runs_a_model(name: str, said: dict[str, str]) -> None:
    """Of an export it follows, of a finished folder the spec says it, or Triton finds it by the files."""
    made = config.model_config(SPEC.models[name], digest=None)
    assert {key: made[key] for key in ("platform", "backend") if key in made} == said


def test_who_is_copied() -> None:
    """Nothing is exported for a finished file that cannot be asked; whoever has goldens goes through an export."""
    assert build.is_copied(stub(("onnx", 3)))
    assert not build.is_copied(stub(("warm", 1)))


def test_batches() -> None:
    """A model that cannot be asked has no golden batches, but an export of it is checked at each."""
    sequences = parse.parse_spec((GOOD.parent / "settings.yaml").read_bytes(), file="s").models["sequences"]
    assert spec.batches(sequences) == ()
    assert layout._batches(sequences, sequences.versions[1]) == (1, 2, 4)
    assert layout._batches(SPEC.models["onnx"], SPEC.models["onnx"].versions[3]) == ()
