"""The free-fall scenes against mechanics, and their contract with Gymnasium."""

import dataclasses
import functools
import hashlib
import itertools
import json
import math

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import worldmodel.envs  # noqa: F401  registers the ids
from worldmodel.envs.drop_stage import RAMP_FOOT, SUPPORTS, ramp_angle
from worldmodel.envs.free_fall import (
    COLOURS,
    OBJECT_SETS,
    SHAPES,
    DropObject,
    DropSampler,
    DropScene,
    FreeFall,
    FreeFallEnv,
    FreeFallVectorEnv,
    mass_of,
)
from worldmodel.envs.simulation import Simulation

G = 9.81
HEIGHT = 0.8  # m, that SPHERE falls
UPRIGHT = (1.0, 0.0, 0.0, 0.0)
SPHERE = DropScene("sphere", (0.12, 0.0, 0.0), "red", (0.1, 0.0, 0.12 + HEIGHT), UPRIGHT)
BELOW = DropObject("sphere", (0.1, 0.0, 0.0), "blue", (0.1, 0.0, 0.4), UPRIGHT)
MIXED = {"objects": 3, "support": "table", "release": "gripper"}


@functools.cache
def env_of(**options):
    return FreeFallEnv(**{"image_size": 32, **options})


@pytest.fixture(scope="module")
def env():
    return FreeFallEnv(image_size=64)


@pytest.fixture(scope="module")
def drop(env):
    return env.record(SPHERE)


def play(scene, seconds=1.0, fps=16, policy=None, **options):
    """Everything known of a clip without pictures: name to (T, ...), with one physics step a frame from 800 fps on."""
    family = FreeFall(**options)
    simulation = Simulation(family, 1, fps=fps)
    simulation.reset([scene])
    infos = [simulation.info(0)]
    for _ in range(round(seconds * fps)):
        simulation.step(None if policy is None else np.asarray(policy(infos[-1]), np.float64)[None])
        infos.append(simulation.info(0))
    return {name: np.array([info[name] for info in infos]) for name in infos[0]}


def rebound(clip):
    """Highest upward speed after the first impact over the last speed before it."""
    velocity = clip["velocity"][:, 0, 2]
    return velocity.max() / -velocity[clip["time"] < clip["impact_time"][-1]][-1]


def on_a_ramp(shape, size, lift, height, friction):
    """A scene with an object resting on a ramp, 0.9 m up the slope, and the downhill direction."""
    angle = ramp_angle(height)
    downhill = np.array([math.cos(angle), 0.0, -math.sin(angle)])
    place = (RAMP_FOOT, 0.0, 0.0) - 0.9 * downhill + (lift + 1e-5) * np.array([math.sin(angle), 0.0, math.cos(angle)])
    quaternion = (math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0)
    position = tuple(float(x) for x in place)
    scene = DropScene(
        shape, size, "blue", position, quaternion, friction=friction, support="ramp", support_height=height
    )
    return scene, downhill


def downhill_acceleration(scene, downhill):
    """Acceleration in m/s^2 along the first 0.6 m of the ramp, and the clip up to there."""
    clip = play(scene, 0.6, 40, support="ramp")
    travelled = (clip["position"][:, 0] - clip["position"][0, 0]) @ downhill
    still_on = travelled < 0.6
    speed = clip["velocity"][:, 0] @ downhill
    return np.polyfit(clip["time"][still_on][2:], speed[still_on][2:], 1)[0], {
        name: value[still_on] for name, value in clip.items()
    }


# The contract with Gymnasium and with the shipped model.


@pytest.mark.parametrize("options", [{}, MIXED])
def test_passes_gymnasiums_checker(options):
    check_env(gym.make("worldmodel/FreeFall-v0", image_size=32, **options).unwrapped)


def test_an_episode_ends_by_truncation_at_the_last_frame(env):
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(16)]
    assert ends == [(False, False)] * 15 + [(False, True)]


