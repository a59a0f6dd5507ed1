"""Training of a head that reads one signal of recorded clips off their pictures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from worldmodel.backends.running import usual_device
from worldmodel.heads import HeadNetwork, LearnedHead
from worldmodel.storage import EpisodeStore
from worldmodel.training.run import TrainingRun, cosine_schedule, fingerprint, prepare_folder

HELD_OUT = 0.1  # of the clips, at least one, by which the head is judged
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
        for name in ("steps", "batch", "warmup_steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}: got {value!r}, expected a whole number of at least 1; give one")
        if not 0.0 < self.learning_rate < float("inf") or not 0.0 <= self.noise < float("inf"):
            raise ValueError(
                f"learning_rate, noise: got {self.learning_rate}, {self.noise}, expected above 0, and 0 or above"
            )


@dataclass(frozen=True)
class Labelled:
    """Pictures and what is to be read of them.

    Attributes:
        video: (N, T, H, W, 3) uint8, without the first frames of the clips, in which nothing has been done yet.
        values: (N, T) float64.
        unit: of the values.
        kind: of :data:`worldmodel.heads.KINDS`.
    """

    video: np.ndarray
    values: np.ndarray
    unit: str
    kind: str


def train_head(
    data: Path, signal: str, out: Path, settings: HeadSettings = HeadSettings(), device: str | None = None
) -> LearnedHead:
    """Train a head on a store written by ``worldmodel collect``, save it in ``out`` and return it; resumes from there.

    Args:
        data: the store.
        signal: of its clips, one number or one yes or no a frame, such as ``reward`` or ``success``.
        out: folder of checkpoint, log and the finished head.
        settings: of the run.
        device: torch device; a CUDA device if there is one, by default.

    Raises:
        ValueError: the clips have no such signal, it is always the same, there is one clip alone, or ``out`` holds
            something else.
    """
    device = device or usual_device()
    labelled = read_labelled(data, signal)
    train, held_out = _parts(labelled, settings.seed)
    prepare_folder(out, "head.csv")
    mean, scale = (0.0, 1.0)
    if labelled.kind == "number":
        mean, scale = float(train.values.mean()), float(train.values.std())
    torch.manual_seed(settings.seed)
    network = HeadNetwork().to(device)
    _train(network, train, mean, scale, out, settings, device)
    head = LearnedHead(
        network.eval(), signal, labelled.unit, labelled.kind, mean, scale, _image_size(labelled), float("nan")
    )
    head = dataclasses.replace(head, held_out=agreement(head, held_out))
    head.save(out)
    return head


def read_labelled(data: Path, signal: str) -> Labelled:
    """Every clip's pictures and its signal, or a refusal of what cannot be learned."""
    store = EpisodeStore.open(data, "truth")
    keys = store.keys()
    if len(keys) < 2:
        raise ValueError(f"data: got {len(keys)} clips in {data}, expected some to train on and one to judge by")
    video: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for key in tqdm(keys, desc=f"reading {signal}", unit="episode", disable=None):
        truth = store.read_truth(key)
        if signal not in truth.signals or truth.signals[signal].ndim != 1:
            known = [name for name, value in truth.signals.items() if value.ndim == 1]
            raise ValueError(
                f"signal: got {signal!r}, expected one that clips have, {', '.join(known) or 'none'}; choose another"
            )
        if video and truth.video[1:].shape != video[0].shape:
            raise ValueError(f"data: got clips of {len(video[0]) + 1} and {len(truth)} frames, expected as many in all")
        video.append(truth.video[1:])
        values.append(truth.signals[signal][1:])
    stacked = np.stack(values)
    if (stacked == stacked.flat[0]).all():
        raise ValueError(f"signal: got {signal} = {stacked.flat[0]} in every frame, expected it to vary; record others")
    kind = "yes or no" if stacked.dtype.kind == "b" else "number"
    return Labelled(np.stack(video), stacked.astype(np.float64), truth.units[signal], kind)


def agreement(head: LearnedHead, clips: Labelled) -> float:
    """Correlation of numbers, or balanced accuracy of yes and no; nan where the clips do not vary."""
    read, true = head.values(clips.video).ravel(), clips.values.ravel()
    if (true == true[0]).all():
        return float("nan")
    if clips.kind == "number":
        return float(np.corrcoef(read, true)[0, 1])
    yes = true > 0.5
    return float(((read[yes] > 0.5).mean() + (read[~yes] <= 0.5).mean()) / 2.0)


def _parts(labelled: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    """Clips to train on, and whole other clips."""
    order = np.random.default_rng(seed).permutation(len(labelled.video))
    count = max(1, round(HELD_OUT * len(order)))
    chosen = np.sort(order[count:]), np.sort(order[:count])
    first, second = (
        dataclasses.replace(labelled, video=labelled.video[rows], values=labelled.values[rows]) for rows in chosen
    )
    return first, second


def _train(
    network: HeadNetwork, clips: Labelled, mean: float, scale: float, out: Path, settings: HeadSettings, device: str
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate)
    described = {**dataclasses.asdict(settings), "data": fingerprint(clips.video, clips.values)}
    run = TrainingRun(out, "head", described, settings.steps, {"network": network, "optimizer": optimizer})
    targets = (clips.values.ravel() - mean) / (scale or 1.0)
    pictures = clips.video.reshape(-1, *clips.video.shape[2:])
    groups = [np.arange(len(targets))]
    if clips.kind == "yes or no":
        groups = [group for group in (np.flatnonzero(targets > 0.5), np.flatnonzero(targets <= 0.5)) if len(group)]
    recent = []
    for step in run.steps():
        x, y = _batch(pictures, targets, groups, settings, step)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * cosine_schedule(
            step, settings.warmup_steps, settings.steps
        )
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


def _image_size(labelled: Labelled) -> tuple[int, int]:
    shape: Any = labelled.video.shape
    return int(shape[2]), int(shape[3])
