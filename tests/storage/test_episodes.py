"""Episodes survive the disk bit for bit, and nothing finished is ever lost."""

import dataclasses
import json
import math

import numpy as np
import pytest
import zarr

from worldmodel.storage import (
    FORMAT_VERSION,
    EpisodeStore,
    StoreError,
    episodes,
    load_rollout,
    read_actions,
    read_segmentations,
    read_videos,
    save_rollout,
)
from worldmodel.truth import Truth


@pytest.fixture
def store(tmp_path, truth):
    store = EpisodeStore.create(tmp_path / "clips", "truth", settings={"fps": 16}, provenance={"host": "here"})
    store.write_truth("000000", truth, seed=7)
    return store


def contents(folder):
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("impact_time", [0.1 + 0.2, None])
@pytest.mark.parametrize(("frames", "size"), [(17, 32), (2, 16), (33, 64)])
def test_truth_comes_back_equal(tmp_path, make_truth, same, impact_time, frames, size):
    truth = make_truth(frames=frames, size=size, impact_time=impact_time)
    EpisodeStore.create(tmp_path / "clips", "truth").write_truth("a", truth, seed=3)
    again = EpisodeStore.open(tmp_path / "clips", "truth")
    same(again.read_truth("a"), truth)
    assert again.attributes("a")["seed"] == 3


def test_truth_of_zeros_has_files_of_its_own(tmp_path, truth, same):
    blank = dataclasses.replace(truth, video=np.zeros_like(truth.video), segmentation=np.zeros_like(truth.segmentation))
    store = EpisodeStore.create(tmp_path / "clips", "truth")
    store.write_truth("a", blank)
    same(store.read_truth("a"), blank)
    assert (store.path / "a" / "segmentation" / "c.0.0.0").exists()


@pytest.mark.parametrize("seconds", [0.1, 1 / 3, math.nan])
@pytest.mark.parametrize("actions", [True, False])
@pytest.mark.parametrize("latents", [True, False])
def test_rollout_comes_back_equal(tmp_path, make_rollout, same, seconds, actions, latents):
    rollout = make_rollout(seconds=seconds, actions=actions, latents=latents)
    save_rollout(tmp_path / "batch", rollout)
    same(load_rollout(tmp_path / "batch"), rollout)


def test_chosen_samples_in_the_order_asked(tmp_path, rollout):
    save_rollout(tmp_path / "batch", rollout)
    some = EpisodeStore.open(tmp_path / "batch").read_rollout(["000002", "000000"])
    assert some.seeds.tolist() == rollout.seeds[[2, 0]].tolist()
    assert np.array_equal(some.video, rollout.video[[2, 0]])
    assert some.seconds == pytest.approx(rollout.seconds * 2 / 3)


def test_samples_that_do_not_belong_together_are_not_stacked(tmp_path, rollout):
    store = EpisodeStore.create(tmp_path / "batch", "rollout")
    store.write_rollout("a", rollout, 0)
    store.write_rollout("b", dataclasses.replace(rollout, provenance={"model": "other"}), 1)
    store.write_rollout("c", dataclasses.replace(rollout, video=rollout.video[:, :4]), 2)
    with pytest.raises(StoreError, match="episode 'b': provenance is"):
        store.read_rollout(["a", "b"])
    with pytest.raises(StoreError, match="episode 'c': shape of video is"):
        store.read_rollout(["a", "c"])
    assert len(store.read_rollout(["c"])) == 1


def test_bulk_read_equals_single_reads(tmp_path, make_truth):
    truths = {f"{seed:03d}": make_truth(seed) for seed in range(6)}
    store = EpisodeStore.create(tmp_path / "clips", "truth")
    for key, truth in truths.items():
        store.write_truth(key, truth)
    assert np.array_equal(read_videos(store.path, progress=False), np.stack([t.video for t in truths.values()]))
    masks = read_segmentations(store.path, ["004", "001"], progress=False)
    assert np.array_equal(masks, np.stack([truths["004"].segmentation, truths["001"].segmentation]))
    actions = read_actions(store.path, progress=False)
    assert np.array_equal(actions, np.stack([t.actions for t in truths.values()]))
    store.write_truth("odd", make_truth(size=16))
    with pytest.raises(StoreError, match="'odd'"):
        read_videos(store.path, progress=False)


def test_layout_as_any_zarr_reader_sees_it(store, truth):
    root = zarr.open_group(store.path, mode="r")
    assert dict(root.attrs) == {
        "format": "worldmodel-episodes",
        "format_version": FORMAT_VERSION,
        "kind": "truth",
        "settings": {"fps": 16},
        "provenance": {"host": "here"},
    }
    episode = root["000000"]
    assert {"complete": True, "fps": 16.0, "kind": "truth", "format_version": FORMAT_VERSION}.items() <= dict(
        episode.attrs
    ).items()
    assert {"units", "camera", "scene", "seed", "provenance"} <= set(episode.attrs)
    assert sorted(episode.array_keys()) == ["actions", "depth", "maps", "segmentation", "state", "video"]
    names = {
        "video": ("time", "height", "width", "channel"),
        "segmentation": ("time", "height", "width"),
        "depth": ("time", "height", "width"),
        "maps": ("map", "height", "width"),
        "actions": ("step", "action"),
    }
    for name, array in episode.arrays():
        assert array.metadata.dimension_names == names.get(name, ("time", "column"))
        assert array.shards[0] >= array.shape[0] and array.shards[1:] == array.shape[1:]
        assert array.nchunks == math.ceil(array.shape[0] / array.chunks[0])
        assert len(list((store.path / "000000" / name).glob("c*"))) == 1
    codec = episode["video"].compressors[0].to_dict()["configuration"]
    assert (codec["cname"], codec["clevel"], codec["shuffle"]) == ("zstd", 5, "bitshuffle")
    fields = {each["name"]: each["columns"] for each in episode["state"].attrs["fields"]}
    assert np.array_equal(episode["state"][:, slice(*fields["qvel"])], truth.qvel)


