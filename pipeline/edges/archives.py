"""TorchScript archives: which operators they call, read out of their code; torch is neither needed nor imported."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from pipeline.core import errors, formats

_CODE = 64 << 20
"""Bytes of code that an archive may have: real ones have less than one of these 64 MiB."""


def operators(path: Path) -> tuple[str, ...]:
    """The operators that the TorchScript archive calls, sorted, without `aten::`.

    Raises PipelineError for a file that cannot be read, or that is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [each for each in archive.infolist() if "/code/" in each.filename and each.filename.endswith(".py")]
            if not names:
                msg = f"{path.name} is no TorchScript archive: it has no code"
                raise errors.PipelineError(msg, hint=_HINT)
            if sum(each.file_size for each in names) > _CODE:
                msg = f"{path.name} has more code than any model: {_CODE >> 20} MiB"
                raise errors.PipelineError(msg, hint=_HINT)
            texts = [archive.read(each).decode("utf-8", "replace") for each in names]
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        msg = f"{path.name} could not be read as a TorchScript archive: {error}"
        raise errors.PipelineError(msg, hint=_HINT) from error
    return formats.operators("\n".join(texts))


_HINT = "Export it anew with `export: trace` or `script`; a file of your own must be what `torch.jit.save` writes."
