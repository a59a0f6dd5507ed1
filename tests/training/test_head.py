"""Heads that read a reward or a success off pictures, in imagined environments and as objectives."""

import dataclasses
import json

import numpy as np
import pytest
from known_models import random_robots

from worldmodel.collect import collect
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_starts import FrameStarts
from worldmodel.heads import LearnedHead
from worldmodel.planning.dynamics import Futures
from worldmodel.planning.imagination import Imagination
from worldmodel.planning.objectives import check_objective, needs_of
from worldmodel.storage import EpisodeStore
from worldmodel.training.head import HeadSettings, agreement, parts, read_labelled, train_head

FEW = HeadSettings(steps=250, batch=64)


@pytest.fixture(scope="module")
def mazes(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("maze") / "store", 32, 0)


def recorded(folder, episodes, seed):
    size = {"image_size": 32, "num_frames": 25, "options": {"rows": 2, "columns": 2}}
    collect(folder, "maze", episodes=episodes, seed=seed, policies=("shortest", "wrong_branch"), **size)
    return folder


@pytest.fixture(scope="module")
def success(mazes, tmp_path_factory):
    return train_head(mazes, "success", tmp_path_factory.mktemp("head") / "out", FEW, "cpu")


def test_a_number_is_read_in_its_unit(mazes, tmp_path):
    head = train_head(mazes, "distance_to_goal", tmp_path / "head", FEW, "cpu")
    assert head.kind == "number" and head.unit.startswith("m ") and head.held_out > 0.6
    other = read_labelled(recorded(tmp_path / "other", 8, 900), "distance_to_goal")
    assert agreement(head, other) > 0.6
    error = np.abs(head.values(other.video) - other.values).mean()
    assert error < 0.7 * np.abs(other.values - head.mean).mean(), "better than the mean of the clips trained on"


def test_success_is_read_as_a_probability(success, mazes):
    assert success.kind == "yes or no" and success.held_out > 0.8
    clips = read_labelled(mazes, "success")
    read = success.values(clips.video)
    assert read.shape == clips.values.shape and read.min() >= 0.0 and read.max() <= 1.0
    assert agreement(success, clips) > 0.9


def test_a_head_comes_back_from_its_folder_and_training_goes_on_where_it_was(success, mazes, tmp_path):
    success.save(tmp_path)
    again, pictures = LearnedHead.load(tmp_path), read_labelled(mazes, "success").video[:2]
    assert np.array_equal(again.values(pictures), success.values(pictures))
    assert again.unit == success.unit and again.image_size == (32, 32)
    repeated = train_head(mazes, "success", tmp_path / "run", FEW, "cpu")
    finished = train_head(mazes, "success", tmp_path / "run", FEW, "cpu")
    assert np.array_equal(repeated.values(pictures), finished.values(pictures))
    with pytest.raises(ValueError, match="other settings"):
        train_head(mazes, "success", tmp_path / "run", HeadSettings(steps=9), "cpu")


def test_an_imagined_environment_pays_what_a_head_reads(success):
    model = random_robots().conditioned(domain="ball")
    size = model.recipe.image_size
    assert size == success.image_size
    frames = np.random.default_rng(0).integers(0, 255, (2, *size, 3)).astype(np.uint8)
    starts = FrameStarts(frames, model.backend.action_spec)
    env = ImaginedEnv(model, starts, reward=success.reward, success=success.success, steps=2)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert reward == pytest.approx(success.values(info["video"]).sum())
    assert info["is_success"] == (success.values(info["video"][-1]) > 0.5)


def test_a_head_is_an_objective(success, mazes):
    clips = read_labelled(mazes, "success")
    order = np.argsort(clips.values.mean(axis=1), kind="stable")
    futures = Futures(np.zeros((2, 24, 2)), clips.video[order[[0, -1]]], None, None, None, 0)
    wanted = success.objective(maximise=True)
    never, early = wanted(futures)
    assert early < never - 0.2 and needs_of(wanted) == {"video"}
    assert np.array_equal(success.objective(maximise=False)(futures), [-never, -early])
    model = Imagination(random_robots(size=64).conditioned(domain="ball"))
    with pytest.raises(ValueError, match=r"got video of \(32, 32, 3\), expected \(64, 64, 3\)"):
        check_objective(wanted, model)


def test_clips_of_one_scene_are_on_one_side():
    train, held_out = parts(np.repeat(np.arange(20), 3), 0)
    assert len(held_out) == 6 and len(train) == 54
    assert not set(train // 3) & set(held_out // 3)


def test_refusals_say_what_was_expected(success, mazes, tmp_path):
    with pytest.raises(ValueError, match=r"expected one that clips have, .*success"):
        train_head(mazes, "reward", tmp_path / "a", FEW)
    collect(tmp_path / "lost", "maze", episodes=2, image_size=32, policies=("wrong_branch",), num_frames=9)
    with pytest.raises(ValueError, match="got success = 0 in every frame that is trained on, expected it to vary"):
        train_head(tmp_path / "lost", "success", tmp_path / "a", FEW)
    store = EpisodeStore.create(tmp_path / "gap", "truth")
    for key, truth in _with_a_gap(mazes):
        store.write_truth(key, truth, seed=int(key))
    with pytest.raises(ValueError, match=r"distance_to_goal = nan in frame 3 of clip"):
        train_head(tmp_path / "gap", "distance_to_goal", tmp_path / "a", FEW)
    with pytest.raises(ValueError, match="got clips of one scene"):
        parts(np.zeros(4), 0)
    assert not (tmp_path / "a").exists(), "refused before anything is written"
    with pytest.raises(ValueError, match=r"got uint8 \(2, 8, 8, 3\), expected uint8 \(..., 32, 32, 3\)"):
        success.values(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="got float64"):
        success.values(np.zeros((32, 32, 3)))
    success.save(tmp_path / "number")
    card = tmp_path / "number" / "head.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"kind": "number"}))
    with pytest.raises(ValueError, match="success: got a head that reads a number"):
        LearnedHead.load(tmp_path / "number").success(None)
    (tmp_path / "number" / "head.safetensors").unlink()
    with pytest.raises(ValueError, match=r"expected head\.safetensors and head\.json"):
        LearnedHead.load(tmp_path / "number")
    (tmp_path / "number" / "head.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match="got no learned head"):
        LearnedHead.load(tmp_path / "number")
    with pytest.raises(ValueError, match="steps: got 0"):
        HeadSettings(steps=0)
    with pytest.raises(ValueError, match="seed: got -1"):
        HeadSettings(seed=-1)


def test_a_run_is_not_gone_on_with_for_other_values(success, mazes, tmp_path):
    """The checkpoint tells two signals from one another, and every value of them."""
    few = HeadSettings(steps=3, batch=8)
    train_head(mazes, "success", tmp_path, few, "cpu")
    with pytest.raises(ValueError, match=r"other settings \(signal\)"):
        train_head(mazes, "distance_to_goal", tmp_path, few, "cpu")


def _with_a_gap(folder):
    store = EpisodeStore.open(folder, "truth")
    for index, key in enumerate(store.keys()[:3]):
        truth = store.read_truth(key)
        way = truth.signals["distance_to_goal"].copy()
        way[3 if index == 2 else 0] = np.nan
        yield str(index), dataclasses.replace(truth, signals={**truth.signals, "distance_to_goal": way})
