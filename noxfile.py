"""The sessions: each sets up the environments that its command needs, and runs it.

Nothing is decided here: what a command does is in `pipeline/`. Environments are shared by all sessions, one a group
of requirements (`.nox/core`, `.nox/torch`, `.nox/dev`), and made only when something needs them.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nox

ROOT = Path(__file__).parent
ENVIRONMENTS = ROOT / ".nox"
# These are added to another's environment: one interpreter serves all.
PARTS = {"onnx": "torch", "openvino": "torch", "tensorflow": "torch", "cache": "core", "signing": "core"}
WHOLE = "PIPELINE_PYTHON"  # names an interpreter that has all packages: no environment is made then
BUCKETS = ("s3://", "gs://", "az://")
COMMANDS = {
    "validate": "Check pipeline.yaml, every fault at once: nox -s validate",
    "doctor": "Tell what this machine is fit for, and what mends it: nox -s doctor -- --recommend",
    "init": "Begin a project in a folder: nox -s init -- ../models",
    "adopt": "Make a spec of a model repository: nox -s adopt -- old_repository --out pipeline.yaml",
    "plan": "Show what would change, and change nothing: nox -s plan -- --out plan.json",
    "lock": "Pin sources, artifacts and goldens in pipeline.lock: nox -s lock",
    "export": "Build the artifacts that are missing: nox -s export -- --model bert",
    "rebuild": "Build again from the sources, and prove the lock: nox -s rebuild -- --check",
    "update": "Edit the spec to what is newer and fits, and show the plan: nox -s update -- --check",
    "assemble": "Bring model_repository/ to what the spec says: nox -s assemble",
    "serve": "Start Triton, or leave the right one running: nox -s serve",
    "verify": "Ask the server every golden question and compare: nox -s verify",
    "apply": "All that is needed, proven, or undone: nox -s apply",
    "rollback": "Go back to an earlier release: nox -s rollback -- 3",
    "history": "List what was deployed here: nox -s history",
    "recover": "Make a damaged history anew from the releases that are there: nox -s recover",
    "heal": "Restore the release that was applied last: nox -s heal",
    "watch": "Heal again and again, and follow a branch: nox -s watch -- --git origin/main",
    "gc": "Remove artifacts that nothing needs: nox -s gc",
    "status": "Tell what runs and what it serves: nox -s status",
    "down": "Stop the server that this project started: nox -s down",
    "render": "Print configs, or the server for use elsewhere: nox -s render -- --compose",
    "image": "Build the CPU image: nox -s image -- --base python:3.11-slim-bookworm",
    "provenance": "Say where each served file comes from: nox -s provenance -- --out provenance",
    "sign": "Sign the repository's files: nox -s sign -- --key models.key",
    "ci": "Tell GitHub what a plan says: nox -s ci -- summary --plan plan.json",
}
# These are first asked which environments they need, often none: what is built needs no torch.
HEAVY = {"lock", "export", "rebuild", "serve", "apply", "rollback", "heal", "watch", "sign"}
PENDING = {"plan", "update", "status"}  # where 2 says that something is to be done
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["validate", "export", "assemble", "serve", "verify"]
nox.options.default_venv_backend = "none"
nox.options.stop_on_first_error = True


def declare(command: str, says: str) -> None:
    """Make the session of a command of the program."""

    def run(session: nox.Session) -> None:
        pipeline(session, command)

    run.__doc__ = says
    nox.session(name=command)(run)


for each in COMMANDS.items():
    declare(*each)


@nox.session(name="environment")
def make(session: nox.Session) -> None:
    """Make an environment ahead of time, or add a format to it: nox -s environment -- torch onnx"""
    for group in session.posargs or ["core"]:
        session.log("%s", environment(group))


# Only for work on the pipeline itself.
WORKERS = ("-n", "2")
GROUPS = {
    "core": (),
    "cache": ("cache",),
    "torch": ("torch",),
    "onnx": ("torch", "onnx"),
    "openvino": ("torch", "openvino"),
    "tensorflow": ("torch", "tensorflow"),
    "signing": ("signing",),
    "dev": ("torch", "onnx", "openvino", "tensorflow", "signing", "cache", "dev", "nox"),
    "nox": ("nox",),
    "benchmarks": ("benchmarks",),
}
ALONE = {"nox", "benchmarks"}  # these have nothing of the program in them
HEADER = """\
# Every package of the `{group}` environment, solved from pyproject.toml by `nox -s pins` (uv pip compile).
# The list is whole, so install it as it is: pip install --no-deps -r requirements/{group}.txt
"""
# PyTorch's CPU build is in an index of its own: this is the digest that stands there (Linux on x86-64, Python 3.11).
CPU_BUILDS = {"torch==2.13.0": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}
GENERATE = """
from pathlib import Path
from pipeline.core import catalog, config_schema, documents, schema
from pipeline.edges import facts
made = config_schema.document_schema(catalog.parse(facts.model_config()))
Path("schemas/pipeline.schema.json").write_text(schema.dump(made))
Path("docs/spec.md").write_text(schema.spec_reference(made))
for name, found in documents.schemas().items():
    Path("schemas", name).write_text(schema.dump(found))
