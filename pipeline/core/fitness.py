"""Whether a machine can run an image's CUDA: driver, forward compatibility, compute capability."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core import findings, gpu, machine, matrix

MINOR = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
FORWARD = "https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html"
CAPABILITIES = "https://developer.nvidia.com/cuda-gpus"
NOTES = "https://docs.nvidia.com/deeplearning/triton-inference-server/release-notes/index.html"

_FLOORS = {11: 450, 12: 525, 13: 580}
"""The oldest driver branch for each major version of CUDA, by NVIDIA's rule of minor-version compatibility. The release
notes' own numbers contradict it for CUDA 13."""

_TURING_SINCE = (25, 1)
_CAPABILITY = ((6, 0), (7, 5))
"""The least compute capability before and since 25.01."""

_FIRST_CUDA = {9: (11, 8), 10: (12, 8), 11: (13, 0), 12: (12, 8)}
"""The first CUDA that makes code for a compute capability, by its major number. Older ones may run on it by compiling
at the start what they carry as PTX, as far as they do."""


def floor(row: matrix.Row) -> int | None:
    """The oldest driver branch that runs the image's CUDA by itself; None where that is not known."""
    numbers = matrix.numbers(row.cuda)
    return _FLOORS.get(numbers[0]) if numbers else None


def judge(row: matrix.Row, driver: machine.Driver) -> tuple[findings.Finding, ...]:
    """What keeps a machine with this driver and its GPUs from running an image of the row."""
    if driver.state != "works" or not matrix.numbers(driver.version):
        return (_unknown("driver-unknown", "which NVIDIA driver this machine has is not known", "", MINOR),)
    return (*_driver(row, driver), *_capabilities(row, driver.gpus))


def _unknown(rule: str, message: str, hint: str, source: str) -> findings.Finding:
    return findings.Finding(
        rule=rule, severity=findings.Severity.WARNING, message=message, hint=hint, source=source or NOTES
    )


def _driver(row: matrix.Row, driver: machine.Driver) -> Iterator[findings.Finding]:
    least = floor(row)
    if least is None:
        message = f"which CUDA the image {row.tag} has is not known" + (f" ({row.cuda})" if row.cuda else "")
        yield _unknown("cuda-unknown", message, "Take a release whose CUDA is known.", "")
    elif matrix.numbers(driver.version)[0] < least:
        yield _old(row, driver, least)


def _old(row: matrix.Row, driver: machine.Driver, least: int) -> findings.Finding:
    """What a driver older than the image's CUDA means: the libraries in the image may make up for it."""
    says = f"the driver {driver.version} is older than {least}, which CUDA {row.cuda} of the image {row.tag} needs"
    capable = [gpu.forward_compatible(each.name) for each in driver.gpus]
    mend = f"Update the driver to {least} or later, or take an older image: `doctor --recommend` names it."
    if False in capable:
        names = ", ".join(each.name for each in driver.gpus if gpu.forward_compatible(each.name) is False)
        message = f"{says}; forward compatibility does not exist for {names}"
        return findings.Finding(rule="driver-too-old", message=message, hint=mend, source=MINOR)
    if row.driver_compat_branches and not _listed(row, driver.version):
        message = f"{says}, and its libraries for older drivers hold for {', '.join(row.driver_compat_branches)} only"
        source = matrix.source(row, "driver_compat_branches") or FORWARD
        return findings.Finding(rule="driver-branch", message=message, hint=mend, source=source)
    if not row.driver_compat_branches:
        message = f"{says}; which older drivers its own libraries make up for is not known"
        return _unknown("forward-compatibility-unknown", message, mend, FORWARD)
    if not capable or None in capable:
        names = ", ".join(each.name for each in driver.gpus) or "its GPUs, which are not known"
        message = f"{says}; whether the image's own libraries may make up for that on {names} is not known"
        return _unknown("forward-compatibility-unknown", message, mend, FORWARD)
    return findings.Finding(
        rule="forward-compatibility",
        severity=findings.Severity.WARNING,
        message=f"{says}; the newer libraries in the image make up for it on these GPUs",
        hint=f"Some features are missing then. Update the driver to {least} or later when you can.",
        source=FORWARD,
    )


def _listed(row: matrix.Row, version: str) -> bool:
    """Whether a driver is in one of the branches that the image's libraries were made for: `535.86+` and its like."""
    has = matrix.numbers(version)
    return any(
        has[0] == branch[0] and has >= branch for branch in map(matrix.numbers, row.driver_compat_branches) if branch
    )


def _capabilities(row: matrix.Row, gpus: tuple[machine.Gpu, ...]) -> Iterator[findings.Finding]:
    listed = matrix.numbers(row.min_compute_capability)
    least = listed or _CAPABILITY[matrix.numbers(row.tag) >= _TURING_SINCE]
    source = matrix.source(row, "min_compute_capability") or NOTES
    cuda = matrix.numbers(row.cuda)
    if not gpus:
        yield _unknown("gpu-unknown", "which GPUs this machine has is not known", "", CAPABILITIES)
    for each in dict.fromkeys(gpus):
        has = matrix.numbers(each.capability or gpu.capability(each.name))
        if not has:
            message = f"the compute capability of {each.name} is not known; the image {row.tag} needs {_dotted(least)}"
            yield _unknown("gpu-unknown", message, "Look it up, or run `nvidia-smi` on the machine.", CAPABILITIES)
        elif has < least:
            message = (
                f"{each.name} has compute capability {_dotted(has)}, and the image {row.tag} needs {_dotted(least)}"
            )
            hint = "Take 24.12 or older: later images need 7.5." if has >= _CAPABILITY[0] else "Take another GPU."
            yield findings.Finding(rule="gpu-too-old", message=message, hint=hint, source=source)
        elif cuda and cuda < _FIRST_CUDA.get(has[0], ()):
            message = f"CUDA {row.cuda} of the image {row.tag} is older than {each.name} (compute capability "
            yield findings.Finding(
                rule="gpu-too-new",
                severity=findings.Severity.WARNING,
                message=f"{message}{_dotted(has)}): it has no code made for it",
                hint=f"Take an image with CUDA {_dotted(_FIRST_CUDA[has[0]])} or later.",
                source=CAPABILITIES,
            )


def _dotted(numbers: matrix.Numbers) -> str:
    return ".".join(map(str, numbers))