def test_the_default_scenes_are_those_the_shipped_model_was_trained_on():
    fields = ("shape", "size", "colour", "position", "quaternion", "gravity", "restitution", "friction")
    drawn = []
    for seed in range(250, 258):
        scene = FreeFall().sampler(gym.utils.seeding.np_random(seed)[0])
        assert (scene.mass, scene.scale, scene.others, scene.support, scene.release) == (0.0, 1.0, (), "none", "none")
        values = [getattr(scene, name) for name in fields]
        drawn.append([np.round(value, 9).tolist() if not isinstance(value, str) else value for value in values])
    digest = hashlib.sha256(json.dumps(drawn).encode()).hexdigest()
    assert digest == "a826cc9d90235e49a337776d242de181ec0725aa381e4d36f16e5c6f3ff61c28"


def test_a_clip_does_not_depend_on_what_was_played_before():
    fresh, used = FreeFallEnv(image_size=48), FreeFallEnv(image_size=48)
    for seed in range(3):
        used.record(seed=seed)
    used.record(dataclasses.replace(SPHERE, scale=7.0))
    one, other = fresh.record(seed=11), used.record(seed=11)
    for name in ("video", "segmentation", "qpos", "qvel"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.signals["contact_force"], other.signals["contact_force"])
    assert one.outcome == other.outcome


@pytest.mark.parametrize("options", [{}, MIXED])
def test_many_at_once_do_what_one_does(options):
    several = {"restitution": (0.2, 0.47), **options} if options else {"restitution": (0.2, 0.8)}
    many, one = FreeFallVectorEnv(num_envs=3, image_size=16, **several), FreeFallEnv(image_size=16, **several)
    seen, _ = many.reset(seed=5)
    first, _ = one.reset(seed=7)
    np.testing.assert_array_equal(seen["pixels"][2], first["pixels"])
    action = 0 if not options else np.array([0.2, 0.0, -0.1, 0.0], np.float32)
    for frame in range(16):
        if options and frame == 4:
            action[3] = 1.0
        seen, _, _, _, infos = many.step(np.stack([action] * 3))
        alone, _, _, _, info = one.step(action)
    np.testing.assert_array_equal(seen["pixels"][2], alone["pixels"])
    for name, value in info.items():
        np.testing.assert_array_equal(infos[name][2], value, err_msg=name)


@pytest.mark.parametrize("options", [{}, {"objects": 3}, {**MIXED, "shapes": "unseen"}])
def test_truth_carries_what_plays_it_again(options):
    env = env_of(**options)
    clip = env.record(seed=8)
    scene = env.family.scene_from_json(json.loads(json.dumps(clip.scene)))
    actions = iter([] if clip.actions is None else clip.actions)
    again = env.record(scene, policy=lambda info: next(actions, 0))
    np.testing.assert_array_equal(clip.video, again.video)
    np.testing.assert_array_equal(clip.qvel, again.qvel)
    json.dumps(clip.outcome, allow_nan=False)


def test_a_truth_of_the_first_version_is_understood():
    old = {"env": "worldmodel/FreeFall-v0", "shape": "sphere", "size": [0.12, 0.0, 0.0], "colour": "red"}
    old |= {"position": [0.1, 0.0, 0.92], "quaternion": [1.0, 0.0, 0.0, 0.0], "gravity": 9.81}
    assert FreeFall().scene_from_json(old) == dataclasses.replace(SPHERE, position=(0.1, 0.0, 0.92))


def test_kinematic_rendering_shows_the_recorded_poses(env):
    clip = env.record(seed=2)
    scene = env.family.scene_from_json(clip.scene)
    np.testing.assert_array_equal(env.render_at(scene, clip.qpos), clip.video)


@pytest.mark.parametrize("size", [64, (48, 80)])
def test_image_size_is_free(size):
    env = FreeFallEnv(image_size=size)
    observation, _ = env.reset(seed=0)
    assert observation["pixels"].shape == ((64, 64, 3) if size == 64 else (48, 80, 3))
    assert observation in env.observation_space


# The fall.


