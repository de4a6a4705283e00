"""Signatures over the repository, and documents about it: by the commands, on real builds and a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests import official, project

pytestmark = pytest.mark.real

POLICY = "  policy: {signature: required, key: models.pub}\n"


def make_key(root: Path, name: str, *, password: bytes | None = None) -> None:
    """A pair of keys, NAME.key and NAME.pub."""
    key = ec.generate_private_key(ec.SECP256R1())
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (root / f"{name}.key").write_bytes(key.private_bytes(pem, form, how))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (root / f"{name}.pub").write_bytes(public)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> project.Project:
    """A project that requires signatures, assembled and signed."""
    made = project.make(
        tmp_path_factory.mktemp("signed") / "p",
        project.SPEC.replace("models:\n", POLICY.replace("{", "{{").replace("}", "}}") + "models:\n", 1),
    )
    shutil.copy(project.HOME / "requirements" / "core.txt", made.root / "requirements")
    make_key(made.root, "models")
    made.build()
    made.good("assemble")
    made.good("sign", "--key", "models.key")
    return made


@pytest.fixture
def copy(signed: project.Project, tmp_path: Path) -> Iterator[project.Project]:
    """The same in a folder of its own."""
    shutil.copytree(signed.root, tmp_path / "p", symlinks=True)
    made = project.Project(root=tmp_path / "p", ports=signed.ports)
    yield made
    made.run("down")
    subprocess.run(["chmod", "-R", "u+w", str(made.root)], check=True)


def test_a_signed_repository_is_served(copy: project.Project) -> None:
    """`serve` and `apply` take what was signed; a second `sign` finds the signature good and leaves its bytes."""
    before = (copy.root / "model_repository.sig").read_bytes()
    assert copy.good("sign", "--key", "models.key") == "model_repository.sig holds already.\n"
    assert (copy.root / "model_repository.sig").read_bytes() == before
    copy.good("serve")
    copy.good("apply")
    copy.good("verify")


def no_signature(root: Path) -> None:
    """Nobody has signed."""
    (root / "model_repository.sig").unlink()


def another_key(root: Path) -> None:
    """It was signed by somebody else."""
    make_key(root, "models")


def a_torn_signature(root: Path) -> None:
    """Half of it was written."""
    path = root / "model_repository.sig"
    path.write_bytes(path.read_bytes()[:200])


def no_signature_at_all(root: Path) -> None:
    """It is JSON, and no signature."""
    (root / "model_repository.sig").write_text("{}")


def no_key(root: Path) -> None:
    """The public key is gone."""
    (root / "models.pub").unlink()


def a_forged_list(root: Path) -> None:
    """The list of digests was changed, and the signature over it left."""
    path = root / "model_repository.sig"
    data = json.loads(path.read_text())
    payload = data["dsseEnvelope"]["payload"]
    data["dsseEnvelope"]["payload"] = payload[:-8] + ("AAAA" if payload[-8:-4] != "AAAA" else "BBBB") + payload[-4:]
    path.write_text(json.dumps(data))


def an_extra_file(root: Path) -> None:
    """There is a model that nobody has signed."""
    (root / "model_repository" / "extra").mkdir()
    (root / "model_repository" / "extra" / "config.pbtxt").write_text('name: "extra"\n')


BOTH = [no_signature, another_key, a_torn_signature, no_signature_at_all, no_key, a_forged_list, an_extra_file]


def a_changed_file(root: Path) -> None:
    """A file has other bytes."""
    path = root / "model_repository" / "tiny" / "config.pbtxt"
    path.chmod(0o644)
    path.write_text(path.read_text() + "# changed\n")


def a_link(root: Path) -> None:
    """A file is a link to one with the same bytes."""
    path = root / "model_repository" / "tiny" / "config.pbtxt"
    path.parent.chmod(0o755)
    path.rename(root / "elsewhere")
    path.symlink_to(root / "elsewhere")


def a_file_in_a_model(root: Path) -> None:
    """A version has a file more."""
    folder = root / "model_repository" / "tiny" / "1"
    folder.chmod(0o755)
    (folder / "more.txt").write_text("more")


@pytest.mark.parametrize("harm", [*BOTH, a_changed_file, a_link, a_file_in_a_model])
def test_serve_refuses_what_nobody_signed(copy: project.Project, harm: Callable[[Path], None]) -> None:
    """Row 70: exit 4 for a signature that is missing, of another key or damaged, and for a tree that was altered."""
    harm(copy.root)
    ended = copy.run("serve")
    assert ended.returncode == 4, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert copy.run("status").stdout.startswith("No server of this project runs.")


@pytest.mark.parametrize("harm", BOTH)
def test_apply_refuses_before_it_touches_anything(copy: project.Project, harm: Callable[[Path], None]) -> None:
    """Row 70: what is about to be laid out is held against the signature first; no server starts."""
    harm(copy.root)
    ended = copy.run("apply")
    assert ended.returncode == 4, ended.stdout + ended.stderr
    assert not (copy.root / ".pipeline" / "releases" / "history.json").exists()


def test_apply_refuses_a_change_that_nobody_signed(copy: project.Project) -> None:
    """A new config is other files than the signed ones: refused, and accepted once it is signed."""
    copy.edit("max_batch_size: 4", "max_batch_size: 8")
    ended = copy.run("apply", "--accept-goldens")
    assert ended.returncode == 4, ended.stdout + ended.stderr
    assert "tiny/config.pbtxt" in ended.stderr


def test_apply_mends_an_altered_file(copy: project.Project) -> None:
    """The signed file is in the store, and takes the place of the altered one."""
    a_changed_file(copy.root)
    copy.good("apply")
    copy.good("serve")


def test_sign_refuses_another_tree(copy: project.Project) -> None:
    """Only what the lock says is signed, never what somebody has changed."""
    a_changed_file(copy.root)
    ended = copy.run("sign", "--key", "models.key")
    assert ended.returncode == 1
    assert "not what the spec says: tiny" in ended.stderr


def test_sign_refuses_the_key_of_another(copy: project.Project) -> None:
    """A signature that the policy's own key would refuse is never put in place."""
    (copy.root / "elsewhere").mkdir()
    make_key(copy.root / "elsewhere", "models")
    no_signature(copy.root)
    ended = copy.run("sign", "--key", "elsewhere/models.key")
    assert ended.returncode == 1
    assert "does not hold with models.pub" in ended.stderr
    assert not (copy.root / "model_repository.sig").exists()
    assert not list(copy.root.glob(".pipeline-*"))


