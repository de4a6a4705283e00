"""The export process for real: goldens, artifacts with canonical bytes, and every way in which it can fail."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core import allowance, errors, lock, parse, spec
from pipeline.edges import goldens
from pipeline.edges.exporters import signature
from tests.real import orders

pytestmark = pytest.mark.real

TEXTS = ("a b c", "c b", "b")
LIMITS = allowance.Limits()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One build exported twice: elsewhere, with another HOME and hash seed, by another process."""
    folders = []
    cases: list[tuple[str, dict[str, Any]]] = [("one", {}), ("two/deeper", {"PYTHONHASHSEED": "77", "HOME": "/"})]
    for name, env in cases:
        root = tmp_path_factory.mktemp("bert")
        made = orders.order(
            orders.CONFIG,
            root,
            inputs=orders.TOKENS,
            outputs={"output__0": orders.answer(["batch", 2], "logits")},
            axes={"sequence": spec.Axis(min=1, max=64)},
        )
        result = orders.export(made, root, root / name, **env)
        assert result.files["model.pt"].sha256 == hashlib.sha256((root / name / "model.pt").read_bytes()).hexdigest()
        assert [check.partition(":")[0] for check in result.checks] == [
            "batch 1",
            "batch 2",
            "batch 4",
            "sequence 1",
            "sequence 64",
        ]
        folders.append(root / name)
    return folders[0], folders[1]


def test_bytes_are_canonical(bert: tuple[Path, Path]) -> None:
    """Row 19: another folder, home, hash seed and process give the same artifact and golden, byte for byte."""
    for name in ("model.pt", "golden.safetensors"):
        assert (bert[0] / name).read_bytes() == (bert[1] / name).read_bytes()


def test_archive_has_no_path_of_this_machine(bert: tuple[Path, Path]) -> None:
    """No record of the archive names a folder of this machine, or where the code came from."""
    with zipfile.ZipFile(bert[0] / "model.pt") as archive:
        for name in archive.namelist():
            body = archive.read(name)
            assert name.startswith("model/")
            assert not name.endswith(".debug_pkl")
            assert b"site-packages" not in body
            assert str(Path.cwd()).encode() not in body


def test_artifact_takes_and_gives_the_declared_tensors(bert: tuple[Path, Path]) -> None:
    """forward() has the config's input names, takes INT32, and answers the golden output as a plain tensor."""
    import torch  # noqa: PLC0415

    module = torch.jit.load(str(bert[0] / "model.pt"))
    assert [argument.name for argument in module.forward.schema.arguments[1:]] == ["input__0", "input__1"]
    tensors, about = orders.golden(bert[0])
    assert about == {"format": 1, "texts": {}}
    given = [torch.from_numpy(tensors[f"4/input/input__{place}"]) for place in (0, 1)]
    assert {one.dtype for one in given} == {torch.int32}
    with torch.no_grad():
        got, swapped = module(*given), module(*[one.clamp(0, 1) for one in reversed(given)])
    np.testing.assert_allclose(got.numpy(), tensors["4/output/output__0"], rtol=1e-4, atol=1e-5)
    assert not np.allclose(swapped.numpy(), tensors["4/output/output__0"], rtol=1e-4, atol=1e-5)


def test_the_committed_lock_is_what_is_built(tmp_path: Path) -> None:
    """The sample's bert comes out with the bytes that the lock in the repository pins: nothing here has moved them."""
    home = Path(__file__).parents[2]
    declared = parse.parse_spec((home / "pipeline.yaml").read_bytes(), file="pipeline.yaml").models["bert"]
    pinned = lock.parse((home / "pipeline.lock").read_bytes(), file="pipeline.lock").models["bert"].versions["1"]
    made = orders.order(
        declared.versions[1].source,
        tmp_path,
        max_batch_size=declared.max_batch_size,
        inputs=declared.inputs,
        outputs=declared.outputs,
        batches=(1,),
    )
    assert orders.export(made, tmp_path, tmp_path / "out").files == pinned.files


