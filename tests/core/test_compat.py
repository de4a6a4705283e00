"""Images against machines and artifacts: references, the matrix, rules with their sources, the newest that runs."""

from __future__ import annotations

import string

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import compat, errors, findings, fitness, formats, gpu, image, machine, matrix
from pipeline.edges import facts

TEXT = facts.releases()
ROWS = matrix.parse(TEXT)
DRIVER = machine.Driver(state="works", version="580.65.06", gpus=(machine.Gpu(name="NVIDIA A100", capability="8.0"),))
WORD = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True)
REFERENCE = st.builds(
    image.Reference,
    registry=st.sampled_from(["", "nvcr.io", "localhost", "localhost:5000", "127.0.0.1:5000", "a-b.example:443"]),
    path=st.lists(WORD, min_size=1, max_size=3).map("/".join),
    tag=st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    digest=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__),
)


def row(tag: str) -> matrix.Row:
    """The row of a release."""
    found = matrix.find(ROWS, tag)
    assert found is not None
    return found


def rules(found: tuple[findings.Finding, ...]) -> list[str]:
    """The rules of the findings."""
    return [each.rule for each in found]


@settings(deadline=None)
@given(REFERENCE)
def test_references_survive_a_round_trip(reference: image.Reference) -> None:
    """A reference's text reads back as the same; without a registry its first word may have no dot, to be no host."""
    if not reference.registry:
        reference = msgspec.structs.replace(reference, path=reference.path.replace(".", "_"))
    assert image.parse(str(reference)) == reference


@pytest.mark.parametrize("host", ["localhost", "a.example", "127.0.0.1", "a:5000", "A.example:443"])
def test_hosts_are_registries(host: str) -> None:
    """A first word with a dot or a port, or localhost, is the registry."""
    assert image.parse(f"{host}/a/b:c") == image.Reference(registry=host, path="a/b", tag="c")


@settings(deadline=None)
@given(st.text(max_size=600) | st.text(string.ascii_letters + string.digits + "/:@.-_\n\x00", max_size=80))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    """Nothing but a reference is read, and what is read is all of the text."""
    try:
        found = str(image.parse(text))
    except errors.InvalidSpec:
        found = text
    assert found == text


@settings(deadline=None)
@given(st.text(string.ascii_lowercase + string.digits + ".-_v", max_size=30))
def test_any_tag_gets_a_verdict(tag: str) -> None:
    """A tag is of a known release, or something is said of it."""
    text = f"{image.TRITON}:{tag}"
    try:
        found = compat.judge(text, ROWS, compat.Wanted())
    except errors.InvalidSpec:
        return
    plain = image.tagged(tag)
    if not plain or plain.variant != "py3" or matrix.find(ROWS, plain.release) is None:
        assert [each for each in found if each.rule.startswith("image-")]


