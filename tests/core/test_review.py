"""What a reviewer reads: changes by name, goldens in numbers, sizes, findings; and jobs for what must be built."""

from __future__ import annotations

import re

import hypothesis
import msgspec
from hypothesis import strategies

from pipeline.core import build, diff, findings, jobs, lock, plan, review


def change(kind: str, subject: str, act: str = "+", **more: object) -> diff.Change:
    """A change, without much ado."""
    return diff.Change(kind=diff.Kind(kind), act=diff.Act(act), subject=subject, **more)  # type: ignore[arg-type]


def document(*changes: diff.Change, notes: tuple[str, ...] = ()) -> plan.Document:
    """A saved plan with these changes."""
    return plan.document(plan.order(changes, notes=notes), basis="sha256:0")


def locked(size: int) -> lock.Lock:
    """A lock with one file of a size."""
    version = lock.Version(
        source=build.Resolved(kind="config", identity={}),
        key="k",
        files={"model.pt": build.File(sha256="a" * 64, size=size)},
        golden="g",
    )
    model = lock.Model(digest="d", config="c", versions={"1": version})
    return lock.Lock(image=lock.Image(reference="image"), toolchain={}, models={"bert": model})


RENAMED = diff.Field(path="config.pbtxt: input[0].name", old="input__0", new="ids")


def test_a_job_for_each_model_that_is_built() -> None:
    """Versions of one model are one job, copies need no torch, and what is built already has none."""
    made = document(
        change("build", "bert/2"),
        change("build", "bert/1"),
        change("copy", "taken/files"),
        change("lock", "other/1", "~"),
        change("repository", "third", "~"),
    )
    assert jobs.matrix(made).include == (jobs.Job(model="bert", heavy=True), jobs.Job(model="taken", heavy=False))
    assert msgspec.json.encode(jobs.matrix(document())) == b'{"include":[]}'


def test_all_that_is_known_is_told() -> None:
    """A renamed tensor is named; goldens come in numbers, sizes before and after, findings with their lines."""
    where = findings.Where(file="pipeline.yaml", line=5, column=3)
    known = review.Review(
        plan=document(change("repository", "bert", "~", fields=(RENAMED,)), notes=("look",)),
        before=locked(17_000_000),
        after=locked(34_000_000),
        found=(findings.Finding(rule="old", message="an old image", severity=findings.Severity.WARNING, where=where),),
        goldens=(
            findings.Finding(rule="golden-changed", message="1/output/y moved by at most 0.5", model="bert", version=1),
            findings.Finding(rule="other", message="not this"),
        ),
    )
    text = review.markdown(known)
    assert text.startswith("### Plan: 0 to add, 1 to change, 0 to remove.\n")
    assert "config.pbtxt: input[0].name: input__0 -> ids" in text
    assert "- `bert/1`: `1/output/y moved by at most 0.5`" in text
    assert "| `bert/1/model.pt` | 17.0 MB | 34.0 MB |" in text
    assert "pipeline.yaml:5:3: warning: an old image" in text
    assert "not this" not in text


def test_nothing_to_do_is_one_line() -> None:
    """Where nothing changes, that is all that is said."""
    same = review.Review(plan=document(), before=locked(1), after=locked(1))
    assert review.markdown(same) == "### No changes. The files and the server match the spec.\n"


def test_a_first_lock_has_no_sizes_before() -> None:
    """A new file has no size before, and small ones are told in bytes."""
    text = review.markdown(review.Review(plan=document(), after=locked(99)))
    assert "| `bert/1/model.pt` | (none) | 99 B |" in text


def test_long_texts_end_whole() -> None:
    """What GitHub would refuse is cut, its block of code closed."""
    many = document(*(change("repository", f"model{number}", "~", fields=(RENAMED,) * 20) for number in range(200)))
    text = review.markdown(review.Review(plan=many))
    assert len(text) < 65_536
    assert len(re.findall("^```", text, re.MULTILINE)) % 2 == 0
    assert text.endswith("has the rest.\n")


def outside(text: str) -> str:
    """What of a Markdown text stands outside of blocks and pieces of code."""
    plain, fence = [], ""
    for line in text.splitlines():
        mark = re.match(r"`{3,}", line)
        if not fence and mark:
            fence = mark[0]
        elif fence and line.strip() == fence:
            fence = ""
        elif not fence:
            plain.append(re.sub(r"`[^`]*`", "", line))
    assert not fence
    return "\n".join(plain)


HOSTILE = strategies.one_of(
    strategies.text(max_size=60),
    strategies.sampled_from(
        ["`@everyone`", "```\n<img src=x>\n```", "````", "$(id)", "${{ secrets.X }}", "|a|\n|b|", "\x1b[2J", "@x\n`"]
    ),
)


@hypothesis.given(HOSTILE, HOSTILE)
def test_no_value_gets_out_of_its_code(first: str, second: str) -> None:
    """Row 72: whatever a name or value of a spec holds, it stands in code: no mention, no link, no tag."""
    field = diff.Field(path="config.pbtxt: x", old=f"BEGIN{first}", new=f"BEGIN{second}")
    golden = findings.Finding(rule="golden-changed", message=f"BEGIN{first}", model=f"BEGIN{second}", version=1)
    warned = findings.Finding(rule="r", message=f"BEGIN{second}", hint=f"BEGIN{first}")
    known = review.Review(
        plan=document(change("repository", "bert", "~", fields=(field,)), notes=(f"BEGIN{first}",)),
        found=(warned,),
        goldens=(golden,),
    )
    for text in (review.markdown(known), review.drift(known.plan)):
        assert "BEGIN" in text
        assert "BEGIN" not in outside(text)
