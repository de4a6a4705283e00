"""The command line: arguments to one call of `reconcile`. The only place that prints, exits and catches errors."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import msgspec

import pipeline
from pipeline import edges, reconcile
from pipeline.core import errors, findings, plan, render, report

_EPILOG = """\
exit codes:
  0  fine, nothing to do            4  verification failed
  1  could not do it                5  environment unfit
  2  changes or drift pending       6  another run holds the project
  3  spec invalid                   7  failed and rolled back
                                  130  interrupted

examples:
  python -m pipeline validate                 check pipeline.yaml, every fault at once
  python -m pipeline plan                     what would change, without changing it
  python -m pipeline export --model bert      build what is missing of one model
  python -m pipeline verify                   ask the running server every golden question
"""


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(argv)
    screen = Screen(options.json)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(options.run(options, screen))
    except errors.PipelineError as error:
        screen.failed(_located(options, error))
        return int(error.exit_code)
    except KeyboardInterrupt:
        screen.say("interrupted; everything unfinished was removed")
        return int(errors.Exit.INTERRUPTED)
    except BrokenPipeError:  # the reader has seen enough, as in `plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(errors.Exit.FAILED)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does: what is unfinished is removed."""
    raise KeyboardInterrupt


class Screen:
    """What the user sees. With --json, standard output has one JSON document and all else goes to standard error."""

    def __init__(self, json: bool) -> None:  # noqa: FBT001
        self.json = json
        wanted = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.colour = wanted and sys.stdout.isatty() and not json
        self.actions = os.environ.get("GITHUB_ACTIONS") == "true"

    def say(self, line: str) -> None:
        """A line of progress."""
        print(render.clean(line), file=sys.stderr, flush=True)

    def show(self, text: str, data: object) -> None:
        """The command's result: as text, or as data with --json."""
        if self.json:
            text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"
        sys.stdout.write(text)
        sys.stdout.flush()

    def failed(self, error: errors.PipelineError) -> None:
        """An error, on standard error; with --json its data on standard output too."""
        colour = self.colour and sys.stderr.isatty()
        print(render.show_error(error, colour=colour), file=sys.stderr, end="", flush=True)
        if self.actions:
            found = error.findings or (findings.Finding(rule="failed", message=error.message, hint=error.hint),)
            print(render.workflow_commands(found), file=sys.stderr, end="", flush=True)
        if self.json:
            data = {"error": error.message, "hint": error.hint, "details": error.details, "findings": error.findings}
            self.show("", data)


Command = Callable[[argparse.Namespace, Screen], int]


def _site(options: argparse.Namespace, screen: Screen) -> reconcile.Site:
    path = Path(options.spec)
    project = edges.Project(spec=path.absolute())
    return reconcile.visit(project, name=str(path), models=tuple(options.model), say=screen.say)


def _located(options: argparse.Namespace, error: errors.PipelineError) -> errors.PipelineError:
    """The error with the spec's lines, where its findings are about a model."""
    if any(found.model and not found.where for found in error.findings):
        project = edges.Project(spec=Path(options.spec).absolute())
        error.findings = reconcile.locate(project, options.spec, error.findings)
    return error


def _words(options: argparse.Namespace) -> str:
    return f"pipeline {options.command}"


def _validate(options: argparse.Namespace, screen: Screen) -> int:
    site = _site(options, screen)
    versions = sum(len(model.versions) for model in site.declared.models.values())
    text = f"{options.spec} is valid: {len(site.declared.models)} models, {versions} versions.\n"
    screen.show(text, {"valid": True, "models": sorted(site.declared.models)})
    return errors.Exit.FINE


def _plan(options: argparse.Namespace, screen: Screen) -> int:
    made = reconcile.make_plan(_site(options, screen))
    data = {
        "format": 1,
        "digest": made.digest,
        "changes": made.changes,
        "notes": made.notes,
        "summary": plan.counts(made),
    }
    screen.show(render.show_plan(made, colour=screen.colour), data)
    return errors.Exit.PENDING if made.changes else errors.Exit.FINE


def _needs(options: argparse.Namespace, screen: Screen) -> int:
    groups = plan.needs(reconcile.make_plan(_site(options, screen)), options.name)
    screen.show("".join(f"{group}\n" for group in groups), groups)
    return errors.Exit.FINE


