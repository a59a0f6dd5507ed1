"""From stores on disk to results.json and report.html."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.evaluators.controls import frozen, linear_extrapolation
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.report import write_animation, write_report
from worldmodel.evaluators.results import build_results, write_results
from worldmodel.evaluators.summary import headline, markdown_table
from worldmodel.rollout import Rollout
from worldmodel.storage import EpisodeStore
from worldmodel.truth import Truth

BOOTSTRAP_SEED = 0


def evaluate_stores(truth: Path, rollouts: Mapping[str, Path], out: Path) -> Path:
    """Score rollout stores against the truth they started from, print the table, and return report.html's path.

    Args:
        truth: store of recorded clips.
        rollouts: stores by row: "base", "euler_matched", "refined", "autoencoder".
        out: folder of results.json, report.html and median.gif, which are replaced.

    Raises:
        StoreError: a store is missing, unfinished or of another kind.
        ValueError: a rollout store has not exactly the episodes of the truth.
    """
    truth_store = EpisodeStore.open(truth, "truth")
    keys = truth_store.keys()
    if not keys:
        raise ValueError(f"truth: got no finished clip in {truth}, expected at least one; run worldmodel collect again")
    imagined = {row: _read(path, keys) for row, path in rollouts.items()}
    truths = [truth_store.read_truth(key) for key in keys]
    videos = {
        "truth": np.stack([clip.video for clip in truths]),
        **{row: rollout.video for row, rollout in imagined.items()},
        "frozen": np.stack([frozen(clip.video) for clip in truths]),
        "linear": np.stack([linear_extrapolation(clip.video, clip.mask) for clip in truths]),
    }
    rows = _score(videos, truths, imagined)
    results = build_results(
        rows,
        seeds=[truth_store.attributes(key)["seed"] for key in keys],
        truths=truths,
        provenance=_provenance(truth_store, imagined),
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_results(out / "results.json", results)
    first_masks = np.stack([clip.mask[0] for clip in truths])
    write_report(out / "report.html", results, videos, first_masks)
    write_animation(out / "median.gif", results, videos, first_masks)
    print(markdown_table(results), "", *headline(results), sep="\n")
    return out / "report.html"


def _read(path: Path, keys: list[str]) -> Rollout:
    store = EpisodeStore.open(path, "rollout")
    if store.keys() != keys:
        raise ValueError(
            f"{path}: got {len(store.keys())} finished rollouts, expected one for each of the {len(keys)} clips of the "
            "truth; run worldmodel rollout again with the same arguments"
        )
    return store.read_rollout(keys)


def _score(
    videos: Mapping[str, np.ndarray], truths: list[Truth], imagined: Mapping[str, Rollout]
) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    with tqdm(total=len(videos) * len(truths), desc="scoring", unit="clip") as progress:
        for row, clips in videos.items():
            scenes = []
            for clip, truth in zip(clips, truths, strict=True):
                scenes.append(score_free_fall(clip, truth))
                progress.update()
            rollout = imagined.get(row)
            rows[row] = {
                "nfe": 0.0 if rollout is None else float(rollout.nfe.mean()),
                "seconds_per_clip": float("nan") if rollout is None else rollout.seconds / len(rollout),
                "scenes": [score.to_dict() for score in scenes],
            }
    return rows


def _provenance(truth: EpisodeStore, imagined: Mapping[str, Rollout]) -> dict[str, Any]:
    return {
        "command": " ".join(["worldmodel", *sys.argv[1:]]),
        "truth": truth.settings,
        "rollouts": {row: rollout.provenance for row, rollout in imagined.items()},
        "bootstrap_seed": BOOTSTRAP_SEED,
    }
