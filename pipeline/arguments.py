"""The command line's grammar: every command with its options, its help and its examples. Nothing is done here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import pipeline

_EPILOG = """\
exit codes:
  0  fine, nothing to do            4  verification failed
  1  could not do it                5  environment unfit
  2  changes or drift pending       6  another run holds the project, or the plan is stale
  3  spec invalid                   7  failed and rolled back
                                  130  interrupted

examples:
  python -m pipeline validate                 check pipeline.yaml, every fault at once
  python -m pipeline doctor --recommend       what fits this machine, and what mends it
  python -m pipeline plan --out plan.json     what would change, without changing it
  python -m pipeline apply plan.json          do exactly that, and prove it
  python -m pipeline rollback                 go back to the release before
  python -m pipeline verify                   ask the running server every golden question
"""

COMMANDS = {
    "validate": "check the spec, every fault at once",
    "doctor": "tell what this machine, or another, is fit for, and what mends it (exit 5 when it is not)",
    "init": "begin a project in a folder: spec, noxfile, pins, workflows; nothing is overwritten",
    "adopt": "make a spec of a model repository that is there, so that nothing in it changes",
    "plan": "show what would change, and change nothing (exit 2 when something would)",
    "lock": "build what is missing, and pin sources, artifacts and goldens in pipeline.lock",
    "export": "the same as lock: an artifact counts when it is pinned",
    "assemble": "bring model_repository/ to the lock",
    "serve": "bring the server to the repository: start it, or load what changed, or leave it alone",
    "verify": "ask the server every golden question, over HTTP and gRPC",
    "apply": "all that is needed: export, prove apart, assemble, load, verify; undone where it fails",
    "rollback": "go back to an earlier release, proven like any other change",
    "history": "list what was deployed here: release, when, how long, result",
    "heal": "restore the release that was applied last, where something else has changed it",
    "watch": "heal again and again, and follow a git branch if told to",
    "status": "tell what runs and what it serves (exit 2 when it is not what it should be)",
    "down": "stop the server, requests in flight answered first",
    "render": "print each model's config.pbtxt, or the server as a docker run line or a compose file",
    "image": "build the CPU image: the real Triton for a Docker engine on a machine without a GPU",
    "provenance": "say where each served file comes from: SLSA provenance, and a CycloneDX bill of materials",
    "sign": "sign the repository's files, for servers whose target.policy requires it",
    "ci": "tell GitHub what a plan says: jobs, a summary, the one comment of a pull request, an issue about drift",
    "gc": "remove artifacts that neither the lock nor a kept release needs",
    "update": "edit the spec to newer commits, wheels and images that fit, and show the plan",
    "rebuild": "build again from the sources in a clean folder, and prove the lock (exit 4 where they differ)",
    "recover": "make a damaged history anew from the releases that are there",
}
HIDDEN = ("needs", "failpoints")
"""For the sessions and the tests: which environments a command needs, and where a test may make a run fail."""

_OPTIONS: dict[str, tuple[set[str], dict[str, Any]]] = {
    "--accept-goldens": (
        {"lock", "export", "apply", "needs"},
        {"action": "store_true", "help": "let locked goldens change, after a look"},
    ),
    "--accept-image": (
        {"lock", "export", "apply", "needs"},
        {"action": "store_true", "help": "pin the image anew that target.image names"},
    ),
    "--cache": (
        {"lock", "export", "apply", "needs"},
        {"metavar": "URL", "help": "take builds from this cache (default: PIPELINE_CACHE): https://, file://, s3://"},
    ),
    "--push": (
        {"lock", "export", "apply", "needs"},
        {"action": "store_true", "help": "give the cache the builds that it lacks"},
    ),
    "--check": (
        {"rebuild", "update"},
        {"action": "store_true", "help": "change nothing: only tell (`update`: exit 2 when there is something newer)"},
    ),
    "--report": ({"verify", "apply"}, {"metavar": "FILE", "help": "write the report as JSON too"}),
    "--junit": ({"verify", "apply"}, {"metavar": "FILE", "help": "write the report as JUnit XML too"}),
    "--remove-all": (
        {"apply", "assemble", "needs"},
        {"action": "store_true", "help": "let an empty spec remove every model"},
    ),
    "--allow-rollback": (
        {"apply", "watch", "needs"},
        {"action": "store_true", "help": "let an older release be applied again"},
    ),
    "--base": ({"image"}, {"metavar": "IMAGE", "help": "what it stands on: a Debian 12 with Python 3.11"}),
    "--out": (
        {"plan", "adopt"},
        {"metavar": "FILE", "help": "write it to a file: a plan, for `apply FILE`, or a new spec"},
    ),
    "--out ": ({"provenance"}, {"metavar": "DIR", "help": "write the documents into this folder"}),
    "--builder": ({"provenance"}, {"metavar": "URI", "help": "who builds, as the statement is to name it"}),
    "--key": ({"sign"}, {"metavar": "FILE", "required": True, "help": "the private key, a PEM file"}),
    "folder": ({"adopt"}, {"metavar": "DIR", "help": "the model repository, somewhere in the project's folder"}),
    "--image": ({"adopt"}, {"metavar": "IMAGE", "help": "the Triton image that serves it"}),
    "plan": ({"apply"}, {"nargs": "?", "metavar": "PLAN", "help": "a saved plan: exactly that is done, or nothing"}),
    "release": (
        {"rollback"},
        {"nargs": "?", "type": int, "metavar": "RELEASE", "help": "its number in `history`; by default the one before"},
    ),
    "--watch": ({"status"}, {"action": "store_true", "help": "show it anew every two seconds, until Ctrl-C"}),
}
"""Options of some commands only: which, and how argparse takes them."""

_EXAMPLES = {
    "doctor": 'doctor --driver 535.104.05 --gpu "NVIDIA A100"',
    "render": "render --compose > compose.yaml",
    "image": "image --base python:3.11-slim-bookworm",
    "provenance": "provenance --out provenance",
    "sign": "sign --key models.key",
    "init": "init --hub sentence-transformers/all-MiniLM-L6-v2 my-models",
    "ci": "ci summary --plan plan.json",
    "adopt": "adopt old_repository --image nvcr.io/nvidia/tritonserver:24.10-py3 --out pipeline.yaml",
    "plan": "plan --out plan.json && apply plan.json",
    "apply": "apply --model bert",
    "export": "export --cache https://cache.example.org/triton --push",
    "rebuild": "rebuild --check --model bert",
    "update": 'update --check --driver 535.104.05 --gpu "NVIDIA A100"',
    "rollback": "rollback 3",
    "status": "status --watch",
    "watch": "watch --interval 30 --git origin/main",
}


def parser(commands: Mapping[str, Callable[..., int]]) -> argparse.ArgumentParser:
    """The parser; each command's function is what `commands` names."""
    made = argparse.ArgumentParser(
        prog="pipeline",
        description="One pipeline.yaml to verified answers from a real NVIDIA Triton server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {pipeline.__version__}")
    found = made.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    for name, run in commands.items():
        command = _command(found, name)
        command.set_defaults(run=run)
        command.add_argument(
            "--spec", default="pipeline.yaml", metavar="FILE", help="the spec (default: pipeline.yaml)"
        )
        command.add_argument(
            "--model", action="append", default=[], metavar="NAME", help="only this model; may be given again and again"
        )
        command.add_argument(
            "--json", action="store_true", help="print one JSON document; messages go to standard error"
        )
        _options(command, name)
    return made


