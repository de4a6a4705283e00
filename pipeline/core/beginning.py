"""A new project as text: a spec for what there is to serve, and the files around it. Where they go, the edges know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.core import errors, yamldump

MODELINE = "# yaml-language-server: $schema=schemas/pipeline.schema.json\n"
_OWN = re.compile(r"# Only for work on the pipeline itself\.\n.*?# As in every project\.\n\n*", re.DOTALL)
"""What of our own noxfile is of no use to others."""
_LONGEST = 512
_TEXTS = ("Triton serves models.", "A golden output is an agreed answer.")
_HEADS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ForSequenceClassification": ("logits", ("labels",)),
    "ForTokenClassification": ("logits", ("sequence", "labels")),
    "ForMaskedLM": ("logits", ("sequence", "vocab_size")),
    "ForCausalLM": ("logits", ("sequence", "vocab_size")),
    "Model": ("last_hidden_state", ("sequence", "hidden_size")),
}
"""What the classes of transformers give, by the end of their names: the field, and its shape after the batch."""

IGNORED = """\
# Output of builds. config.pbtxt of the repository is tracked: a reviewer sees the change.
/.pipeline/
/model_repository/*/[0-9]*/
/model_repository/.*
/.nox/
/.venv/
__pycache__/
*.key
"""
HOOKS = """\
repos:
  - repo: local
    hooks:
      - id: validate
        name: validate pipeline.yaml
        entry: nox -s validate
        language: system
        files: ^pipeline\\.yaml$
        pass_filenames: false
"""
README = """\
# Models on NVIDIA Triton

`pipeline.yaml` says what is served. On x86-64 Linux with Python 3.11:

```sh
python3 -m venv .venv && .venv/bin/pip install -r requirements/nox.txt && .venv/bin/nox
```

checks it, builds what is missing, lays out `model_repository/`, starts Triton on 127.0.0.1 and compares every served
answer with its golden one. Commit `pipeline.lock` and `model_repository/*/config.pbtxt` with the change that made them.
Then:

```sh
.venv/bin/nox -s plan      # what would change
.venv/bin/nox -s apply     # do it, proven, or undone
.venv/bin/nox -s down      # stop the server
.venv/bin/nox --list       # all that there is
```

The workflows in `.github/` do the same with each pull request, and write what would change into one comment. With the
variable `DEPLOY_RUNNER` they deploy the default branch on a runner of yours, and look for drift; with `GPU_RUNNER` they
prove models on a GPU.
The package that does all this is named in `requirements/pipeline.txt`.
"""


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """A model of transformers: its source as the spec says it, its config.json, and whether a tokenizer is with it."""

    name: str
    source: Mapping[str, Any]
    config: bytes
    tokenizer: bool


def sample(image: str) -> str:
    """The spec of a small BERT with seeded weights: nothing is downloaded."""
    options = {
        "num_labels": 2,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 512,
    }
    source = {"config": {"architecture": "BertForSequenceClassification", "options": options, "seed": 0}}
    told = msgspec.json.encode({"architectures": ["BertForSequenceClassification"], "vocab_size": 30522, **options})
    return spec(Weights(name="bert", source=source, config=told, tokenizer=False), image=image)


def spec(weights: Weights, *, image: str) -> str:
    """The spec that serves a model of transformers that reads tokens.

    Raises PipelineError for one whose inputs and outputs cannot be told from its config.json.
    """
    told = _config(weights.config)
    field, shape = _head(told)
    sizes = {**told, "labels": _labels(told)}
    most = told.get("max_position_embeddings")
    longest = min(most, _LONGEST) if isinstance(most, int) else _LONGEST
    high = {} if weights.tokenizer else {"values": {"high": _size(told, "vocab_size")}}
    tensor = {"dtype": "INT64", "shape": ["batch", "sequence"]}
    entry = {
        "source": weights.source,
        "export": "trace",
        "max_batch_size": 8,
        "inputs": {
            "input_ids": {**tensor, "argument": "input_ids", **high},
            "attention_mask": {
                **tensor,
                "argument": "attention_mask",
                **({} if weights.tokenizer else {"values": {"low": 1, "high": 2}}),
            },
        },
        "outputs": {
            field: {
                "dtype": "FP32",
                "shape": ["batch", *(name if name == "sequence" else _size(sizes, name) for name in shape)],
                "result": field,
            }
        },
        "axes": {"sequence": {"min": 1, "max": longest}},
        "golden": {"texts": list(_TEXTS)} if weights.tokenizer else {"seed": 0},
    }
    note = ("Every key is explained by your editor, and in the pipeline's docs/spec.md.",)
    document = {
        "version": yamldump.Noted(1, note),
        "target": {"image": image, "gpus": "all"},
        "models": {weights.name: entry},
    }
    return MODELINE + yamldump.dump(document)


def _config(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"config.json cannot be read: {error}"
        raise errors.PipelineError(msg, hint="Name weights as `save_pretrained` writes them.") from error


def _head(told: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    named = told.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    for end, found in _HEADS.items():
        if architecture.endswith(end):
            return found
    msg = f"the tensors of {architecture or 'a model without `architectures`'} cannot be told from its config.json"
    hint = f"`init` knows text models: {', '.join(f'...{end}' for end in _HEADS)}. Start with `init` alone, and edit."
    raise errors.PipelineError(msg, hint=hint)


def _labels(told: Mapping[str, Any]) -> int:
    names = told.get("id2label")
    return len(names) if isinstance(names, dict) and names else int(told.get("num_labels", 2))


def _size(told: Mapping[str, Any], name: str) -> int:
    found = told.get(name)
    if not isinstance(found, int) or found < 1:
        msg = f"config.json does not say {name}"
        raise errors.PipelineError(msg, hint="Start with `init` alone, and edit the spec.")
    return found


def model_name(text: str) -> str:
    """A model's name for a hub's repository, or a folder: its last part, without what a name may not have."""
    last = text.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", last).strip("_-").lower() or "model"


def noxfile(ours: str) -> str:
    """Our own noxfile without what only we need."""
    return _OWN.sub("", ours)
