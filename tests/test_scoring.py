"""Evaluation of foreign videos end to end: what is taken, what is refused, what is charged, and how much is held."""

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from worldmodel.collect import collect
from worldmodel.commands.arguments import parse_rows
from worldmodel.evaluators.registry import FAMILIES, evaluator_of, family_id_of, groups_of
from worldmodel.parts import open_parts
from worldmodel.scoring import charged, evaluate_stores, judge
from worldmodel.storage import EpisodeStore, StoreError
from worldmodel.storage.video_files import encode_h264

CLIP = {"image_size": 48, "num_frames": 13, "fps": 16.0}
DIAGONAL = 48 * np.sqrt(2)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("truth") / "fall", episodes=4, seed=11, workers=1, **CLIP)


@pytest.fixture(scope="module")
def videos(truth):
    return {scene: truth.array(scene, "video").data for scene in list(truth.keys())}


def mp4s(folder, videos, fps=16.0):
    folder.mkdir(parents=True)
    for key, video in videos.items():
        (folder / f"{key}.mp4").write_bytes(encode_h264(video, fps))
    return folder


def arrays(path, videos, **more):
    np.savez(path, **videos, **more)
    return path


def late(video, frames=2):
    return np.concatenate([video[:1].repeat(frames, axis=0), video[:-frames]])


def part_of(truth, folder, count):
    """A copy of a truth store with its first clips only."""
    unwanted = truth.keys()[count:]
    return shutil.copytree(truth.path, folder, ignore=lambda _, names: set(unwanted) & set(names))


def judged_rows(truth, rows, resample="no"):
    """The results of a truth store's only family."""
    (part,) = open_parts(truth, rows, None, resample)
    return judge(part, np.random.default_rng(0))


@pytest.fixture(scope="module")
def judged(truth, videos, tmp_path_factory):
    """A folder of files with an unreadable one, and an archive of videos that lag, two samples of each clip."""
    root = tmp_path_factory.mktemp("judged")
    folder = mp4s(root / "h264", videos)
    broken = truth.keys()[2]
    (folder / f"{broken}.mp4").write_bytes((folder / f"{broken}.mp4").read_bytes()[:400])
    lags = [arrays(root / f"late{n}.npz", {key: late(video, n) for key, video in videos.items()}) for n in (1, 3)]
    return judged_rows(truth.path, {"h264": folder, "late": lags}), broken


def test_the_true_video_through_h264_is_nearly_perfect(judged):
    family, _ = judged
    good = [entry for entry in family["rows"]["h264"]["clips"] if not entry["failure"]]
    assert max(entry["score"]["centroid_error_px"] for entry in good) < 0.02 * DIAGONAL
    assert family["skill"]["h264"]["value"] > family["skill"]["late"]["value"]
    assert all(len(entry["sha256"]) == 64 for entry in good)
    assert all(entry["fps"] == 16.0 for entry in good)


def test_every_judged_clip_has_the_hash_of_its_file_or_of_its_frames(judged, videos, truth):
    family, _ = judged
    for row in family["rows"].values():
        assert all((entry["sha256"] is None) == bool(entry["failure"]) for entry in row["clips"])
    for entry in family["rows"]["truth"]["clips"]:
        key = family["scenes"][entry["clip"]]["key"]
        assert entry["sha256"] == hashlib.sha256(videos[key].tobytes()).hexdigest()


def test_an_unreadable_file_is_counted_and_charged_and_the_rest_is_judged(judged):
    family, broken = judged
    row = family["rows"]["h264"]
    assert row["failures"] == 1 and len(row["clips"]) == 4
    (failed,) = [entry for entry in row["clips"] if entry["failure"]]
    assert family["scenes"][failed["clip"]]["key"] == broken
    assert f"{broken}.mp4: got an unreadable video" in failed["failure"]
    assert failed["score"]["centroid_error_px"] == pytest.approx(DIAGONAL)
    assert failed["score"]["impact_within_2_frames"] is False
    assert family["table"]["h264"]["centroid_error_px"]["n"] == 4