def test_the_fall_is_the_closed_form_of_the_integrator(drop):
    falling = drop.time < drop.outcome["impact_time"]
    steps = np.round(drop.time[falling] / 0.00125)
    closed = 0.12 + HEIGHT - G * 0.00125**2 * steps * (steps + 1) / 2  # of semi-implicit Euler
    np.testing.assert_allclose(drop.position[falling, 0, 2], closed, atol=1e-13)
    np.testing.assert_allclose(drop.velocity[falling, 0, 2], -G * drop.time[falling], atol=1e-12)


def test_the_fall_converges_to_half_g_t_squared_with_the_timestep():
    errors = []
    for fps in (800, 1600, 3200):
        clip = play(SPHERE, 0.3, fps)
        errors.append(clip["position"][-1, 0, 2] - (0.12 + HEIGHT - G * clip["time"][-1] ** 2 / 2))
    assert abs(errors[0]) < 0.002
    np.testing.assert_allclose(errors[:-1], np.multiply(2.0, errors[1:]), rtol=1e-6)


@pytest.mark.parametrize("gravity", [1.62, 3.72, 9.81, 24.8])
def test_the_impact_comes_at_the_root_of_2h_over_g(gravity):
    clip = play(dataclasses.replace(SPHERE, gravity=gravity), 1.1)
    impact = clip["impact_time"][-1]
    assert impact == pytest.approx(np.sqrt(2 * HEIGHT / gravity), abs=0.0025)
    first = int(np.argmax(clip["contact"]))
    assert clip["time"][first - 1] < impact <= clip["time"][first]


@pytest.mark.parametrize("scale", [0.1, 0.5, 4.0, 30.0, 100.0])
def test_scaled_by_s_a_clip_is_the_same_but_root_s_as_slow(scale):
    # Twice the frames a second for a quarter of the size: the same number of physics steps.
    plain = play(SPHERE, 1.0, 800)
    scaled = play(dataclasses.replace(SPHERE, scale=scale), math.sqrt(scale), 800 / math.sqrt(scale))
    np.testing.assert_allclose(scaled["impact_time"][-1], plain["impact_time"][-1] * math.sqrt(scale), rtol=1e-2)
    if scale <= 1.0:
        np.testing.assert_allclose(scaled["position"] / scale, plain["position"], atol=1e-9)
        np.testing.assert_allclose(scaled["energy"] / scale**4, plain["energy"], rtol=1e-9)


@pytest.mark.parametrize("scale", [0.1, 4.0, 100.0])
def test_impact_times_grow_as_root_s(scale):
    expected = math.sqrt(scale * 2 * HEIGHT / G)
    clip = play(dataclasses.replace(SPHERE, scale=scale), 1.2 * expected, 80)
    assert clip["impact_time"][-1] == pytest.approx(expected, abs=0.0025)


@pytest.mark.parametrize("mass", [0.001, 1.0, 1e4])
def test_mass_is_a_placebo(mass):
    plain, changed = (play(scene) for scene in (SPHERE, dataclasses.replace(SPHERE, mass=mass)))
    assert changed["impact_time"][-1] == plain["impact_time"][-1]
    np.testing.assert_allclose(changed["position"], plain["position"], atol=1e-9)
    weight = G * mass_of(dataclasses.replace(SPHERE, mass=mass).objects[0], 1.0)
    assert changed["energy"][0] == pytest.approx(weight * (0.12 + HEIGHT))


# The bounce, sliding, rolling, rest, and the energy in all of them.


@pytest.mark.parametrize("restitution", [0.2, 0.4, 0.6, 0.8, 0.9])
def test_a_sphere_bounces_with_the_given_restitution(restitution):
    scene = dataclasses.replace(SPHERE, restitution=restitution)
    coarse, fine = (rebound(play(scene, 0.45, fps)) for fps in (800, 3200))
    assert fine == pytest.approx(restitution, abs=0.012)
    assert abs(fine - restitution) <= abs(coarse - restitution) + 0.002
    assert coarse == pytest.approx(restitution, abs=0.03)