def _command(found: Any, name: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse has no public type for it
    if name in HIDDEN:
        hidden: argparse.ArgumentParser = found.add_parser(name)
        return hidden
    text = COMMANDS[name]
    example = f"example: python -m pipeline {_EXAMPLES[name]}" if name in _EXAMPLES else None
    made: argparse.ArgumentParser = found.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=example
    )
    return made


def _options(command: argparse.ArgumentParser, name: str) -> None:
    for words, (names, more) in _OPTIONS.items():
        if name in names:
            command.add_argument(*words.split(), **more)
    if name == "needs":
        command.add_argument("name", choices=sorted(COMMANDS), metavar="COMMAND")
        command.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    if name == "watch":
        _watch_options(command)
    if name == "update":
        _machine_options(command)
    if name == "doctor":
        _doctor_options(command)
    if name == "render":
        _render_options(command)
    if name == "init":
        _init_options(command)
    if name == "ci":
        _ci_options(command)


def _doctor_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--image", metavar="IMAGE", help="judge this image, or this tag of NVIDIA's (24.10-py3), not the spec's"
    )
    command.add_argument(
        "--recommend", action="store_true", help="name the newest release that can run, and why newer ones cannot"
    )
    _machine_options(command)


def _machine_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--driver", metavar="VERSION", help="judge another machine, with this NVIDIA driver (535.104.05)"
    )
    command.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="NAME",
        help='judge another machine, with this GPU ("NVIDIA A100"); may be given again and again',
    )


