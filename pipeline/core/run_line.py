"""A container as text, for people who run it elsewhere: a `docker run` line, and a compose file. Decides nothing."""

from __future__ import annotations

import shlex

import yaml

from pipeline.core import container

_INDENT = " \\\n  "


def docker_run(made: container.Container) -> str:
    """The `docker run` line, one option a line, quoted for a POSIX shell, with a line feed at its end."""
    words = ["docker run --detach", *(_option(name, value) for name, value in _options(made))]
    return _INDENT.join([*words, shlex.quote(made.image), *map(shlex.quote, made.command)]) + "\n"


def compose(made: container.Container) -> str:
    """The compose file of one service, `triton`."""
    service = {
        "image": made.image,
        "container_name": made.name,
        "command": list(made.command),
        "environment": made.environment,
        "labels": made.labels,
        "volumes": [
            {
                "type": "bind",
                "source": mount.source,
                "target": mount.target,
                "read_only": mount.read_only,
                # A folder that is not there is an error, not a folder of root's to be made.
                "bind": {"create_host_path": False},
            }
            for mount in made.mounts
        ],
        "ports": [f"{port.address}:{port.number}:{port.inner}/tcp" for port in made.ports],
        "network_mode": made.network,
        **_shut_in(made),
        "restart": "no",
    }
    if made.gpus is not None:
        service["deploy"] = {"resources": {"reservations": {"devices": [_device(made.gpus)]}}}
    text: str = yaml.safe_dump({"services": {"triton": _escape(service)}}, sort_keys=False, width=120)
    return text


def _options(made: container.Container) -> list[tuple[str, str]]:
    """The options with their values; those that are alone have none."""
    log = (("log-driver", "json-file"), *(("log-opt", text) for text in _log(made)))
    return [
        ("name", made.name),
        ("restart", "no"),
        *(("label", f"{key}={value}") for key, value in made.labels.items()),
        *(("env", f"{key}={value}") for key, value in made.environment.items()),
        *(("mount", _mount(mount)) for mount in made.mounts),
        *(("publish", f"{port.address}:{port.number}:{port.inner}/tcp") for port in made.ports),
        *([("gpus", _gpus(made.gpus))] if made.gpus else []),
        ("network", made.network),
        ("user", made.user),
        *(("cap-drop", each) for each in made.cap_drop),
        *(("cap-add", each) for each in made.cap_add),
        *([("security-opt", "no-new-privileges:true")] if made.no_new_privileges else []),
        *([("read-only", "")] if made.read_only else []),
        *(("tmpfs", f"{folder}:{options}") for folder, options in made.tmpfs.items()),
        ("memory", str(made.memory)),
        ("memory-swap", str(made.memory)),
        *([("cpus", _cpus(made))] if made.cpus else []),
        ("pids-limit", str(made.pids)),
        ("shm-size", str(made.shm_size)),
        *(("ulimit", f"{name}={limit}") for name, limit in made.ulimits.items()),
        ("ipc", made.ipc),
        *([("init", "")] if made.init else []),
        *log,
        ("stop-timeout", str(made.stop_seconds)),
    ]


def _shut_in(made: container.Container) -> dict[str, object]:
    """What a compose file says of limits and rights."""
    return {
        "user": made.user,
        "cap_drop": list(made.cap_drop),
        "cap_add": list(made.cap_add),
        "security_opt": ["no-new-privileges:true"] if made.no_new_privileges else [],
        "read_only": made.read_only,
        "tmpfs": [f"{folder}:{options}" for folder, options in made.tmpfs.items()],
        "mem_limit": made.memory,
        "memswap_limit": made.memory,
        **({"cpus": _cpus(made)} if made.cpus else {}),
        "pids_limit": made.pids,
        "shm_size": made.shm_size,
        "ulimits": made.ulimits,
        "ipc": made.ipc,
        "init": made.init,
        "logging": {"driver": "json-file", "options": dict(text.split("=") for text in _log(made))},
        "stop_grace_period": f"{made.stop_seconds}s",
    }


def _option(name: str, value: str) -> str:
    return f"--{name}" if not value else f"--{name}={shlex.quote(value)}"


def _log(made: container.Container) -> tuple[str, str]:
    return f"max-size={made.log_size}", f"max-file={made.log_files}"


def _cpus(made: container.Container) -> str:
    return f"{made.cpus / 1_000_000_000:.9f}".rstrip("0").rstrip(".")


def _mount(mount: container.Mount) -> str:
    """A mount is a line of CSV: a field with a comma or a quote stands in quotes, its own quotes doubled."""
    words = [
        "type=bind",
        f"source={mount.source}",
        f"target={mount.target}",
        *(["readonly"] if mount.read_only else []),
    ]
    return ",".join('"' + word.replace('"', '""') + '"' if set(word) & set('",\n\r') else word for word in words)


def _gpus(gpus: container.Gpus) -> str:
    if gpus.ids:
        return f'"device={",".join(gpus.ids)}"'  # CSV too: the ids are one field
    return "all" if gpus.count < 0 else str(gpus.count)


def _device(gpus: container.Gpus) -> dict[str, object]:
    which: dict[str, object] = {"device_ids": list(gpus.ids)}
    if not gpus.ids:
        which = {"count": "all" if gpus.count < 0 else gpus.count}
    return {"driver": "nvidia", **which, "capabilities": ["gpu"]}


def _escape(value: object) -> object:
    """Compose puts variables in place of `$NAME`, and a dollar in place of two."""
    match value:
        case str():
            return value.replace("$", "$$")
        case list():
            return [_escape(each) for each in value]
        case dict():
            return {key: _escape(each) for key, each in value.items()}
        case _:
            return value
