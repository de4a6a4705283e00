"""Tiny TorchScript models for the tests against a real Triton."""

from __future__ import annotations

import torch


class Subtract(torch.nn.Module):
    """Not symmetric: a swapped order shows."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left - right


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 1, x + 2


class ByName(torch.nn.Module):
    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return tensors["left"] - tensors["right"]


class Rows(torch.nn.Module):
    """Tells each row how many rows the forward had."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0 + x.shape[0]


class Upper(torch.nn.Module):
    def forward(self, texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]


class Every(torch.nn.Module):
    """One tensor of each data type, returned as it came."""

    def forward(  # noqa: PLR0917
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        c: torch.Tensor,
        d: torch.Tensor,
        e: torch.Tensor,
        f: torch.Tensor,
        g: torch.Tensor,
        h: torch.Tensor,
        i: torch.Tensor,
    ) -> tuple[
        torch.Tensor,
        torch.Tensor,
        torch.Tensor,
        torch.Tensor,
        torch.Tensor,
        torch.Tensor,
        torch.Tensor,
        torch.Tensor,
        torch.Tensor,
    ]:
        return a, b, c, d, e, f, g, h, i


class Mode(torch.nn.Module):
    """Tells whether it runs in inference mode: 1 or 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0 + (1 if x.is_inference() else 0)


class Number(torch.nn.Module):
    def forward(self, x: torch.Tensor, count: int) -> torch.Tensor:
        return x * count


class Scalar(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


class Listed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]


class Raises(torch.nn.Module):
    """Fails where any value is negative."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x < 0).any()):
            raise ValueError("negative values are not for me")  # noqa: EM101
        return x


class Shorter(torch.nn.Module):
    """Loses the batch axis."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(0, keepdim=True)


class Turned(torch.nn.Module):
    """Gives a tensor that is not contiguous."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class Slow(torch.nn.Module):
    """Takes a few seconds a question."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        big = torch.ones(512, 512)
        for _ in range(int(x.max().item())):
            big = (big @ big) / 512
        return x + big[0, 0] * 0
