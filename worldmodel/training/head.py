"""Training of a head that reads one signal of recorded clips off their pictures."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from worldmodel.backends.running import usual_device
from worldmodel.counts import check_count
from worldmodel.heads import HeadNetwork, LearnedHead
from worldmodel.storage import EpisodeStore
from worldmodel.training.run import TrainingRun, cosine_schedule, fingerprint, prepare_folder
from worldmodel.truth import Truth

HELD_OUT = 0.1  # of the scenes, at least one, by which the head is judged
LOG_STEPS = 50


@dataclass(frozen=True)
class HeadSettings:
    """One run.

    Attributes:
        steps: updates of the weights.
        batch: pictures of one update; of a yes or no, half of them of each.
        learning_rate: of AdamW; peak, after the warm-up; falls to zero along a cosine.
        warmup_steps: of the learning rate.
        noise: grey levels, standard deviation of what is added to the pictures: what a model imagines is not exact.
        seed: of batches, noise, new weights, and of which clips are held out.
    """

    steps: int = 1500
    batch: int = 128
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    noise: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("warmup_steps", 1), ("seed", 0)):
            check_count(name, getattr(self, name), least=least)
        if not 0.0 < self.learning_rate < float("inf") or not 0.0 <= self.noise < float("inf"):
            raise ValueError(
                f"learning_rate, noise: got {self.learning_rate}, {self.noise}, expected above 0, and 0 or above"
            )


@dataclass(frozen=True)
class Labelled:
    """Pictures of N clips and what is to be read of them.

    Attributes:
        video: (N, T, H, W, 3) uint8, without the first frames of the clips, in which nothing has been done yet.
        values: (N, T) float64.
        seeds: (N,) of the scenes, which several policies may have played.
        unit: of the values.
        kind: of :data:`worldmodel.heads.KINDS`.
    """

    video: np.ndarray
    values: np.ndarray
    seeds: np.ndarray
    unit: str
    kind: str

    def frames(self, clips: np.ndarray) -> np.ndarray:
        """Indices of the frames of clips in those of all."""
        length = self.values.shape[1]
        found: np.ndarray = (clips[:, None] * length + np.arange(length)).ravel()
        return found


def train_head(
    data: Path,
    signal: str,
    out: Path,
    settings: HeadSettings = HeadSettings(),  # frozen
    device: str | None = None,
) -> LearnedHead:
    """Train a head on a store written by ``worldmodel collect``, save it in ``out`` and return it; resumes from there.

    Args:
        data: the store.
        signal: of its clips, one number or one yes or no a frame, such as ``reward`` or ``success``.
        out: folder of checkpoint, log and the finished head.
        settings: of the run.
        device: torch device; a CUDA device if there is one, by default.

    Raises:
        ValueError: the clips have no such signal, it is not finite or always the same, all clips are of one scene, or
            ``out`` holds something else.
    """
    device = device or usual_device()
    torch.manual_seed(settings.seed)
    network = HeadNetwork().to(device)
    clips = read_labelled(data, signal)
    train, held_out = parts(clips.seeds, settings.seed)
    _check_varies(signal, clips.values[train])
    mean, scale = (0.0, 1.0)
    if clips.kind == "number":
        mean, scale = float(clips.values[train].mean()), float(clips.values[train].std())
    prepare_folder(out, "head.csv")
    described = {
        **dataclasses.asdict(settings),
        "signal": [signal, clips.unit, clips.kind, hashlib.sha256(clips.values.tobytes()).hexdigest()],
        "data": fingerprint(clips.video),
    }
    _train(network, clips, train, (mean, scale), out, settings, described)
    head = LearnedHead(network.eval(), signal, clips.unit, clips.kind, mean, scale, _image_size(clips), None)
    head = dataclasses.replace(head, held_out=agreement(head, clips, held_out))
    head.save(out)
    return head


def read_labelled(data: Path, signal: str) -> Labelled:
    """Every clip's pictures and its signal, or a refusal of what cannot be learned."""
    store = EpisodeStore.open(data, "truth")
    keys = store.keys()
    if not keys:
        raise ValueError(f"data: got no clip in {data}, expected some; run worldmodel collect")
    first = store.read_truth(keys[0])
    _check_signal(signal, first)
    video = np.empty((len(keys), len(first) - 1, *first.video.shape[1:]), np.uint8)
    values = np.empty(video.shape[:2], first.signals[signal].dtype)
    for row, key in enumerate(tqdm(keys, desc=f"reading {signal}", unit="episode", disable=None)):
        truth = store.read_truth(key)
        _check_signal(signal, truth)
        if truth.video[1:].shape != video[row].shape:
            raise ValueError(f"data: got clips of {len(first)} and {len(truth)} frames, expected as many in all")
        video[row], values[row] = truth.video[1:], truth.signals[signal][1:]
        if not np.isfinite(values[row]).all():
            frame = int(np.argmin(np.isfinite(values[row]))) + 1
            raise ValueError(
                f"signal: got {signal} = {values[row, frame - 1]} in frame {frame} of clip {key}, expected finite "
                "numbers; leave such clips out"
            )
    seeds = np.array([store.attributes(key)["seed"] for key in keys])
    kind = "yes or no" if values.dtype.kind == "b" else "number"
    return Labelled(video, values.astype(np.float64), seeds, first.units[signal], kind)


