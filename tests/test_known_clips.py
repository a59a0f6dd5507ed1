"""Clips of known worth are what their names say; those of single families are tried beside what judges them."""

import dataclasses

import numpy as np

from worldmodel.certified_laws import changed_video
from worldmodel.certify import COURSES
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.known_clips import from_pixels, simulated


def test_clips_of_other_gravity_are_recorded_videos_of_such_a_scene():
    env = FreeFallEnv(image_size=32, num_frames=9, release="gripper")
    truth = env.record(seed=3, policy="carry_sideways_and_release")
    assert np.array_equal(changed_video(env, truth, gravity=truth.scene["gravity"]), truth.video)
    for kind, factor in (("half_gravity", 0.5), ("double_gravity", 2.0)):
        actions = iter(truth.actions)
        scene = dataclasses.replace(env.scene, gravity=factor * truth.scene["gravity"])
        other = env.record(scene, policy=lambda info, actions=actions: next(actions)).video
        assert np.array_equal(simulated(truth, env)[kind](), other)
        assert not np.array_equal(other, truth.video)
    env.close()


def test_every_kind_that_a_course_asks_for_is_made_and_begins_with_the_true_picture():
    env = FreeFallEnv(image_size=32, num_frames=9)
    truth, other = env.record(seed=3), env.record(seed=4)
    makers = from_pixels(truth, lambda: other, np.random.default_rng(0))
    assert set(makers) | set(simulated(truth, env)) == {kind for each in COURSES.values() for kind in each.controls}
    env.close()
    for kind in set(makers) - {"spill", "flat", "forgotten"}:  # of floods and of rooms
        video = makers[kind]()
        assert video.shape == truth.video.shape and video.dtype == np.uint8
        # Cutting the object out and putting it back changes single pixels around it.
        assert np.abs(video[0].astype(int) - truth.video[0]).mean() < 1.0, kind
        assert kind == "frozen" or not np.array_equal(video, truth.video), kind
