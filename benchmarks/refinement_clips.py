"""Clips of benchmarks/refinement_study.py: sampled, decoded and scored, some scenes at a time."""

from __future__ import annotations

import functools
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from refinement_methods import Method
from refinement_tasks import score
from torch import Tensor

import worldmodel
from worldmodel.backends.domains import listening
from worldmodel.model import WorldModel
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import Record, sample
from worldmodel.sampling.controls import best_of_n
from worldmodel.storage import EpisodeStore
from worldmodel.truth import Truth

DECODED = 4  # clips at once, which a CPU decodes fastest
SCORED_AT = 0.5  # noise level at which best-of-N asks a model about its own clips


@dataclass(frozen=True)
class Unit:
    """Some scenes under one method and one seed each: what is done, and kept, at once."""

    method: Method
    model: str
    task: str
    truth: Path
    keys: tuple[str, ...]
    seed: int  # added to the scenes' own
    bf16: bool = False  # whether the transformer computes in it


def prepare_worker(threads: int) -> None:
    """What a process does first: leave interrupts to its parent, and keep to its share of the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def run_unit(unit: Unit) -> list[dict[str, Any]]:
    """One entry a clip: scene, policy, nfe, chosen, and the scores of its candidates; the first is a random pick."""
    model, truths = _load(unit.model), [_truth(unit.truth, key) for key in unit.keys]
    with torch.autocast("cpu", torch.bfloat16, enabled=unit.bf16):
        candidates, nfe, chosen = _sample(model, unit, truths)
    videos = [_decode(model, z) for z in candidates]
    scored = [[score(unit.task, video, truth) for video, truth in zip(each, truths, strict=True)] for each in videos]
    entries = []
    for key, spent, pick, *scores in zip(unit.keys, nfe, chosen, *scored, strict=True):
        scene, _, policy = key.partition("-")
        entries.append({"scene": scene, "policy": policy, "nfe": int(spent), "chosen": int(pick), "scores": scores})
    return entries


def _sample(model: WorldModel, unit: Unit, truths: list[Truth]) -> tuple[list[Tensor], np.ndarray, np.ndarray]:
    """Latents of every candidate, evaluations (B,) and the index (B,) of the candidate chosen."""
    method, seeds = unit.method, [unit.seed + int(key.split("-")[0]) for key in unit.keys]
    listener = listening(model, truths[0].action_spec)
    told = model if listener is None else listener
    given = told.backend.encode(np.stack([truth.video[:1] for truth in truths]))
    like = given.new_empty(len(truths), *told.backend.latent_shape)
    actions = None if listener is None else np.stack([truth.actions for truth in truths])
    denoise, noise = told.backend.denoiser(given, actions), KeyedNoise(seeds)
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