def test_the_way_back_stays_open(copy: project.Project) -> None:
    """`heal` restores what was checked when it went live, whatever has become of the signature."""
    copy.good("apply")
    no_signature(copy.root)
    a_changed_file(copy.root)
    copy.good("heal")
    assert copy.run("apply").returncode == 4


def test_keys_that_cannot_be_used(copy: project.Project) -> None:
    """A missing key, a file that is none, and a wrong password each say what to do; the password is no argument."""
    no_signature(copy.root)
    make_key(copy.root, "models", password=b"secret")
    for name, variables in (
        ("none.key", {}),
        ("pipeline.yaml", {}),
        ("models.key", {}),
        ("models.key", {"PIPELINE_KEY_PASSWORD": "wrong"}),
    ):
        ended = copy.run("sign", "--key", name, **variables)
        assert ended.returncode == 1, ended.stderr
        assert "hint: Make one with" in ended.stderr
    done = copy.run("sign", "--key", "models.key", PIPELINE_KEY_PASSWORD="secret")
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_documents(copy: project.Project) -> None:
    """`provenance` writes valid documents, the same bytes each time, and checksums that hold for the files."""
    copy.good("provenance", "--out", "first")
    copy.good("provenance", "--out", "second")
    names = sorted(path.name for path in (copy.root / "first").iterdir())
    assert names == ["bom.cdx.json", "provenance.intoto.json", "subjects.sha256"]
    for name in names:
        assert (copy.root / "first" / name).read_bytes() == (copy.root / "second" / name).read_bytes()
    assert official.fault_of_bom((copy.root / "first" / "bom.cdx.json").read_bytes()) == ""
    official.read_statement((copy.root / "first" / "provenance.intoto.json").read_bytes())
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "../first/subjects.sha256"], cwd=copy.root / "model_repository", check=False
    )
    assert checked.returncode == 0


def test_nothing_is_said_of_another_lock(copy: project.Project) -> None:
    """Where the spec asks for what is not built, nothing is attested."""
    copy.edit("scale: 1.5", "scale: 2.5")
    ended = copy.run("provenance")
    assert ended.returncode == 1
    assert "Run `export` first" in ended.stderr
