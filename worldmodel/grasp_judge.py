"""Grasps that succeed and grasps that fail from the same first frame, played in MuJoCo and judged from their pixels."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from worldmodel.envs.grasp import GraspEnv
from worldmodel.envs.grasp_policies import FAILURES
from worldmodel.evaluators.certified_judge import OUTCOMES
from worldmodel.evaluators.grasp import judge_clip
from worldmodel.evaluators.grasp_stages import STAGES, Judgement
from worldmodel.storage.video_files import through_h264
from worldmodel.truth import Truth


def judged_attempts(seed: int, image_size: int) -> dict[str, list[dict[str, Any]]]:
    """The scene of a seed, played to succeed and to fail in one of the ways of ``FAILURES``, which take turns.

    Returns:
        Verdicts, see :func:`~worldmodel.evaluators.certified_judge.certify_judge`, of the rendered clips
        (``replay``) and of the same through H.264 (``h264``).
    """
    env = _env(image_size)
    drawn = env.family.sampler(np.random.default_rng(seed))
    verdicts: dict[str, list[dict[str, Any]]] = {"replay": [], "h264": []}
    for name in ("expert", FAILURES[seed % len(FAILURES)]):
        truth = env.record(drawn, seed=seed, policy=name)
        for kind, video in (("replay", truth.video), ("h264", through_h264(truth.video, truth.fps))):
            _, verdict = judge_clip(video, truth)
            verdicts[kind].append({"attempt": name, "judged": _judged(verdict), "true": _true(truth)})
    return verdicts


@functools.lru_cache(maxsize=1)
def _env(image_size: int) -> GraspEnv:
    return GraspEnv(image_size=image_size)


def _judged(verdict: Judgement) -> dict[str, bool]:
    return dict(zip(OUTCOMES, (verdict.success, *(verdict.passed(stage) for stage in STAGES)), strict=True))


def _true(truth: Truth) -> dict[str, bool]:
    passed = (bool(truth.signals[stage].any()) for stage in STAGES)
    return dict(zip(OUTCOMES, (truth.success, *passed), strict=True))
