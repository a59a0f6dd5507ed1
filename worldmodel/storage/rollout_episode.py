"""How one sample of a :class:`Rollout` lies in an episode, and how episodes make a batch again."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from worldmodel.rollout import Rollout
from worldmodel.storage.arrays import Array
from worldmodel.storage.format import StoreError, float_or_nan, optional_float, short

ARRAYS = ("video", "actions", "latents", "uncertainty", "uncertainty_maps", "drift")
DIMENSIONS = {
    "video": ("time", "height", "width", "channel"),
    "actions": ("step", "action"),
    "latents": ("latent_channel", "latent_time", "latent_height", "latent_width"),
    "uncertainty": ("chunk",),
    "uncertainty_maps": ("latent_time", "latent_height", "latent_width"),
    "drift": ("chunk", "measure"),
}
UNITS = {
    "video": "sRGB, 0 to 255",
    "actions": "as given to the model",
    "latents": "as the model's denoiser sees them",
    "uncertainty": "latent units, see worldmodel.stopping",
    "drift": "tone shift in latent units, growth as a share, see worldmodel.sampling.guard",
    "uncertainty_maps": "latent units, of the last iteration of refinement, 0 where a frame was given",
}
# Samples of one batch agree in these.
SHARED = ("fps", "provenance", "arrays")


def pack(rollout: Rollout, index: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and attributes of an episode that holds sample ``index`` of ``rollout``."""
    _check(rollout, index)
    values = {name: getattr(rollout, name) for name in ARRAYS}
    arrays = {
        name: Array(np.asarray(value[index]), DIMENSIONS[name], {"units": UNITS[name]})
        for name, value in values.items()
        if value is not None
    }
    attributes = {
        "fps": float(rollout.fps),
        "units": "seconds of model time",
        "seed": int(rollout.seeds[index]),
        "nfe": int(rollout.nfe[index]),
        **({} if rollout.ends is None else {"ends": int(rollout.ends[index])}),
        "batch": len(rollout),
        "batch_seconds": optional_float(rollout.seconds),
        "provenance": rollout.provenance,
    }
    return arrays, attributes


def unpack(episodes: dict[str, tuple[dict[str, Array], dict[str, Any]]]) -> Rollout:
    """The inverse of :func:`pack` for a batch of episodes by key."""
    arrays = {key: episode[0] for key, episode in episodes.items()}
    attributes = {key: episode[1] for key, episode in episodes.items()}
    first = next(iter(episodes))
    for key in episodes:
        for name in SHARED:
            _check_same(key, name, attributes[key][name], attributes[first][name])
        for name, array in arrays[key].items():
            _check_same(key, f"shape of {name}", array.data.shape, arrays[first][name].data.shape)
    stacked = {name: np.stack([each[name].data for each in arrays.values()]) for name in arrays[first]}
    return Rollout(
        **stacked,
        fps=attributes[first]["fps"],
        seeds=np.array([each["seed"] for each in attributes.values()], np.int64),
        nfe=np.array([each["nfe"] for each in attributes.values()], np.int64),
        ends=np.array([each["ends"] for each in attributes.values()], np.int64)
        if "ends" in attributes[first]
        else None,
        seconds=_share_of_seconds(list(attributes.values())),
        provenance=attributes[first]["provenance"],
    )


def _share_of_seconds(attributes: list[dict[str, Any]]) -> float:
    """Every sample counts for its part of its batch; exact fractions give a whole batch its own number back."""
    shares = [float_or_nan(each["batch_seconds"]) for each in attributes]
    if any(math.isnan(share) for share in shares):
        return math.nan
    return float(sum(Fraction(share) / each["batch"] for share, each in zip(shares, attributes, strict=True)))


def _check(rollout: Rollout, index: int) -> None:
    video = rollout.video
    if video.dtype != np.uint8 or video.ndim != 5 or video.shape[4] != 3:
        raise StoreError(f"rollout.video: got {video.dtype} {video.shape}, expected uint8 (B, T, H, W, 3); convert it")
    if not 0 <= index < len(rollout):
        raise StoreError(f"index: got {index}, expected 0 to {len(rollout) - 1}, a sample of the batch; change it")
    for name, axes in (
        ("seeds", 1),
        ("nfe", 1),
        ("ends", 1),
        ("actions", 3),
        ("latents", 5),
        ("uncertainty", 2),
        ("uncertainty_maps", 4),
        ("drift", 3),
    ):
        value, kinds = getattr(rollout, name), "iu" if axes == 1 else "biuf"
        if value is not None and (value.ndim != axes or value.dtype.kind not in kinds):
            expected = "whole numbers (B,)" if axes == 1 else f"numbers with {axes} axes"
            raise StoreError(f"rollout.{name}: got {value.dtype} {value.shape}, expected {expected}; convert it")


def _check_same(key: str, name: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise StoreError(
            f"episode {key!r}: {name} is {short(got)}, expected {short(expected)} as in the first episode; "
            "read them apart with keys="
        )
