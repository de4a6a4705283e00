"""A folder of weights as `save_pretrained` writes it: which files count, what is refused, how it is loaded.

Only the folder's own files count, never its subfolders. Pickle is code that runs when it is read: it is never read.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import build, errors

if TYPE_CHECKING:
    import torch

WANTED = (".json", ".txt", ".safetensors", ".model", ".jinja")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack")
UNWANTED = ("data_config.json", "modules.json", "README.txt", "requirements.txt")


def wanted(name: str) -> bool:
    """True for a file that a load reads: configuration, tokenizer, safetensors."""
    return "/" not in name and name.endswith(WANTED) and not name.startswith(".") and name not in UNWANTED


def check_names(names: Iterable[str], where: str) -> None:
    """Raise errors.PipelineError unless the folder has config.json and weights that are not pickled."""
    here = {name for name in names if "/" not in name}
    if "config.json" not in here:
        msg = f"{where} has no config.json"
        raise errors.PipelineError(msg, hint="Name a folder that transformers' save_pretrained wrote.")
    if any(name.endswith(".safetensors") for name in here):
        return
    pickled = sorted(name for name in here if name.endswith(PICKLED))
    if pickled:
        msg = f"{where} has only pickled weights ({', '.join(pickled[:3])}), and reading pickle runs its code"
        raise errors.PipelineError(msg, hint="Use weights in safetensors, or convert them where you trust their maker.")
    msg = f"{where} has no *.safetensors weights"
    raise errors.PipelineError(msg, hint="Name a folder that transformers' save_pretrained wrote.")


def check_code(config: bytes, code: Mapping[str, str], allowed: str | None, where: str) -> None:
    """Refuse a config.json that wants code of its own (`auto_map`), unless `allowed` is the digest of that code.

    `code` maps the names of the folder's Python files to their sha256. Raises errors.PipelineError naming the
    digest, errors.Unverified when the code is not the code that was allowed.
    """
    try:
        settings = json.loads(config)
    except ValueError as error:
        msg = f"{where}: config.json is no JSON: {error}"
        raise errors.PipelineError(msg, hint="Fetch or write the folder again.") from error
    digest = build.digest(dict(code))
    if allowed is not None and allowed != digest:
        msg = f"{where}: its Python files are not the ones that remote_code allows: expected {allowed}, got {digest}"
        raise errors.Unverified(msg, hint="Read the code again; then set remote_code to the new digest.")
    if allowed is None and isinstance(settings, dict) and "auto_map" in settings:
        msg = f"{where} wants to run Python code of its own (auto_map in config.json): refused"
        files = ", ".join(sorted(code)) or "another repository's code"
        hint = f"Read {files}; to allow a hub repository's code, set `remote_code: {digest}` in its source."
        raise errors.PipelineError(msg, hint=hint)


def architecture(name: str) -> Any:  # noqa: ANN401 - transformers has no types here
    """A model class of transformers by its name. Raises errors.PipelineError naming the nearest one."""
    import transformers  # noqa: PLC0415

    found = getattr(transformers, name, None) if name in dir(transformers) else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    if is_model and getattr(found, "config_class", None) is not None:
        return found
    models = [
        known for known in dir(transformers) if known[:1].isupper() and not known.endswith(("Config", "Tokenizer"))
    ]
    near = difflib.get_close_matches(name, models, 1)
    hint = f"Did you mean {near[0]}?" if near else "Name a model class, such as BertForSequenceClassification."
    msg = f"transformers {transformers.__version__} has no model class {name}"
    raise errors.PipelineError(msg, hint=hint)


def warm(folder: Path | None, named: str | None) -> None:
    """Imports the model class of transformers that a load will ask for, if there is one."""
    with contextlib.suppress(errors.PipelineError, OSError, ValueError, AttributeError):
        settings = {} if folder is None else json.loads((folder / "config.json").read_bytes())
        architecture(named or next(iter(settings.get("architectures") or ()), ""))


def load(folder: Path, named: str | None, *, remote_code: bool = False) -> torch.nn.Module:
    """The pretrained model of a folder in float32 and eval mode; the class is `named` or the one in config.json.

    Raises errors.PipelineError when the class is unknown or the weights do not fit it.
    """
    import torch  # noqa: PLC0415

    settings = json.loads((folder / "config.json").read_bytes())
    declared = named or next(iter(settings.get("architectures") or ()), None)
    if declared is None:
        msg = "config.json names no architecture"
        raise errors.PipelineError(msg, hint="Set `architecture` in the source.")
    made = _remote(settings, folder, declared) if remote_code and "auto_map" in settings else architecture(declared)
    options: dict[str, Any] = {"trust_remote_code": True} if remote_code else {}
    try:
        module, info = made.from_pretrained(
            os.fspath(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True, **options,
        )  # fmt: skip
    except Exception as error:
        msg = f"{declared} cannot be loaded: {type(error).__name__}: {error}"
        raise errors.PipelineError(msg, hint="Check that the weights belong to that architecture.") from error
    _check_keys(declared, info)
    loaded: torch.nn.Module = module.eval()
    return loaded


def _remote(settings: dict[str, Any], folder: Path, declared: str) -> Any:  # noqa: ANN401
    """The class of the folder's own, allowed, code."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module  # noqa: PLC0415

    places = [place for place in settings["auto_map"].values() if str(place).rpartition(".")[2] == declared]
    if not places or "--" in places[0]:
        msg = f"auto_map has no class {declared} in this folder's own code"
        raise errors.PipelineError(msg, hint="Set `architecture` to a class that auto_map names.")
    return get_class_from_dynamic_module(places[0], os.fspath(folder), local_files_only=True)


def _check_keys(declared: str, info: dict[str, Any]) -> None:
    """Weights that are missing would be random: another model each time."""
    missing = sorted(info.get("missing_keys") or ())
    wrong = sorted(str(key) for key in info.get("mismatched_keys") or ())
    # A pooler that the checkpoint lacks is unused where only hidden states are taken, but nobody here can know that.
    if missing or wrong:
        shown = ", ".join((missing + wrong)[:5])
        msg = f"{declared} needs weights that the source does not have: {shown}"
        raise errors.PipelineError(msg, hint="Set `architecture` to the class that the weights were saved from.")