@pytest.mark.parametrize(
    "text",
    ["", "A/b", "nvcr.io/nvidia/", "a:", "a@sha256:12", "a:b@md5:00", "a//b", "../a", "a b", "a:é", "x" * 513, "a\n"],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """A text that no engine would take is refused with a hint."""
    with pytest.raises(errors.InvalidSpec, match="is not the name of an image"):
        image.parse(text)


@pytest.mark.parametrize(
    ("text", "rule", "hint"),
    [
        ("nvcr.io/nvdia/tritonserver:23.08-py3", "image-name", "`nvcr.io/nvidia/tritonserver:23.08-py3`"),
        ("nvcr.io/nvidia/tritonsever", "image-name", "`nvcr.io/nvidia/tritonserver`"),
        ("nvidia/tritonserver:23.08-py3", "image-name", "`nvcr.io/nvidia/tritonserver:23.08-py3`"),
        ("tritonserver:23.08-py3", "image-name", "`nvcr.io/nvidia/tritonserver:23.08-py3`"),
        (f"{image.TRITON}:23.8-py3", "image-tag", "`23.08-py3`"),
        (f"{image.TRITON}:23.08", "image-tag", "`23.08-py3`"),
        (f"{image.TRITON}:23.08-py", "image-tag", "`23.08-py3`"),
        (f"{image.TRITON}:v23.08-py3", "image-tag", "`23.08-py3`"),
        (f"{image.TRITON}:latest", "image-tag-unknown", "22.01 to 26.10"),
        (f"{image.TRITON}:21.07-py3", "image-tag-unknown", "22.01 to 26.10"),
        (f"{image.TRITON}:27.01-py3", "image-tag-unknown", "22.01 to 26.10"),
        (f"{image.TRITON}@sha256:{'0' * 64}", "image-tag-unknown", "before the digest"),
        (f"{image.TRITON}:26.08-py3-sdk", "image-variant-unknown", "26.08-py3"),
        (f"{image.TRITON}:26.08-py3-min", "image-variant-unknown", "26.08-py3"),
        (f"{image.TRITON}:26.08-trtllm-python-py3", "image-variant-unknown", "26.08-py3"),
        (f"{image.TRITON}:26.08-vllm-python-py3", "image-variant-unknown", "26.08-py3"),
        ("triton-pipeline-cpu:0.1", "image-unknown", "shows when it runs"),
        ("nvcr.oi/nvidia/tritonserver:23.08-py3", "image-name", "`nvcr.io/nvidia/tritonserver:23.08-py3`"),
        ("nvcr.internal/nvidia/tritonserver:23.08-py3", "image-unknown", "shows when it runs"),
        ("tritonserver:mine", "image-unknown", "shows when it runs"),
        ("nvcr.io/nvidia/pytorch:24.01-py3", "image-unknown", "shows when it runs"),
    ],
)
def test_names_that_are_not_a_plain_release(text: str, rule: str, hint: str) -> None:
    """A slip gets the near name as an error; what nobody knows is a warning, never fine."""
    first = compat.judge(text, ROWS, compat.Wanted())[0]
    assert first.rule == rule
    assert hint in first.hint
    assert (first.severity is findings.Severity.ERROR) == (not rule.endswith("-unknown"))


def test_variants_are_not_judged_by_the_plain_rows() -> None:
    """A variant gets its warning and the security floor, and nothing of driver, GPU or formats."""
    old = machine.Driver(state="works", version="450.80.02", gpus=(machine.Gpu(name="NVIDIA GeForce GTX 980"),))
    wanted = compat.Wanted(driver=old, artifacts=(formats.Artifact(format="tensorflow"),))
    found = compat.judge(f"{image.TRITON}:26.04-vllm-python-py3", ROWS, wanted)
    assert rules(found) == ["image-variant-unknown", "security-floor"]


@pytest.mark.parametrize(
    ("release", "policy", "severity"),
    [
        ("26.05", "warn", findings.Severity.WARNING),
        ("26.05", "strict", findings.Severity.ERROR),
        ("26.06", "strict", None),
    ],
)
def test_the_security_floor(release: str, policy: compat.Policy, severity: findings.Severity | None) -> None:
    """Releases before 26.06 have CVE-2026-47627: a warning, or an error where the policy is strict."""
    found = compat.judge(f"{image.TRITON}:{release}-py3", ROWS, compat.Wanted(policy=policy))
    assert [each.severity for each in found] == [severity] * (severity is not None)
    assert all("CVE-2026-47627" in each.source for each in found)


def test_errors_come_first() -> None:
    """What stops a run is told before what does not."""
    wanted = compat.Wanted(artifacts=(formats.Artifact(format="tensorflow"),))
    found = compat.judge(f"{image.TRITON}:25.08-py3", ROWS, wanted)
    assert rules(found) == ["tensorflow-gone", "security-floor"]


def test_what_the_image_tells_beats_the_table() -> None:
    """A fact probed from the image itself takes the place of the table's, with its source."""
    wanted = compat.Wanted(artifacts=(formats.Artifact(format="onnx", opset=23, ir=11),))
    text = f"{image.TRITON}:24.10-py3"
    probed = matrix.probed(row("24.10"), {"onnxruntime": "1.23.0"})
    assert rules(compat.judge(text, ROWS, wanted)) == ["onnx-ir", "onnx-opset", "security-floor"]
    assert rules(compat.judge(text, ROWS, wanted, probed=probed)) == ["security-floor"]
    assert matrix.source(probed, "onnxruntime") == "the image itself"
    own = matrix.probed(matrix.Row(tag="0"), {"tensorflow_backend": "no"})
    tensorflow = compat.Wanted(artifacts=(formats.Artifact(format="tensorflow"),))
    assert rules(compat.judge("mine:1", ROWS, tensorflow, probed=own)) == ["tensorflow-gone", "image-unknown"]
    with pytest.raises(KeyError):
        matrix.probed(row("24.10"), {"tag": "1"})


@pytest.mark.parametrize(
    ("release", "artifact", "rule"),
    [
        ("23.08", {"format": "torchscript", "torch": "2.13.0", "operators": ["add", "conv2d"]}, None),
        ("23.08", {"format": "torchscript", "operators": ["rms_norm"]}, "torchscript-operator"),
        ("24.03", {"format": "torchscript", "operators": ["rms_norm"]}, "torchscript-operator-unknown"),
        ("24.06", {"format": "torchscript", "operators": ["rms_norm"]}, None),
        ("22.05", {"format": "torchscript", "operators": ["scaled_dot_product_attention"]}, "torchscript-operator"),
        ("23.08", {"format": "torchscript", "operators": ["scaled_dot_product_attention"]}, None),
        ("23.08", {"format": "torchscript", "operators": ["_upsample_lanczos2d_aa"]}, "torchscript-operator"),
        ("26.04", {"format": "torchscript", "operators": ["_upsample_lanczos2d_aa"]}, "torchscript-operator-unknown"),
        ("26.06", {"format": "torchscript", "operators": ["_upsample_lanczos2d_aa"]}, None),
        ("23.08", {"format": "torchscript", "torch": "2.13.0"}, "torchscript-unknown"),
        ("26.06", {"format": "torchscript", "torch": "2.13.0"}, None),
        ("26.06", {"format": "torchscript"}, "torchscript-unknown"),
        ("26.09", {"format": "torchscript", "operators": []}, "torch-unknown"),
        ("26.02", {"format": "torch_aoti"}, "torch-aoti-missing"),
        ("26.03", {"format": "torch_aoti", "torch": "2.11.0"}, None),
        ("26.03", {"format": "torch_aoti", "torch": "2.13.0"}, "torch-aoti-newer"),
        ("26.09", {"format": "torch_aoti"}, "torch-aoti-unknown"),
        ("23.08", {"format": "onnx", "opset": 19, "ir": 9}, None),
        ("23.08", {"format": "onnx", "opset": 20, "ir": 9}, "onnx-opset"),
        ("23.08", {"format": "onnx", "opset": 19, "ir": 10}, "onnx-ir"),
        ("23.08", {"format": "onnx", "ir": 9}, "onnx-opset-unknown"),
        ("26.09", {"format": "onnx", "opset": 19, "ir": 9}, "onnxruntime-unknown"),
        ("22.08", {"format": "openvino", "ir": 10}, None),
        ("22.08", {"format": "openvino", "ir": 11}, "openvino-ir"),
        ("22.09", {"format": "openvino", "ir": 11}, None),
        ("23.08", {"format": "openvino"}, "openvino-ir-unknown"),
        ("26.09", {"format": "openvino", "ir": 11}, "openvino-unknown"),
        ("25.02", {"format": "tensorflow"}, None),
        ("25.03", {"format": "tensorflow"}, "tensorflow-gone"),
        ("26.09", {"format": "tensorflow"}, "tensorflow-unknown"),
        ("23.08", {"format": "tensorrt", "tensorrt": "8.6.1"}, None),
        ("23.08", {"format": "tensorrt", "tensorrt": "10.0.1"}, "tensorrt-version"),
        ("24.06", {"format": "tensorrt", "tensorrt": "10.0.1"}, "tensorrt-unknown"),
        ("24.10", {"format": "python", "python": "3.10.12"}, None),
        ("24.10", {"format": "python", "python": "3.11"}, "python-version"),
        ("26.09", {"format": "python", "python": "3.12"}, "python-unknown"),
    ],
)
def test_formats(release: str, artifact: dict[str, object], rule: str | None) -> None:
    """Each format against the row before and after its limit, and against an empty cell."""
    found = formats.judge(row(release), msgspec.convert(artifact, formats.Artifact))
    assert rules(found) == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("release", "wanted", "opset", "ir"),
    [
        ("22.01", None, 15, 8),
        ("22.12", None, 17, 8),
        ("23.03", None, 18, 8),
        ("26.08", None, 18, 8),
        (None, None, 18, 8),
        ("23.08", 19, 19, 9),
        ("23.08", 21, 21, 10),
        ("26.08", 26, 26, 13),
        (None, 99, 99, 13),
    ],
)
def test_opset_and_ir_are_those_that_the_image_loads(
    release: str | None, wanted: int | None, opset: int, ir: int
) -> None:
    """The opset is 18 or the newest of an older image, unless one is asked for; the IR version the oldest that has it.

    What is chosen loads; what is asked for is judged.
    """
    made = formats.onnx(row(release) if release else None, wanted)
    assert made == (opset, ir)
    if release and wanted is None:
        artifact = formats.Artifact(format="onnx", opset=made[0], ir=made[1])
        assert formats.judge(row(release), artifact) == ()


