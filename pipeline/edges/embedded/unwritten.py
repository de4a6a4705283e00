"""An environment beside another one, in which Python writes no bytecode.

Python models lie in the model repository, and their bytecode would lie there too: Triton's stub runs an isolated
interpreter, which heeds no variable of Python's. What it heeds is the environment of the first `python3` on PATH, and
the `.pth` files in it. So that one is given here: it has the packages of the other one, and a line that forbids it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pipeline.core import build, errors
from pipeline.edges import files, folders

_ASK = (
    "import json, sys, sysconfig; print(json.dumps([sys.base_prefix, sysconfig.get_path('purelib'), "
    "'%d.%d' % sys.version_info[:2], sys._base_executable]))"
)


def environment(folder: Path, python: Path) -> Path:
    """The folder of programs of such an environment, made once in `folder`. Raises Unfit, PipelineError."""
    try:
        done = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, timeout=60, check=True)
        base, site, version, program = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        msg = f"the interpreter {python} does not run"
        raise errors.Unfit(msg, hint="Make the environment with `nox -s environment -- torch`.") from error
    lines = f"import sys; sys.dont_write_bytecode = True\nimport site; site.addsitedir({site!r})\n"
    contents = {
        "pyvenv.cfg": f"home = {Path(program).parent}\ninclude-system-site-packages = false\n",
        f"lib/python{version}/site-packages/unwritten.pth": lines,
    }
    place = folder / f"python-{build.digest([base, program, contents])[:32]}"
    if (place / "bin/python3").exists():
        return place / "bin"
    folders.remove(place)
    with folders.stage(folder) as aside:
        for name, text in contents.items():
            files.write(aside / name, text.encode())
        files.make_folder(aside / "bin")
        folders.sync(aside)
        with files.guard("make the link", aside / "bin/python3"):
            (aside / "bin/python3").symlink_to(program)
        folders.publish(aside, place)
    return place / "bin"
