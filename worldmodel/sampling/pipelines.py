"""Refinement of a stock diffusers pipeline in one line.

    pipe = refine_pipeline(WanPipeline.from_pretrained(...), preset("wan-t2v-60"), seeds=[0])
    video = pipe(prompt, num_inference_steps=40).frames

The scheduler does the work; what it cannot see is which frames are given. That is learned from the pipeline's own
``prepare_latents``, whose answer passes through unchanged:

==================================  =================================================================================
Cosmos2_5_PredictBasePipeline       its condition mask and latents. The stock pipeline steers these frames by the noise
                                    of the start, which a perturbation outdates; here they are pinned to the latents.
WanImageToVideoPipeline,            its first-frame mask and condition; the pipeline blends them in at every visit, so
  ``expand_timesteps`` (TI2V-5B)    they only need to be left out of uncertainty and stops.
WanImageToVideoPipeline, 14B        nothing: the frame is given in channels of its own, and every latent is sampled.
any other                           places whose velocity the pipeline sets to zero, as Cosmos 3 does. Pipelines that
                                    hand only the free frames to the scheduler, as LTX and HunyuanVideo do, need none.
                                    Refused: noise levels above 1 (Cosmos-Predict2), and one for each token (LTX's
                                    conditions).
==================================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from worldmodel.sampling.refine import PredictPerturb
from worldmodel.sampling.scheduler import RefiningScheduler

Given = tuple[Tensor | None, Tensor | None]  # where, bool (B, 1, T, H, W), and what, (B, C, T, H, W); both expand


def refine_pipeline(pipe: Any, refine: PredictPerturb, **options: Any) -> Any:
    """Refine what a diffusers pipeline samples, with its arguments, guidance and callbacks as they are.

    Calling it again sets other options. ``pipe.scheduler = pipe.scheduler.scheduler`` undoes it. Saving the pipeline
    saves it unrefined.

    Args:
        pipe: a video pipeline with a flow-matching scheduler; it is changed in place.
        refine: the plan, in steps or noise levels of the schedule that the pipeline will be called with.
        options: of :class:`worldmodel.sampling.scheduler.RefiningScheduler`, such as ``seeds``.

    Returns:
        the pipeline.

    Raises:
        ValueError: the pipeline is none, its scheduler is not of a flow, or an option is malformed. Whether plan and
            seeds fit is known once the pipeline is called; it refuses before it evaluates the transformer.
    """
    if not hasattr(pipe, "scheduler") or not hasattr(pipe, "register_to_config"):
        raise ValueError(f"pipe: got a {type(pipe).__name__}, expected a diffusers pipeline; load one")
    stock = pipe.scheduler.scheduler if isinstance(pipe.scheduler, RefiningScheduler) else pipe.scheduler
    refining = RefiningScheduler(stock, refine, **options)
    refining.waits = _family(pipe) is not _nothing
    saved_as = pipe.config["scheduler"]
    pipe.scheduler = refining
    pipe.register_to_config(scheduler=saved_as)
    if hasattr(pipe, "prepare_latents") and not isinstance(pipe.prepare_latents, _Announcing):
        pipe.prepare_latents = _Announcing(pipe)
    return pipe


class _Announcing:
    """A pipeline's ``prepare_latents`` that tells its scheduler what it has prepared."""

    def __init__(self, pipe: Any) -> None:
        self.pipe, self.prepare = pipe, pipe.prepare_latents

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        prepared = self.prepare(*args, **kwargs)
        scheduler = self.pipe.scheduler
        if isinstance(scheduler, RefiningScheduler):
            latents = prepared if isinstance(prepared, Tensor) else prepared[0]
            given = _family(self.pipe)(prepared)
            scheduler.announce(latents, *given)
        return prepared


def _family(pipe: Any) -> Callable[[Any], Given]:
    """What reads the given frames off a pipeline's answer; a subclass is of its parent's family."""
    return next((FAMILIES[kind.__name__] for kind in type(pipe).__mro__ if kind.__name__ in FAMILIES), _nothing)


def _nothing(prepared: Any) -> Given:
    return None, None


def _cosmos_given(prepared: tuple[Tensor, Tensor, Tensor, Tensor]) -> Given:
    """From latents, condition, its mask (B, 1, T, H, W), 1 where given, and its indicator."""
    _, condition, mask, _ = prepared
    return (mask == 1, condition) if bool(mask.any()) else (None, None)


def _wan_given(prepared: tuple[Tensor, ...]) -> Given:
    """From latents, condition (B, C, 1, H, W) and, of TI2V-5B alone, a mask (1, 1, T, H, W), 0 where given."""
    if len(prepared) != 3:
        return None, None
    _, condition, mask = prepared
    return mask == 0, condition


FAMILIES: dict[str, Callable[[Any], Given]] = {
    "Cosmos2_5_PredictBasePipeline": _cosmos_given,
    "Cosmos2_5_TransferPipeline": _cosmos_given,
    "WanImageToVideoPipeline": _wan_given,
}
