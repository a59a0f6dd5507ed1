"""The Fetch arm and gripper at a table, from the MJCF assets of gymnasium-robotics (MIT licence).

Only the assets are used: the package's own environments do not run on MuJoCo 4. Changed are

* the degrees of freedom: base, torso and head stand still, which leaves the arm's seven joints and
  the two fingers, which move alike as the one motor of the real gripper makes them;
* the drive: Cartesian servos of limited force in place of a mocap weld without a limit. Gravity is
  compensated, as by the real arm's controller, so that every start pose is at rest;
* the fingers: the inertia of fingers, a limited closing force, and pads that meet when closed;
* the looks: a grey robot and a matte table, so that an object's hue is its own; only the forearm
  and the hand, which the camera sees at work, are drawn.

Axes are the world's: x away from the robot, y to its left, z up. The camera looks back at the
robot, so +y is to the right in the picture.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import mujoco
import numpy as np

from worldmodel.envs.views import in_square_picture

TABLE_HEIGHT = 0.4  # m, of the table's top
REACH_LOW = (1.15, 0.5, TABLE_HEIGHT)  # m, where the grip point may be sent
REACH_HIGH = (1.5, 1.0, 0.72)  # m
MAX_OPENING = 0.1  # m, between the finger pads
MAX_GRIP_FORCE = 60.0  # N, of the real gripper
FINGER_DEPTH = 0.0185  # m, from the grip point down to the finger tips
FINGER_THICKNESS = 0.014  # m
MAX_STEP = 0.05  # m, of the set-point per action and axis
PALM_HEIGHT = 0.052  # m, from the grip point up to the palm
FINGER_SPEED = 0.2  # m/s, of each finger while it meets nothing

CAMERA = "front"
CAMERA_POSITION = (2.2, 0.75, 0.76)  # m
CAMERA_TILT = 0.275  # downward slope of the optical axis
CAMERA_FOVY = 23.0  # degrees
TABLE = "table"  # geom
PALM = "robot0:gripper_link"  # body and geom
LEFT_FINGER = "robot0:l_gripper_finger_link"  # body and geom, at -y: left in the picture
RIGHT_FINGER = "robot0:r_gripper_finger_link"  # body and geom, at +y: right in the picture
LEFT_JOINT, RIGHT_JOINT = "robot0:l_gripper_finger_joint", "robot0:r_gripper_finger_joint"
ARM_JOINTS = tuple(
    f"robot0:{name}_joint"
    for name in (
        "shoulder_pan",
        "shoulder_lift",
        "upperarm_roll",
        "elbow_flex",
        "forearm_roll",
        "wrist_flex",
        "wrist_roll",
    )
)
GRIP = "grip"  # site between the finger pads; its axes are the world's when the gripper points down

_BASE = (0.6919, 0.7441, 0.0)  # m, where gymnasium-robotics puts the robot at this table
_ELBOW_UP = (0.0, -0.9, 0.0, 1.4, 0.0, 1.0, 0.0)  # rad, from where inverse kinematics starts
_STIFFNESS, _DAMPING, _PUSH = 16_000.0, 400.0, 200.0  # N/m, N s/m, N of the position servos
_TWIST_STIFFNESS, _TWIST_DAMPING, _TWIST = 1000.0, 30.0, 100.0  # N m/rad, N m s/rad, N m
_FINGER_STIFFNESS = 4000.0  # N/m
_POSITION_AND_VELOCITY = 3  # inputs of a pid servo: the bits of `pos` and `vel`
_HALF = np.sqrt(0.5)
_HIDDEN_GROUP = 4  # groups 0 to 2 are drawn
_GREY, _DARK = (0.42, 0.43, 0.45, 1.0), (0.16, 0.16, 0.17, 1.0)
_INVISIBLE = (0.0, 0.0, 0.0, 0.0)


def sees(point: tuple[float, ...]) -> bool:
    """Whether the camera sees a point in a square picture."""
    away, right, above = CAMERA_POSITION[0] - point[0], point[1] - CAMERA_POSITION[1], point[2] - CAMERA_POSITION[2]
    return in_square_picture(right, away, above, CAMERA_TILT, CAMERA_FOVY)


def assets() -> Path:
    """Folder of the Fetch MJCF files. gymnasium-robotics is found, not imported.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    found = importlib.util.find_spec("gymnasium_robotics")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            "gymnasium_robotics: got no such package, expected it for the Fetch robot's meshes; "
            "pip install 'worldmodel[sim]'"
        )
    return Path(found.submodule_search_locations[0]) / "envs" / "assets" / "fetch"


