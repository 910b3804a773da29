"""Small posteriors and generators for the tests."""

from collections.abc import Sequence

import torch

from complexity_control.posterior import Posterior, shapes


def posterior(sizes: Sequence[int], models: int, seed: int = 0) -> Posterior:
    """Random means and log standard deviations around -1."""
    generator = torch.Generator().manual_seed(seed)
    mean = {name: torch.randn(models, *shape, generator=generator) for name, shape in shapes(sizes).items()}
    log_std = {name: torch.randn(t.shape, generator=generator) / 2 - 1 for name, t in mean.items()}
    return Posterior(mean, log_std)


def generators(models: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1 + model) for model in range(models)]