def test_texts_and_their_ids_are_kept(tmp_path: Path) -> None:
    """A path source with a tokenizer: texts fill each batch in turn, are padded to the longest, and stay in the file;
    mean pooling counts shown tokens only, and rows are normalized.
    """
    import tokenizers  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    words = {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "c": 4}
    made_up = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made_up.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model = transformers.BertModel(transformers.BertConfig(**orders.BERT)).eval()
    model.save_pretrained(tmp_path / "w")
    made_up.save(str(tmp_path / "w" / "tokenizer.json"))
    made = orders.order(
        spec.Source(path="w"),
        tmp_path,
        inputs=orders.TOKENS,
        axes={"sequence": spec.Axis(min=1, max=8)},
        outputs={"e": orders.answer(["batch", 16], "last_hidden_state", pool="mean", normalize=True)},
        golden=spec.Golden(texts=TEXTS),
    )
    orders.export(made, tmp_path, tmp_path / "out")
    tensors, about = orders.golden(tmp_path / "out")
    assert about["texts"] == {"1": ["a b c"], "2": ["a b c", "c b"], "4": ["a b c", "c b", "b", "a b c"]}
    assert tensors["4/input/input__0"].tolist() == [[2, 3, 4], [4, 3, 0], [3, 0, 0], [2, 3, 4]]
    assert tensors["4/input/input__1"].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]
    import torch  # noqa: PLC0415

    with torch.no_grad():
        hidden = model(torch.tensor([[4, 3]])).last_hidden_state[0].mean(0).numpy()
    expected = hidden / np.linalg.norm(hidden)
    np.testing.assert_allclose(tensors["4/output/e"][1], expected, rtol=1e-4, atol=1e-5)


FAULTS = {
    "segfault": ("        import ctypes; ctypes.string_at(0)", "its process was killed by SIGSEGV"),
    "abort": ("        import os; os.abort()", "its process was killed by SIGABRT"),
    "exit 0": ("        import os; os._exit(0)", "ended with exit status 0, but left no whole artifact"),
    "exception": ("        raise ZeroDivisionError('mine')", "batch 1: ZeroDivisionError: mine"),
    "hang": ("        import time; print('hanging'); time.sleep(600)", "hit its time limit of 15 s"),
    "memory": ("        x = [torch.ones(2**27) for _ in range(64)]", "hit its memory limit of 2 GiB"),
    "more memory than there is": ("        return torch.ones(2**40, dtype=torch.float64)", "ran out of memory"),
    "file": ("        import os; open(os.environ['HOME'] + '/f', 'wb').write(bytes(2**27))", "disk limit of 64 MiB"),
    "files": (
        "        import os; [open(os.environ['HOME'] + f'/{n}', 'wb').write(bytes(2**20)) for n in range(2**20)]",
        "hit its disk limit of 64 MiB",
    ),
    "processes": (
        "        import os, time; [os.fork() or time.sleep(600) for _ in range(40)]; time.sleep(600)",
        "hit its limit of 30 processes and threads",
    ),
    "network": ("        from urllib import request; request.urlopen('http://192.0.2.1/')", "Network is unreachable"),
    "outside": ("        open('outside', 'w').write('x')", "Read-only file system: 'outside'"),
    "shell": ("        import os, subprocess; subprocess.run(['touch', 'outside'], check=True)", "exit status 1"),
    "token": ("        import os; raise KeyError(os.environ['HF_TOKEN'])", "KeyError: 'HF_TOKEN'"),
    "flood": ("        print('x' * 10**8); import os; os._exit(3)", "ended with exit status 3"),
    "nan": ("        return x / 0", "output y of the model itself has NaN or infinity"),
    "shape": ("        return x[:, :3]", r"output y is declared FP32 \[1, 4\], and the model gives float32 \[1, 3\]"),
    "nothing": ("        return None", "gives no tensor 0"),
    "baked batch": (
        "        return x * torch.ones(len(x.tolist()), 4)",
        "baked in a size of axis `batch`: it agrees at 2, and at 1, 4 it does not",
    ),
}