def test_long_video_has_chunks_of_a_few_frames(tmp_path, make_truth):
    store = EpisodeStore.create(tmp_path / "clips", "truth")
    store.write_truth("a", make_truth(frames=33, size=64))
    video = zarr.open_array(store.path / "a" / "video", mode="r")
    assert 1 < video.chunks[0] < 33 <= video.shards[0]


def test_interrupted_write_is_not_listed_and_is_written_again(store, make_truth, same, monkeypatch):
    write, before = episodes.write_array, contents(store.path)

    def interrupted(target, path, array):
        if path.endswith("state"):
            raise KeyboardInterrupt
        write(target, path, array)

    with monkeypatch.context() as patched:
        patched.setattr(episodes, "write_array", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.write_truth("000001", make_truth(1))
    assert (store.path / "000001" / "video").exists()
    resumed = EpisodeStore.create(store.path, "truth", settings={"fps": 16}, exist="resume")
    assert resumed.keys() == ["000000"] and "000001" not in resumed
    with pytest.raises(StoreError, match="'000001': got an unfinished episode"):
        resumed.read_truth("000001")
    resumed.write_truth("000001", make_truth(2))
    same(resumed.read_truth("000001"), make_truth(2))
    assert resumed.keys() == ["000000", "000001"]
    assert before.items() <= contents(store.path).items()


def test_the_beginning_of_an_array_is_read_without_the_rest(store, truth, monkeypatch):
    video = store.array("000000", "video", stop=2)
    np.testing.assert_array_equal(video.data, truth.video[:2])
    assert video.dimensions == store.array("000000", "video").dimensions
    assert store.shape("000000", "video") == truth.video.shape
    with pytest.raises(StoreError, match="no such episode"):
        store.shape("000009", "video")


def test_what_a_kill_left_of_the_stores_own_file_is_removed_by_the_next_run(store):
    left = store.path / f"zarr.{'0f' * 16}.partial"
    left.write_text('{"attri')
    other = store.path / "notes.partial"
    other.write_text("mine")
    with pytest.raises(StoreError, match="got a store, expected no folder"):
        EpisodeStore.create(store.path, store.kind, settings=store.settings)
    assert left.exists(), "who may not go on changes nothing"
    EpisodeStore.create(store.path, store.kind, settings=store.settings, exist="resume")
    assert not left.exists() and other.exists()


def test_a_worker_leaves_alone_what_another_is_writing(store, make_truth):
    beginning = store.path / f"zarr.{'0f' * 16}.partial"  # zarr looks after the root's file with every array
    beginning.write_text('{"attri')
    EpisodeStore.open(store.path, "truth", writable=True).write_truth("000001", make_truth(1))
    assert beginning.exists() and store.keys() == ["000000", "000001"]


def test_no_marker_until_every_array_is_there(store, make_truth, monkeypatch):
    monkeypatch.setattr(zarr.Group, "update_attributes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write_truth("000001", make_truth(1))
    assert store.keys() == ["000000"]


def test_unfinished_episode_with_foreign_files_stays(store, truth):
    folder = store.path / "000001"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"notes\.txt"):
        store.write_truth("000001", truth)
    assert contents(folder) == {(folder / "notes.txt").relative_to(folder): b"mine"}


def test_interrupted_save_of_a_batch_is_told_and_completed(tmp_path, rollout, same, monkeypatch):
    write = EpisodeStore.write_rollout

    def interrupted(self, key, rollout, index):
        if index == 2:
            raise KeyboardInterrupt
        write(self, key, rollout, index)

    with monkeypatch.context() as patched:
        patched.setattr(EpisodeStore, "write_rollout", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_rollout(tmp_path / "batch", rollout)
    with pytest.raises(StoreError, match="got 2 complete episodes, expected 3"):
        load_rollout(tmp_path / "batch")
    save_rollout(tmp_path / "batch", rollout, exist="resume")
    same(load_rollout(tmp_path / "batch"), rollout)


def test_every_field_of_truth_is_stored():
    from worldmodel.storage.truth_episode import ARRAYS, STATE_UNITS

    described = {"objects", "fps", "camera", "scene", "signals", "units", "outcome", "action_spec"}
    stored = described | set(ARRAYS) - {"state"} | set(STATE_UNITS)
    assert {each.name for each in dataclasses.fields(Truth)} == stored


def test_what_was_not_recorded_is_not_stored(tmp_path, truth, same):
    plain = dataclasses.replace(truth, depth=None, actions=None, action_spec=None, maps={}, signals={}, units={})
    store = EpisodeStore.create(tmp_path / "clips", "truth")
    store.write_truth("a", plain)
    same(store.read_truth("a"), plain)
    assert {path.name for path in (store.path / "a").iterdir() if path.is_dir()} == {"video", "segmentation", "state"}


def test_metadata_is_plain_json(store):
    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    for path in store.path.rglob("zarr.json"):
        json.loads(path.read_text(), parse_constant=refuse)