@pytest.mark.parametrize("friction", [0.0, 0.1, 0.3])
def test_a_box_slides_down_a_ramp_by_the_law_of_friction(friction):
    scene, downhill = on_a_ramp("box", (0.12, 0.12, 0.06), 0.06, 0.6, friction)
    acceleration, clip = downhill_acceleration(scene, downhill)
    angle = ramp_angle(0.6)
    assert acceleration == pytest.approx(G * (math.sin(angle) - friction * math.cos(angle)), abs=0.02)
    assert not clip["rolling"].any()


def test_a_box_sticks_where_friction_exceeds_the_slope():
    scene, downhill = on_a_ramp("box", (0.12, 0.12, 0.06), 0.06, 0.6, 0.7)
    clip = play(scene, support="ramp")
    assert abs((clip["position"][-1, 0] - clip["position"][0, 0]) @ downhill) < 0.005
    assert clip["success"][-1]


def test_a_sphere_rolls_down_a_ramp_at_5_7ths_of_sliding():
    scene, downhill = on_a_ramp("sphere", (0.12, 0.0, 0.0), 0.12, 0.6, 0.7)
    acceleration, clip = downhill_acceleration(scene, downhill)
    assert acceleration == pytest.approx(5 / 7 * G * math.sin(ramp_angle(0.6)), rel=0.01)
    assert clip["rolling"].mean() > 0.9
    slippery, _ = downhill_acceleration(dataclasses.replace(scene, friction=0.02), downhill)
    assert slippery == pytest.approx(G * (math.sin(ramp_angle(0.6)) - 0.02 * math.cos(ramp_angle(0.6))), abs=0.02)


def test_friction_decides_how_far_a_tilted_box_slides():
    boxes = DropSampler(shapes=("box",))
    scenes = [boxes(np.random.default_rng(seed)) for seed in range(6)]
    travelled = {}
    for friction in (0.02, 1.0):
        clips = [play(dataclasses.replace(scene, friction=friction)) for scene in scenes]
        travelled[friction] = [np.abs(clip["position"][-1, 0, :2] - clip["position"][0, 0, :2]).sum() for clip in clips]
    assert not np.allclose(travelled[0.02], travelled[1.0], atol=0.01)


@pytest.mark.parametrize(
    "options",
    [
        *({"shapes": (shape,)} for shape in ("sphere", "box", "capsule", "cylinder")),
        {"shapes": ("sphere", "box"), "gravity": 24.8},
        {"shapes": ("sphere", "box"), "gravity": 60.0},
        {"shapes": ("sphere", "box"), "scale": 0.4, "gravity": 15.0},
        {"shapes": ("sphere", "box"), "scale": 0.1},
    ],
)
def test_what_has_come_to_rest_stays_at_rest(options):
    """Though it does not press in every physics step."""
    simulation = Simulation(FreeFall(**options), 64, fps=16.0)
    simulation.reset([simulation.family.sampler(np.random.default_rng(seed)) for seed in range(64)])
    rest = []
    for _ in range(48):
        simulation.step()
        rest.append(simulation.signals["rest"][:, 0])
    before, after = rest[-16], np.array(rest[-15:])
    assert before.mean() > 0.25 and after[:, before].mean() > 0.995


def test_energy_is_mujocos_own():
    env = env_of(objects=3)
    clip = env.record(seed=3)
    model = env.family.build(env.scene).compile()
    data = mujoco.MjData(model)
    for frame in (0, 5, 16):
        data.qpos[:], data.qvel[:] = clip.qpos[frame], clip.qvel[frame]
        mujoco.mj_forward(model, data)
        mujoco.mj_energyPos(model, data)
        mujoco.mj_energyVel(model, data)
        assert clip.signals["energy"][frame] == pytest.approx(data.energy.sum(), rel=1e-9)