def _init_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", nargs="?", default=".", metavar="DIR", help="where (default: here)")
    given = command.add_mutually_exclusive_group()
    given.add_argument("--hub", metavar="REPO", help="serve a model of the Hugging Face hub")
    given.add_argument("--weights", metavar="DIR", help="serve weights that lie in the folder")
    given.add_argument("--repository", metavar="DIR", help="serve a Triton model repository that lies in the folder")
    command.add_argument("--revision", default="main", metavar="REV", help="branch or commit of --hub (default: main)")
    command.add_argument("--image", metavar="IMAGE", help="the Triton image of the GPU server")
    command.add_argument(
        "--pipeline",
        metavar="REQUIREMENT",
        help="how pip finds this program: `triton-pipeline==VERSION` (the default), an address, or a folder",
    )


def _ci_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("step", choices=("matrix", "summary", "comment", "settled", "drift"), help="what is told")
    for name, text in (
        ("plan", "the plan, as `plan --out` wrote it (default: plan.json)"),
        ("before", "the lock of the branch that the change goes to"),
        ("after", "the lock that follows from the change"),
        ("findings", "what `validate --json` printed"),
        ("goldens", "what `lock --json` printed"),
        ("report", "what `verify --report` wrote"),
        ("out", "write the summary into this file too"),
        ("body", "the comment's text (default: summary.md)"),
    ):
        default = {"plan": "plan.json", "body": "summary.md"}.get(name)
        command.add_argument(f"--{name}", metavar="FILE", default=default, help=text)
    command.add_argument("--number", type=_count, metavar="N", help="the pull request's number")


def _render_options(command: argparse.ArgumentParser) -> None:
    shape = command.add_mutually_exclusive_group()
    for name, text in (("docker-run", "the `docker run` line of the server"), ("compose", "its compose file")):
        shape.add_argument(
            f"--{name}", dest="shape", action="store_const", const=name, help=f"{text}, for use without this program"
        )


def _watch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--interval", type=_seconds, default=30.0, metavar="SECONDS", help="between looks (default: 30)"
    )
    command.add_argument("--git", metavar="REMOTE/BRANCH", help="follow this branch: fetch, fast-forward, apply")
    command.add_argument(
        "--restarts", type=_count, default=3, metavar="N", help="at most N new servers in the window (default: 3)"
    )
    command.add_argument(
        "--window", type=_seconds, default=600.0, metavar="SECONDS", help="the window of --restarts (default: 600)"
    )


def _count(text: str) -> int:
    """A whole number above zero."""
    found = int(text)
    if found < 1:
        msg = f"{text} is no number above zero"
        raise argparse.ArgumentTypeError(msg)
    return found


def _seconds(text: str) -> float:
    """A positive number of seconds."""
    found = float(text)
    if not 0 < found < 1e9:
        msg = f"{text} is no positive number of seconds"
        raise argparse.ArgumentTypeError(msg)
    return found
