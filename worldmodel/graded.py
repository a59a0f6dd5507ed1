"""Policies of graded skill, which act on what is seen alone: a scripted expert with more or less of a shaking hand.

They run unchanged in MuJoCo and in an imagined twin, and answer with chunks: within one, the expert goes on from
where its own commands should have led it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SHAKE = 0.9  # correlation of the disturbance from one action to the next
# Of half of the range of actions, by their number: the disturbance's standard deviation where there is no skill.
DRIFT = {2: 1.6, 4: 0.25}


def check_skill(skill: float) -> None:
    """Refuse a skill that is no number from 0 to 1."""
    if not 0.0 <= skill <= 1.0:
        raise ValueError(f"skill: got {skill!r}, expected 0 to 1; 1 is the script itself")


class GradedPolicy:
    """One of a family's scripted policies, disturbed.

    Args:
        family, scene: of the environment, such as ``env.family`` and ``env.scene`` after its reset.
        n: actions of an answer.
        skill: 1 for the script itself, 0 for one that is drowned in its disturbance.
        script: name of the family's policy.
        seed: of the disturbance.
    """

    def __init__(self, family: Any, scene: Any, n: int, *, skill: float = 1.0, script: str = "", seed: int = 0) -> None:
        check_skill(skill)
        if family.action_spec is None:
            raise ValueError(f"family: got {family.id}, which takes no actions, expected one that does; choose another")
        self.family, self.scene, self.n, self.skill, self.script, self.seed = family, scene, n, skill, script, seed
        if len(family.action_spec.names) not in _STEPS:
            raise ValueError(
                f"family: got {family.id}, expected a ball's or the Fetch gripper's; script another policy"
            )
        if script in family.changes:
            raise ValueError(
                f"script: got {script!r}, which is another physics and no other motion, expected one of "
                f"{', '.join(name for name in family.policies if name not in family.changes)}; play the scene "
                "family.attempted(script, scene)"
            )
        self._step = _STEPS[len(family.action_spec.names)]
        self.reset()

    def reset(self) -> None:
        """Begin again, with the same disturbance."""
        self._rng = np.random.default_rng([self.seed, 7])
        self._act = self.family.policy(self.script or None, self.scene, np.random.default_rng(self.seed))
        self._shake = np.zeros(len(self.family.action_spec.names))
        self._time = 0.0

    def infer(self, observation: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """``actions`` (n, A) of ``agent_pos``."""
        spec, actions = self.family.action_spec, []
        low, high = np.array(spec.low), np.array(spec.high)
        info = self._info(np.asarray(observation["agent_pos"], np.float64))
        for _ in range(self.n):
            wanted = np.asarray(self._act(info), np.float64)
            self._time += 1.0 / self.family.fps
            info = self._step(info, wanted, self.family.fps) | {"time": self._time}
            noise = self._rng.standard_normal(len(low))
            self._shake = SHAKE * self._shake + np.sqrt(1.0 - SHAKE**2) * noise
            shaken = wanted + (1.0 - self.skill) * DRIFT[len(low)] * 0.5 * (high - low) * self._shake
            actions.append(np.clip(shaken, low, high))
        return {"actions": np.array(actions)}

    def _info(self, agent: np.ndarray) -> dict[str, Any]:
        """What a script asks for, of a ball (x, y, vx, vy) or a gripper (x, y, z, opening)."""
        if len(self._shake) == 2:
            return {"position": np.array([[agent[0], agent[1], 0.0]]), "time": self._time}
        return {"gripper_target": agent[:3].copy(), "opening": agent[3], "time": self._time}


def _roll(info: dict[str, Any], action: np.ndarray, fps: float) -> dict[str, Any]:
    """A ball where its commanded velocity takes it."""
    return {"position": info["position"] + np.array([[action[0], action[1], 0.0]]) / fps}


def _reach(info: dict[str, Any], action: np.ndarray, fps: float) -> dict[str, Any]:
    """A gripper at its new set-point."""
    from worldmodel.envs import fetch

    target = np.clip(info["gripper_target"] + action[:3], fetch.REACH_LOW, fetch.REACH_HIGH)
    return {"gripper_target": target, "opening": action[3]}


_STEPS = {2: _roll, 4: _reach}
