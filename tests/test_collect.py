"""Collection: the same clips whatever the workers, and resumed where it stopped."""

import numpy as np
import pytest

from worldmodel import collect as module
from worldmodel.collect import collect, episode_name
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.storage import StoreError


def test_clips_are_those_of_their_seeds_with_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)
    store = collect(tmp_path / "truth", episodes=4, seed=30, image_size=16, num_frames=3, workers=2)
    assert store.keys() == [episode_name(seed) for seed in range(30, 34)]
    env = FreeFallEnv(image_size=16, num_frames=3)
    for seed in range(30, 34):
        expected, got = env.record(seed=seed), store.read_truth(episode_name(seed))
        np.testing.assert_array_equal(got.video, expected.video)
        np.testing.assert_array_equal(got.qpos, expected.qpos)


def test_an_interrupted_collection_goes_on(tmp_path, monkeypatch):
    record, recorded = FreeFallEnv.record, []

    def interrupted(self, *args, seed):
        if seed == 2 and 2 not in recorded:
            recorded.append(seed)
            raise KeyboardInterrupt
        recorded.append(seed)
        return record(self, *args, seed=seed)

    monkeypatch.setattr(FreeFallEnv, "record", interrupted)
    options = {"episodes": 4, "image_size": 16, "num_frames": 3}
    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "truth", **options)
    store = collect(tmp_path / "truth", **options)
    assert len(store.keys()) == 4
    assert recorded == [0, 1, 2, 2, 3], "finished clips are not recorded again"


def test_a_store_of_other_settings_is_refused_and_kept(tmp_path):
    collect(tmp_path / "truth", episodes=1, image_size=16, num_frames=3)
    with pytest.raises(StoreError, match="image_size"):
        collect(tmp_path / "truth", episodes=1, image_size=32, num_frames=3)
    assert len(collect(tmp_path / "truth", episodes=1, image_size=16, num_frames=3).keys()) == 1


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError):
        collect(tmp_path, episodes=1, image_size=16, num_frames=3)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
