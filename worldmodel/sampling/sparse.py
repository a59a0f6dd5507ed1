"""Predict-and-Perturb that evaluates the model only where the mask is still open.

A place that is certain keeps its sample and its prediction for the rest of the noise level (``accumulate="certain"``),
so from the second iteration on most of what a full evaluation finds is thrown away. Here a denoiser that can evaluate
a part of its places is asked for the open ones alone, against what it remembers of the others: a transformer keeps
their keys and values, see :mod:`worldmodel.backends.sparse_cosmos`. Nothing else changes, and with every place open
nothing changes at all: the result is that of :func:`worldmodel.sampling.refine.predict_perturb`.

The approximation: in the published procedure the certain places are perturbed anew in each iteration and looked at by
the open ones. Here the open ones look at what the last evaluation of the certain ones left behind. One could go back to
the evaluation whose sample and prediction were kept, which is one older: that needs a second copy, and on 32 scenes of
``tiny`` came out further from the published procedure (latent difference 0.15 against 0.12; other noise in its later
iterations makes 0.29). Given frames are not evaluated again either, unless everything else is.

A memory holds keys and values of all tokens in all blocks: 19 GB for a clip of Cosmos-Predict2.5-2B at full size in
bf16, 0.3 GB at 13 frames of 256 x 320.

The cost of an iteration is the share of its places that were evaluated, in full evaluations, for each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from worldmodel.sampling.denoiser import CheckedDenoiser, Denoise
from worldmodel.sampling.plan import Visit, is_number
from worldmodel.sampling.refine import Chain, PredictPerturb, Watch
from worldmodel.sampling.uncertainty import Quantile, below_threshold, disagreement


@runtime_checkable
class SparseDenoiser(Protocol):
    """A denoiser that can evaluate some places against what it remembers of the others."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The clean sample predicted for x (B, C, ...)."""
        ...

    def remember(self, x: Tensor, sigma: float) -> tuple[Tensor, Any]:
        """The same, and the memory that partial evaluations at this noise level need."""
        ...

    def partial(self, x: Tensor, sigma: float, places: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        """The prediction at ``places`` (B, 1, ...) bool and at those that cannot be told from them.

        Returns:
            x0 (B, C, ...), of use where computed; computed (B, 1, ...) bool, none in a sample without places. A sample
            all of whose free places are asked for is evaluated whole. ``memory`` is renewed in place.
        """
        ...


@dataclass(frozen=True)
class SparsePredictPerturb(PredictPerturb):
    """:class:`PredictPerturb` whose iterations evaluate the model only where the mask is open.

    Args:
        halo: how many places around the open ones, in every direction, are evaluated with them: 0 is cheapest, more
            is nearer to the published procedure.
        settled: before iteration 1 there is no mask. Places whose prediction has moved by less than this many
            thresholds since the step before are taken to be certain then; 0 evaluates all, 0.25 suits ``tiny``.
            Of a ``Quantile(q)`` it takes the share ``settled * q`` that has moved least.

    The other settings are those of :class:`PredictPerturb`; ``accumulate`` must be "certain". Of a model's
    :class:`worldmodel.backends.running.Running` its evaluations take the attention kernel and what saves memory; they
    are neither compiled nor recorded nor cached.
    """

    halo: int = 0
    settled: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate != "certain":
            raise ValueError(
                f"accumulate: got {self.accumulate!r}, expected 'certain' where certain places are not evaluated "
                "again; use PredictPerturb"
            )
        if not (is_number(self.halo) and self.halo >= 0 and self.halo == int(self.halo)):
            raise ValueError(f"halo: got {self.halo!r}, expected whole places of at least 0; 1 is near, 0 is cheap")
        if not (is_number(self.settled) and 0 <= self.settled <= 1):
            raise ValueError(f"settled: got {self.settled!r}, expected 0 to 1 thresholds; 0 evaluates all places")

    @classmethod
    def of(cls, refine: PredictPerturb, **options: Any) -> Self:
        """The settings of ``refine``, made sparse: ``SparsePredictPerturb.of(preset("cosmos-57"), halo=1)``."""
        return cls(**{each.name: getattr(refine, each.name) for each in fields(refine)} | options)

    def evaluator(self, denoise: Denoise, x: Tensor, visits: list[Visit]) -> RememberingDenoiser:
        """The denoiser of a trajectory from x, which remembers what iteration 1 may need."""
        refined = {visit.step for visit in visits if visit.iterations > 0}
        return RememberingDenoiser(denoise, x, refined if self.settled > 0 else ())

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        x0: Tensor,
        sigma: float,
        iterations: int,
        noise: Callable[[int, Tensor], Tensor],
        watch: Watch | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :func:`sparse_predict_perturb`."""
        remembering = denoise if isinstance(denoise, RememberingDenoiser) else RememberingDenoiser(denoise, x)
        return sparse_predict_perturb(remembering, x, x0, sigma, iterations, self, noise, watch)

    def first_places(self, x0: Tensor, before: Tensor | None, free: Tensor) -> Tensor:
        """What iteration 1 evaluates (B, 1, ...): the free places, less those settled since the prediction before."""
        if before is None or self.settled == 0:
            return free
        tau = self.threshold
        limit = Quantile(self.settled * tau.q) if isinstance(tau, Quantile) else self.settled * tau
        still = below_threshold(disagreement(x0, before), limit, free)
        return grown(free & ~still, self.halo) & free


class RememberingDenoiser(CheckedDenoiser):
    """The denoiser of one trajectory together with what it remembers of its last evaluation.

    Args:
        denoise: a :class:`SparseDenoiser`.
        x: (B, C, ...) the start of the trajectory.
        steps: steps whose whole evaluations are remembered too.
    """

    def __init__(self, denoise: Denoise, x: Tensor, steps: Collection[int] = ()) -> None:
        if not isinstance(denoise, SparseDenoiser):
            raise ValueError(
                f"denoise: got {type(denoise).__name__}, expected one with remember and partial, as those of "
                "Cosmos-Predict2.5 have; use PredictPerturb"
            )
        super().__init__(denoise, x)
        self._sparse, self._steps = denoise, steps
        self._memory: tuple[float, Any] | None = None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The clean sample predicted for x (B, C, ...) at noise level sigma."""
        self._memory = None
        return self._remembered(x, sigma) if self.step in self._steps else super().__call__(x, sigma)

    def partial(self, x: Tensor, sigma: float, places: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction x0 and where it was computed: everywhere, if there is no memory of this noise level."""
        if self._memory is None or self._memory[0] != sigma:
            return self._remembered(x, sigma), torch.ones_like(places)
        self.calls += 1
        x0, computed = self._sparse.partial(x, sigma, places, self._memory[1])
        return self.checked(x0, sigma), computed

    def _remembered(self, x: Tensor, sigma: float) -> Tensor:
        self.calls += 1
        x0, memory = self._sparse.remember(x, sigma)
        self._memory = sigma, memory
        return self.checked(x0, sigma)


def sparse_predict_perturb(
    denoise: RememberingDenoiser,
    x: Tensor,
    x0: Tensor,
    sigma: float,
    iterations: int,
    refine: SparsePredictPerturb,
    noise: Callable[[int, Tensor], Tensor],
    watch: Watch | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine (x, x0) at one noise level; for the arguments see :func:`worldmodel.sampling.refine.predict_perturb`.

    ``watch`` is told the cost (B,) of each iteration too, in full evaluations. The uncertainty of a place that was not
    evaluated is the last that was found there at this noise level, 0 if there was none.

    Returns:
        the refined x and x0, and (B,) int64 evaluations, whole or partial, that each sample used.
    """
    chain = Chain.start(x, x0, sigma, denoise.pinned)
    places = refine.first_places(x0, denoise.before, chain.free)
    uncertainty = torch.zeros_like(x0[:, :1])  # the last that was found in each place
    while chain.iteration < iterations and places.any():
        chain = replace(chain, active=places.flatten(1).any(dim=1))
        perturbed = chain.perturbed(refine, noise)
        predicted, computed = denoise.partial(perturbed, sigma, places)
        predicted = torch.where(computed, predicted, chain.x0)
        uncertainty = torch.where(computed, disagreement(predicted, chain.x0), uncertainty)
        chain = chain.merged(refine, perturbed, predicted, _with_cost(watch, computed), uncertainty)
        places = _open_places(chain, refine.halo)
    return chain.x, chain.x0, chain.used


def grown(mask: Tensor, halo: int) -> Tensor:
    """A mask (B, 1, ...) and the places up to ``halo`` away from it, diagonals included."""
    for axis in range(2, mask.ndim):
        for _ in range(halo):
            size, wider = mask.shape[axis] - 1, mask.clone()
            wider.narrow(axis, 1, size).logical_or_(mask.narrow(axis, 0, size))
            wider.narrow(axis, 0, size).logical_or_(mask.narrow(axis, 1, size))
            mask = wider
    return mask


def _open_places(chain: Chain, halo: int) -> Tensor:
    """Where the samples that have not stopped may still change, and a halo around it."""
    assert chain.certain is not None
    running = chain.active.view(-1, *[1] * (chain.free.ndim - 1))
    return grown(chain.free & running & ~chain.certain, halo) & chain.free


def _with_cost(watch: Watch | None, computed: Tensor) -> Watch | None:
    if watch is None:
        return None
    cost = computed.flatten(1).double().mean(dim=1)
    return lambda found: watch({**found, "cost": cost})
