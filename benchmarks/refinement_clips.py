"""Clips of benchmarks/refinement_study.py: sampled, decoded and scored, some scenes at a time."""

from __future__ import annotations

import functools
import math
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from refinement_methods import Method
from torch import Tensor

import worldmodel
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.regions import background, changed, still
from worldmodel.evaluators.tone import tone_error
from worldmodel.model import WorldModel
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import Record, sample
from worldmodel.sampling.controls import best_of_n
from worldmodel.storage import EpisodeStore
from worldmodel.truth import Truth

DECODED = 4  # clips at once, which a CPU decodes fastest
SCORED_AT = 0.5  # noise level at which best-of-N asks a model about its own clips
KEPT = (
    "centroid_error_px",
    "centroid_error_diagonal",
    "detection_rate",
    "impact_absolute_error_ms",
    "impact_within_2_frames",
    "frame_error_px",
)


@dataclass(frozen=True)
class Unit:
    """Some scenes under one method and one seed each: what is done, and kept, at once."""

    method: Method
    model: str
    truth: Path
    keys: tuple[str, ...]
    seed: int  # added to the scenes' own


def prepare_worker(threads: int) -> None:
    """What a process does first: leave interrupts to its parent, and keep to its share of the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def run_unit(unit: Unit) -> list[dict[str, Any]]:
    """One entry a clip: scene, nfe, chosen, and the scores of its candidates, of which the first is a random pick."""
    model, truths = _load(unit.model), [_truth(unit.truth, key) for key in unit.keys]
    candidates, nfe, chosen = _sample(model, unit, truths)
    scored = [[score(video, truth) for video, truth in zip(_decode(model, z), truths, strict=True)] for z in candidates]
    return [
        {"scene": key, "nfe": int(spent), "chosen": int(pick), "scores": list(scores)}
        for key, spent, pick, *scores in zip(unit.keys, nfe, chosen, *scored, strict=True)
    ]


def score(video: np.ndarray, truth: Truth) -> dict[str, Any]:
    """The numbers of one clip: the fall's, and by how many grey levels the tone of still places drifted off."""
    fall = score_free_fall(video, truth).to_dict()
    quiet = np.broadcast_to(still(background(truth), changed(truth.video)), video.shape[:3])
    saturation, luminance, contrast = (tone_error(video[[0, -1]], truth.video[[0, -1]], quiet[[0, -1]])).T
    drifts = {
        "saturation_drift": float(np.diff(saturation)[0]),
        "luminance_drift": float(np.diff(luminance)[0]),
        "contrast_drift": float(np.diff(contrast)[0]),
    }
    return {name: _json_ready(value) for name, value in {**{name: fall[name] for name in KEPT}, **drifts}.items()}


def _sample(model: WorldModel, unit: Unit, truths: list[Truth]) -> tuple[list[Tensor], np.ndarray, np.ndarray]:
    """Latents of every candidate, evaluations (B,) and the index (B,) of the candidate chosen."""
    method, seeds = unit.method, [unit.seed + int(key) for key in unit.keys]
    given = model.backend.encode(np.stack([truth.video[:1] for truth in truths]))
    like = given.new_empty(len(truths), *model.backend.latent_shape)
    denoise, noise = model.backend.denoiser(given), KeyedNoise(seeds)
    if method.candidates == 1:
        record = Record()
        z = sample(
            denoise,
            noise.initial(like),
            method.sigmas,
            solver=method.solver,
            refine=method.refine,
            noise=noise,
            callback=record,
        )
        assert record.nfe is not None
        return [z], record.nfe, np.zeros(len(truths), np.int64)
    found: list[Tensor] = []

    def judge(z: Tensor) -> Tensor:
        found.append(z)
        return _self_consistency(denoise, z, noise(len(method.sigmas), 0, z))

    best = best_of_n(denoise, like, method.sigmas, method.candidates, judge, seeds=seeds, solver=method.solver)
    nfe = np.full(len(truths), method.candidates * len(method.sigmas))  # the steps, and one to judge each
    return found, nfe, best.chosen.numpy()


@torch.no_grad()
def _self_consistency(denoise: Any, z: Tensor, eps: Tensor) -> Tensor:
    """How closely (B,) the model predicts its own clip from a noised one: a score that needs no truth."""
    predicted = denoise((1.0 - SCORED_AT) * z + SCORED_AT * eps, SCORED_AT)
    return -(predicted - z).abs().flatten(1).mean(dim=1)


def _decode(model: WorldModel, z: Tensor) -> np.ndarray:
    return np.concatenate([model.backend.decode(part) for part in z.split(DECODED)])


@functools.lru_cache(maxsize=1)
def _load(name: str) -> WorldModel:
    return worldmodel.load(name, "cpu")


@functools.lru_cache(maxsize=1024)
def _truth(store: Path, key: str) -> Truth:
    return EpisodeStore.open(store, "truth").read_truth(key)


def _json_ready(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_ready(each) for each in value]
    if isinstance(value, bool):
        return value
    return None if math.isnan(value) else round(float(value), 5)