HINTS = {
    "hang": "export.timeout",
    "memory": "export.memory",
    "files": "export.disk",
    "network": "An export has no network",
    "outside": "An export can write only into the folder that HOME and TMPDIR name",
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Rows 15 to 18: whatever a model's code does to the process, the error names build and cause, and we live on."""
    body, says = FAULTS[fault]
    monkeypatch.setenv("HF_TOKEN", "canary")
    limits = allowance.Limits(memory=2 * 2**30, disk=64 * 2**20, processes=30)
    made, seconds = orders.order(orders.factory(tmp_path, body), tmp_path), 15 if fault == "hang" else 60
    with pytest.raises(errors.PipelineError, match=says) as caught:
        orders.export(made, tmp_path, tmp_path / "out", timeout=seconds, limits=limits)
    assert caught.value.message.startswith("the export of m version 1 failed: ")
    assert HINTS.get(fault, "") in caught.value.hint
    if fault == "hang":
        assert "hanging" in caught.value.details
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "__pycache__").exists()


def test_baked_axis_is_named(tmp_path: Path) -> None:
    """A trace that baked in the size of a named axis fails with the axis, the sizes, and what to do."""
    body = "        n = len(x[0].tolist())\n        return x * torch.arange(n)"
    source = orders.factory(tmp_path, body)
    made = orders.order(
        source,
        tmp_path,
        inputs={"x": orders.tensor(["batch", "n"], dtype="FP32")},
        outputs={"y": orders.answer(["batch", "n"])},
        axes={"n": spec.Axis(min=8, max=9)},
    )
    with pytest.raises(errors.PipelineError, match="size of axis `n`: it agrees at 8, and at 9 it does not") as caught:
        orders.export(made, tmp_path, tmp_path / "out")
    assert "declare a fixed size" in caught.value.hint


def test_script_keeps_branches(tmp_path: Path) -> None:
    """`script` keeps data-dependent branches and dict results, which a trace cannot; declared NaN passes."""
    body = "        y = x\n        if bool(x.sum() > 0):\n            y = -x\n        return {'other': x, 'y': y / 0}"
    made = orders.order(
        orders.factory(tmp_path, body),
        tmp_path,
        export=spec.Export(method="script"),
        outputs={"y": orders.answer(["batch", 4], "y", finite=False)},
    )
    orders.export(made, tmp_path, tmp_path / "out")
    import torch  # noqa: PLC0415

    module = torch.jit.load(str(tmp_path / "out" / "model.pt"))
    assert module(torch.ones(1, 4)).tolist() == [[-np.inf] * 4]
    assert module(-torch.ones(1, 4)).tolist() == [[-np.inf] * 4]
    assert module(torch.tensor([[-3.0, 1, 1, 0.5]])).tolist() == [[-np.inf, np.inf, np.inf, np.inf]]


REFUSED = [
    ({"export": spec.Export(method="script")}, orders.CONFIG, "cannot compile BertForSequenceClassification", "trace"),
    (
        {},
        spec.Source(config=spec.ConfigSource(architecture="BertForSequenceClasification")),
        "has no model class BertForSequenceClasification",
        "Did you mean BertForSequenceClassification?",
    ),
    (
        {},
        spec.Source(config=spec.ConfigSource(architecture="BertModel", options={"hiden_size": 8})),
        "BertConfig has no option `hiden_size`",
        "Did you mean `hidden_size`?",
    ),
    (
        {"toolchain": {"torch": "1.0.0"}},
        orders.CONFIG,
        r"asks for torch 1.0.0, and this environment has 2\.",
        "requirements",
    ),
]


