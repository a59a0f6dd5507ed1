"""What cannot be done is refused in one line, before anything is written."""

import dataclasses
import json
import math

import numpy as np
import pytest

from worldmodel.storage import FORMAT_VERSION, EpisodeStore, StoreError, load_rollout, read_videos, save_rollout


@pytest.fixture
def store(tmp_path, truth):
    store = EpisodeStore.create(tmp_path / "clips", "truth", settings={"sampler": {"radius": (0.1, 0.2)}, "seed": 0})
    store.write_truth("000000", truth)
    return store


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(match, call, *args, **kwargs):
    """The call is refused in one line that matches."""
    with pytest.raises(StoreError, match=match) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)


def edit(path, **changes):
    document = json.loads(path.read_text())
    document["attributes"].update(changes)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("exist", ["error", "resume"])
def test_foreign_folder_stays_as_it_is(tmp_path, exist):
    (tmp_path / "thesis.tex").write_text("chapter one")
    refused(r"thesis\.tex.*expected a worldmodel store", EpisodeStore.create, tmp_path, "truth", exist=exist)
    refused(r"thesis\.tex", EpisodeStore.open, tmp_path)
    refused("got a file", EpisodeStore.create, tmp_path / "thesis.tex", "truth", exist=exist)
    assert contents(tmp_path) == {(tmp_path / "thesis.tex").relative_to(tmp_path): b"chapter one"}


def test_other_zarr_group_is_foreign(tmp_path):
    import zarr

    zarr.create_group(tmp_path, attributes={"format": "pictures"})
    refused("got format 'pictures', expected 'worldmodel-episodes'", EpisodeStore.open, tmp_path)


def test_nothing_there(tmp_path, truth):
    refused("no such folder", EpisodeStore.open, tmp_path / "absent")
    refused("an empty folder", EpisodeStore.open, tmp_path)
    EpisodeStore.create(tmp_path, "truth")  # an empty folder is as good as none
    refused("keys: got none", read_videos, tmp_path, progress=False)
    refused("no such episode", EpisodeStore.open(tmp_path).read_truth, "000000")


def test_existing_store_needs_resume(store, rollout):
    refused("got a store, expected no folder", EpisodeStore.create, store.path, "truth")
    refused("got kind 'truth', expected 'rollout'", save_rollout, store.path, rollout)


@pytest.mark.parametrize("version", [0, 1, FORMAT_VERSION + 1, None, str(FORMAT_VERSION)])
def test_other_version(store, version):
    edit(store.path / "zarr.json", format_version=version)
    before = contents(store.path)
    refused(f"got format version {version!r}, expected {FORMAT_VERSION}", EpisodeStore.open, store.path)
    refused("format version", EpisodeStore.create, store.path, "truth", exist="resume")
    assert contents(store.path) == before


def test_episode_of_other_version(store):
    edit(store.path / "000000" / "zarr.json", format_version=FORMAT_VERSION + 1)
    refused("episode '000000'.*format version 3", store.read_truth, "000000")


def test_other_kind(store, rollout):
    refused("got kind 'truth', expected 'rollout'", EpisodeStore.open, store.path, "rollout")
    refused("got kind 'truth'", EpisodeStore.create, store.path, "rollout", exist="resume")
    refused("got kind 'truth'", load_rollout, store.path)
    refused("kind 'truth', expected 'rollout'", store.write_rollout, "a", rollout, 0)
    refused("kind: got 'video'", EpisodeStore.create, store.path / "new", "video")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": {"radius": (0.1, 0.3)}, "seed": 0}, r"settings.sampler.radius: got \[0.1, 0.3\], expected \[0.1"),
        ({"sampler": {"radius": (0.1, 0.2)}}, "settings.seed: got None, expected 0"),
        ({"sampler": {"radius": (0.1, 0.2)}, "seed": False}, "settings.seed: got False, expected 0"),
        ({"sampler": {"radius": (0.1, 0.2)}, "seed": 0, "x": None}, "settings.x"),
    ],
)
def test_resume_with_other_settings(store, settings, message):
    before = contents(store.path)
    refused(message, EpisodeStore.create, store.path, "truth", settings=settings, exist="resume")
    assert contents(store.path) == before


def test_complete_episode_is_never_overwritten(store, make_truth):
    before = contents(store.path)
    refused("'000000'.*complete", store.write_truth, "000000", make_truth(5))
    assert contents(store.path) == before


def test_store_opened_for_reading(store, truth):
    refused("opened for reading", EpisodeStore.open(store.path).write_truth, "a", truth)


@pytest.mark.parametrize("key", ["", "..", "a/b", ".hidden", "zarr.json", 3])
def test_key_that_is_no_name(store, truth, key):
    refused("key: got", store.write_truth, key, truth)


def test_values_that_json_does_not_hold(store, tmp_path, truth):
    before = contents(store.path)
    for scene, place in (
        ({"x": math.inf}, r"scene\.x: got inf"),
        ({"x": [np.zeros(2)]}, r"scene\.x\[0\]: got ndarray"),
    ):
        refused(place, store.write_truth, "a", dataclasses.replace(truth, scene=scene))
    refused("provenance: got the key 1", EpisodeStore.create, tmp_path / "new", "truth", provenance={1: 2})
    assert contents(store.path) == before and not (tmp_path / "new").exists()


def test_wrong_arrays(store, tmp_path, truth, rollout):
    for name, value in (
        ("video", truth.video.astype(np.float32)),
        ("segmentation", truth.segmentation[:, :8]),
        ("qpos", truth.qpos.astype(np.float32)),
        ("position", truth.position[:3]),
        ("actions", truth.actions[:3]),
        ("depth", truth.depth.astype(np.float64)),
    ):
        refused(f"truth.{name}: got", store.write_truth, "a", dataclasses.replace(truth, **{name: value}))
    batch = EpisodeStore.create(tmp_path / "batch", "rollout")
    refused("index: got 3, expected 0 to 2", batch.write_rollout, "a", rollout, 3)
    refused("rollout.video", batch.write_rollout, "a", dataclasses.replace(rollout, video=rollout.video / 255), 0)
    refused("rollout.seeds", batch.write_rollout, "a", dataclasses.replace(rollout, seeds=np.zeros(3)), 0)
    assert batch.keys() == [] and store.keys() == ["000000"]


def truncate(shard):
    shard.write_bytes(shard.read_bytes()[:-7])


def halve(shard):
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def empty(shard):
    shard.write_bytes(b"")


def flip(shard):
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 4
    shard.write_bytes(data)


def remove(shard):
    shard.unlink()


@pytest.mark.parametrize("damage", [truncate, halve, empty, flip, remove])
@pytest.mark.parametrize("name", ["video", "segmentation", "state", "depth", "maps", "actions"])
def test_damaged_shard_is_named(store, make_truth, same, damage, name):
    store.write_truth("000001", make_truth(1))
    damage(next((store.path / "000001" / name).glob("c.*")))
    refused(f"episode '000001': array '{name}' is damaged", store.read_truth, "000001")
    same(store.read_truth("000000"), make_truth())
    if name == "video":
        refused("episode '000001'", read_videos, store.path, progress=False)


def test_damaged_metadata_is_named(store):
    (store.path / "000000" / "video" / "zarr.json").unlink()
    refused("episode '000000': array 'video'", store.read_truth, "000000")
    (store.path / "000000" / "zarr.json").write_text("{")
    refused("000000.*damaged JSON", store.keys)
