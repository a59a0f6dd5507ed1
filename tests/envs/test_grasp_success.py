"""Published definitions of success, each on both sides of its thresholds."""

import dataclasses

import numpy as np
import pytest

from worldmodel.envs.fetch import TABLE_HEIGHT
from worldmodel.envs.grasp_success import DEFINITIONS, GraspFacts, evaluate

START = np.array([1.3, 0.75, TABLE_HEIGHT + 0.025])
GOAL = START + np.array([0.0, 0.0, 0.1])
HELD = GraspFacts(
    position=GOAL,
    start=START,
    goal=GOAL,
    gripper=GOAL,
    opening=np.array(0.05),
    axis=np.array([0.0, 1.0, 0.0]),
    left_contact=np.array(True),
    right_contact=np.array(True),
    left_force=np.array([0.0, 20.0, 1.0]),  # the left finger, at -y, pushes towards +y
    right_force=np.array([0.0, -20.0, 1.0]),
    table_contact=np.array(False),
    joint_speed=np.array(0.0),
)


def height(above_table):
    return {"position": np.array([*GOAL[:2], TABLE_HEIGHT + above_table])}


def raised(above_start):
    return {"position": START + np.array([0.0, 0.0, above_start])}


def off_goal(distance):
    return {"position": GOAL + np.array([distance, 0.0, 0.0])}


def tilted(degrees, newton=20.0):
    """The force of the left finger on the item, turned from the direction in which that finger closes."""
    return {"left_force": newton * np.array([np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees)), 0.0])}


def on_table(aside):
    return {"position": np.array([GOAL[0] + aside, GOAL[1], TABLE_HEIGHT + 0.025]), "table_contact": np.array(True)}


NONE = np.zeros(3)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("robosuite_lift", height(0.0401), True),
        ("robosuite_lift", height(0.0399), False),
        ("robosuite_lift", {"left_contact": np.array(False), "right_contact": np.array(False)}, True),
        ("robosuite_grasp", {}, True),
        ("robosuite_grasp", {"right_contact": np.array(False)}, False),
        ("maniskill_grasp", {}, True),
        ("maniskill_grasp", tilted(84.0), True),
        ("maniskill_grasp", tilted(86.0), False),
        ("maniskill_grasp", tilted(180.0), False),
        ("maniskill_grasp", tilted(0.0, 0.51), True),
        ("maniskill_grasp", tilted(0.0, 0.49), False),
        ("maniskill_grasp", {"right_force": -HELD.right_force}, False),
        ("maniskill_grasp", {"right_force": NONE}, False),
        ("maniskill_pick_cube", off_goal(0.0249), True),
        ("maniskill_pick_cube", off_goal(0.0251), False),
        ("maniskill_pick_cube", {"joint_speed": np.array(0.2)}, True),
        ("maniskill_pick_cube", {"joint_speed": np.array(0.201)}, False),
        ("maniskill_pick_cube", {"left_force": NONE, "right_force": NONE}, True),
        ("fetch_pick_and_place", off_goal(0.0499), True),
        ("fetch_pick_and_place", off_goal(0.0501), False),
        ("metaworld_near", {"gripper": GOAL + np.array([0.0, 0.0, 0.0299])}, True),
        ("metaworld_near", {"gripper": GOAL + np.array([0.0, 0.0, 0.0301])}, False),
        ("metaworld_grasp", raised(0.0201), True),
        ("metaworld_grasp", raised(0.0199), False),
        ("metaworld_grasp", {"left_force": NONE}, False),
        ("metaworld_grasp", {"opening": np.array(0.0)}, False),
        ("metaworld_pick_place", off_goal(0.0699), True),
        ("metaworld_pick_place", off_goal(0.0701), False),
        ("libero_up", height(0.1001), True),
        ("libero_up", height(0.0999), False),
        ("libero_on", on_table(0.0299), True),
        ("libero_on", on_table(0.0301), False),
        ("libero_on", {**on_table(0.0), "table_contact": np.array(False)}, False),
        ("libero_on", {**height(-0.3), "table_contact": np.array(True)}, False),
        ("robowm_lift", raised(0.0501), True),
        ("robowm_lift", raised(0.0499), False),
        ("robowm_lift", raised(-0.0501), True),
    ],
)
def test_a_definition_says_what_its_source_says(name, change, expected):
    assert bool(evaluate(dataclasses.replace(HELD, **change))[name]) is expected


def test_definitions_are_vectorised():
    rows = [HELD, dataclasses.replace(HELD, **height(0.03)), dataclasses.replace(HELD, left_contact=np.array(False))]
    fields = [field.name for field in dataclasses.fields(GraspFacts)]
    both = GraspFacts(**{name: np.stack([getattr(row, name) for row in rows]) for name in fields})
    together = evaluate(both)
    for name in DEFINITIONS:
        assert together[name].tolist() == [bool(evaluate(row)[name]) for row in rows]


def test_every_definition_names_its_source():
    assert len({definition.source for definition in DEFINITIONS.values()}) == len(DEFINITIONS)