@pytest.mark.parametrize(
    ("release", "opset"), [("22.08", None), ("22.09", 8), ("23.07", 11), ("24.02", 13), ("24.12", 15), ("25.02", None)]
)
def test_operators_of_openvino_by_release(release: str, opset: int | None) -> None:
    """The newest set of operators that an image's OpenVINO has; unknown before IR 11, and where it is not listed."""
    assert formats.openvino(row(release)) == opset
    assert formats.openvino(None) is None


def test_every_row_that_is_known_loads_what_is_chosen() -> None:
    """Whatever the image, the opset and IR version that are chosen for it have nothing against them."""
    for each in ROWS:
        opset, ir = formats.onnx(each)
        found = formats.judge(each, formats.Artifact(format="onnx", opset=opset, ir=ir))
        assert rules(found) in ([], ["onnxruntime-unknown"])


def test_operators_are_read_out_of_the_code() -> None:
    """What TorchScript calls is found in its code, each once; methods and other modules are none."""
    code = "_0 = torch.rms_norm(x, [4], w)\n_1 = torch.add(_0, ops.aten.mul(x, 2))\n_2 = (n).forward(torch.add(x, x))\n"
    assert formats.operators(code) == ("add", "mul", "rms_norm")


@pytest.mark.parametrize("cells", ["onnxruntime", "pytorch", "openvino", "tensorflow_backend", "torch_aoti", "python"])
def test_empty_cells_are_never_fine(cells: str) -> None:
    """An artifact that needs a cell which is empty gets a finding that stops a recommendation."""
    emptied = msgspec.structs.replace(row("26.08"), **{cells: None})
    kinds = {
        "onnxruntime": "onnx",
        "pytorch": "torchscript",
        "openvino": "openvino",
        "tensorflow_backend": "tensorflow",
        "torch_aoti": "torch_aoti",
        "python": "python",
    }
    artifact = msgspec.convert({"format": kinds[cells], "opset": 11, "ir": 10, "operators": []}, formats.Artifact)
    assert [each for each in formats.judge(emptied, artifact) if compat.stops(each)]