def test_a_file_that_ends_early_is_a_failure_and_no_video_of_another_length(truth, videos, tmp_path):
    import av

    folder = mp4s(tmp_path / "cut", videos)
    key = truth.keys()[1]
    (folder / f"{key}.mp4").unlink()
    with av.open(str(folder / f"{key}.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.height, stream.width, stream.pix_fmt = 48, 48, "yuv420p"
        for frame in videos[key]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    contents = (folder / f"{key}.mkv").read_bytes()
    (folder / f"{key}.mkv").write_bytes(contents[: 6 * len(contents) // 10])
    family = judged_rows(truth.path, {"cut": folder})
    assert [bool(entry["failure"]) for entry in family["rows"]["cut"]["clips"]] == [False, True, False, False]
    assert f"{key}.mkv: got" in family["rows"]["cut"]["clips"][1]["failure"]


def test_samples_of_a_clip_are_kept_apart_and_averaged_by_scene(judged):
    family, _ = judged
    entries = family["rows"]["late"]["clips"]
    assert [(entry["clip"], entry["sample"]) for entry in entries] == [(c, s) for c in range(4) for s in (0, 1)]
    compared = next(c for c in family["comparisons"] if (c["a"], c["b"]) == ("late", "h264"))
    assert compared["metrics"]["centroid_error_px"]["n"] == 4
    errors = np.array([entry["score"]["centroid_error_px"] for entry in entries]).reshape(4, 2)
    others = np.array([entry["score"]["centroid_error_px"] for entry in family["rows"]["h264"]["clips"]])
    expected = (errors.mean(axis=1) - others).mean()
    assert compared["metrics"]["centroid_error_px"]["mean"]["value"] == pytest.approx(expected)


def test_tracks_are_written_for_the_report(judged):
    family, _ = judged
    entry = family["rows"]["truth"]["clips"][0]
    assert np.array(entry["tracks"]["object"], float).shape == (13, 2)


def test_metrics_of_all_families_can_be_tabled():
    for family_id, family in FAMILIES.items():
        evaluator = evaluator_of(family_id)
        names = [metric.name for metric in evaluator.metrics]
        assert len(set(names)) == len(names), family_id
        assert {evaluator.headline, *family.printed} <= set(names), family_id
        grouped = [name for group in groups_of(names) for name in group.metrics]
        assert sorted(grouped) == sorted(names), family_id
        (decisive,) = [metric for metric in evaluator.metrics if metric.name == evaluator.headline]
        assert decisive.better in ("lower", "higher", "zero"), family_id


def test_a_task_may_have_an_evaluator_of_its_own():
    graph = "worldmodel/GraphTraversal-v0"
    assert family_id_of({"env": graph, "options": {"task": "flood"}}) == f"{graph}:flood"
    assert family_id_of({"env": graph, "options": {"task": "agent"}}) == graph
    assert family_id_of({"env": graph}) == graph


def test_a_charge_is_the_worst_of_each_number(truth):
    clip = truth.read_truth(truth.keys()[0])
    evaluator = evaluator_of("worldmodel/FreeFall-v0")
    own = evaluator.score(late(clip.video, 3), clip).to_dict()
    price = charged(evaluator, clip, [own, own | {"flicker": 7.5, "saturation_drift": -40.0, "ssim": 0.99}])
    assert price["flicker"] == 7.5 and price["saturation_drift"] == -40.0
    assert price["ssim"] < own["ssim"]
    assert price["impact_within_2_frames"] is False and price["motion_px"] is None


def test_videos_of_another_rate_or_size_are_refused_with_the_way_out(truth, videos, tmp_path):
    twice = {key: video.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2) for key, video in videos.items()}
    folder = mp4s(tmp_path / "twice", twice, fps=32.0)
    key = truth.keys()[0]
    with pytest.raises(
        ValueError, match=rf"twice {key}: fps, frames, size: got 26 .* expected 13 .* --resample nearest"
    ):
        evaluate_stores(truth.path, {"x": folder}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    family = judged_rows(truth.path, {"x": folder}, resample="nearest")
    assert family["rows"]["x"]["failures"] == 0
    assert family["table"]["x"]["centroid_error_px"]["high"] < 0.05 * DIAGONAL


def test_pisa_numbers_pair_the_frames_that_a_video_came_with(truth, videos, tmp_path):
    """At 24 frames/s frame i stands beside true frame int(i 16 / 24), as in the released code, not the nearest."""
    faster = {key: video[(np.arange(19) * 2) // 3] for key, video in videos.items()}
    path = arrays(tmp_path / "faster.npz", faster, fps=24.0)
    (part,) = open_parts(truth.path, {"x": path}, None, "nearest")
    clip = part.read("x", truth.keys()[0], 0, truth.read_truth(truth.keys()[0]))
    assert len(clip.video) == 13 and np.array_equal(clip.at_own_rate, faster[truth.keys()[0]])
    family = judge(part, np.random.default_rng(0))
    rows = {row: [entry["score"]["pisa_l2"] for entry in family["rows"][row]["clips"]] for row in ("truth", "x")}
    assert max(rows["x"]) < 0.004, "every frame is the true one that it is paired with"
    assert np.mean([entry["score"]["centroid_error_px"] for entry in family["rows"]["x"]["clips"]]) > 0.3


def test_what_cannot_be_evaluated_is_refused_before_anything_is_written(truth, videos, tmp_path):
    keys = truth.keys()
    short = arrays(tmp_path / "short.npz", {key: video[:9] for key, video in videos.items()})
    holes = arrays(tmp_path / "holes.npz", {key: videos[key] for key in keys[:3]})
    empty = EpisodeStore.create(tmp_path / "empty", "truth", settings={"env": "worldmodel/FreeFall-v0"})
    strange = EpisodeStore.create(tmp_path / "strange", "truth", settings={"env": "worldmodel/Juggling-v0"})
    strange.write_truth("a", truth.read_truth(keys[0]))
    nan = np.full((4, 13, 48, 48, 3), np.nan, np.float32)
    np.save(tmp_path / "nan.npy", nan)
    cases = [
        (truth.path, {"x": short}, r"short\.npz 0.*: frames: got 9 frames"),
        (truth.path, {"x": holes}, rf"holes\.npz: got 3 of the 4 clips and no {keys[3]}, expected all"),
        (truth.path, {"x": tmp_path / "nan.npy"}, r"nan\.npy: got float32 with NaN, expected uint8"),
        (truth.path, {}, "rows: got none, expected videos to judge"),
        (truth.path, {"frozen": short}, "rows: got 'frozen', which is made from the truth"),
        (tmp_path / "nowhere", {"x": short}, "nowhere: got no such folder"),
        (empty.path, {"x": short}, "truth: got no finished clip in"),
        (strange.path, {"x": short}, "truth: got clips of worldmodel/Juggling-v0, expected one of worldmodel/FreeFall"),
    ]
    for store, rows, message in cases:
        with pytest.raises((ValueError, StoreError), match=message):
            evaluate_stores(store, rows, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_true_clips_of_different_kinds_are_refused(truth, videos, tmp_path):
    mixed = EpisodeStore.create(tmp_path / "mixed", "truth", settings=truth.settings)
    mixed.write_truth("a", truth.read_truth(truth.keys()[0]))
    other = collect(tmp_path / "other", episodes=1, workers=1, **{**CLIP, "num_frames": 9})
    mixed.write_truth("b", other.read_truth(other.keys()[0]))
    path = arrays(tmp_path / "x.npz", dict(zip("ab", videos.values(), strict=False)))
    with pytest.raises(ValueError, match=r"mixed b: got 9 frames of 48 x 48 px at 16 frames/s, expected 13 frames"):
        open_parts(mixed.path, {"x": path}, None, "no")


def test_a_damaged_true_clip_is_discarded_for_all_rows(truth, videos, tmp_path):
    shutil.copytree(truth.path, tmp_path / "truth")
    key = truth.keys()[1]
    (tmp_path / "truth" / key / "video" / "c.0.0.0.0").write_bytes(b"damaged")
    path = arrays(tmp_path / "x.npz", videos)
    family = judged_rows(tmp_path / "truth", {"x": path})
    assert [each["key"] for each in family["discards"]] == [key]
    assert "array 'video' is damaged" in family["discards"][0]["reason"]
    assert {len(row["clips"]) for row in family["rows"].values()} == {3}


def test_masks_that_do_not_belong_to_a_clip_discard_it(truth, videos, tmp_path):
    clip = truth.read_truth(truth.keys()[0])
    moved = np.roll(clip.segmentation, 24, axis=2)
    store = EpisodeStore.create(tmp_path / "truth", "truth", settings=truth.settings)
    store.write_truth("foreign", dataclasses.replace(clip, segmentation=moved))
    store.write_truth("own", clip)
    path = arrays(tmp_path / "x.npz", {"foreign": clip.video, "own": clip.video})
    family = judged_rows(tmp_path / "truth", {"x": path})
    (discard,) = family["discards"]
    assert discard["key"] == "foreign"
    assert re.search(r"truth foreign: segmentation: got object beside where its position", discard["reason"])


def test_several_stores_are_tabled_one_by_one(truth, videos, tmp_path):
    videos = {key: videos[key] for key in truth.keys()[:2]}
    for name, lag in (("one", 1), ("two", 2)):
        part_of(truth, tmp_path / "truth" / name, 2)
        (tmp_path / "late").mkdir(exist_ok=True)
        arrays(tmp_path / "late" / f"{name}.npz", {key: late(video, lag) for key, video in videos.items()})
    mp4s(tmp_path / "h264" / "two", videos)
    rows = {"late": tmp_path / "late", "h264": tmp_path / "h264"}
    page = evaluate_stores(tmp_path / "truth", rows, tmp_path / "out").read_text()
    families = json.loads((tmp_path / "out" / "results.json").read_text())["families"]
    assert [family["title"] for family in families] == ["free fall, one", "free fall, two"]
    assert [sorted(family["rows"]) for family in families] == [
        ["frozen", "late", "linear", "truth"],
        ["frozen", "h264", "late", "linear", "truth"],
    ]
    (law,) = json.loads((tmp_path / "out" / "results.json").read_text())["laws"]
    assert law["rows"]["truth"]["root_height"]["value"] == pytest.approx(0.5, abs=0.1)
    assert "2 kinds of clips" in page and 'id="f1"' in page and "Laws across clips" in page
    assert {path.name for path in (tmp_path / "out").glob("*.gif")} == {"median-1.gif", "median-2.gif"}
    (tmp_path / "wrong").mkdir()
    with pytest.raises(ValueError, match="wrong: got none of one, two in it, expected some"):
        evaluate_stores(tmp_path / "truth", {"late": tmp_path / "late", "x": tmp_path / "wrong"}, tmp_path / "never")


def test_videos_without_a_store_and_stores_without_videos_are_refused(truth, videos, tmp_path):
    for name in ("one", "two"):
        part_of(truth, tmp_path / "truth" / name, 1)
    (tmp_path / "x").mkdir()
    kept = {key: videos[key] for key in truth.keys()[:1]}
    arrays(tmp_path / "x" / "one.npz", kept)
    with pytest.raises(ValueError, match="got the store two, of which no row has videos"):
        open_parts(tmp_path / "truth", {"x": tmp_path / "x"}, None, "no")
    arrays(tmp_path / "x" / "two.npz", kept)
    arrays(tmp_path / "x" / "three.npz", kept)
    with pytest.raises(ValueError, match=r"got three.npz, expected videos of one, two alone"):
        open_parts(tmp_path / "truth", {"x": tmp_path / "x"}, None, "no")


def test_memory_does_not_grow_with_the_number_of_clips(truth, tmp_path):
    clip = truth.read_truth(truth.keys()[0])
    peaks = []
    for count in (3, 12):
        folder = tmp_path / f"truth{count}"
        store = EpisodeStore.create(folder, "truth", settings=truth.settings)
        for number in range(count):
            store.write_truth(f"{number:03d}", clip, seed=number)
        np.save(tmp_path / f"{count}.npy", np.stack([clip.video] * count))
        (part,) = open_parts(folder, {"x": tmp_path / f"{count}.npy"}, None, "no")
        peaks.append(_peak_of_reading(part))
    per_clip = clip.video.nbytes
    assert peaks[1] - peaks[0] < 2 * per_clip


def _peak_of_reading(part):
    for key in part.keys[:2]:
        part.read("linear", key, 0, part.truth(key))
    tracemalloc.start()
    for key in part.keys:
        true = part.truth(key)
        for name in part.names:
            part.read(name, key, 0, true)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_command_takes_rows_by_name(truth, videos, tmp_path):
    first = truth.keys()[0]
    path = arrays(tmp_path / "x.npz", {first: late(videos[first])})
    folder = mp4s(tmp_path / "folder", {first: videos[first]})
    one = part_of(truth, tmp_path / "truth", 1)
    command = [sys.executable, "-m", "worldmodel.cli", "evaluate", "--truth", one, "--out", tmp_path / "out"]
    done = subprocess.run(
        [*map(str, command), "--rows", f"late={path}", f"h264={folder}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "on free fall." in done.stdout and "| late | –" not in done.stdout
    assert "--rows" in json.loads((tmp_path / "out" / "results.json").read_text())["provenance"]["command"]


def test_rows_are_named_and_a_name_may_have_several_paths():
    assert parse_rows(["a=x/y", "b=z", "a=k=v"]) == {"a": [Path("x/y"), Path("k=v")], "b": [Path("z")]}
    for bad in ("late", "=x", "a="):
        with pytest.raises(ValueError, match=r"rows: got .*, expected name=PATH; name what is to be judged"):
            parse_rows([bad])