def test_what_lies_still_is_at_rest_and_what_bounces_is_not():
    clip = play(SPHERE, 2.0, 50)
    assert clip["success"][-1] and clip["rest"][-1, 0]
    apex = np.argmax(clip["position"][:, 0, 2] * (clip["time"] > clip["impact_time"][-1] + 0.05))
    assert not clip["rest"][: apex + 1].any()
    np.testing.assert_allclose(clip["position"][-1, 0, 2], 0.12, atol=0.001)
    weight = G * mass_of(SPHERE.objects[0], 1.0)
    assert clip["contact_force"][-1] == pytest.approx(weight, rel=0.01)


def test_an_object_on_another_collides_before_it_lands():
    clip = play(dataclasses.replace(SPHERE, others=(BELOW,)), 1.0, 200, objects=2)
    met = np.argmax(clip["collisions"][:, 0])
    assert clip["collisions"][met].all()
    gap = np.linalg.norm(clip["position"][met, 0] - clip["position"][met, 1])
    assert gap == pytest.approx(0.22, abs=0.02)
    below, above = clip["impact_times"][-1, 1], clip["impact_times"][-1, 0]
    assert below == pytest.approx(math.sqrt(2 * 0.3 / G), abs=0.002)
    assert below < clip["time"][met] < above
    assert clip["impact_time"][-1] == above


def test_a_table_catches_what_would_fall_to_the_floor():
    scene = dataclasses.replace(SPHERE, support="table", support_height=0.3)
    clip = play(scene, 2.0, support="table")
    assert clip["impact_time"][-1] == pytest.approx(math.sqrt(2 * (HEIGHT - 0.3) / G), abs=0.0025)
    assert clip["position"][-1, 0, 2] == pytest.approx(0.42, abs=0.002)
    assert clip["success"][-1]


# The picture, and interventions.


CHANGES = [
    {"gravity": 3.0},
    {"restitution": 0.2},
    {"friction": 0.1},
    {"mass": 50.0},
    {"scale": 0.1},
    {"scale": 0.5},
    {"scale": 2.0},
    {"scale": 10.0},
    {"scale": 77.7},
]


@pytest.mark.parametrize(
    ("options", "change"),
    [*itertools.product(({"image_size": 64}, MIXED), CHANGES), ({"image_size": 64}, {"restitution": 0.8})],
)
def test_interventions_change_no_pixel_of_the_first_frame(options, change):
    env = env_of(**options)
    for seed in (4, 5):
        plain, _ = env.reset(seed=seed)
        changed, _ = env.reset(seed=seed, options=change)
        np.testing.assert_array_equal(plain["pixels"], changed["pixels"])


def test_interventions_change_what_follows():
    env = env_of(image_size=64)
    scene = env.record(seed=4).scene
    scene = env.family.scene_from_json(scene)
    plain = env.record(scene).video
    for change in CHANGES[:3] + CHANGES[4:]:
        assert (env.record(dataclasses.replace(scene, **change)).video != plain).any(), change
    np.testing.assert_array_equal(env.record(dataclasses.replace(scene, mass=50.0)).video, plain)


@pytest.mark.parametrize("scale", [0.3, 20.0])
def test_truth_of_a_scaled_scene_is_in_metres(env, scale):
    plain, scaled = (env.record(each, depth=True) for each in (SPHERE, dataclasses.replace(SPHERE, scale=scale)))
    np.testing.assert_array_equal(scaled.segmentation[0], plain.segmentation[0])
    np.testing.assert_allclose(scaled.depth[0], scale * plain.depth[0], rtol=1e-5)
    np.testing.assert_allclose(scaled.position[0], scale * plain.position[0], rtol=1e-12)
    np.testing.assert_allclose(scaled.camera.project(scaled.position[0]), plain.camera.project(plain.position[0]))
    centre = np.round(scaled.camera.project(scaled.position[0, 0]) - 0.5).astype(int)
    surface = scaled.depth[0, centre[1], centre[0]]
    assert surface == pytest.approx(scaled.camera.depth(scaled.position[0, 0]) - 0.12 * scale, abs=0.01 * scale)


