"""The rules of files beside config.pbtxt: where they come from, and that those which a config names are there."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core import backends, paths, spec, tree, warmup
from pipeline.core.rules import subject

_MODEL = "$$TRITON_MODEL_DIRECTORY/"


def faults(model: subject.Subject) -> Iterator[tree.Fault]:
    """What is wrong with the files beside a model's config."""
    yield from _paths(model)
    for where, name in _named(model):
        if name not in model.entry.files:
            message = f"no file `{name[:80]}` lies beside the config"
            hint = f"add `files: {{{name[:80]}: ...}}` to the model, with the file's path"
            yield tree.Fault(path=where, rule="missing-file", message=message, hint=hint)


def _paths(model: subject.Subject) -> Iterator[tree.Fault]:
    taken = warmup.FOLDER + "/golden-"
    for name, each in model.entry.files.items():
        at = (*model.path, "files", name)
        path = each if isinstance(each, str) else each.path
        if problem := paths.outside(path):
            message = f"the path {path[:80]!r} {problem}"
            hint = "write it relative to the spec, with / between folders"
            where = at if isinstance(each, str) else (*at, "path")
            yield tree.Fault(path=where, rule="bad-path", message=message, hint=hint)
        if name.startswith(taken) and model.entry.warmup is not None:
            message = f"`{taken}...` are the names of the warm-up's own files"
            yield tree.Fault(path=at, rule="file-name", message=message, hint="choose another name", on_key=True)
        inner = next((other for other in model.entry.files if other.startswith(f"{name}/")), None)
        if inner is not None:
            message = f"`{name[:80]}` cannot be a file and the folder of `{inner[:80]}`"
            yield tree.Fault(path=at, rule="file-name", message=message, on_key=True)


def _named(model: subject.Subject) -> Iterator[tuple[tree.Path, str]]:
    """Every file that the config names, with the place where it does."""
    at = (*model.path, "config")
    for name, output in model.entry.outputs.items():
        if label := output.config.get("label_filename"):
            yield (*model.path, "outputs", name, "config", "label_filename"), label
    for index, sample in subject.lists(model.config, "model_warmup"):
        for name, given in sample.get("inputs", {}).items():
            if file := given.get("input_data_file"):
                yield (*at, "model_warmup", index, "inputs", name, "input_data_file"), f"{warmup.FOLDER}/{file}"
    for index, carried in subject.lists(model.config.get("sequence_batching", {}), "state"):
        for number, first in subject.lists(carried, "initial_state"):
            if file := first.get("data_file"):
                steps = ("sequence_batching", "state", index, "initial_state", number, "data_file")
                yield (*at, *steps), f"initial_state/{file}"
    path = model.config.get("parameters", {}).get("EXECUTION_ENV_PATH", {}).get("string_value", "")
    if path.startswith(_MODEL) and not path.removeprefix(_MODEL)[:1].isdecimal():
        yield (*at, "parameters", "EXECUTION_ENV_PATH"), path.removeprefix(_MODEL)


def backend(model: subject.Subject) -> Iterator[tree.Fault]:
    """Something must say what runs a finished folder: the config, or the usual name of one of its files."""
    source = model.entry.source
    files = source.file.files if isinstance(source, spec.Source) and source.file else {}
    if files and not backends.told(model.config, files, model.name):
        message = "nothing says which backend runs it: no file has a usual name, and the config names none"
        hint = f"write `config: {{backend: ...}}`, or name the file one of {', '.join(backends.FILES)}"
        yield tree.Fault(path=model.path, rule="backend-unknown", message=message, hint=hint, on_key=True)