def parts(seeds: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the clips to train on, and of those of other scenes, by which the head is judged.

    Raises:
        ValueError: all clips are of one scene.
    """
    scenes = np.unique(seeds)
    if len(scenes) < 2:
        raise ValueError("data: got clips of one scene, expected some to train on and others to judge by; record more")
    chosen = np.random.default_rng(seed).permutation(scenes)[: max(1, round(HELD_OUT * len(scenes)))]
    held_out = np.isin(seeds, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def agreement(head: LearnedHead, clips: Labelled, rows: np.ndarray | None = None) -> float | None:
    """Correlation of numbers, or balanced accuracy of yes and no, of some clips or all; None where they do not vary."""
    rows = np.arange(len(clips.video)) if rows is None else rows
    read, true = head.values(clips.video[rows]).ravel(), clips.values[rows].ravel()
    if (true == true[0]).all():
        return None
    if clips.kind == "number":
        return float(np.corrcoef(read, true)[0, 1])
    yes = true > 0.5
    return float(((read[yes] > 0.5).mean() + (read[~yes] <= 0.5).mean()) / 2.0)


def _train(
    network: HeadNetwork,
    clips: Labelled,
    train: np.ndarray,
    standard: tuple[float, float],
    out: Path,
    settings: HeadSettings,
    described: dict[str, Any],
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate)
    run = TrainingRun(out, "head", described, settings.steps, {"network": network, "optimizer": optimizer})
    targets = (clips.values.ravel() - standard[0]) / standard[1]
    pictures, frames = clips.video.reshape(-1, *clips.video.shape[2:]), clips.frames(train)
    groups = [frames]
    if clips.kind == "yes or no":
        groups = [frames[targets[frames] > 0.5], frames[targets[frames] <= 0.5]]
    device = next(network.parameters()).device
    recent = []
    for step in run.steps():
        x, y = _batch(pictures, targets, groups, settings, step)
        rate = settings.learning_rate * cosine_schedule(step, settings.warmup_steps, settings.steps)
        optimizer.param_groups[0]["lr"] = rate
        loss = _loss(network(x.to(device)), y.to(device), clips.kind)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        if (step + 1) % LOG_STEPS == 0:
            run.log(step, loss=float(np.mean(recent)))
            recent.clear()


def _batch(
    pictures: np.ndarray, targets: np.ndarray, groups: list[np.ndarray], settings: HeadSettings, step: int
) -> tuple[Tensor, Tensor]:
    """Pictures with noise and their targets, of each group as many; the same for the same step."""
    rng = np.random.default_rng((settings.seed, step))
    rows = np.concatenate([rng.choice(group, -(-settings.batch // len(groups))) for group in groups])
    noisy = pictures[rows] + settings.noise * rng.standard_normal(pictures[rows].shape, np.float32)
    return torch.from_numpy(np.clip(noisy, 0.0, 255.0)), torch.from_numpy(targets[rows].astype(np.float32))


def _loss(read: Tensor, target: Tensor, kind: str) -> Tensor:
    if kind == "yes or no":
        return nn.functional.binary_cross_entropy_with_logits(read, target)
    return nn.functional.smooth_l1_loss(read, target)


def _check_signal(signal: str, truth: Truth) -> None:
    if signal not in truth.signals or truth.signals[signal].ndim != 1:
        known = [name for name, value in truth.signals.items() if value.ndim == 1]
        raise ValueError(
            f"signal: got {signal!r}, expected one that clips have, {', '.join(known) or 'none'}; choose another"
        )
    if len(truth) < 2:
        raise ValueError(f"data: got clips of {len(truth)} frame, expected at least 2; record longer ones")


def _check_varies(signal: str, values: np.ndarray) -> None:
    if (values == values.flat[0]).all():
        raise ValueError(
            f"signal: got {signal} = {values.flat[0]:g} in every frame that is trained on, expected it to vary; record "
            "other clips"
        )


def _image_size(clips: Labelled) -> tuple[int, int]:
    return int(clips.video.shape[2]), int(clips.video.shape[3])
