"""The closed forms of the ghost wrench and of sinking in, against MuJoCo's inverse dynamics and distances."""

import mujoco
import numpy as np
import pytest

from worldmodel.evaluators.bounce import penetration
from worldmodel.evaluators.falling import TrackedFall, TrueFall, surface_distances
from worldmodel.evaluators.ghost_wrench import ghost_wrench
from worldmodel.truth import Camera, Truth

FPS, GRAVITY = 24.0, 9.81
HALF = (0.05, 0.08, 0.03)
MODEL = mujoco.MjModel.from_xml_string(
    f"""<mujoco><option gravity="0 0 -{GRAVITY}"><flag invdiscrete="enable" contact="disable"/></option><worldbody>
    <geom name="floor" type="plane" size="0 0 1"/>
    <body name="box"><freejoint/><geom name="box" type="box" size="{HALF[0]} {HALF[1]} {HALF[2]}" density="700"/></body>
    </worldbody></mujoco>"""
)
FALL = TrueFall(GRAVITY, 0.0, np.nan, 3.0, 0.03, 0.05, 0.03, 0.1)


def tracked(acceleration, frames=5, sigma=0.0, height=2.0):
    """A body that starts from rest with a constant acceleration (3,) m/s^2, seen without error."""
    time = np.arange(frames) / FPS
    position = np.array([0.0, 0.0, height]) + 0.5 * time[:, None] ** 2 * np.asarray(acceleration)
    free = np.ones(frames, bool)
    return TrackedFall(time, position, sigma, 0.0, free, free & (np.arange(frames) > 0))


def unexplained_by_mujoco(acceleration):
    """Force that inverse dynamics needs for an acceleration with no contact in reach, over weight."""
    data = mujoco.MjData(MODEL)
    data.qpos[:] = [0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0]
    data.qacc[:3] = acceleration
    mujoco.mj_inverse(MODEL, data)
    weight = GRAVITY * mujoco.mj_getTotalmass(MODEL)
    return float(np.linalg.norm(data.qfrc_inverse[:3]) / weight)


@pytest.mark.parametrize(
    "acceleration",
    [(0.0, 0.0, -GRAVITY), (0.0, 0.0, 0.0), (0.0, 0.0, -GRAVITY / 2), (0.0, 0.0, -2 * GRAVITY), (3.0, 0.0, -1.0)],
)
def test_a_flight_is_judged_as_mujoco_s_inverse_dynamics_does(acceleration):
    fall = tracked(acceleration)
    expected = unexplained_by_mujoco(acceleration)
    assert ghost_wrench(fall, fall, FALL, FPS) == pytest.approx(expected, abs=1e-9)


def turned(rng):
    quaternion = rng.normal(size=4)
    return quaternion / np.linalg.norm(quaternion)


def test_sinking_in_is_never_more_than_mujoco_s_distance_however_the_body_is_turned():
    """It is a lower bound, and reached by a body whose thinnest side is down."""
    truth = _truth()
    least, _ = surface_distances(truth)
    rng, data = np.random.default_rng(0), mujoco.MjData(MODEL)
    for quaternion in [np.array([1.0, 0.0, 0.0, 0.0]), *(turned(rng) for _ in range(50))]:
        height = rng.uniform(-0.05, 0.1)
        data.qpos[:] = [0.0, 0.0, height, *quaternion]
        mujoco.mj_kinematics(MODEL, data)
        box, floor = (MODEL.geom(name).id for name in ("box", "floor"))
        depth = -mujoco.mj_geomDistance(MODEL, data, floor, box, 1.0, np.zeros(6))
        found = penetration(tracked((0.0, 0.0, 0.0), height=height), truth)
        assert found <= max(0.0, depth) + 1e-6
        if quaternion[0] == 1.0:
            assert found == pytest.approx(max(0.0, least - height)) and found == pytest.approx(
                max(0.0, depth), abs=1e-6
            )


def _truth():
    frames = 5
    zeros = np.zeros((frames, 1, 3))
    return Truth(
        video=np.zeros((frames, 8, 8, 3), np.uint8),
        segmentation=np.zeros((frames, 8, 8), np.uint8),
        time=np.arange(frames) / FPS,
        qpos=np.zeros((frames, 7)),
        qvel=np.zeros((frames, 6)),
        objects=("object",),
        position=zeros + np.array([0.0, 0.0, 1.0]),
        quaternion=np.zeros((frames, 1, 4)),
        velocity=zeros,
        angular_velocity=zeros,
        fps=FPS,
        camera=Camera(np.eye(3), np.eye(4), 8, 8),
        scene={"shape": "box", "size": HALF},
    )
