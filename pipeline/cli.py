"""The command line: arguments to one call of `reconcile`. The only place that exits and catches errors."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from pipeline import arguments, asked, reconcile, renewing, sharing
from pipeline import screen as screens
from pipeline.core import documents, errors, findings, plan, release, render, report

_REFRESH = 2.0  # seconds


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit code."""
    options = arguments.parser(_COMMANDS).parse_args(argv)
    screen = screens.Screen(options.json)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
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
    """SIGTERM and SIGHUP end a run as Ctrl-C does: what is unfinished is removed."""
    raise KeyboardInterrupt


Screen = screens.Screen
Command = Callable[[argparse.Namespace, Screen], int]


_project, _site, _applied, _shared = asked.project, asked.site, asked.applied, asked.shared


def _located(options: argparse.Namespace, error: errors.PipelineError) -> errors.PipelineError:
    """The error with the spec's lines, where its findings are about a model."""
    if options.command != "adopt" and any(found.model and not found.where for found in error.findings):
        error.findings = reconcile.locate(_project(options), options.spec, error.findings)
    return error


def _validate(options: argparse.Namespace, screen: Screen) -> int:
    site = _site(options, screen)
    found = reconcile.judge(site, options.spec)
    if wrong := len(findings.errors(found)):
        msg = f"{options.spec} has {wrong} fault{'' if wrong == 1 else 's'}"
        raise errors.InvalidSpec(msg, hint=f"correct {options.spec}", found=found)
    screen.warn(found)
    versions = sum(len(model.versions) for model in site.declared.models.values())
    text = f"{options.spec} is valid: {len(site.declared.models)} models, {versions} versions.\n"
    screen.show(text, documents.Validation(valid=True, models=tuple(sorted(site.declared.models)), findings=found))
    return errors.Exit.FINE


def _doctor(options: argparse.Namespace, screen: Screen) -> int:
    from pipeline.core import render_doctor  # noqa: PLC0415 - with all that a plan has no use for

    wanted = reconcile.Asked(
        image=options.image,
        driver=options.driver,
        gpus=tuple(options.gpu),
        recommend=options.recommend,
        models=tuple(options.model),
    )
    made = reconcile.examine(_project(options), options.spec, wanted, say=screen.say)
    screen.show(render_doctor.show(made, colour=screen.colour), made)
    return errors.Exit.FINE if made.fit else errors.Exit.UNFIT


def _render(options: argparse.Namespace, screen: Screen) -> int:
    site = _site(options, screen)
    screen.warn(reconcile.warnings(site) if options.shape else ())
    made = reconcile.render(site, options.shape)
    screen.show(render.show_rendering(made), made)
    return errors.Exit.FINE


def _image(options: argparse.Namespace, screen: Screen) -> int:
    made = reconcile.make_image(_project(options), base=options.base, say=screen.say)
    screen.show(f"{made.tag} is on the engine: {made.id}\n", made)
    return errors.Exit.FINE


def _adopt(options: argparse.Namespace, screen: Screen) -> int:
    wanted = reconcile.Wanted(out=options.out, image=options.image, models=tuple(options.model))
    made = reconcile.adopt(_project(options), Path(options.folder), wanted, say=screen.say)
    wrote = f"Wrote {options.out}, which has {len(made.models)} models: `plan` shows that nothing in them changes.\n"
    screen.show(wrote if options.out else made.text, {"spec": made.text, "models": made.models})
    return errors.Exit.FINE


def _plan(options: argparse.Namespace, screen: Screen) -> int:
    made = reconcile.make_plan(_site(options, screen))
    data = plan.document(made.plan, basis=made.basis)
    if options.out:
        reconcile.save(Path(options.out), plan.dump(data))
    screen.show(render.show_plan(made.plan, colour=screen.colour), data)
    return errors.Exit.PENDING if made.plan.changes else errors.Exit.FINE


def _needs(options: argparse.Namespace, screen: Screen) -> int:
    groups = reconcile.needs(_site(options, screen), options.name, _shared(options))
    screen.show("".join(f"{group}\n" for group in groups), groups)
    return errors.Exit.FINE


def _failpoints(_options: argparse.Namespace, screen: Screen) -> int:
    points = reconcile.FAILPOINTS
    screen.show("".join(f"{name}: {text}\n" for name, text in points.items()), points)
    return errors.Exit.FINE


def _export(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), options.command) as site:
        reconcile.export(
            site, accept=options.accept_goldens, accept_image=options.accept_image, shared=_shared(options)
        )
    screen.show("Every artifact is built and locked.\n", {"locked": True})
    return errors.Exit.FINE


def _assemble(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), options.command) as site:
        touched = reconcile.assemble(site, remove_all=options.remove_all)
    text = f"Assembled {', '.join(touched)}.\n" if touched else "The repository is as the spec says.\n"
    screen.show(text, {"assembled": touched})
    return errors.Exit.FINE


