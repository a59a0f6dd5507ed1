"""What the temperature of refinement does to a distribution that is known exactly, with and without guidance.

    python benchmarks/temperature.py

Data are a mixture of four modes in every place; the condition picks two of them. Both denoisers are exact, so that
whatever differs from the truth is the procedure's doing, not a model's. Guidance is D_u + w (D_c - D_u), the usual
scale: w = 1 is the condition alone. All runs start from the same noise. Columns:

    spread   root mean square distance to the own mode's centre over the right one: below 1, details are lost
    between  share of places that are in no mode (over three of its standard deviations away)
    rare     share of the places in the rarer of the two modes, 30 % in truth
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from torch import Tensor

from worldmodel.sampling import PredictPerturb, flow_sigmas, sample
from worldmodel.sampling.controls import Guided

MEANS, STD = (-1.6, -0.5, 0.5, 1.6), 0.15
PICKED = (0.0, 0.0, 0.3, 0.7)


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    places: int = 200_000
    steps: int = 20
    iterations: int = 3
    scales: tuple[float, ...] = (1.0, 1.5, 3.0)
    windows: tuple[tuple[float, float], ...] = ((0.05, 0.3), (0.3, 0.7))


def mixture(weights: tuple[float, ...]) -> Callable[[Tensor, float], Tensor]:
    """The exact denoiser of a mixture of Gaussians in every place."""
    means, shares = torch.tensor(MEANS, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        t = 1.0 - sigma
        variance = (t * STD) ** 2 + sigma**2
        away = x.double()[..., None] - t * means
        odds = (shares.log() - 0.5 * away**2 / variance).softmax(dim=-1)
        return (odds * (means + t * STD**2 / variance * away)).sum(dim=-1).to(x.dtype)

    return denoise


def measures(z: Tensor) -> tuple[float, float, float]:
    """Spread within modes, share between them, share of the rarer of the two that the condition picks."""
    away = (z.double().flatten()[:, None] - torch.tensor(MEANS, dtype=torch.float64)) / STD
    nearest = away.abs().argmin(dim=1)
    own = away[torch.arange(len(away)), nearest]
    inside = own.abs() < 3.0
    picked = nearest >= 2
    spread = own[inside & picked].square().mean().sqrt()
    return spread.item(), 1.0 - inside.double().mean().item(), (nearest[picked] == 2).double().mean().item()


def main(settings: Settings) -> None:
    """Print the table."""
    sigmas = flow_sigmas(settings.steps, 2.0)
    x = torch.randn(1, 1, settings.places, generator=torch.Generator().manual_seed(0))
    temperatures: tuple[float | str, ...] = (0.5, "keep_variance", 1.0)
    runs: dict[str, PredictPerturb | None] = {"Euler": None}
    for start, end in settings.windows:
        for temperature in temperatures:
            plan = [(start, end, settings.iterations)]
            runs[f"P&P {start:g}-{end:g}, T {temperature}"] = PredictPerturb(
                plan=plan, threshold=0.0, temperature=temperature
            )
    print(f"{settings.steps} steps, {settings.iterations} iterations, {settings.places} places\n")
    print(f"{'run':<32}" + "".join(f"   w = {scale:g}: spread between   rare" for scale in settings.scales))
    for name, refine in runs.items():
        cells = []
        for scale in settings.scales:
            denoise = Guided(mixture(PICKED), mixture((0.25,) * 4), scale)
            spread, between, rare = measures(sample(denoise, x, sigmas, refine=refine, seeds=[0]))
            cells.append(f"{spread:17.2f} {between:7.1%} {rare:6.1%}")
        print(f"{name:<32}" + "".join(cells))


if __name__ == "__main__":
    main(tyro.cli(Settings))