@pytest.mark.parametrize(("change", "source", "says", "hint"), REFUSED)
def test_refusal_says_what_to_do(
    tmp_path: Path, change: dict[str, Any], source: spec.Source, says: str, hint: str
) -> None:
    """What the spec asks for and cannot be had is refused with the reason and the next thing to do."""
    made = orders.order(
        source, tmp_path, **{"inputs": orders.TOKENS, "outputs": {"o": orders.answer(["batch", 2], "logits")}, **change}
    )
    with pytest.raises(errors.PipelineError, match=says) as caught:
        orders.export(made, tmp_path, tmp_path / "out")
    assert hint in caught.value.hint


def test_hidden_import_is_refused(tmp_path: Path) -> None:
    """A factory that imports a file of the root by a computed name is refused, with the file named."""
    (tmp_path / "hidden.py").write_text("")
    source = orders.factory(tmp_path, "        return x")
    (tmp_path / "net.py").write_text((tmp_path / "net.py").read_text() + "\n__import__('hid' + 'den')\n")
    with pytest.raises(errors.PipelineError, match=r"imported hidden\.py, which its digest does not cover"):
        orders.export(orders.order(source, tmp_path), tmp_path, tmp_path / "out")


def test_file_is_adopted(tmp_path: Path) -> None:
    """A finished artifact is copied as it is, and its goldens are its own answers."""
    import torch  # noqa: PLC0415

    torch.jit.save(torch.jit.trace(torch.nn.Softmax(dim=-1), torch.ones(2, 4)), str(tmp_path / "mine.pt"))
    digest = hashlib.sha256((tmp_path / "mine.pt").read_bytes()).hexdigest()
    source = spec.Source(file=spec.FileSource(path="mine.pt", sha256=digest))
    result = orders.export(orders.order(source, tmp_path, export=None), tmp_path, tmp_path / "out")
    assert result.files["model.pt"].sha256 == digest
    tensors, _ = orders.golden(tmp_path / "out")
    expected = torch.softmax(torch.from_numpy(tensors["2/input/x"]), -1).numpy()
    np.testing.assert_allclose(tensors["2/output/y"], expected, rtol=1e-6)


def test_inputs_are_asymmetric_and_repeat(tmp_path: Path) -> None:
    """Random inputs differ from name to name and batch to batch, and are the same every time."""
    inputs = {
        "a": orders.tensor(["batch", 4]),
        "b": orders.tensor(["batch", 4]),
        "m": orders.tensor(["batch", 4], "attention_mask"),
    }
    made = orders.order(orders.factory(tmp_path, "        return x"), tmp_path, inputs=inputs)
    first = goldens.inputs(made, 2, sizes={}, tokenizer=None)
    again = goldens.inputs(made, 2, sizes={}, tokenizer=None)
    assert all((first[name] == again[name]).all() for name in inputs)
    assert first["a"].tolist() != first["b"].tolist()
    assert set(np.unique(first["m"])) <= {0, 1}
    assert first["m"][:, 0].tolist() == [1, 1]
    assert first["a"][:1].tolist() != goldens.inputs(made, 1, sizes={}, tokenizer=None)["a"].tolist()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b", "a"], [("b", "b"), ("a", "a")]),
        (["x.y__1", "x.y__0"], [("x.y__0", "argument_0"), ("x.y__1", "argument_1")]),
        (["x.y", "class"], [("x.y", "argument_0"), ("class", "argument_1")]),
    ],
)
def test_signature_follows_triton(tmp_path: Path, names: list[str], expected: list[tuple[str, str]]) -> None:
    """Arguments have the config's names where they can, else the order that Triton's backend will give them."""
    source = orders.factory(tmp_path, "        return x")
    made = orders.order(source, tmp_path, inputs={name: orders.tensor(["batch", 4]) for name in names})
    assert signature.inputs(made) == expected
