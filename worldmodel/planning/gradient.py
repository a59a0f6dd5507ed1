"""Gradients of a plan's cost, through the denoiser, to its actions: the last touch to what a search has found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.actions import ActionSpec
from worldmodel.backends.cosmos25_guided import GuidedDenoiser
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.domains import choose
from worldmodel.noise import KeyedNoise
from worldmodel.planning.imagination import Imagination, Seen
from worldmodel.sampling.denoiser import Denoise

Cost = Callable[[Tensor], Tensor]  # of actions (K, n, A) in the spec's units: (K,), differentiable


def descend(
    cost: Cost, actions: np.ndarray, spec: ActionSpec, *, steps: int = 10, rate: float = 0.05, block: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Projected gradient descent from actions (K, n, A): u <- clip(u - rate g / max |g|), u in [-1, 1] of the bounds.

    The rate falls linearly to 0; of each candidate the best that was met is kept, the one it began with among them.

    Args:
        cost: of actions; differentiable.
        actions: in the spec's units.
        spec: bounds.
        steps: of the descent; each takes a forward and a backward pass of the model.
        rate: largest change of a number in the first step, half of its range being 1.
        block: actions that stay equal.

    Returns:
        actions (K, n, A) and their costs (K,).

    Raises:
        ValueError: an argument is malformed, or the cost or its gradient is NaN, which names the candidate.
    """
    if (
        not isinstance(steps, int)
        or steps < 1
        or not 0.0 < rate <= 2.0
        or actions.ndim != 3
        or block < 1
        or actions.shape[1] % block
    ):
        raise ValueError(
            f"steps, rate, actions, block: got {steps!r}, {rate!r}, shape {actions.shape}, {block}, expected at least "
            "1, above 0 and up to 2, (K, n, A), a divisor of n; change them"
        )
    low, high = torch.tensor(spec.low), torch.tensor(spec.high)
    begun = torch.from_numpy(spec.check(actions)).float()
    u = (2.0 * (begun - low) / (high - low) - 1.0).unflatten(1, (-1, block)).mean(dim=2)
    best, least = u.clone(), torch.full((len(u),), torch.inf)
    for step in range(steps + 1):
        u = u.detach().requires_grad_(step < steps)
        costs = cost(torch.clamp(low + (u.repeat_interleave(block, dim=1) + 1.0) / 2.0 * (high - low), low, high))
        _check("cost", costs, len(u))
        better = costs.detach() < least
        best[better], least[better] = u.detach()[better], costs.detach()[better]
        if step < steps:
            (g,) = torch.autograd.grad(costs.sum(), u)
            _check("gradient", g.flatten(1).sum(dim=1), len(u))
            scale = g.flatten(1).abs().amax(dim=1).clamp(min=1e-12)[:, None, None]
            u = torch.clamp(u - rate * (1.0 - step / steps) * g / scale, -1.0, 1.0)
    found = torch.clamp(low + (best.repeat_interleave(block, dim=1) + 1.0) / 2.0 * (high - low), low, high)
    return found.double().numpy(), least.double().numpy()


def sampled(denoise: Denoise, x: Tensor, sigmas: np.ndarray, deep: int) -> Tensor:
    """Euler's sampling with a gradient through the last ``deep`` predictions: x <- x0 + (sigma' / sigma) (x - x0)."""
    steps = len(sigmas) - 1
    for step in range(steps):
        sigma, following = float(sigmas[step]), float(sigmas[step + 1])
        with torch.set_grad_enabled(step >= steps - deep):
            x0 = denoise(x, sigma)
            x = x0 + following / sigma * (x - x0)
    return x


def latent_cost(
    model: Imagination, start: Seen, objective: Callable[[Tensor], Tensor], seeds: np.ndarray, *, deep: int = 2
) -> Cost:
    """The cost of the latents (K, C, T', H', W') that a world model samples for actions of one chunk.

    Args:
        model: of the embedded kind, whose actions enter through its network.
        start: what candidates begin with.
        objective: differentiable costs (K,) of latents, such as the squared distance to a goal's.
        seeds: (K,) of the noise.
        deep: sampling steps through which the gradient goes, the last ones; memory grows with them.

    Raises:
        ValueError: the model is of another kind, or ``deep`` is not 1 to its sampling steps.
    """
    backend: Any = model.model.backend
    if not 1 <= deep <= len(model.sigmas) - 1:
        raise ValueError(f"deep: got {deep!r}, expected 1 to {len(model.sigmas) - 1}, the sampling steps; change it")
    if not model.model.recipe.domains:
        raise ValueError(
            f"model: got {model.model.recipe.name}, expected one of the embedded kind; gradients do not reach the "
            "actions of others"
        )
    domain = choose(model.model.recipe.domains, model.action_spec)
    with torch.no_grad():
        given = backend.encode(start.state.frames)
        noise = KeyedNoise(seeds, start.state.chunk)
        x = noise.initial(given.new_empty(len(seeds), *backend.latent_shape))
    given = given.expand(len(seeds), *given.shape[1:])
    low, high = (torch.tensor(side) for side in (domain.spec.low, domain.spec.high))

    def cost(actions: Tensor) -> Tensor:
        numbers = actions.new_zeros(*actions.shape[:2], backend.transformer.config.action_dim)
        numbers[..., list(domain.slots)] = 2.0 * (actions - low) / (high - low) - 1.0
        embedded = backend.transformer.embed_actions(numbers.to(backend.device), given.shape[2])
        denoise = GuidedDenoiser(CosmosNetwork(backend.transformer), given, backend.latent_shape[1], embedded)
        return objective(sampled(denoise, x, model.sigmas, deep)).cpu()

    return cost


def _check(name: str, values: Tensor, count: int) -> None:
    if values.shape != (count,):
        raise ValueError(f"objective: got {name}s of shape {tuple(values.shape)}, expected ({count},), one a candidate")
    bad = ~torch.isfinite(values)
    if bad.any():
        index = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"objective: got a {name} of {values[index]:g} for candidate {index}, expected a finite number; look at "
            "what it imagines"
        )
