"""GitHub: the files by which a step of a workflow tells the runner something, and the REST interface for comments and
issues (docs.github.com/rest/issues).

The token comes from GITHUB_TOKEN, goes to the one address that the runner names, and is shown nowhere.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pipeline.core import errors

_API = "https://api.github.com"
_SECONDS = 20.0
_PAGE = 100
_PAGES = 50
_LIMIT = 16 << 20
_REFUSED = frozenset({401, 403, 404})
"""How GitHub answers who may not: it does not always admit that something is there."""

Data = dict[str, Any]


class Denied(errors.PipelineError):
    """The token may not do that, as the one that a fork's pull request gets."""


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository on a GitHub, and the token for it."""

    api: str
    name: str
    token: str


def repository() -> Repository:
    """The repository whose workflow this is. Raises PipelineError outside of one."""
    name, token = os.environ.get("GITHUB_REPOSITORY", ""), os.environ.get("GITHUB_TOKEN", "")
    if name.count("/") != 1 or not token:
        msg = "GITHUB_REPOSITORY and GITHUB_TOKEN do not say which repository this is about"
        hint = "Run it in a workflow, with `GITHUB_TOKEN: ${{ github.token }}` in the step's env."
        raise errors.PipelineError(msg, hint=hint)
    return Repository(api=os.environ.get("GITHUB_API_URL", _API).rstrip("/"), name=name, token=token)


def set_output(name: str, value: str) -> None:
    """Gives the step an output, where there is a runner; the value may have any text in it."""
    _append("GITHUB_OUTPUT", _heredoc(name, value))


def add_summary(text: str) -> None:
    """Adds to the step's summary, where there is a runner."""
    _append("GITHUB_STEP_SUMMARY", text + "\n")


def _heredoc(name: str, value: str) -> str:
    end = f"end-{secrets.token_hex(16)}"  # what nobody can guess, nobody can write into the value
    return f"{name}<<{end}\n{value}\n{end}\n"


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def comment(where: Repository, number: int, mark: str, body: str) -> str:
    """Puts the one comment with a mark under an issue or pull request: the one that is there is edited. Its address."""
    text = {"body": f"{mark}\n{body}"}
    for each in _pages(where, f"issues/{number}/comments"):
        if _is_ours(each, mark):
            if each["body"].replace("\r\n", "\n") == text["body"]:
                return str(each["html_url"])
            return str(_ask(where, "PATCH", f"issues/comments/{each['id']}", text)["html_url"])
    return str(_ask(where, "POST", f"issues/{number}/comments", text)["html_url"])


def issue(where: Repository, mark: str, title: str, body: str) -> str:
    """Opens the one issue with a mark, or brings the open one up to date. Its address."""
    text = {"title": title, "body": f"{mark}\n{body}"}
    found = _open_issue(where, mark)
    if found is None:
        return str(_ask(where, "POST", "issues", text)["html_url"])
    return str(_ask(where, "PATCH", f"issues/{found['number']}", text)["html_url"])


def close_issue(where: Repository, mark: str) -> str:
    """Closes the open issue with a mark. Its address; empty where there is none."""
    found = _open_issue(where, mark)
    if found is None:
        return ""
    closed = {"state": "closed", "state_reason": "completed"}
    return str(_ask(where, "PATCH", f"issues/{found['number']}", closed)["html_url"])


def _open_issue(where: Repository, mark: str) -> Data | None:
    found = (each for each in _pages(where, "issues", state="open") if "pull_request" not in each)
    return next((each for each in found if _is_ours(each, mark)), None)


def _is_ours(each: Data, mark: str) -> bool:
    """Whether it bears the mark, and a workflow has written it: anybody may write a mark."""
    return str(each.get("body") or "").startswith(mark) and (each.get("user") or {}).get("type") == "Bot"


def _pages(where: Repository, path: str, **query: str) -> Iterator[Data]:
    for page in range(1, _PAGES + 1):
        words = "&".join(f"{name}={value}" for name, value in {**query, "per_page": _PAGE, "page": page}.items())
        found = _ask(where, "GET", f"{path}?{words}")
        yield from found
        if len(found) < _PAGE:
            return


def _ask(where: Repository, method: str, path: str, data: Data | None = None) -> Any:  # noqa: ANN401 - any JSON
    """GitHub's answer. Raises Denied where the token may not, PipelineError for any other trouble."""
    import http.client  # noqa: PLC0415 - ssl and http cost more than all that a plan imports
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    class Stay(urllib.request.HTTPRedirectHandler):
        """Follows no redirect: it would take the token elsewhere."""

        def redirect_request(self, *_: object) -> None:
            return None

    url = f"{where.api}/repos/{where.name}/{path}"
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {where.token}",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "triton-pipeline",
    }
    body = json.dumps(data).encode() if data is not None else None
    request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310 - the runner's own address
    hint = "Run the job again; GITHUB_API_URL names the address."
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=_SECONDS) as answer:
            return json.loads(answer.read(_LIMIT))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _REFUSED:
            msg = f"GitHub answers {error.code} to {method} {path.partition('?')[0]}: the token may not do that"
            raise Denied(msg, hint="Give the job `pull-requests: write` or `issues: write`.") from error
        msg = f"GitHub answers {error.code} to {method} {path.partition('?')[0]}"
        raise errors.PipelineError(msg, hint=hint) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        msg = f"GitHub could not be asked: {type(error).__name__}"
        raise errors.PipelineError(msg, hint=hint) from error