def test_a_row_that_knows_nothing_is_never_recommended() -> None:
    """A release of which only the name is known is passed over, with the reason."""
    made = compat.recommend([matrix.Row(tag="27.01"), row("26.08")], compat.Wanted(driver=DRIVER))
    assert made.tag == "26.08"
    assert [(reason.tag, rules(reason.findings)) for reason in made.newer] == [("27.01", ["cuda-unknown"])]


def test_what_is_not_built_yet_stops_no_recommendation() -> None:
    """Where every release is open only because an artifact is not built, the newest that fits is named, with what is
    open; once it is built, what its operators say counts."""
    unbuilt = formats.Artifact(format="torchscript", model="m", version=1, torch="2.13.0")
    old = msgspec.structs.replace(DRIVER, version="535.104.05")
    made = compat.recommend(ROWS, compat.Wanted(driver=old, artifacts=(unbuilt,)))
    assert made.tag == "26.04"
    assert {"torchscript-unknown", "forward-compatibility"} <= set(rules(made.notes))
    assert "torchscript-unknown" not in {rule for reason in made.newer for rule in rules(reason.findings)}
    built = msgspec.structs.replace(unbuilt, operators=("_upsample_lanczos2d_aa",))
    assert compat.recommend(ROWS, compat.Wanted(driver=old, artifacts=(built,))).tag is None
    assert compat.recommend(ROWS, compat.Wanted(driver=DRIVER, artifacts=(unbuilt,))).tag == "26.08"