def _serve(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), options.command) as site:
        done = reconcile.serve(site)
        ports = site.declared.target.ports
    where = f"http 127.0.0.1:{ports.http}, grpc 127.0.0.1:{ports.grpc}, metrics 127.0.0.1:{ports.metrics}"
    word = "Triton serves" if done.changes else "Triton serves already"
    screen.show(f"{word}: {where}\n", {"changed": bool(done.changes), "ports": ports})
    return errors.Exit.FINE


def _verify(options: argparse.Namespace, screen: Screen) -> int:
    site = _site(options, screen)
    made = reconcile.verify(site, json=options.report, junit=options.junit)
    screen.show(render.show_report(made, colour=screen.colour), made)
    return errors.Exit.FINE if report.passed(made) else errors.Exit.UNVERIFIED


def _apply(options: argparse.Namespace, screen: Screen) -> int:
    saved = reconcile.load_plan(Path(options.plan)) if options.plan else None
    allowed = reconcile.Allowed(
        goldens=options.accept_goldens,
        image=options.accept_image,
        rollback=options.allow_rollback,
        removal=options.remove_all,
        shared=_shared(options),
    )
    with reconcile.writing(_site(options, screen), options.command) as site:
        done = reconcile.apply(site, allowed, saved=saved)
    if done.report is not None:
        reconcile.write_report(done.report, json=options.report, junit=options.junit)
    return _done(done, screen)


def _rollback(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_applied(options, screen), options.command, reread=False) as site:
        done = reconcile.rollback(site, options.release)
    if done.changes:
        screen.say("pipeline.yaml and pipeline.lock are as they were: `apply` goes forward again")
    return _done(done, screen)


def _heal(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_applied(options, screen), options.command, reread=False) as site:
        done = reconcile.heal(site)
    return _done(done, screen)


def _done(done: documents.Outcome, screen: Screen) -> int:
    screen.show(render.show_outcome(done, colour=screen.colour), done)
    return errors.Exit.FINE


def _history(options: argparse.Namespace, screen: Screen) -> int:
    site = _site(options, screen)
    found = reconcile.history(site)
    data = documents.History(current=release.current(found), entries=found.entries)
    screen.show(render.show_history(data), data)
    return errors.Exit.FINE


def _gc(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), options.command) as site:
        gone = reconcile.gc(site)
    text = f"Removed {len(gone)} artifacts.\n" if gone else "Nothing to remove.\n"
    screen.show(text, {"removed": gone})
    return errors.Exit.FINE


def _recover(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), options.command) as site:
        count = reconcile.recover(site)
    screen.show(f"The history has {count} releases.\n", {"releases": count})
    return errors.Exit.FINE


def _watch(options: argparse.Namespace, screen: Screen) -> int:
    reconcile.watch(
        _project(options),
        lambda: _site(options, screen),
        reconcile.Watching(
            interval=options.interval,
            git=options.git,
            restarts=options.restarts,
            window=options.window,
            allowed=reconcile.Allowed(rollback=options.allow_rollback),
        ),
        say=screen.say,
    )
    return errors.Exit.FINE


def _status(options: argparse.Namespace, screen: Screen) -> int:
    while True:
        found = reconcile.status(_site(options, screen))
        text = render.show_status(found)
        if options.watch and sys.stdout.isatty() and not options.json:
            text = f"\x1b[H\x1b[2J{text}"
        screen.show(text, found)
        if not options.watch:
            return errors.Exit.PENDING if found.pending else errors.Exit.FINE
        time.sleep(_REFRESH)


def _down(options: argparse.Namespace, screen: Screen) -> int:
    with reconcile.writing(_site(options, screen), options.command) as site:
        ran = reconcile.down(site)
    screen.show("Triton is stopped.\n" if ran else "No server of this project runs.\n", {"stopped": ran})
    return errors.Exit.FINE


_COMMANDS: dict[str, Command] = {
    "validate": _validate,
    "doctor": _doctor,
    "adopt": _adopt,
    "plan": _plan,
    "lock": _export,
    "export": _export,
    "assemble": _assemble,
    "serve": _serve,
    "verify": _verify,
    "apply": _apply,
    "rollback": _rollback,
    "history": _history,
    "heal": _heal,
    "watch": _watch,
    "status": _status,
    "down": _down,
    "render": _render,
    "image": _image,
    "provenance": sharing.provenance,
    "sign": sharing.sign,
    "init": sharing.init,
    "ci": sharing.ci,
    "gc": _gc,
    "recover": _recover,
    "rebuild": renewing.rebuild,
    "update": renewing.update,
    "needs": _needs,
    "failpoints": _failpoints,
}
