"""The sessions' environments: made once, made whole, and with the packages that pip would see."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nox import registry

import noxfile
from pipeline import arguments
from tests import index_server


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose one group of requirements is empty, so that nothing is fetched."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "core.txt").write_text("# nothing\n")
    monkeypatch.setattr(noxfile, "ROOT", tmp_path)
    monkeypatch.setattr(noxfile, "ENVIRONMENTS", tmp_path / ".nox")
    return tmp_path


def answers(programs: Path) -> bool:
    """Whether the environment's interpreter runs."""
    return subprocess.run([programs / "python", "-c", "pass"], check=False).returncode == 0


def made(programs: Path) -> int:
    """When the environment was made."""
    return (programs.parent / "pyvenv.cfg").stat().st_mtime_ns


def test_environment_is_made_once(place: Path) -> None:
    """A second call finds the environment and leaves it alone."""
    first = noxfile.environment("core")
    when = made(first)
    assert answers(first)
    assert made(noxfile.environment("core")) == when


def change_pins(place: Path) -> None:
    """Ask for other packages."""
    (place / "requirements" / "core.txt").write_text("# other pins\n")


def lose_stamp(place: Path) -> None:
    """As a creation that was killed leaves it."""
    (place / ".nox" / "core" / "stamp").unlink()


def tear_stamp(place: Path) -> None:
    """As a full disk leaves the stamp."""
    (place / ".nox" / "core" / "stamp").write_text("")


def lose_interpreter(place: Path) -> None:
    """As the removal of the system's Python leaves it."""
    (place / ".nox" / "core" / "bin" / "python").unlink()


@pytest.mark.parametrize("damage", [change_pins, lose_stamp, tear_stamp, lose_interpreter])
def test_environment_is_made_again(place: Path, damage: Callable[[Path], None]) -> None:
    """Other pins, a creation that never ended, and a lost interpreter are seen, and the environment replaced."""
    when = made(noxfile.environment("core"))
    damage(place)
    again = noxfile.environment("core")
    assert made(again) > when
    assert answers(again)


def test_part_is_added_to_its_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format's packages go into the environment that exports and serves, once; it stays what it is, and a new one
    gets them anew."""
    monkeypatch.setattr(noxfile, "PARTS", {"part": "core"})
    (place / "requirements" / "part.txt").write_text("# nothing more\n")
    programs = noxfile.environment("core")
    when = made(programs)
    assert noxfile.environment("part") == programs
    stamp = programs.parent / "stamp-part"
    assert (made(programs), stamp.exists()) == (when, True)
    change_pins(place)
    noxfile.environment("core")
    assert not stamp.exists()
    noxfile.environment("part")
    assert stamp.exists()


def killed_while_installing(place: Path) -> None:
    """Make the environment in this process, and die as the packages arrive."""
    real = noxfile.uv

    def die(*words: str, told: str = "") -> None:
        if words[0] == "pip":
            os.kill(os.getpid(), signal.SIGKILL)
        real(*words, told=told)

    noxfile.uv = die
    noxfile.environment("core")


def test_killed_creation_is_done_again(place: Path) -> None:
    """A creation killed half-way leaves nothing that counts, and no lock that stays."""
    process = multiprocessing.get_context("fork").Process(target=killed_while_installing, args=(place,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (place / ".nox" / "core" / "bin" / "python").exists()
    assert not (place / ".nox" / "core" / "stamp").exists()
    assert answers(noxfile.environment("core"))


def test_creations_at_once_make_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that start together wait for one creation and share it."""
    real, calls = noxfile.uv, place / "calls"

    def noted(*words: str, told: str = "") -> None:
        with calls.open("a") as file:
            file.write(f"{words[0]}\n")
        real(*words, told=told)

    monkeypatch.setattr(noxfile, "uv", noted)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=noxfile.environment, args=("core",)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert calls.read_text().split() == ["venv", "pip"]
    assert answers(noxfile.environment("core"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"UV_TORCH_BACKEND": "cpu"}),
        (
            {"index-url": "https://index.example/simple", "cert": "/etc/ca.crt", "timeout": "60"},
            {
                "UV_DEFAULT_INDEX": "https://index.example/simple",
                "SSL_CERT_FILE": "/etc/ca.crt",
                "UV_HTTP_TIMEOUT": "60",
                "UV_TORCH_BACKEND": "cpu",
            },
        ),
        (
            {"extra-index-url": "https://a.example\nhttps://b.example", "disable-pip-version-check": "1"},
            {
                "UV_INDEX": "https://a.example https://b.example",
                "UV_INDEX_STRATEGY": "unsafe-best-match",
                "UV_TORCH_BACKEND": "cpu",
            },
        ),
        (
            {"find-links": "https://links.example/wheels ./none"},
            {"UV_FIND_LINKS": "https://links.example/wheels,./none", "UV_TORCH_BACKEND": "cpu"},
        ),
    ],
    ids=["nothing", "one-index", "more-indexes", "links-without-torch"],
)
def test_uv_sees_what_pip_sees(settings: dict[str, str], expected: dict[str, str]) -> None:
    """pip's settings become uv's variables, and PyTorch is the CPU build."""
    assert noxfile.uv_variables(settings) == expected


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_torch_comes_from_the_users_folder(tmp_path: Path, scheme: str) -> None:
    """A folder of wheels that has a torch is where torch is taken from."""
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    links = f"{scheme}{tmp_path}"
    assert noxfile.uv_variables({"find-links": links}) == {"UV_FIND_LINKS": links}