def fetch_spec(grip_force: float) -> mujoco.MjSpec:
    """The robot at its table as an ``MjSpec`` of its own, without objects and without a keyframe.

    Args:
        grip_force: N, with which each finger presses at most.
    """
    spec = _robot().copy()
    spec.actuator("opening").forcerange = (-grip_force, grip_force)
    for joint in (LEFT_JOINT, RIGHT_JOINT):
        spec.joint(joint).damping[0] = grip_force / FINGER_SPEED
    return spec


def start_qpos(grip: tuple[float, float, float], opening: float = MAX_OPENING) -> np.ndarray:
    """Joint positions (9,) with the gripper pointing down and its grip point at ``grip`` (m).

    Raises:
        ValueError: if the arm does not reach there.
    """
    return np.concatenate([_arm_qpos(tuple(map(float, grip))), 2 * [0.5 * opening]])


def servo_ctrl(grip: np.ndarray, velocity: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """MuJoCo ``ctrl`` (..., 10) that sends the grip point to ``grip`` (..., 3) m at ``velocity`` (..., 3) m/s.

    The gripper stays upright; ``opening`` (...) is in m between the pads.
    """
    ctrl = np.zeros((*np.shape(grip)[:-1], 10))
    ctrl[..., 0:6:2], ctrl[..., 1:6:2], ctrl[..., 9] = grip, velocity, opening
    return ctrl


@functools.lru_cache(maxsize=1024)
def _arm_qpos(grip: tuple[float, float, float]) -> np.ndarray:
    model = _robot_model()
    data = mujoco.MjData(model)
    data.qpos[:7] = _ELBOW_UP
    site = model.site(GRIP).id
    jacobian, rotation, error = np.zeros((6, model.nv)), np.zeros(4), np.zeros(6)
    for _ in range(100):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
        mujoco.mju_mat2Quat(rotation, data.site_xmat[site])
        mujoco.mju_quat2Vel(error[3:], rotation, 1.0)
        error[:3], error[3:] = np.subtract(grip, data.site_xpos[site]), -error[3:]
        if np.abs(error).max() < 1e-10:
            return data.qpos[:7].copy()
        arm = jacobian[:, :7]
        data.qpos[:7] += arm.T @ np.linalg.solve(arm @ arm.T + 1e-6 * np.eye(6), error)  # damped least squares
    raise ValueError(f"gripper: got {grip}, expected a point that the arm reaches; move it towards the table's centre")


@functools.cache
def _robot_model() -> mujoco.MjModel:
    return _robot().copy().compile()


@functools.cache
def _robot() -> mujoco.MjSpec:
    spec = mujoco.MjSpec.from_file(str(assets() / "pick_and_place.xml"))
    spec.modelname = "grasp"
    _keep_arm_and_table(spec)
    _set_dynamics(spec)
    _set_drive(spec)
    _set_looks(spec)
    _set_light(spec)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0  # against creep in a static grip
    return spec


def _keep_arm_and_table(spec: mujoco.MjSpec) -> None:
    for body in ("mocap", "head_pan_link", "estop_link", "laser_link"):
        spec.delete(spec.body(f"robot0:{body}"))
    for body in ("object0", "floor0"):
        spec.delete(spec.body(body))
    for joint in ("slide0", "slide1", "slide2", "torso_lift_joint"):
        spec.delete(spec.joint(f"robot0:{joint}"))
    for element in (*spec.equalities, *spec.actuators, *spec.lights, *spec.textures):
        spec.delete(element)
    spec.body("robot0:base_link").pos = _BASE
    spec.body("table0").first_geom().name = TABLE


def _set_dynamics(spec: mujoco.MjSpec) -> None:
    for geom in spec.geoms:
        geom.margin = 0.0
        if geom.name not in (TABLE, PALM, LEFT_FINGER, RIGHT_FINGER):
            geom.contype = geom.conaffinity = 0
    for body in spec.bodies:
        body.gravcomp = 1.0
    for name in ARM_JOINTS:
        joint = spec.joint(name)
        joint.armature, joint.damping[0], joint.stiffness[0] = 0.1, 2.0, 0.0
    for name, side in ((LEFT_FINGER, 1.0), (RIGHT_FINGER, -1.0)):
        body = spec.body(name)
        body.mass, body.inertia = 0.1, (1e-4, 1e-4, 1e-4)
        body.first_geom().pos[1] += 0.0009 * side  # the assets leave 1.8 mm between closed pads
    for name in (LEFT_JOINT, RIGHT_JOINT):
        spec.joint(name).armature = 0.1
    spec.body(PALM).add_site(name=GRIP, pos=(0.02, 0.0, 0.0), quat=(_HALF, 0.0, -_HALF, 0.0), rgba=_INVISIBLE)


def _set_drive(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_site(name="world", rgba=_INVISIBLE)
    at_the_grip = {"trntype": mujoco.mjtTrn.mjTRN_SITE, "target": GRIP, "refsite": "world", "forcelimited": True}
    for axis, name in enumerate("xyz"):
        servo = spec.add_actuator(name=name, forcerange=(-_PUSH, _PUSH), **at_the_grip)
        servo.gear = np.eye(6)[axis]
        servo.set_to_pid(kp=_STIFFNESS, kv=_DAMPING, ctrlspec=_POSITION_AND_VELOCITY)
    servo = spec.add_actuator(name="upright", forcerange=(0.0, _TWIST), **at_the_grip)
    servo.set_to_orientation(kp=_TWIST_STIFFNESS, kv=_TWIST_DAMPING)
    tendon = spec.add_tendon(name="opening")
    for name in (LEFT_JOINT, RIGHT_JOINT):
        tendon.wrap_joint(name, 1.0)
    servo = spec.add_actuator(
        name="opening",
        trntype=mujoco.mjtTrn.mjTRN_TENDON,
        target="opening",
        ctrllimited=True,
        ctrlrange=(0.0, MAX_OPENING),
        forcelimited=True,
        forcerange=(-MAX_GRIP_FORCE, MAX_GRIP_FORCE),
    )
    servo.set_to_position(kp=_FINGER_STIFFNESS)
    spec.add_equality(
        name="fingers move alike",
        type=mujoco.mjtEq.mjEQ_JOINT,
        name1=LEFT_JOINT,
        name2=RIGHT_JOINT,
        data=[0.0, 1.0] + [0.0] * 10,
        solref=(0.004, 1.0),
    )


def _set_looks(spec: mujoco.MjSpec) -> None:
    shades = {TABLE: (0.66, 0.64, 0.61, 1.0), LEFT_FINGER: _DARK, RIGHT_FINGER: _DARK}
    for geom in spec.geoms:
        geom.material = ""
        geom.rgba = shades.get(geom.name, _GREY)
        geom.castshadow = geom.name not in ("floor0", TABLE)  # theirs fall out of view and cost a third of a picture
    # Not drawn: what would only be a backdrop, at half the cost of a picture, and what is never in view.
    for link in ("base", "torso_lift", "torso_fixed", "shoulder_pan", "shoulder_lift", "upperarm_roll", "elbow_flex"):
        spec.geom(f"robot0:{link}_link").group = _HIDDEN_GROUP


def _set_light(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.66, 0.70, 0.74),
        rgb2=(0.86, 0.87, 0.88),
        width=64,
        height=384,
    )
    spec.worldbody.add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(1.8, 0.55, 1.9),
        dir=(-0.35, 0.2, -1.0),
        diffuse=(0.5, 0.5, 0.5),
        specular=(0.0, 0.0, 0.0),
        castshadow=True,
    )
    axes = (0.0, 1.0, 0.0, -CAMERA_TILT, 0.0, 1.0)
    spec.worldbody.add_camera(name=CAMERA, pos=CAMERA_POSITION, xyaxes=axes, fovy=CAMERA_FOVY)
    head = spec.visual.headlight
    head.ambient, head.diffuse, head.specular = (0.42, 0.42, 0.42), (0.28, 0.28, 0.28), (0.0, 0.0, 0.0)
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 512, 4
    # Otherwise the clipping planes and the shadows would follow the objects.
    spec.stat.extent, spec.stat.center, spec.stat.meansize = 1.0, (1.3, 0.75, 0.5), 0.1
    spec.visual.map.shadowclip, spec.visual.map.znear, spec.visual.map.zfar = 0.45, 0.05, 40.0
