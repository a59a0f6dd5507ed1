"""When is a grasp a success? The published definitions, side by side.

Each is a function of :class:`GraspFacts`, vectorised over leading axes, and says what the cited
code says: no thresholds are harmonised. Heights are above the table, of the item's centre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from worldmodel.envs.fetch import TABLE_HEIGHT


@dataclass(frozen=True)
class GraspFacts:
    """What the definitions ask for at one instant, in the world frame with z up."""

    position: np.ndarray  # (..., 3) m, centre of the item
    start: np.ndarray  # (..., 3) m, the same at t = 0
    goal: np.ndarray  # (..., 3) m, where it should be
    gripper: np.ndarray  # (..., 3) m, point between the finger pads
    opening: np.ndarray  # (...) m, between the pads
    axis: np.ndarray  # (..., 3) unit vector from the left to the right finger
    left_contact: np.ndarray  # (...) bool, the left finger touches the item
    right_contact: np.ndarray  # (...) bool
    left_force: np.ndarray  # (..., 3) N, of the left finger on the item
    right_force: np.ndarray  # (..., 3) N
    table_contact: np.ndarray  # (...) bool, the table touches the item
    joint_speed: np.ndarray  # (...) rad/s, of the arm's fastest joint

    @property
    def goal_distance(self) -> np.ndarray:
        """Metres (...) from the item to its goal."""
        return np.linalg.norm(self.position - self.goal, axis=-1)


@dataclass(frozen=True)
class Definition:
    """A published criterion."""

    test: Callable[[GraspFacts], np.ndarray]  # (...) bool
    says: str
    source: str


def robosuite_lift(facts: GraspFacts) -> np.ndarray:
    """Centre more than 4 cm above the table top; the fingers are not asked."""
    return facts.position[..., 2] > TABLE_HEIGHT + 0.04


def robosuite_grasp(facts: GraspFacts) -> np.ndarray:
    """Both finger pads touch the item."""
    return facts.left_contact & facts.right_contact


def maniskill_grasp(facts: GraspFacts) -> np.ndarray:
    """Each finger is pushed by at least 0.5 N, within 85 degrees of the direction in which it opens."""
    return _pushed_open(-facts.left_force, -facts.axis) & _pushed_open(-facts.right_force, facts.axis)


def maniskill_pick_cube(facts: GraspFacts) -> np.ndarray:
    """Within 2.5 cm of the goal while no arm joint is faster than 0.2 rad/s; a grasp is not asked for."""
    return (facts.goal_distance <= 0.025) & (facts.joint_speed <= 0.2)


def fetch_pick_and_place(facts: GraspFacts) -> np.ndarray:
    """Less than 5 cm from the goal."""
    return facts.goal_distance < 0.05


def metaworld_near(facts: GraspFacts) -> np.ndarray:
    """The grip point is within 3 cm of the item's centre."""
    return np.linalg.norm(facts.position - facts.gripper, axis=-1) <= 0.03


def metaworld_grasp(facts: GraspFacts) -> np.ndarray:
    """Both pads push, the gripper is not closed, and the item is more than 2 cm above its start."""
    pushed = (np.linalg.norm(facts.left_force, axis=-1) > 0.0) & (np.linalg.norm(facts.right_force, axis=-1) > 0.0)
    return pushed & (facts.opening > 0.0) & (facts.position[..., 2] - 0.02 > facts.start[..., 2])


def metaworld_pick_place(facts: GraspFacts) -> np.ndarray:
    """Within 7 cm of the goal."""
    return facts.goal_distance <= 0.07


def libero_up(facts: GraspFacts) -> np.ndarray:
    """At least 1.0 m high in LIBERO's world, where the table top is at 0.90 m."""
    return facts.position[..., 2] - TABLE_HEIGHT >= 1.0 - 0.90


def libero_on(facts: GraspFacts) -> np.ndarray:
    """On the table at the goal: not below it, touching it, and less than 3 cm from the goal in the plane."""
    aside = np.linalg.norm(facts.position[..., :2] - facts.goal[..., :2], axis=-1)
    return (facts.position[..., 2] >= TABLE_HEIGHT) & facts.table_contact & (aside < 0.03)


def robowm_lift(facts: GraspFacts) -> np.ndarray:
    """Height changed by more than 5 cm, upwards or downwards: off the table's edge counts too."""
    return np.abs(facts.position[..., 2] - facts.start[..., 2]) > 0.05


def _pushed_open(force: np.ndarray, direction: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(force, axis=-1)
    cosine = (force * direction).sum(axis=-1) / np.maximum(size, 1e-12)
    return (size >= 0.5) & (np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))) <= 85.0)


_ROBOSUITE = "ARISE-Initiative/robosuite, robosuite/environments/manipulation"
_MANISKILL = "haosulab/ManiSkill, mani_skill"
_METAWORLD = "Farama-Foundation/Metaworld, metaworld/envs/sawyer_pick_place_v3.py"
_LIBERO = "Lifelong-Robot-Learning/LIBERO, libero/libero/envs"

DEFINITIONS: dict[str, Definition] = {
    "robosuite_lift": Definition(
        robosuite_lift, "centre > 4 cm above the table", f"{_ROBOSUITE}/lift.py, _check_success"
    ),
    "robosuite_grasp": Definition(
        robosuite_grasp, "both pads touch", f"{_ROBOSUITE}/manipulation_env.py, _check_grasp"
    ),
    "maniskill_grasp": Definition(
        maniskill_grasp,
        "both fingers pushed >= 0.5 N within 85 degrees",
        f"{_MANISKILL}/agents/robots/fetch/fetch.py, is_grasping",
    ),
    "maniskill_pick_cube": Definition(
        maniskill_pick_cube,
        "<= 2.5 cm from the goal, joints <= 0.2 rad/s",
        f"{_MANISKILL}/envs/tasks/tabletop/pick_cube.py, PickCube-v1, evaluate",
    ),
    "fetch_pick_and_place": Definition(
        fetch_pick_and_place,
        "< 5 cm from the goal",
        "Farama-Foundation/Gymnasium-Robotics, gymnasium_robotics/envs/fetch/fetch_env.py, _is_success",
    ),
    "metaworld_near": Definition(metaworld_near, "grip point <= 3 cm from the centre", f"{_METAWORLD}, near_object"),
    "metaworld_grasp": Definition(
        metaworld_grasp, "both pads push, not closed, > 2 cm above the start", f"{_METAWORLD}, grasp_success"
    ),
    "metaworld_pick_place": Definition(metaworld_pick_place, "<= 7 cm from the goal", f"{_METAWORLD}, success"),
    "libero_up": Definition(libero_up, ">= 10 cm above the table", f"{_LIBERO}/predicates/base_predicates.py, Up"),
    "libero_on": Definition(
        libero_on,
        "touches the table < 3 cm from the goal in the plane",
        f"{_LIBERO}/object_states/base_object_states.py, check_ontop",
    ),
    "robowm_lift": Definition(
        robowm_lift,
        "height changed by > 5 cm, either way",
        "fffstrong/RoboWM-Bench, source/lehome/lehome/utils/success_checker.py, success_checker_pick",
    ),
}


def evaluate(facts: GraspFacts) -> dict[str, np.ndarray]:
    """What every definition says, (...) bool each."""
    return {name: definition.test(facts) for name, definition in DEFINITIONS.items()}
