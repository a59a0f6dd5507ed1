"""The shipped weights do what the README says, on a few held-out scenes."""

import gymnasium as gym
import numpy as np
import pytest

import worldmodel
import worldmodel.envs
from worldmodel.backends.cameras import View, view_differences
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.controls import frozen, linear_extrapolation
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.model import EMBEDDED

SEEDS = range(3_000_000, 3_000_024)


@pytest.fixture(scope="module", params=sorted(EMBEDDED))
def model(request):
    return worldmodel.load(request.param, device="cpu")


@pytest.fixture(scope="module")
def truths(model):
    env = FreeFallEnv(image_size=model.recipe.image_size)
    yield [env.record(seed=seed) for seed in SEEDS]
    env.close()


def test_it_remembers_scenes_and_cameras_that_can_be_made_again(model):
    for env, robot in (("GraphTraversal", "ball"), ("Maze", "ball"), ("Grasp", "fetch"), ("FreeFall", None)):
        size = model.recipe.image_size
        made = gym.make(f"worldmodel/{env}-v0", image_size=size, **model.recipe.scene(f"worldmodel/{env}-v0")).unwrapped
        if robot is not None:
            assert model.conditioned(domain=made.action_spec).backend.provenance()["domain"] == robot
        made.reset(seed=0)
        assert view_differences(model.recipe.cameras[f"worldmodel/{env}-v0"], View.of(made.eye.camera())) == []
        made.close()


def errors(videos, truths):
    return [score_free_fall(video, truth) for video, truth in zip(videos, truths, strict=True)]


def test_the_autoencoder_keeps_objects_and_their_places(model, truths):
    scores = errors(model.reconstruct(np.stack([truth.video for truth in truths])), truths)
    assert np.median([score.centroid_error_diagonal for score in scores]) <= 0.006
    assert np.mean([score.detection_rate for score in scores]) >= 0.99


def test_rollouts_fall_like_mujoco(model, truths):
    first = np.stack([truth.video[0] for truth in truths])
    rollout = model.rollout(first, seeds=range(len(truths)), progress=False)
    scores = errors(rollout.video, truths)
    still = errors([frozen(truth.video) for truth in truths], truths)
    straight = errors([linear_extrapolation(truth.video, truth.mask) for truth in truths], truths)
    error, error_still, error_straight = (
        np.median([score.centroid_error_px for score in group]) for group in (scores, still, straight)
    )
    assert rollout.nfe.max() <= 25
    assert error <= 0.4 * error_still
    assert error < error_straight
    assert np.mean([score.detection_rate for score in scores]) >= 0.93
    assert np.mean([score.impact_within_2_frames for score in scores]) >= 0.75
