"""Signatures over the model repository, by OpenSSF's model-signing: a key's, checked without any network.

What is signed is a list of all files with their sha256. The library is imported inside functions: it is in the
`signing` environment only, and no other command needs it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.core import errors
from pipeline.edges import files

PASSWORD = "PIPELINE_KEY_PASSWORD"  # noqa: S105 - the variable's name
"""The variable that has the private key's password, where it has one."""
_IGNORED = (".gitkeep",)
_SIGN = "`sign` signs what lies there, once you know that it is right."
_LARGE = 64 << 20


def sign(repository: Path, signature: Path, key: Path, *, public: Path | None = None) -> None:
    """Signs every file of the repository, and puts the signature in its place whole, once it holds.

    Raises PipelineError for a key that cannot be used or does not belong to `public`, or a link in the tree.
    """
    aside = files.temporary(signature.parent)
    try:
        _sign(repository, aside, key)
        if public is not None:
            _check_pair(repository, aside, key, public)
        files.sync(aside)
        aside.replace(signature)
    finally:
        aside.unlink(missing_ok=True)


def _check_pair(repository: Path, signature: Path, key: Path, public: Path) -> None:
    try:
        verify(repository, signature, public)
    except errors.Unverified as error:
        msg = f"what {key.name} signs does not hold with {public.name}, the key of target.policy"
        raise errors.PipelineError(msg, hint="Sign with the other half of that key.", details=error.details) from error


def _sign(repository: Path, signature: Path, key: Path) -> None:
    from model_signing import signing  # noqa: PLC0415

    password = os.environ.get(PASSWORD)
    try:
        config = signing.Config().set_hashing_config(_hashing())
        config.use_elliptic_key_signer(private_key=key, password=password.encode() if password else None)
    except (OSError, ValueError, TypeError) as error:
        msg = f"the private key {key} cannot be used: {error}"
        hint = (
            f"Make one with `openssl ecparam -genkey -name prime256v1 -noout -out {key}`; {PASSWORD} has its password."
        )
        raise errors.PipelineError(msg, hint=hint) from error
    try:
        config.sign(repository, signature)
    except (OSError, ValueError) as error:
        msg = f"the repository cannot be signed: {error}"
        raise errors.PipelineError(msg, hint="Links are never signed: `assemble` puts the files there.") from error


def verify(repository: Path, signature: Path, key: Path) -> None:
    """Hashes every file of the repository anew, and holds it against the signature. Raises Unverified."""
    with _judging(signature, key):
        _verifier(key).set_hashing_config(_hashing()).verify(repository, signature)


def verify_files(wanted: Mapping[str, str], signature: Path, key: Path) -> None:
    """The same for files that are to be laid out: their sha256 by path. Raises Unverified."""
    from model_signing import hashing, manifest  # noqa: PLC0415

    class Known(hashing.Config):  # type: ignore[misc] # the library has no types here
        """Gives the digests that are known already, in place of reading a folder."""

        def hash(self, model_path: Path, *, files_to_hash: object = None) -> Any:  # noqa: ANN401, ARG002
            kind = manifest.SerializationType.from_args(
                {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
            )
            items = [kind.new_item(name, _digest(value)) for name, value in wanted.items()]
            return manifest.Manifest(Path(model_path).name, items, kind)

    with _judging(signature, key):
        _verifier(key).set_hashing_config(Known()).verify(signature.with_suffix(""), signature)


def available() -> bool:
    """Whether the library is in this environment."""
    from importlib import util  # noqa: PLC0415

    return util.find_spec("model_signing") is not None


def _hashing() -> Any:  # noqa: ANN401 - the library has no types here
    from model_signing import hashing  # noqa: PLC0415

    config = hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    return config.set_ignored_paths(paths=_IGNORED)


def _digest(value: str) -> Any:  # noqa: ANN401 - the library has no types here
    from model_signing._hashing import hashing  # noqa: PLC0415 - its one name for a digest

    return hashing.Digest("sha256", bytes.fromhex(value))


def _verifier(key: Path) -> Any:  # noqa: ANN401 - the library has no types here
    from model_signing import verifying  # noqa: PLC0415

    return verifying.Config().use_elliptic_key_verifier(public_key=key)


@contextlib.contextmanager
def _judging(signature: Path, key: Path) -> Iterator[None]:
    """Every way in which a signature does not hold, as one error."""
    from cryptography import exceptions  # noqa: PLC0415

    for path, what, hint in (
        (signature, "the model repository is not signed", _SIGN),
        (key, "the public key is not there", "target.policy.key names it, relative to the spec."),
    ):
        if not path.is_file() or path.is_symlink() or path.stat().st_size > _LARGE:
            msg = f"{what}: there is no file {path.name}"
            raise errors.Unverified(msg, hint=hint)
    try:
        yield
    except exceptions.InvalidSignature as error:
        msg = f"{signature.name} was not made with the private key of {key.name}, or was changed since"
        raise errors.Unverified(msg, hint=_SIGN) from error
    except Exception as error:  # what stands in a signature is anybody's, whatever it does to a parser
        msg = f"the signature {signature.name} does not hold"
        raise errors.Unverified(msg, hint=_SIGN, details=_lines(error)) from error


def _lines(error: Exception) -> tuple[str, ...]:
    return tuple(line[:500] for line in f"{type(error).__name__}: {error}".splitlines()[:20])
