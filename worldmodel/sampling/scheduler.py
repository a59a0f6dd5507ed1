"""Refinement inside unmodified diffusers pipelines, by a scheduler that wraps the pipeline's own.

A pipeline evaluates its model, guidance and all, once for each timestep of its scheduler, and hands the result to
``scheduler.step``. Here the timestep of a refined step is listed once more for each planned iteration. On every visit
but the last, ``step`` answers with the perturbed sample, which is at the same noise level, so the pipeline evaluates
that one next; on the last it takes the step from the refined sample. Guidance, experts chosen by timestep, blended-in
frames and callbacks are the pipeline's and work as ever, the latter after each visit. What a pipeline evaluates once
every sample has stopped would be thrown away, so the visits that are left are taken off the list as it is gone through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from torch import Tensor

from worldmodel.sampling.denoiser import CheckedDenoiser
from worldmodel.sampling.refine import Chain, PredictPerturb
from worldmodel.sampling.sample import Noise, checked_noise, noise_source
from worldmodel.sampling.schedules import check_sigmas
from worldmodel.sampling.solvers import Solver, StepContext, as_solver
from worldmodel.sampling.visits import Order, Timesteps, Visits


class Answer(NamedTuple):
    """What a pipeline hands to ``step``."""

    model_output: Tensor
    timestep: float | Tensor
    sample: Tensor
    options: dict[str, Any]


class RefiningScheduler(SchedulerMixin):
    """A flow-matching scheduler that refines, for :func:`worldmodel.sampling.pipelines.refine_pipeline`.

    Args:
        scheduler: the diffusers scheduler to wrap. Its multistep history starts afresh at a refined step.
        refine: what to refine, in steps of ``scheduler``.
        seeds, noise: the source of fresh noise, as for :func:`worldmodel.sampling.sample`; one seed for each
            sample of a pipeline's batch. The noise that a pipeline starts from is its own.
        solver: one of ours, to take the steps in place of ``scheduler``, which then only gives the noise levels;
            "euler" is the published procedure.
        callback: as for :func:`worldmodel.sampling.sample`, after each step; a ``Record`` counts evaluations.
        channel_axis: of the samples; if None the last of (B, tokens, C), that of (1, B, C, T, H, W), otherwise 1.
            Kandinsky 5 has its channels last: -1.

    Attributes:
        scheduler: the wrapped one; it answers for ``config`` and whatever else is asked for.
        made: evaluations of the guided model that the latest run has made, those of stopped samples included.
        waits: whether a run needs to be announced first, because its pipeline has frames that are given.
    """

    def __init__(
        self,
        scheduler: Any,
        refine: PredictPerturb,
        *,
        seeds: Sequence[int] | np.ndarray | None = None,
        noise: Noise | None = None,
        solver: str | Solver | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
        channel_axis: int | None = None,
    ) -> None:
        self.scheduler = _check_scheduler(scheduler)
        self.refine = _check_refine(refine)
        self.solver = None if solver is None else _check_solver(as_solver(solver))
        self.callback, self.channel_axis = callback, channel_axis
        self.made, self.waits = 0, False
        self._noise = noise if seeds is None else noise_source(noise, seeds, np.size(np.asarray(seeds)))
        self._visits: Visits | None = None
        self._announced: tuple[Tensor | None, Tensor | None] | None = None
        self._given: tuple[Tensor, Tensor] | None = None  # where, expands to (B, C, ...), and what
        self._chain: Chain | None = None
        self._found: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "scheduler":
            raise AttributeError(name)
        return getattr(self.scheduler, name)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Lay out the schedule and its visits; arguments as the wrapped scheduler has them.

        Raises:
            ValueError: the plan does not fit the schedule, or it is no schedule of a flow.
        """
        asked = {"num_inference_steps": num_inference_steps, "sigmas": sigmas, "mu": mu, "timesteps": timesteps}
        self._asked = {"device": device, **{name: value for name, value in asked.items() if value is not None}}
        self.scheduler.set_timesteps(**self._asked)
        inverted = self.scheduler.config.get("invert_sigmas", False)  # Mochi goes from 0 to 1, by -velocity
        self._sign = -1 if inverted else 1
        self._levels = check_sigmas((1.0 - self.scheduler.sigmas if inverted else self.scheduler.sigmas).tolist())
        self._visits = Visits(self.refine.visits(self._levels), self)
        self._chain, self._reached, self._history, self.made = None, -1, None, 0

    @property
    def timesteps(self) -> Tensor:
        """The timestep of each visit."""
        known = self.scheduler.timesteps
        return known if self._visits is None else Timesteps.of(self._visits, known)

    @property
    def sigmas(self) -> Tensor:
        """The noise level of each visit, and 0."""
        known = self.scheduler.sigmas
        return known if self._visits is None else known[[*self._visits.steps, -1]]

    @property
    def order(self) -> int:
        """Visits a step, see :class:`worldmodel.sampling.visits.Order`."""
        return 1 if self._visits is None else Order.of(self._visits)

    @property
    def begin_index(self) -> int | None:
        """The visit to start from."""
        return None if self._visits is None else self._visits.first

    @property
    def step_index(self) -> int | None:
        """The visit under way."""
        return None if self._visits is None else self._visits.position

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start from a later visit."""
        if self._visits is not None:
            self._visits.first = self._visits.position = begin_index

    def announce(self, latents: Tensor, pinned: Tensor | None = None, given: Tensor | None = None) -> None:
        """Prepare for a run.

        Args:
            latents: the samples that it starts from, (B, C, ...) unless ``channel_axis`` says otherwise.
            pinned: bool, expands to ``latents`` but for one channel: places that are given.
            given: what is given there, expands to ``latents``.

        Raises:
            ValueError: there is not one seed for each sample.
        """
        noise_source(self._noise, None, len(latents))
        self._announced = pinned, given

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> SchedulerOutput | tuple[Tensor]:
        """Take the model's answer for one visit, and give the sample for the next."""
        visits = self._expect(timestep, options)
        x, velocity = self._channels_first(sample), self._sign * self._channels_first(model_output)
        if self.made == 0:
            self._begin(x, velocity)
        sigma = self._levels[visits.step]
        self._answers.step = visits.step
        x0 = self._answers.checked(self._with_given(x - sigma * velocity), sigma)
        chain = self._chain
        if chain is None:
            pinned = None if self._given is None else self._given[0].all(dim=1, keepdim=True)
            # A copy, because Kandinsky 5 writes the next sample into this one.
            chain, self._found = Chain.start(x.clone(), x0, sigma, pinned), []
        elif chain.goes_on(self.refine):
            watch = None if self.callback is None else self._found.append
            chain = chain.merged(self.refine, x, x0, watch)
        goes_on = chain.goes_on(self.refine)
        if not goes_on:
            visits.drop_rest(self)
        self.made += 1
        if not visits.ends_step():
            self._chain = chain
            # A pipeline that went through a copy of the list makes the visits that are left for nothing.
            following = chain.perturbed(self.refine, partial(self._fresh, visits.step)) if goes_on else x
            following = self._channels_back(self._with_given(following)).to(sample.dtype)
        else:
            self._chain = None
            if generator is not None and "generator" in signature(self.scheduler.step).parameters:
                options["generator"] = generator
            answer = Answer(model_output, timestep, sample, options)
            following = self._advance(visits.step, chain, answer)
        visits.done(self)
        return SchedulerOutput(prev_sample=following) if return_dict else (following,)

    def _expect(self, timestep: float | Tensor, options: dict[str, Any]) -> Visits:
        """The visits, if the one under way is the one that the pipeline makes."""
        visits = self._visits
        if visits is None or visits.position >= len(visits.steps):
            raise ValueError("step: got a step beyond the schedule, expected one for each visit; call set_timesteps")
        if options.get("per_token_timesteps") is not None:
            raise ValueError("per_token_timesteps: got some, expected one noise level for all; use another pipeline")
        if not (visits.live and (visits.due or visits.owner is not self)):
            expected = float(self.scheduler.timesteps[visits.step])
            if visits.live or float(timestep) != expected:
                raise ValueError(
                    f"timestep: got {float(timestep):g}, expected {expected:g}; go through scheduler.timesteps as "
                    "they are, or, where several schedulers take turns, set stop_fraction=None"
                )
        return visits

    def _begin(self, x: Tensor, velocity: Tensor) -> None:
        """Take up what was announced; x is the first sample of a run."""
        if self._announced is None and self.waits:
            raise ValueError(
                "pipeline: got one made from a refined one, expected its own set-up; call refine_pipeline on it"
            )
        pinned, given = self._announced or (None, None)
        if pinned is None or given is None:
            held = _held(velocity)
            self._given = (held, x) if bool(held.any()) else None
        else:
            self._given = self._channels_first(pinned, cast=False), self._channels_first(given)
        self._fresh = checked_noise(noise_source(self._noise, None, len(x)), x)
        self._answers = CheckedDenoiser(_evaluate_again, x)
        self._announced = None

    def _advance(self, step: int, chain: Chain, answer: Answer) -> Tensor:
        """The step from the chain's sample to the next noise level."""
        sigma_next = self._levels[step + 1]
        if self.solver is None:
            following = self._stock_step(step, chain, answer)
        else:
            left = len(self._levels) - 1 - step
            at = StepContext(chain.sigma, sigma_next, left, _evaluate_again, partial(self._fresh, step, 0))
            history = None if chain.iteration > 0 else self._history
            x_next, self._history = self.solver(chain.x, chain.x0, at, history)
            following = self._channels_back(x_next).to(answer.sample.dtype)
        if self.callback is not None:
            state = {"step": step, "sigma": chain.sigma, "sigma_next": sigma_next, "x": chain.x, "x0": chain.x0}
            self.callback({**state, "evaluations": chain.used + 1, "refinement": self._found})
        self._reached = step + 1
        return self._channels_back(self._with_given(self._channels_first(following))).to(following.dtype)

    def _stock_step(self, step: int, chain: Chain, answer: Answer) -> Tensor:
        """The wrapped scheduler's step, from its own arguments to the bit where nothing has changed them."""
        refined = chain.iteration > 0
        if refined or step != self._reached:
            self.scheduler.set_timesteps(**self._asked)  # drops the history
            self.scheduler.set_begin_index(step)
        velocity = self._sign * self._channels_back((chain.x - chain.x0) / chain.sigma)
        if refined:
            x = self._channels_back(chain.x)
            return self._solve(answer._replace(model_output=velocity, sample=x)).to(answer.sample.dtype)
        velocity = velocity.to(answer.model_output.dtype)
        if self._given is not None:
            pinned = self._channels_back(self._given[0].expand_as(chain.x))
            answer = answer._replace(model_output=torch.where(pinned, velocity, answer.model_output))
        return self._solve(answer)

    def _solve(self, answer: Answer) -> Tensor:
        given = answer.model_output, answer.timestep, answer.sample
        return self.scheduler.step(*given, **answer.options, return_dict=False)[0]

    def _with_given(self, x: Tensor) -> Tensor:
        return x if self._given is None else torch.where(*self._given, x)

    def _axis(self, ndim: int) -> int:
        return {3: -1, 6: 2}.get(ndim, 1) if self.channel_axis is None else self.channel_axis

    def _channels_first(self, x: Tensor, cast: bool = True) -> Tensor:
        """(B, C, ...) in float32 or better."""
        x = x.to(torch.promote_types(x.dtype, torch.float32)) if cast else x
        return x.movedim(self._axis(x.ndim), 1)

    def _channels_back(self, x: Tensor) -> Tensor:
        return x.movedim(1, self._axis(x.ndim))

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> Any:
        """Refused: a plan is no part of a pipeline's files, which :meth:`save_pretrained` leaves as they were."""
        raise ValueError(
            "scheduler: got files to load a RefiningScheduler from, expected those of a pipeline's own; "
            "load that one and call refine_pipeline"
        )

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the wrapped scheduler."""
        self.scheduler.save_pretrained(*args, **kwargs)


def _evaluate_again(x: Tensor, sigma: float) -> Tensor:
    raise RuntimeError("a solver evaluated the model in the middle of a step")


def _held(velocity: Tensor) -> Tensor:
    """Where a pipeline keeps x as it is by a velocity (B, C, ...) of 0: whole places, and channels that are padding."""
    still = velocity == 0
    padding = still.flatten(2).all(dim=2).view(*still.shape[:2], *[1] * (still.ndim - 2))
    return still.all(dim=1, keepdim=True) | padding


def _check_scheduler(scheduler: Any) -> Any:
    """Refuse a scheduler that solves no flow, or that takes more than one evaluation a step."""
    name, config = type(scheduler).__name__, getattr(scheduler, "config", {})
    flows = "FlowMatch" in name or (
        config.get("use_flow_sigmas") and config.get("prediction_type") == "flow_prediction"
    )
    if not flows:
        raise ValueError(
            f"scheduler: got {name}, expected one of a flow, such as FlowMatchEulerDiscreteScheduler, or "
            "UniPCMultistepScheduler with use_flow_sigmas and flow_prediction; choose another pipeline"
        )
    if isinstance(scheduler, RefiningScheduler) or scheduler.order != 1:
        raise ValueError(f"scheduler: got {name}, expected one that visits each step once; wrap another one")
    return scheduler


def _check_refine(refine: Any) -> PredictPerturb:
    if not isinstance(refine, PredictPerturb) or type(refine).__call__ is not PredictPerturb.__call__:
        raise ValueError(
            f"refine: got {refine!r}, expected a PredictPerturb, whose iterations a pipeline can evaluate; "
            "see worldmodel.sampling.preset"
        )
    return refine


def _check_solver(solver: Solver) -> Solver:
    if solver.evaluations(0.5) != 1:
        raise ValueError(f"solver: got {solver}, expected one with one evaluation a step; try 'unipc'")
    return solver
