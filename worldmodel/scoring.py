"""From stores on disk to results.json and report.html."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.evaluators.controls import frozen, linear_extrapolation
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.report import write_animation, write_report
from worldmodel.evaluators.results import FORMAT, build_results, write_results
from worldmodel.evaluators.summary import headline, markdown_table
from worldmodel.rollout import Rollout
from worldmodel.storage import EpisodeStore
from worldmodel.truth import Truth

BOOTSTRAP_SEED = 0
RESULTS = ("results.json", "report.html", "median.gif")


def evaluate_stores(truth: Path, rollouts: Mapping[str, Path], out: Path, keys: Sequence[str] | None = None) -> Path:
    """Score rollout stores against the truth they started from, print the table, and return report.html's path.

    Args:
        truth: store of recorded clips.
        rollouts: stores by row: "base", "euler_matched", "refined", "autoencoder".
        out: folder of results.json, report.html and median.gif; those of an earlier evaluation are replaced.
        keys: which clips to score; all of the truth store if None.

    Raises:
        StoreError: a store is missing, unfinished or of another kind.
        ValueError: a rollout store lacks clips or is of another truth, or ``out`` holds files of the same
            names that are not results.
    """
    check_results_folder(out)
    truth_store = EpisodeStore.open(truth, "truth")
    keys = truth_store.keys() if keys is None else list(keys)
    if not keys:
        raise ValueError(f"truth: got no finished clip in {truth}, expected at least one; run worldmodel collect again")
    imagined = {row: _read(path, keys, truth_store) for row, path in rollouts.items()}
    _check_rows(imagined)
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


def check_results_folder(out: Path) -> None:
    """Refuse a folder in which the results would replace somebody else's files."""
    taken = [name for name in RESULTS if (out / name).exists()]
    try:
        ours = json.loads((out / "results.json").read_text())["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if taken and not ours:
        raise ValueError(f"out: got {out} with other {', '.join(taken)}, expected no such file; choose another folder")


def _read(path: Path, keys: list[str], truth: EpisodeStore) -> Rollout:
    store = EpisodeStore.open(path, "rollout")
    if store.settings.get("truth") != truth.settings:
        raise ValueError(f"{path}: got rollouts of another truth, expected those of {truth.path}; choose that store")
    missing = sum(key not in store for key in keys)
    if missing:
        raise ValueError(
            f"{path}: got {len(keys) - missing} of the {len(keys)} clips, expected all; run worldmodel rollout again "
            "with the same arguments"
        )
    return store.read_rollout(keys)


def _check_rows(imagined: Mapping[str, Rollout]) -> None:
    """Refuse rows whose comparison would not say what the report says of it."""
    base, refined, matched = (imagined.get(row) for row in ("base", "refined", "euler_matched"))
    for row, rollout in (("base", base), ("matched", matched)):
        if rollout is not None and rollout.provenance.get("refine") is not None:
            raise ValueError(f"{row}: got refined rollouts, expected plain ones; roll out without --plan")
    if refined is not None and refined.provenance.get("refine") is None:
        raise ValueError("refined: got plain rollouts, expected refined ones; roll out with --plan")
    for row, rollout in (("refined", refined), ("matched", matched)):
        for name in ("weights_sha256", "solver"):
            if base is not None and rollout is not None and rollout.provenance.get(name) != base.provenance.get(name):
                raise ValueError(f"{row}: got another {name} than base, expected the same; roll out again")
        if base is not None and rollout is not None and not np.array_equal(rollout.seeds, base.seeds):
            raise ValueError(f"{row}: got other seeds than base, expected the same; roll out with one --seed")
    if matched is not None and refined is not None and matched.nfe.mean() < refined.nfe.mean():
        raise ValueError(
            f"matched: got {matched.nfe.mean():g} evaluations a clip, expected at least the {refined.nfe.mean():g} of "
            "refined; roll out with as many --steps"
        )


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
