"""Words for people about a machine: what `doctor` found, what mends it, and which release can run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from pipeline.core import checks, compat, doctor, findings, image, machine, mending, render

_WIDTH = max(map(len, ("ok", "warning", "error")))
_STYLES = {"ok": "+", "warning": "warning", "error": "error"}


def show(made: doctor.Diagnosis, *, colour: bool = False) -> str:
    """One line a check, below it what is needed, the commands and their page; then the recommendation and a verdict.

    Commands are shown for this machine's system, where it is known, else for each.
    """
    lines: list[str] = []
    for check in made.checks:
        lines += _check(check, made.machine.system, colour=colour)
    if made.recommendation is not None:
        lines += _recommendation(made.recommendation)
    lines.append(_verdict(made))
    return "".join(f"{line}\n" for line in lines)


def _check(check: checks.Check, system: machine.System | None, *, colour: bool) -> Iterator[str]:
    word = render.paint(f"{check.state:<{_WIDTH}}", _STYLES[check.state], colour=colour)
    rule = "" if check.state == "ok" else f" [{check.rule}]"
    yield f"{word}  {check.name}: {render.clean(check.found)}{rule}"
    if check.needed:
        yield f"{'':<{_WIDTH}}  needed: {render.clean(check.needed)}"
    shown = _fitting(check.mend, system)
    for mend in shown:
        on = f" on {mend.system.capitalize()}" if len(shown) > 1 else ""
        yield f"{'':<{_WIDTH}}  mend{on}:"
        yield from (f"{'':<{_WIDTH}}    {render.clean(command)}" for command in mend.commands)
    sources = dict.fromkeys(mend.source for mend in shown if mend.source) or dict.fromkeys(filter(None, [check.source]))
    yield from (f"{'':<{_WIDTH}}  see: {render.clean(source)}" for source in sources)


def _fitting(mends: Iterable[mending.Mend], system: machine.System | None) -> list[mending.Mend]:
    """The mends for a system, or all of them where none is for it."""
    everything = list(mends)
    ours = {"any", *([system.id, *system.like] if system else [])}
    return [mend for mend in everything if mend.system in ours][:1] or everything


def _recommendation(advice: compat.Recommendation) -> Iterator[str]:
    head = f"recommended: {image.TRITON}:{advice.tag}-{image.PLAIN}" if advice.tag else "recommended: none"
    yield head
    for note in advice.notes:
        yield f"    but {_said(note)}"
    for _, group in itertools.groupby(advice.newer, key=lambda reason: [each.rule for each in reason.findings]):
        alike = list(group)
        many = f"{alike[-1].tag} to " if len(alike) > 1 else ""
        yield f"    not {many}{alike[0].tag}:"
        yield from (f"        {_said(each)}" for each in alike[0].findings)


def _said(finding: findings.Finding) -> str:
    of = f"model {finding.model}: " if finding.model else ""
    return f"{render.clean(of + finding.message)} [{finding.rule}]"


def _verdict(made: doctor.Diagnosis) -> str:
    bad = sum(check.state == "error" for check in made.checks)
    warned = sum(check.state == "warning" for check in made.checks)
    whose = "The machine that was told" if made.machine.given else "This machine"
    counts = f"{bad} errors, {warned} warnings"
    return f"{whose} is {'fit' if made.fit else 'unfit'}: {counts}."
