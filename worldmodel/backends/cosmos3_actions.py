"""What Cosmos 3 is told of a motion: one kind of action for each embodiment it was trained on.

An action leads from one frame to the next. Its numbers are those of the checkpoint's own normaliser, which comes with
its training data and not with the pipeline: numbers in metres instead of normalised ones make motions that are many
times too small, and nothing but the picture tells. Rotations are two columns of a matrix (6 numbers).
"""

from __future__ import annotations

from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import _EMBODIMENT_TO_DOMAIN_ID, _EMBODIMENT_TO_RAW_ACTION_DIM

from worldmodel.actions import ActionSpec

NO_ACTION = "no_action"
DOMAINS: dict[str, int] = {name: _EMBODIMENT_TO_DOMAIN_ID[name] for name in _EMBODIMENT_TO_RAW_ACTION_DIM}

POSE = ("x", "y", "z", "r1", "r2", "r3", "r4", "r5", "r6")
ARM = (*POSE, "gripper")
HAND = (*POSE, *(f"finger{i}_{axis}" for i in range(1, 6) for axis in "xyz"))
LIMIT = 10.0  # normalised numbers lie about within 1


def _of(part: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{part}_{name}" for name in names)


BODY_AND_ARMS = (*_of("body", POSE), *_of("left", ARM), *_of("right", ARM))
NAMES: dict[str, tuple[str, ...]] = {
    "av": POSE,
    "camera_pose": POSE,
    "pusht": ("x", "y"),
    "robomind-franka-dual": (*_of("left", ARM), *_of("right", ARM)),
    "agibotworld": BODY_AND_ARMS,
    "agibot_gear_gripper": BODY_AND_ARMS,
    "agibot_gear_gripper_ext": BODY_AND_ARMS,
    "hand_pose": (*_of("body", POSE), *_of("left", HAND), *_of("right", HAND)),
}


def action_spec(domain: str, fps: float) -> ActionSpec:
    """The actions of an embodiment domain, one for each frame after the first.

    Raises:
        ValueError: Cosmos 3 knows no such domain, or no width of its actions.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain: got {domain!r}, expected one of {', '.join(sorted(DOMAINS))}; choose one")
    width = _EMBODIMENT_TO_RAW_ACTION_DIM[domain]
    names = NAMES.get(domain, ARM if width == len(ARM) else ())
    if len(names) != width:  # of parts that are not published
        names = tuple(f"a{index}" for index in range(1, width + 1))
    return ActionSpec(
        names=names,
        units=("normalised",) * width,
        low=(-LIMIT,) * width,
        high=(LIMIT,) * width,
        frame=f"{domain} of Cosmos 3",
        control_hz=fps,
        gripper="as the checkpoint's normaliser has it" if any("gripper" in name for name in names) else "",
    )
