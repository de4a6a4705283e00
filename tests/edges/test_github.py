"""Telling GitHub: one comment that is edited, one issue, and a token that goes nowhere else."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import errors
from pipeline.edges import github

MARK = "<!-- mark -->"


class GitHub(http.server.ThreadingHTTPServer):
    """A loopback server with one repository: comments of pull request 7, and issues."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.issues: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, str | None]] = []
        self.status = 0
        self.raw: bytes | None = None
        self.elsewhere = ""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, things: list[dict[str, Any]], body: str, user: str = "Bot", **more: Any) -> dict[str, Any]:
        """Something that is there."""
        number = len(things) + 1
        things.append({"id": number, "number": number, "body": body, "user": {"type": user}, "state": "open",
                       "html_url": f"https://github.example/{number}", **more})  # fmt: skip
        return things[-1]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def _answer(self) -> None:
        there, url = self.server, urllib.parse.urlsplit(self.path)
        there.asked.append((self.command, url.path, self.headers.get("Authorization")))
        data = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        if there.elsewhere:
            self.send_response(302)
            self.send_header("Location", there.elsewhere)
            self.end_headers()
            return
        if there.status:
            self.send_error(there.status)
            return
        body = there.raw if there.raw is not None else json.dumps(self._do(url, data)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def _do(self, url: urllib.parse.SplitResult, data: dict[str, Any] | None) -> Any:
        there, parts = self.server, url.path.removeprefix("/repos/team/models/").split("/")
        things = there.comments if "comments" in parts else there.issues
        if data is None:
            query = urllib.parse.parse_qs(url.query)
            first = (int(query["page"][0]) - 1) * 100
            return [each for each in things if each["state"] == "open"][first : first + 100]
        if self.command == "POST":
            return there.add(things, **data)
        things[int(parts[-1]) - 1].update(data)
        return things[int(parts[-1]) - 1]

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """The server, and the variables of a workflow about its repository."""
    made = GitHub()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("GITHUB_API_URL", made.url)
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/models")
    monkeypatch.setenv("GITHUB_TOKEN", "secret-token")
    yield made
    made.shutdown()
    made.server_close()


def test_a_comment_is_edited_and_never_repeated(there: GitHub) -> None:
    """The first time it is new, then the same one changes; where nothing changes nothing is written."""
    where = github.repository()
    assert github.comment(where, 7, MARK, "one") == github.comment(where, 7, MARK, "two")
    assert [each["body"] for each in there.comments] == [f"{MARK}\ntwo"]
    there.asked.clear()
    github.comment(where, 7, MARK, "two")
    assert [method for method, _, _ in there.asked] == ["GET"]


def test_the_comment_is_found_behind_many(there: GitHub) -> None:
    """All pages are looked through, and what a person has written with our mark is left alone."""
    for number in range(250):
        there.add(there.comments, f"talk {number}")
    there.add(there.comments, f"{MARK}\nmine", user="User")
    ours = there.add(there.comments, f"{MARK}\nold")
    github.comment(github.repository(), 7, MARK, "new")
    assert ours["body"] == f"{MARK}\nnew"
    assert len(there.comments) == 252
    assert there.comments[250]["body"] == f"{MARK}\nmine"


def test_one_issue_is_opened_and_closed(there: GitHub) -> None:
    """An issue is opened once, brought up to date, closed, and opened anew the next time; pull requests are none."""
    where = github.repository()
    there.add(there.issues, f"{MARK}\na pull request", pull_request={})
    assert github.close_issue(where, MARK) == ""
    github.issue(where, MARK, "Drift", "one")
    github.issue(where, MARK, "Drift", "two")
    assert [each["body"] for each in there.issues[1:]] == [f"{MARK}\ntwo"]
    github.close_issue(where, MARK)
    assert there.issues[1]["state"] == "closed"
    github.issue(where, MARK, "Drift", "three")
    assert len(there.issues) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_without_the_right(there: GitHub, status: int) -> None:
    """What GitHub forbids is told apart: a fork's pull request has such a token."""
    there.status = status
    with pytest.raises(github.Denied, match=str(status)) as raised:
        github.comment(github.repository(), 7, MARK, "x")
    assert "secret-token" not in f"{raised.value}{raised.value.hint}"


def test_other_trouble_is_told(there: GitHub) -> None:
    """A server error, and an answer that is no JSON, are errors without a traceback."""
    there.status = 500
    with pytest.raises(errors.PipelineError, match="500"):
        github.comment(github.repository(), 7, MARK, "x")
    there.status, there.raw = 0, b"<html>"
    with pytest.raises(errors.PipelineError, match="could not be asked"):
        github.comment(github.repository(), 7, MARK, "x")


def test_the_token_follows_no_redirect(there: GitHub) -> None:
    """Row 63: a redirect is refused, and nobody else gets the token."""
    other = GitHub()
    threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    there.elsewhere = f"{other.url}/repos/team/models/issues"
    with pytest.raises(errors.PipelineError, match="302"):
        github.comment(github.repository(), 7, MARK, "x")
    assert other.asked == []
    other.shutdown()
    other.server_close()


def test_outside_of_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the runner's variables it is said what is missing; outputs go nowhere."""
    for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(errors.PipelineError, match="GITHUB_TOKEN"):
        github.repository()
    github.set_output("name", "value")
    github.add_summary("text")


def test_an_output_cannot_write_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 72: a value with lines in it stays one value."""
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    github.set_output("matrix", "a\nEOF\nany=true\nx<<y")
    first, *middle, last = (tmp_path / "output").read_text().splitlines()
    name, _, end = first.partition("<<")
    assert (name, last, middle) == ("matrix", end, ["a", "EOF", "any=true", "x<<y"])