PINS = """\
numpy==1.26.4 \\
    --hash=sha256:1
    # via x
torch==2.13.0 \\
    --hash=sha256:2 \\
    --hash=sha256:3
    # via y
"""
ALL = ["--require-hashes"]


@pytest.mark.parametrize(
    ("backend", "wheel", "expected"),
    [
        ("cpu", "", ALL),
        ("", "torch-2.13.0+cpu-cp311-cp311-any.whl", ALL),
        ("", "torch-2.13.0-cp311-cp311-any.whl", []),
        ("cu126", "torch-2.13.0+cpu-cp311-cp311-any.whl", []),
    ],
)
def test_torch_is_held_to_its_digest(tmp_path: Path, backend: str, wheel: str, expected: list[str]) -> None:
    """Row 73: the CPU build is, as every package; a build of the user's own choice cannot be, and the others are."""
    (tmp_path / (wheel or "none")).touch()
    variables = {"UV_FIND_LINKS": str(tmp_path)} | ({"UV_TORCH_BACKEND": backend} if backend else {})
    options, text = noxfile.by_digest(PINS, variables)
    assert options == expected
    held = PINS.replace("torch==2.13.0", "torch==2.13.0+cpu")
    assert text == (held if expected else PINS.partition("torch")[0] + "torch==2.13.0\n    # via y\n")


def test_pip_variables_win_over_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip itself does, a variable beats a configuration file."""
    (tmp_path / "pip.conf").write_text("[global]\ntimeout = 11\nretries = 2\n[install]\nretries = 3\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TIMEOUT", "22")
    settings = noxfile.pip_settings()
    assert settings["timeout"] == "22"
    assert settings["retries"] == "3"


@pytest.fixture
def indexes(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[index_server.Index, index_server.Index]]:
    """Two indexes that have a package of one name and version: the one that the pins were made with, and another's."""
    with index_server.serve() as ours, index_server.serve() as theirs:
        digest = ours.put("small", "1.0", {"small.py": b"OURS = True\n"})
        theirs.put("small", "1.0", {"small.py": b"OURS = False\n"})
        (place / "requirements" / "core.txt").write_text(f"small==1.0 \\\n    --hash=sha256:{digest}\n")
        for name in [each for each in os.environ if each.startswith(("PIP_", "UV_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("UV_CACHE_DIR", str(place / "cache"))
        yield ours, theirs


def test_the_pinned_package_is_taken(
    indexes: tuple[index_server.Index, index_server.Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed is the package that the pins were made with."""
    monkeypatch.setenv("PIP_INDEX_URL", indexes[0].url)
    found = noxfile.environment("core").parent
    assert next(found.glob("lib/*/site-packages/small.py")).read_text() == "OURS = True\n"


@pytest.mark.parametrize("fault", ["other files", "another index before it", "no digest"])
def test_a_package_of_the_same_name_is_not(
    place: Path, indexes: tuple[index_server.Index, index_server.Index], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Row 73: another package of that name and version, or a pin without a digest, makes no environment."""
    ours, theirs = indexes
    monkeypatch.setenv("PIP_INDEX_URL", theirs.url if fault == "other files" else ours.url)
    if fault == "another index before it":
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", theirs.url)
    if fault == "no digest":
        (place / "requirements" / "core.txt").write_text("small==1.0\n")
    with pytest.raises(SystemExit, match="uv pip install"):
        noxfile.environment("core")
    assert not (place / ".nox" / "core" / "stamp").exists()
    assert list((place / ".nox" / "core").glob("lib/*/site-packages/small.py")) == []


def test_each_session_explains_itself() -> None:
    """Every command of the program has a session, and every session says what it does and shows a call."""
    sessions = {name: made.func.__doc__ or "" for name, made in registry.get().items()}
    assert arguments.COMMANDS.keys() | {"lint", "tests"} <= sessions.keys()
    assert [name for name, says in sessions.items() if f": nox -s {name}" not in says] == []