def test_versions_of_a_model_are_told_of_once() -> None:
    """What is said alike of several versions is said once of their model; what is said of one names it."""
    both = [formats.Artifact(format="tensorflow", model="old", version=number) for number in (1, 2)]
    one = formats.Artifact(format="tensorflow", model="other", version=3)
    found = compat.judge(f"{image.TRITON}:26.08-py3", ROWS, compat.Wanted(artifacts=(*both, one)))
    assert [(each.rule, each.model, each.version) for each in found] == [
        ("tensorflow-gone", "old", None),
        ("tensorflow-gone", "other", 3),
    ]


@settings(deadline=None)
@given(st.integers(400, 700), st.sampled_from(["6.0", "7.0", "7.5", "8.0", "9.0", "10.0"]), st.booleans())
def test_what_is_recommended_has_no_error(branch: int, capability: str, geforce: bool) -> None:  # noqa: FBT001
    """Whatever the machine, the release that is named has nothing against it, and every newer one has."""
    name = "NVIDIA GeForce RTX 4090" if geforce else "NVIDIA A100"
    driver = machine.Driver(
        state="works", version=f"{branch}.99", gpus=(machine.Gpu(name=name, capability=capability),)
    )
    made = compat.recommend(ROWS, compat.Wanted(driver=driver))
    if made.tag is not None:
        found = compat.judge(f"{image.TRITON}:{made.tag}-py3", ROWS, compat.Wanted(driver=driver))
        assert findings.errors(found) == ()
        least = fitness.floor(row(made.tag))
        assert least is not None
        assert branch >= least or not geforce
    assert all(any(map(compat.stops, reason.findings)) for reason in made.newer)
    newer = [each.tag for each in ROWS if made.tag is None or each.tag > made.tag]
    assert [reason.tag for reason in made.newer] == newer[::-1]


def test_the_matrix_that_ships() -> None:
    """All 58 releases are there, oldest first, each cell in its column, with sources."""
    assert len(ROWS) == 58
    assert (ROWS[0].tag, ROWS[-1].tag) == ("22.01", "26.10")
    assert row("23.08").cuda == "12.2.1"
    assert row("23.08").driver_compat_branches == ("450.51+", "470.57+", "510.47+", "525.85+", "535.86+")
    assert row("25.07").cuda is None
    assert all(each.source for each in ROWS)
    assert "release-notes/rel-24-06" in matrix.source(row("24.06"), "cuda")
    assert matrix.source(row("25.07"), "cuda") == ""


