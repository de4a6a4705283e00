"""Any ModelConfig: Hypothesis strategies of plain data, made from the descriptors of Triton's own protobuf."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st

from pipeline.core import descriptors

TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("C", "Z")), max_size=12)
_DEPTH = 6


def messages(kind: Any, *, without: Collection[str] = (), depth: int = _DEPTH) -> st.SearchStrategy[dict[str, Any]]:
    """Any data of a message, of each oneof at most one field; below `depth` messages are empty."""
    fields = [field for field in kind.fields if field.name not in without] if depth else []
    groups: dict[str, list[Any]] = {}
    for field in fields:
        group = field.containing_oneof
        groups.setdefault(group.name if group else field.name, []).append(field)
    return st.lists(st.sampled_from(sorted(groups)), unique=True, max_size=4).flatmap(
        lambda names: st.tuples(*(_chosen(groups[name], depth) for name in names)).map(dict)
    ) if groups else st.just({})  # fmt: skip


def _chosen(choice: list[Any], depth: int) -> st.SearchStrategy[tuple[str, Any]]:
    return st.one_of([st.tuples(st.just(field.name), _values(field, depth)) for field in choice])


def _values(field: Any, depth: int) -> st.SearchStrategy[Any]:
    single = st.deferred(lambda: _single(descriptors.value(field), depth))
    if descriptors.is_map(field):
        return st.dictionaries(_single(descriptors.key(field), depth).map(str), single, max_size=2)
    return st.lists(single, max_size=3) if field.is_repeated else single


def _single(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth=depth - 1)
    if field.enum_type is not None:
        return st.sampled_from([each.name for each in field.enum_type.values])
    match descriptors.scalar(field):
        case "bool":
            return st.booleans()
        case "int":
            low, high = descriptors.integers(field)
            return st.integers(low, high)
        case "float":
            floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
            return floats.map(lambda value: value + 0.0)  # protobuf's text has no -0
        case _:
            return TEXTS
