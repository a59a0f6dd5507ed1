"""Collection: the same clips whatever the workers, and resumed where it stopped."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from worldmodel import collect as module
from worldmodel.collect import collect, episode_name
from worldmodel.commands.arguments import parse_options
from worldmodel.envs.free_fall import DropSampler, FreeFallEnv
from worldmodel.envs.maze import MazeEnv
from worldmodel.storage import EpisodeStore, StoreError, episodes

SMALL = {"image_size": 16, "num_frames": 3}


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

    def interrupted(self, *args, seed, **options):
        if seed == 2 and 2 not in recorded:
            recorded.append(seed)
            raise KeyboardInterrupt
        recorded.append(seed)
        return record(self, *args, seed=seed, **options)

    monkeypatch.setattr(FreeFallEnv, "record", interrupted)
    options = {"episodes": 4, "image_size": 16, "num_frames": 3}
    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "truth", **options)
    store = collect(tmp_path / "truth", **options)
    assert len(store.keys()) == 4
    assert recorded == [0, 1, 2, 2, 3], "finished clips are not recorded again"


def start(out, episodes):
    """The command in a group of its own, because a terminal sends Ctrl-C to all processes of the group."""
    command = [sys.executable, "-m", "worldmodel.cli", "collect", "--out", str(out), "--workers", "2"]
    command += ["--episodes", str(episodes), "--image-size", "16", "--num-frames", "3"]
    # A shell starts what it puts in the background deaf to Ctrl-C, which these tests would inherit.
    hear = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear)


def wait_for(process, out, episodes):
    while process.poll() is None and len(list(out.glob("0*"))) < episodes:
        time.sleep(0.02)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_control_c_in_the_terminal_is_one_line_and_keeps_what_is_finished(tmp_path):
    out = tmp_path / "truth"
    process = start(out, 400)
    wait_for(process, out, 10)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "run the same command to go on" in errors.splitlines()[-1]
    kept = EpisodeStore.open(out, "truth").keys()
    assert 1 <= len(kept) < 400


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(killed, 40)
    wait_for(process, killed, 8)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert 0 < len(EpisodeStore.open(killed).keys()) < 40
    process = start(killed, 40)
    assert process.communicate(timeout=120) and process.returncode == 0
    monkeypatch.setattr(module, "BLOCK", 40)  # in this process
    collect(whole, episodes=40, **SMALL)
    assert contents(killed) == contents(whole)


def test_a_run_killed_while_it_made_the_store_goes_on(tmp_path):
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    begun.mkdir()
    (begun / f"zarr.{'0f' * 16}.partial").write_text('{"attri')
    for out in (begun, whole):
        collect(out, episodes=1, **SMALL)
    assert contents(begun) == contents(whole)


def test_workers_do_not_clear_up_in_a_store_where_others_write(tmp_path, monkeypatch):
    beginning, record = tmp_path / f"zarr.{'0f' * 16}.partial", module._record_block

    def record_beside_another(*job):
        beginning.write_text('{"attri')
        return record(*job)

    monkeypatch.setattr(module, "_record_block", record_beside_another)
    collect(tmp_path, episodes=1, workers=1, **SMALL)
    assert beginning.exists()


def test_workers_end_with_a_killed_parent(tmp_path):
    process = start(tmp_path / "truth", 4000)
    wait_for(process, tmp_path / "truth", 10)
    process.kill()
    process.wait()
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("workers went on for 20 seconds")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_error_and_keeps_what_is_finished(tmp_path, monkeypatch, workers):
    write, room = episodes.write_array, [7]

    def write_while_there_is_room(store, path, array):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(store, path, array)

    monkeypatch.setattr(episodes, "write_array", write_while_there_is_room)
    finished = 2 if workers == 1 else r"\d+"  # each process has room of its own
    with pytest.raises(OSError, match=rf"got a full disk after {finished} finished clips .* run the same command"):
        collect(tmp_path / "truth", episodes=4, **SMALL | {"workers": workers})
    store = EpisodeStore.open(tmp_path / "truth")
    kept = [len(store.read_truth(key)) for key in store.keys()]  # noqa: SIM118  # a store is no dict
    assert kept and set(kept) == {3}
    room[0] = 100
    collect(tmp_path / "truth", episodes=4, **SMALL)
    monkeypatch.undo()
    collect(tmp_path / "whole", episodes=4, **SMALL)
    assert contents(tmp_path / "truth") == contents(tmp_path / "whole")


@pytest.mark.parametrize("env", ["free-fall", "InvertedPendulum-v5"])
def test_a_disk_without_room_for_a_store_is_the_same_error(tmp_path, monkeypatch, env):
    def full(*_, **__):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(EpisodeStore, "create", full)
    with pytest.raises(OSError, match=r"out: got a full disk after 0 finished clips .* expected room for 1"):
        collect(tmp_path / "truth", env, episodes=1, image_size=32, num_frames=3)


def test_success_and_failure_by_another_physics_share_their_first_frame(tmp_path):
    """A slip is no other motion but another friction, and is collected by its name like the other failures."""
    store = collect(tmp_path / "truth", "grasp", episodes=4, seed=3, policies=("expert", "slip"), image_size=32)
    for seed in (3, 4):
        grasped, slipped = (store.read_truth(episode_name(seed, policy)) for policy in ("expert", "slip"))
        np.testing.assert_array_equal(grasped.video[0], slipped.video[0])
        assert grasped.success and not slipped.success
        assert slipped.scene["friction"] < grasped.scene["friction"]


def test_several_policies_play_the_same_scenes(tmp_path):
    first, *_, last = MazeEnv(pixels=False).family.policies
    store = collect(tmp_path / "truth", "maze", episodes=3, seed=5, policies=(first, last), **SMALL)
    keys = [f"00000005-{first}", f"00000005-{last}", f"00000006-{first}"]
    assert store.keys() == sorted(keys)
    one, other, next_scene = map(store.read_truth, keys)
    np.testing.assert_array_equal(one.video[0], other.video[0])
    assert not np.array_equal(one.actions, other.actions)
    assert one.scene == other.scene != next_scene.scene
    described = [store.attributes(key) for key in keys]
    assert [each["seed"] for each in described] == [5, 5, 6]
    assert [each["provenance"]["policy"] for each in described] == [first, last, first]


def test_the_store_says_how_it_was_made(tmp_path):
    options = {"gravity": [1.0, 2.0], "shapes": ["box"]}
    store = collect(tmp_path / "truth", "worldmodel/FreeFall-v0", episodes=1, options=options, depth=True, **SMALL)
    expected = dataclasses.asdict(DropSampler(gravity=(1.0, 2.0), shapes=("box",)))
    settings = EpisodeStore.open(store.path).settings
    assert settings["options"] == {name: list(v) if isinstance(v, tuple) else v for name, v in expected.items()}
    assert (settings["env"], settings["policies"], settings["depth"]) == ("worldmodel/FreeFall-v0", ["watch"], True)
    assert (settings["image_size"], settings["fps"], settings["num_frames"]) == (16, 16.0, 3)
    assert settings["versions"].keys() >= {"worldmodel", "mujoco", "numpy"}
    clip = store.read_truth(episode_name(0))
    assert clip.scene["shape"] == "box" and 1.0 < clip.scene["gravity"] < 2.0
    assert clip.depth.shape == clip.segmentation.shape


def test_options_of_the_command_line_are_json_or_a_word():
    given = ["gravity=[1, 10]", "restitution=0.5", 'shapes=["box"]', "layout=depth-first", "closed=true"]
    assert parse_options(given) == {
        "gravity": [1, 10],
        "restitution": 0.5,
        "shapes": ["box"],
        "layout": "depth-first",
        "closed": True,
    }
    for wrong in ("gravity", "=3", "gravity=[1,", "gravity=1 2"):
        with pytest.raises(ValueError, match="options: got"):
            parse_options([wrong])


def test_malformed_options_are_refused_before_anything_is_written(tmp_path):
    for options in ({"episodes": 0}, {"seed": -1}, {"fps": 0.0}, {"image_size": 8}, {"num_frames": 1}, {"workers": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            collect(tmp_path / "truth", **{"episodes": 1, **options})
    for options, message in (
        ({"env": "tetris"}, "env: got 'tetris', expected one of .*free-fall"),
        ({"policies": ["watch", "hope"]}, "policy: got watch, hope, expected some of watch"),
        ({"policies": ["watch", "watch"]}, "policy: got watch, watch"),
        ({"options": {"height": 1.0}}, "options: got height=1.0, expected one of shapes"),
        ({"options": {"pixels": False}}, "options: got pixels, expected one of shapes"),
        ({"options": {"gravity": float("nan")}}, "options.gravity: got nan"),
        ({"options": {"gravity": -1.0}}, "gravity: got -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            collect(tmp_path / "truth", **{"episodes": 1, **options})
    assert not (tmp_path / "truth").exists()


def test_a_store_of_other_settings_is_refused_and_kept(tmp_path):
    collect(tmp_path / "truth", episodes=1, **SMALL)
    with pytest.raises(StoreError, match="image_size"):
        collect(tmp_path / "truth", episodes=1, image_size=32, num_frames=3)
    assert len(collect(tmp_path / "truth", episodes=1, **SMALL).keys()) == 1


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError):
        collect(tmp_path, episodes=1, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OSError, match=r"out: got .*thesis.txt/truth .*, expected a folder that can be written"):
        collect(tmp_path / "thesis.txt" / "truth", episodes=1, **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