def test_weak_cells_say_so() -> None:
    """A cell that is known at second hand, or contradicted, is marked where its source is told."""
    assert matrix.weak(row("25.09"), "cuda")
    assert matrix.source(row("25.09"), "cuda").endswith("(not confirmed by a second source)")
    assert matrix.weak(row("24.12"), "python")
    assert matrix.weak(row("25.08"), "driver_min")
    assert not matrix.weak(row("24.06"), "cuda")
    assert not matrix.weak(matrix.probed(row("25.09"), {"cuda": "13.0.1"}), "cuda")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tag,triton_version", "tag,version"),
        ("\n23.08,", "\n23.8,"),
        ("\n23.08,", "\n23.07,"),
        ("\n26.10,", "\n26.10,,,,,,,,,,,,,,,,,,,"),
        ("\n23.08,2.37.0,", '\n"23.08"x,2.37.0,'),
    ],
    ids=["column", "tag", "twice", "too many cells", "quotes"],
)
def test_a_damaged_matrix_is_refused(old: str, new: str) -> None:
    """A table that is not the one that was shipped is an error with a hint, not a guess."""
    assert old in TEXT
    with pytest.raises(errors.PipelineError, match="release matrix") as caught:
        matrix.parse(TEXT.replace(old, new, 1))
    assert caught.value.hint


def test_a_cut_row_is_refused() -> None:
    """A row that ends early is damage, not a row of unknowns."""
    with pytest.raises(errors.PipelineError, match="in line 59"):
        matrix.parse(TEXT.rpartition("\n26.10,")[0] + "\n26.10,,13.4\n")


@pytest.mark.parametrize(
    ("name", "family", "capability", "forward"),
    [
        ("NVIDIA A100-SXM4-80GB", gpu.Family.DATA_CENTER, "8.0", True),
        ("NVIDIA H100 80GB HBM3", gpu.Family.DATA_CENTER, "9.0", True),
        ("NVIDIA H200", gpu.Family.DATA_CENTER, "9.0", True),
        ("NVIDIA GB200", gpu.Family.DATA_CENTER, "10.0", True),
        ("Tesla T4", gpu.Family.DATA_CENTER, "7.5", True),
        ("Tesla V100-PCIE-16GB", gpu.Family.DATA_CENTER, "7.0", True),
        ("Tesla P100-PCIE-16GB", gpu.Family.DATA_CENTER, "6.0", True),
        ("Tesla C2050", gpu.Family.DATA_CENTER, None, True),
        ("NVIDIA L40S", gpu.Family.DATA_CENTER, "8.9", True),
        ("NVIDIA GeForce RTX 4090", gpu.Family.GEFORCE, "8.9", False),
        ("NVIDIA GeForce RTX 5090", gpu.Family.GEFORCE, "12.0", False),
        ("NVIDIA GeForce GTX 1080 Ti", gpu.Family.GEFORCE, "6.1", False),
        ("NVIDIA GeForce GTX 1660 SUPER", gpu.Family.GEFORCE, "7.5", False),
        ("NVIDIA TITAN RTX", gpu.Family.GEFORCE, "7.5", False),
        ("NVIDIA TITAN V", gpu.Family.GEFORCE, "7.0", False),
        ("NVIDIA RTX A6000", gpu.Family.WORKSTATION, "8.6", None),
        ("NVIDIA RTX 6000 Ada Generation", gpu.Family.WORKSTATION, "8.9", None),
        ("Quadro RTX 8000", gpu.Family.WORKSTATION, "7.5", None),
        ("Jetson AGX Orin", gpu.Family.JETSON, "8.7", True),
        ("NVIDIA Graphics Device", gpu.Family.UNKNOWN, None, None),
        ("NVIDIA T1000 8GB", gpu.Family.UNKNOWN, None, None),
        ("", gpu.Family.UNKNOWN, None, None),
    ],
)
def test_gpus_by_name(name: str, family: gpu.Family, capability: str | None, forward: bool | None) -> None:  # noqa: FBT001
    """Family, compute capability and forward compatibility of a GPU by the name that the driver gives it."""
    assert (gpu.family(name), gpu.capability(name), gpu.forward_compatible(name)) == (family, capability, forward)
