"""Commands that mend a machine, on Ubuntu and Debian, by the current documents of Docker, NVIDIA and Ubuntu.

Keys of package sources go into keyrings that only their own source is checked with.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

DOCKER = "https://docs.docker.com/engine/install/"
MEMBER = "https://docs.docker.com/engine/install/linux-postinstall/"
TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
UBUNTU_DRIVER = "https://documentation.ubuntu.com/server/how-to/graphics/install-nvidia-drivers/"
DEBIAN_DRIVER = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/"
PERSISTENCE = "https://docs.nvidia.com/deploy/driver-persistence/"

_CODENAME = {
    "ubuntu": '$(. /etc/os-release && echo "${UBUNTU_CODENAME:-$VERSION_CODENAME}")',
    "debian": '$(. /etc/os-release && echo "$VERSION_CODENAME")',
}
_PACKAGES = "docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin"
_KEYRING = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"
_LIBNVIDIA = "https://nvidia.github.io/libnvidia-container"
_CUDA = "https://developer.download.nvidia.com/compute/cuda/repos"

System = Literal["any", "ubuntu", "debian"]


class Mend(msgspec.Struct, frozen=True, kw_only=True):
    """What mends something: shell commands in their order, for one system or any, and where they are from."""

    system: System
    commands: tuple[str, ...]
    source: Annotated[str, Meta(description="The page that says so.")] = ""


def _docker(system: Literal["ubuntu", "debian"]) -> Mend:
    place = f"https://download.docker.com/linux/{system}"
    lines = (
        "'Types: deb'",
        f"'URIs: {place}'",
        f'"Suites: {_CODENAME[system]}"',
        "'Components: stable'",
        '"Architectures: $(dpkg --print-architecture)"',
        "'Signed-By: /etc/apt/keyrings/docker.asc'",
    )
    return Mend(
        system=system,
        commands=(
            "sudo apt-get update",
            "sudo apt-get install -y ca-certificates curl",
            "sudo install -m 0755 -d /etc/apt/keyrings",
            f"sudo curl -fsSL {place}/gpg -o /etc/apt/keyrings/docker.asc",
            "sudo chmod a+r /etc/apt/keyrings/docker.asc",
            f"printf '%s\\n' {' '.join(lines)} | sudo tee /etc/apt/sources.list.d/docker.sources",
            "sudo apt-get update",
            f"sudo apt-get install -y {_PACKAGES}",
            "sudo systemctl enable --now docker",
        ),
        source=f"{DOCKER}{system}/",
    )


def docker() -> tuple[Mend, ...]:
    """Docker's own engine."""
    return (_docker("ubuntu"), _docker("debian"))


def restart() -> tuple[Mend, ...]:
    """An engine that does not answer."""
    return (_any("sudo systemctl restart docker", "journalctl -u docker -n 50", source=DOCKER),)


def member() -> tuple[Mend, ...]:
    """Leave to use the engine, which is as much as root's rights."""
    return (_any('sudo usermod -aG docker "$USER"', "newgrp docker", source=MEMBER),)


def configure() -> tuple[Mend, ...]:
    """A toolkit that is installed, and that the engine does not know of."""
    return (_any(*_CONFIGURE, source=TOOLKIT),)


_CONFIGURE = ("sudo nvidia-ctk runtime configure --runtime=docker", "sudo systemctl restart docker")


def toolkit() -> tuple[Mend, ...]:
    """NVIDIA's container toolkit, and the engine told of it; the same on both systems."""
    fetch = f"curl -fsSL {_LIBNVIDIA}/stable/deb/nvidia-container-toolkit.list"
    sign = f"s#deb https://#deb [signed-by={_KEYRING}] https://#g"
    commands = (
        "sudo apt-get update",
        "sudo apt-get install -y --no-install-recommends ca-certificates curl gnupg2",
        f"curl -fsSL {_LIBNVIDIA}/gpgkey | sudo gpg --dearmor -o {_KEYRING}",
        f"{fetch} | sed '{sign}' | sudo tee /etc/apt/sources.list.d/nvidia-container-toolkit.list",
        "sudo apt-get update",
        "sudo apt-get install -y nvidia-container-toolkit",
        *_CONFIGURE,
    )
    return tuple(Mend(system=system, commands=commands, source=TOOLKIT) for system in ("ubuntu", "debian"))


def driver(branch: int) -> tuple[Mend, ...]:
    """NVIDIA's driver: the server branch that is wanted on Ubuntu, the newest on Debian. A reboot starts it."""
    ubuntu = Mend(
        system="ubuntu",
        commands=(
            "sudo apt-get update",
            "sudo apt-get install -y ubuntu-drivers-common",
            f"sudo ubuntu-drivers install --gpgpu nvidia:{branch}-server",
            f"sudo apt-get install -y nvidia-utils-{branch}-server",
            "sudo reboot",
        ),
        source=UBUNTU_DRIVER,
    )
    place = f'"{_CUDA}/debian$(. /etc/os-release && echo "$VERSION_ID")/x86_64/cuda-keyring_1.1-1_all.deb"'
    debian = Mend(
        system="debian",
        commands=(
            "sudo apt-get update",
            'sudo apt-get install -y curl "linux-headers-$(uname -r)"',
            f"curl -fsSLO {place}",
            "sudo dpkg -i cuda-keyring_1.1-1_all.deb",
            "sudo apt-get update",
            "sudo apt-get install -y cuda-drivers",
            "sudo reboot",
        ),
        source=DEBIAN_DRIVER,
    )
    return (ubuntu, debian)


def persistence() -> tuple[Mend, ...]:
    """A driver that starts anew each time that it is asked, which takes seconds."""
    return (_any("sudo nvidia-smi -pm 1", "nvidia-smi", source=PERSISTENCE),)


def library(python: str) -> tuple[Mend, ...]:
    """Python's shared library, by the interpreter's version (`3.11.2`)."""
    minor = ".".join(python.split(".")[:2])
    return (_any("sudo apt-get update", f"sudo apt-get install -y libpython{minor}"),)


def room() -> tuple[Mend, ...]:
    """Disk for an image: what takes it now, and a way to give back what no container uses."""
    return (_any("docker system df", "docker image prune"),)


def port(number: int) -> tuple[Mend, ...]:
    """A port that is taken: by whom."""
    return (_any(f"sudo ss -ltnp 'sport = :{number}'"),)


def environment() -> tuple[Mend, ...]:
    """The environment that has torch."""
    return (_any("nox -s environment -- torch"),)


def _any(*commands: str, source: str = "") -> Mend:
    return Mend(system="any", commands=commands, source=source)