@pytest.mark.parametrize("height", [0.0, 0.1, 0.32])
def test_the_first_frame_does_not_tell_how_high_a_hidden_ledge_is(height):
    env = FreeFallEnv(image_size=(96, 128), support="ledge")
    plain = env.record(seed=1)
    scene = env.family.scene_from_json(plain.scene)
    changed = env.record(dataclasses.replace(scene, support_height=height))
    np.testing.assert_array_equal(plain.video[0], changed.video[0])
    assert (plain.video != changed.video).any()


def test_a_hidden_ledge_holds_what_would_fall_to_the_floor():
    scene = dataclasses.replace(SPHERE, support="ledge", position=(0.1, 0.0, 1.0))
    for height in (0.0, 0.3):
        clip = play(dataclasses.replace(scene, support_height=height), 2.0, support="ledge")
        assert clip["impact_time"][-1] == pytest.approx(math.sqrt(2 * (1.0 - 0.12 - height) / G), abs=0.0025)
        assert clip["position"][-1, 0, 2] == pytest.approx(height + 0.12, abs=0.003)


@pytest.mark.parametrize("kind", [*OBJECT_SETS["all"]])
def test_every_kind_of_object_starts_at_rest_in_view_and_lands(env, kind):
    for colour in COLOURS:
        sampler = DropSampler(shapes=(kind,), colours=(colour,))
        scene = sampler(np.random.default_rng(3))
        observation, info = env.reset(options={"scene": scene})
        assert np.abs(observation["pixels"].astype(int) - env.reset(seed=0)[0]["pixels"]).max() > 50
        np.testing.assert_array_equal(info["velocity"], 0.0)
        assert not info["contact"]
    clip = env.record(scene)
    assert clip.mask[0].sum() > 20
    assert 0.1 < clip.outcome["impact_time"] < 0.6


def test_the_camera_sees_the_object_where_its_mask_is(env):
    clip = env.record(SPHERE)
    rows, columns = np.nonzero(clip.mask[3])
    u, v = clip.camera.project(clip.position[3, 0])
    assert u == pytest.approx(columns.mean() + 0.5, abs=0.5)
    assert v == pytest.approx(rows.mean() + 0.5, abs=0.5)
    radius_px = np.sqrt(clip.mask[3].sum() / np.pi)
    assert radius_px == pytest.approx(clip.camera.focal_px * 0.12 / clip.camera.depth(clip.position[3, 0]), rel=0.08)


@pytest.mark.parametrize("support", SUPPORTS)
def test_several_objects_are_apart_differ_in_colour_and_each_has_its_label(support):
    env = env_of(image_size=64, objects=3, support=support)
    for seed in range(4):
        _, info = env.reset(seed=seed)
        assert len({one.colour for one in env.scene.objects}) == 3
        env.eye.look(0)
        labels, camera = env.eye.segmentation(), env.eye.camera()
        for index in range(3):
            u, v = camera.project(info["position"][index])
            assert labels[int(v), int(u)] == index + 1


# Options and words.


def test_stepping_before_reset_is_refused():
    with pytest.raises(RuntimeError, match="call reset"):
        FreeFallEnv(image_size=16).step(0)


def test_ranges_are_options_of_the_env():
    env = gym.make("worldmodel/FreeFall-v0", image_size=16, gravity=1.62, radius=(0.1, 0.11), clearance=(0.5, 0.6))
    env.reset(seed=0)
    scene = env.unwrapped.scene
    assert scene.gravity == 1.62
    assert max(scene.size) < 0.15
    clip = env.unwrapped.record(seed=0)
    assert np.sqrt(2 * 0.5 / 1.62) < clip.outcome["impact_time"] < np.sqrt(2 * 0.6 / 1.62) + 0.01


def test_the_prompt_says_what_is_seen():
    assert FreeFall().task(SPHERE) == "A red sphere falls to the floor, bounces and comes to rest. Static camera."
    two = dataclasses.replace(SPHERE, others=(BELOW,), release="gripper", support="table")
    assert FreeFall().task(two) == (
        "A red sphere let go by a gripper and a blue sphere fall onto a table, bounce and come to rest. Static camera."
    )
    assert set(SHAPES) <= set(OBJECT_SETS["all"])