def _export(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), _words(options)) as site:
        reconcile.export(site, accept=options.accept_goldens)
    screen.show("Every artifact is built and locked.\n", {"locked": True})
    return errors.Exit.FINE


def _assemble(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), _words(options)) as site:
        touched = reconcile.assemble(site)
    text = f"Assembled {', '.join(touched)}.\n" if touched else "The repository is as the spec says.\n"
    screen.show(text, {"assembled": touched})
    return errors.Exit.FINE


def _serve(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), _words(options)) as site:
        changed = reconcile.serve(site)
        ports = site.declared.target.ports
    where = f"http 127.0.0.1:{ports.http}, grpc 127.0.0.1:{ports.grpc}, metrics 127.0.0.1:{ports.metrics}"
    word = "Triton serves" if changed else "Triton serves already"
    screen.show(f"{word}: {where}\n", {"changed": changed, "ports": ports})
    return errors.Exit.FINE


def _verify(options: argparse.Namespace, screen: Screen) -> int:
    site = _site(options, screen)
    made = reconcile.verify(site, json=options.report, junit=options.junit)
    screen.show(render.show_report(made, colour=screen.colour), made)
    return errors.Exit.FINE if report.passed(made) else errors.Exit.UNVERIFIED


def _status(options: argparse.Namespace, screen: Screen) -> int:
    found = reconcile.status(_site(options, screen))
    screen.show(render.show_status(found.server, found.models), {"format": 1, **msgspec.structs.asdict(found)})
    return errors.Exit.PENDING if found.pending else errors.Exit.FINE


def _down(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), _words(options)) as site:
        ran = reconcile.down(site)
    screen.show("Triton is stopped.\n" if ran else "No server of this project runs.\n", {"stopped": ran})
    return errors.Exit.FINE


def _apply(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), _words(options)) as site:
        reconcile.export(site, accept=options.accept_goldens)
        locked = reconcile.again(site)
        reconcile.assemble(locked)
        reconcile.serve(locked)
    return _verify(options, screen)


_COMMANDS: dict[str, tuple[Command, str]] = {
    "validate": (_validate, "check the spec, every fault at once"),
    "plan": (_plan, "show what would change, and change nothing (exit 2 when something would)"),
    "lock": (_export, "build what is missing, and pin sources, artifacts and goldens in pipeline.lock"),
    "export": (_export, "the same as lock: an artifact counts when it is pinned"),
    "assemble": (_assemble, "bring model_repository/ to the lock"),
    "serve": (_serve, "start Triton, or leave the right one running"),
    "verify": (_verify, "ask the server every golden question, over HTTP and gRPC"),
    "apply": (_apply, "export, assemble, serve and verify"),
    "status": (_status, "tell what runs and what it serves (exit 2 when it is not what it should be)"),
    "down": (_down, "stop the server, requests in flight answered first"),
    "needs": (_needs, argparse.SUPPRESS),
}
_BUILDING = {"lock", "export", "apply"}
_VERIFYING = {"verify", "apply"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pipeline",
        description="One pipeline.yaml to verified answers from a real NVIDIA Triton server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {pipeline.__version__}")
    shown = [name for name, (_, text) in _COMMANDS.items() if text != argparse.SUPPRESS]
    commands = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(shown) + "}")
    for name, (run, text) in _COMMANDS.items():
        if text == argparse.SUPPRESS:
            command = commands.add_parser(name)
        else:
            command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=run)
        _add_options(command, name)
    return parser


def _add_options(command: argparse.ArgumentParser, name: str) -> None:
    command.add_argument("--spec", default="pipeline.yaml", metavar="FILE", help="the spec (default: pipeline.yaml)")
    command.add_argument(
        "--model", action="append", default=[], metavar="NAME", help="only this model; may be given again and again"
    )
    command.add_argument("--json", action="store_true", help="print one JSON document; messages go to standard error")
    if name in _BUILDING | {"needs"}:
        command.add_argument("--accept-goldens", action="store_true", help="let locked goldens change, after a look")
    if name in _VERIFYING:
        command.add_argument("--report", metavar="FILE", help="write the report as JSON too")
        command.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML too")
    if name == "needs":
        command.add_argument("name", choices=sorted(_COMMANDS), metavar="COMMAND")