"""


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and floors: nox -s lint"""
    tools = environment("dev")
    session.run(f"{tools}/ruff", "check", external=True)
    session.run(f"{tools}/ruff", "format", "--check", external=True)
    session.run(f"{tools}/mypy", external=True)
    session.run(f"{tools}/lint-imports", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests, then those with real exports and servers: nox -s tests -- -k plan"""
    codes = (0, 5) if session.posargs else (0,)  # 5: a selection of tests may have none of one kind
    pytest(session, *WORKERS, "-m", "not real and not full", codes=codes)
    pytest(session, *WORKERS, "-m", "real and not alone and not full", codes=codes)
    pytest(session, "-m", "real and alone and not full", codes=codes)


@nox.session
def tests_full(session: nox.Session) -> None:
    """The sweeps that are too long for every run: nox -s tests_full"""
    pytest(session, "-m", "full")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure against the field's tools, in turn: nox -s benchmarks -- plan"""
    names = session.posargs or sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    environment("benchmarks")
    interpreter = environment("dev") / "python"
    variables = torch_here(interpreter) | {"PYTHONPATH": str(ROOT)}
    for name in names:
        session.run(str(interpreter), f"benchmarks/{name}.py", external=True, env=variables)


@nox.session
def schemas(session: nox.Session) -> None:
    """Write schemas/ and docs/spec.md anew from the data types: nox -s schemas"""
    session.run(str(environment("core") / "python"), "-c", GENERATE, external=True)


@nox.session
def pins(session: nox.Session) -> None:
    """Solve requirements/ anew from pyproject.toml: nox -s pins -- --upgrade"""
    # The one that has all is solved first, and the others start from it: what they share they have in one version.
    for group, names in sorted(GROUPS.items(), key=lambda item: item[0] != "dev"):
        target = ROOT / "requirements" / f"{group}.txt"
        asked = session.posargs if group in {"dev", "benchmarks"} else []
        if group not in {"dev", "benchmarks"}:
            shutil.copyfile(ROOT / "requirements" / "dev.txt", target)
        words = [word for name in names for word in ("--group", name)]
        source = [] if group in ALONE else ["pyproject.toml"]
        options = ["--python-version", "3.11", "--generate-hashes", "--no-header", "--annotation-style", "line"]
        options += ["--quiet"]
        uv("pip", "compile", *source, *words, *options, "-o", str(target), *asked)
        target.write_text(HEADER.format(group=group) + with_cpu_build(target.read_text()))


def with_cpu_build(solved: str) -> str:
    """The pins with the digest of torch's CPU build, and without its label: that tells where it came from only."""
    solved = re.sub(r"^(torch==[\w.]+)\+\w+", r"\1", solved, flags=re.MULTILINE)
    for pin in re.findall(r"^torch==\S+", solved, re.MULTILINE):
        if pin not in CPU_BUILDS:
            sys.exit(f"CPU_BUILDS has no digest of {pin}: look it up in PyTorch's index of CPU builds")
        digest = f"--hash=sha256:{CPU_BUILDS[pin]}"
        if digest not in solved:
            solved = solved.replace(f"{pin} \\\n", f"{pin} \\\n    {digest} \\\n")
    return solved


def pytest(session: nox.Session, *words: str, codes: tuple[int, ...] = (0,)) -> None:
    """Run tests in the development environment, which has torch too."""
    interpreter = environment("dev") / "python"
    command = [str(interpreter), "-m", "pytest", *words, *session.posargs]
    session.run(*command, external=True, success_codes=codes, env=torch_here(interpreter))


def torch_here(interpreter: Path) -> dict[str, str]:
    """The variable that makes the program export and serve with this interpreter."""
    return {"PIPELINE_TORCH_PYTHON": str(interpreter)}


# As in every project.


def pipeline(session: nox.Session, command: str) -> None:
    """Run a command of the program, in the environments that it needs."""
    words = [str(environment("core") / "python"), "-m", "pipeline"]
    if any(kind in word for kind in BUCKETS for word in (os.environ.get("PIPELINE_CACHE", ""), *session.posargs)):
        environment("cache")
    if command in HEAVY:
        question = [*words, "needs", command, *session.posargs]
        needed = subprocess.run(question, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        for group in needed.stdout.split():
            environment(group)
    whole = os.environ.get(WHOLE)
    variables = {"PIPELINE_TORCH_PYTHON": whole} if whole else {}
    codes = (0, 2) if command in PENDING else (0,)
    # nox would put standard error into standard output, where --json has its one document.
    session.run(*words, command, *session.posargs, external=True, success_codes=codes, env=variables, stderr=None)


def environment(group: str) -> Path:
    """The programs' folder of a group's environment, which is made first where it is missing or of other pins.

    A part is added to the environment that it is a part of. The stamp is written last: an environment whose creation
    was killed has none, and is made again, without the parts that it had.
    """
    if whole := os.environ.get(WHOLE):
        return Path(whole).parent
    home = PARTS.get(group, group)
    if home != group:
        environment(home)
    requirements = ROOT / "requirements" / f"{group}.txt"
    program = ROOT / "requirements" / "pipeline.txt"  # in another project than the pipeline's own
    installed = group == "core" and program.exists()
    pins = requirements.read_bytes() + (program.read_bytes() if installed else b"")
    stamp = hashlib.sha256(sys.version.encode() + pins).hexdigest()
    folder, name = ENVIRONMENTS / home, "stamp" if home == group else f"stamp-{group}"
    if not stands(folder, name, stamp):
        ENVIRONMENTS.mkdir(exist_ok=True)
        with (ENVIRONMENTS / f"{home}.lock").open("w") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)
            if not stands(folder, name, stamp):
                (folder / name).unlink(missing_ok=True)
                print(f"making .nox/{home} from requirements/{group}.txt", file=sys.stderr)
                if home == group:
                    uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
                words = ["pip", "install", "--no-deps", "--python", f"{folder}/bin/python"]
                words += [] if sys.stderr.isatty() else ["--quiet"]
                options, text = by_digest(requirements.read_text(), uv_variables(pip_settings()) | os.environ)
                uv(*words, *options, "-r", "-", told=text)
                if installed:
                    uv(*words, "-r", str(program))
                (folder / name).write_text(stamp)
    return folder / "bin"


def stands(folder: Path, name: str, stamp: str) -> bool:
    """Whether the environment, or a part of it, is complete, of these pins, and its base interpreter still there."""
    try:
        return (folder / name).read_text() == stamp and (folder / "bin" / "python").exists()
    except FileNotFoundError:
        return False


def by_digest(pins: str, variables: dict[str, str]) -> tuple[list[str], str]:
    """uv's options for pins, and their text for it: no index can bring another package of a name and version.

    uv knows the CPU build of torch by its whole version only. One that the user has chosen has no digest here.
    """
    there = wheels_of_torch(variables.get("UV_FIND_LINKS", "").split(","), "torch-*+cpu-*.whl")
    if variables.get("UV_TORCH_BACKEND", "cpu" if there else "") == "cpu":
        return ["--require-hashes"], re.sub(r"^(torch==[\w.]+) ", r"\1+cpu ", pins, flags=re.MULTILINE)
    return [], re.sub(r"^(torch==[\w.]+)(?: \\\n +--hash=\S+)+", r"\1", pins, flags=re.MULTILINE)


def uv(*words: str, told: str = "") -> None:
    """Run uv so that it sees the packages that pip would see; variables that the user set for uv win."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        sys.exit("uv is missing: pip install -r requirements/nox.txt")
    command = [program, *words]
    variables = uv_variables(pip_settings()) | os.environ
    if code := subprocess.run(command, cwd=ROOT, env=variables, input=told, text=True, check=False).returncode:
        sys.exit(f"{' '.join(command[:3])} ended with {code}: mend what it says above, then run this session again")


def pip_settings() -> dict[str, str]:
    """What pip was told on this machine: its configuration files, then PIP_… variables, the later wins."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    lines = [line.partition("=") for line in listed.stdout.splitlines()]
    found = [(name.rpartition("."), ast.literal_eval(value)) for name, _, value in lines if "." in name]
    ranks = {"global": 0, "install": 1, ":env:": 2}
    ranked = sorted((ranks[scope], name, value) for (scope, _, name), value in found if scope in ranks)
    return {name: value for _, name, value in ranked}


def uv_variables(settings: dict[str, str]) -> dict[str, str]:
    """pip's settings in uv's variables, and the CPU build of PyTorch unless a folder of wheels has one."""
    found = {UV_NAMES[name]: " ".join(value.split()) for name, value in settings.items() if name in UV_NAMES}
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip looks: every index, the newest version
    links = found.get("UV_FIND_LINKS", "").split()
    found["UV_FIND_LINKS"] = ",".join(links)
    if not wheels_of_torch(links, "torch-*.whl"):
        found["UV_TORCH_BACKEND"] = "cpu"
    return {name: value for name, value in found.items() if value}


def wheels_of_torch(links: list[str], pattern: str) -> bool:
    """Whether a folder of this machine that uv looks into has such a wheel."""
    folders = [Path(unquote(urlsplit(link).path)) for link in links if urlsplit(link).scheme in {"", "file"} and link]
    return any(any(folder.glob(pattern)) for folder in folders)
