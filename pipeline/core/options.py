"""How a container that is there differs from the one that is wanted, option by option."""

from __future__ import annotations

import msgspec

from pipeline.core import container


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One option of a container that is not what is wanted, both as text."""

    option: str
    wanted: str
    found: str


def differences(
    wanted: container.Container, found: container.Container, *, inherited: dict[str, str]
) -> tuple[Difference, ...]:
    """What a found container has otherwise than wanted. `inherited` are the variables that its image sets.

    Its name and its labels are nobody's concern, nor its own nonce, nor which models it loaded when it started.
    """
    return tuple(
        Difference(option=name, wanted=_shown(name, mine), found=_shown(name, theirs))
        for name in container.Container.__struct_fields__
        if (mine := _compared(wanted, name, inherited)) != (theirs := _compared(found, name, inherited))
    )


def _compared(each: container.Container, name: str, inherited: dict[str, str]) -> object:
    value = getattr(each, name)
    match name:
        case "name" | "labels":
            return None
        case "image":
            return None if each.image_id else value
        case "command":
            return tuple(word for word in value if not word.startswith(container.OWN))
        case "environment":
            return {key: text for key, text in value.items() if inherited.get(key) != text}
        case _:
            return value


_SIZES = frozenset({"memory", "shm_size", "log_size"})


def _shown(name: str, value: object) -> str:
    if name in _SIZES and isinstance(value, int):
        return container.shown_size(value)
    return value if isinstance(value, str) else msgspec.json.encode(value, order="deterministic").decode()
