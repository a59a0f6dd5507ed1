"""Playing clips to their end and keeping all that is known of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs.family import Policy
from worldmodel.envs.rendering import Eye
from worldmodel.envs.simulation import Simulation
from worldmodel.truth import Camera, Truth


def record(
    simulation: Simulation,
    eye: Eye,
    scenes: Sequence[Any],
    policies: Sequence[Policy],
    num_frames: int,
    action_spec: ActionSpec | None,
    *,
    depth: bool = False,
) -> list[Truth]:
    """One clip of ``num_frames`` frames of each scene under its policy; as many scenes as simulations."""
    simulation.reset(scenes)
    frames = [_snapshots(simulation, eye, depth)]
    cameras = _cameras(simulation, eye)
    actions = []
    for _ in range(num_frames - 1):
        if action_spec is None:
            simulation.step()
        else:
            infos = [simulation.info(index) for index in range(simulation.num)]
            actions.append(action_spec.check([policy(info) for policy, info in zip(policies, infos, strict=True)]))
            simulation.step(actions[-1])
        frames.append(_snapshots(simulation, eye, depth))
    return [
        _truth(
            simulation,
            index,
            cameras[index],
            [frame[index] for frame in frames],
            np.stack([each[index] for each in actions]) if actions else None,
            action_spec,
        )
        for index in range(simulation.num)
    ]


def _cameras(simulation: Simulation, eye: Eye) -> list[Camera]:
    cameras = []
    for index in range(simulation.num):
        eye.look(index)
        cameras.append(eye.camera())
    return cameras


def _snapshots(simulation: Simulation, eye: Eye, depth: bool) -> list[dict[str, Any]]:
    """What each simulation shows and knows at its current frame."""
    state = {
        "time": simulation.time(),
        "qpos": simulation.batch.bind("qpos").copy(),
        "qvel": simulation.batch.bind("qvel").copy(),
        **simulation.objects(),
    }
    snapshots = []
    for index in range(simulation.num):
        eye.look(index)
        pictures = {"video": eye.colour(), "segmentation": eye.segmentation()}
        if depth:
            pictures["depth"] = eye.depth()
        signals = {name: value[index] for name, value in simulation.signals.items()}
        snapshots.append({**pictures, **{name: value[index] for name, value in state.items()}, "signals": signals})
    return snapshots


def _truth(
    simulation: Simulation,
    index: int,
    camera: Camera,
    frames: list[dict[str, Any]],
    actions: np.ndarray | None,
    action_spec: ActionSpec | None,
) -> Truth:
    family, scene = simulation.family, simulation.scenes[index]
    arrays = {name: np.stack([frame[name] for frame in frames]) for name in frames[0] if name != "signals"}
    signals = {name: np.stack([frame["signals"][name] for frame in frames]) for name in family.signals}
    return Truth(
        **arrays,
        objects=family.objects,
        fps=simulation.fps,
        camera=camera,
        scene={"env": family.id, **dataclasses.asdict(scene)},
        signals=signals,
        units=dict(family.signals),
        outcome=family.outcome(scene, arrays["time"], signals),
        maps=family.maps(scene, camera),
        actions=actions,
        action_spec=action_spec,
    )
