"""What a process may use: its limits where they are set, else a share of what is free."""

from __future__ import annotations

import pytest

from pipeline.core import allowance, spec

GIB = 2**30
Room = allowance.Room


@pytest.mark.parametrize(
    ("limits", "use", "words"),
    [
        ({}, {}, None),
        ({"memory": 2 * GIB}, {"memory": Room(used=2 * GIB - 1, free=0)}, None),
        ({"memory": 2 * GIB}, {"memory": Room(used=2 * GIB)}, "hit its memory limit of 2 GiB"),
        ({"disk": 11}, {"disks": (Room(used=6), Room(used=5))}, "hit its disk limit of 11 bytes"),
        ({"disk": 12}, {"disks": (Room(used=6), Room(used=5))}, None),
        ({"processes": 3}, {"processes": 3}, None),
        ({"processes": 3}, {"processes": 4}, "hit its limit of 3 processes and threads"),
        ({}, {"processes": 2048}, None),
        ({}, {"processes": 2049}, "hit its limit of 2048 processes and threads"),
        # Without a limit: all but a twentieth of what there would be without it.
        ({}, {"memory": Room(used=19 * GIB, free=GIB)}, None),
        (
            {},
            {"memory": Room(used=20 * GIB, free=GIB)},
            "took 20 GiB of memory, which left 1 GiB to all others",
        ),
        # Others may use the machine, and what is little is never too much.
        ({}, {"memory": Room(used=GIB, free=0)}, None),
        ({}, {"memory": Room(used=400 * GIB)}, None),
        # Each file system by itself: a full one elsewhere is nobody's fault.
        ({}, {"disks": (Room(used=20 * GIB, free=20 * GIB), Room(used=1, free=1))}, None),
        (
            {},
            {"disks": (Room(used=1, free=1), Room(used=20 * GIB, free=GIB // 4))},
            "took 20 GiB of disk, which left 256 MiB to all others",
        ),
    ],
)
def test_breach(limits: dict[str, int], use: dict[str, object], words: str | None) -> None:
    """Row 17: what reaches a limit is told with the limit; what is below it, or nobody knows of, is no breach."""
    found = allowance.breach(allowance.Limits(**limits), allowance.Use(**use))  # type: ignore[arg-type]
    assert (found.words if found else None) == words


def test_limits_come_from_the_spec() -> None:
    """The sizes of the spec are bytes; an adopted file, and an export that says nothing, have no limit of their own."""
    said = spec.Export(method="trace", memory="16g", disk="512m")
    assert allowance.of(said) == allowance.Limits(memory=16 * GIB, disk=GIB // 2)
    assert allowance.of(spec.Export(method="trace")) == allowance.of(None) == allowance.Limits()


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (3 * GIB // 2, "1.5 GiB")]
)
def test_bytes_are_readable(number: int, text: str) -> None:
    """Bytes are shown in the largest unit that they fill."""
    assert allowance.shown(number) == text
