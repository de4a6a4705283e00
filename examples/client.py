"""Asks the served samples: sentences go in, what is nearest in meaning comes out; then `bert`, as the tutorial does.

Run it after `nox`: .nox/torch/bin/python examples/client.py
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient import http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

QUESTION = "A man is eating food."
SENTENCES = (
    "A man is eating a piece of bread.",
    "Someone has a meal.",
    "The girl is carrying a baby.",
    "A monkey is playing drums.",
    "A cheetah chases its prey across a field.",
)


def main() -> None:
    """Ask the models on the server that the address names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="127.0.0.1:8000", help="address of Triton's HTTP port (default: %(default)s)")
    server = http.InferenceServerClient(parser.parse_args().url)

    embeddings = ask(server, "minilm_text", {"text": texts(QUESTION, *SENTENCES)}, "sentence_embedding")
    question, others = embeddings[0], embeddings[1:]
    ranked = sorted(zip(others @ question, SENTENCES, strict=True), reverse=True)
    print(f"minilm_text: nearest to {QUESTION!r}")
    for likeness, sentence in ranked:
        print(f"  {likeness:6.3f}  {sentence}")

    # bert takes 256 tokens and their mask: the tokens are of the same vocabulary.
    ids = ask(server, "minilm_tokenizer", {"text": texts("Triton serves models.")}, "input_ids")
    padded = np.pad(ids, ((0, 0), (0, 256 - ids.shape[1])))
    print("bert:", ask(server, "bert", {"input__0": padded, "input__1": (padded != 0).astype(np.int32)}, "output__0"))


def texts(*sentences: str) -> npt.NDArray[np.object_]:
    """The sentences as a tensor, one a row."""
    return np.array([[sentence.encode()] for sentence in sentences], dtype=np.object_)


def ask(server: http.InferenceServerClient, model: str, values: dict[str, npt.NDArray[Any]], output: str) -> Any:  # noqa: ANN401
    """The model's answer, as an array."""
    inputs = [
        http.InferInput(name, value.shape, np_to_triton_dtype(value.dtype)).set_data_from_numpy(value)
        for name, value in values.items()
    ]
    return server.infer(model, inputs).as_numpy(output)


if __name__ == "__main__":
    try:
        main()
    except (OSError, InferenceServerException) as error:
        sys.exit(f"the server gave no answer ({error}): start it with nox, or name another one with --url")
