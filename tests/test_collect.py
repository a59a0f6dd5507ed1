"""Collection: the same clips whatever the workers, and resumed where it stopped."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from worldmodel import collect as module
from worldmodel.collect import collect, episode_name
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.storage import EpisodeStore, StoreError


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


def test_control_c_in_the_terminal_is_one_line_and_keeps_what_is_finished(tmp_path):
    out = tmp_path / "truth"
    command = [sys.executable, "-m", "worldmodel.cli", "collect", "--out", str(out), "--workers", "2"]
    command += ["--episodes", "400", "--image-size", "16", "--num-frames", "3"]
    # A group of its own, because a terminal sends Ctrl-C to all processes of the group.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and len(list(out.glob("0*"))) < 10:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "run the same command to go on" in errors.splitlines()[-1]
    kept = EpisodeStore.open(out, "truth").keys()
    assert 1 <= len(kept) < 400


def test_malformed_options_are_refused_before_anything_is_written(tmp_path):
    for options in ({"episodes": 0}, {"seed": -1}, {"fps": 0.0}, {"image_size": 8}, {"num_frames": 1}, {"workers": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            collect(tmp_path / "truth", **{"episodes": 1, **options})
    assert not (tmp_path / "truth").exists()


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
