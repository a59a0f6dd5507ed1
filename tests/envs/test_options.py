"""Every number that a scene is drawn from is refused, by its name, range and value, where it cannot be."""

import dataclasses
import math

import numpy as np
import pytest

from worldmodel.envs import ball, drop_scene, graph_drawing, grasp_scene, maze, room
from worldmodel.envs.drop_scene import DropSampler
from worldmodel.envs.free_fall import FreeFall
from worldmodel.envs.grasp_scene import GraspSampler
from worldmodel.envs.maze import MazeSampler
from worldmodel.envs.options import Limits, check_numbers, check_ranges, draw
from worldmodel.envs.room import RoomSampler
from worldmodel.envs.traversal import TraversalSampler

RANGES = {
    DropSampler: drop_scene.LIMITS,
    GraspSampler: grasp_scene.LIMITS,
    RoomSampler: room.LIMITS,
}
NUMBERS = {
    TraversalSampler: {**graph_drawing.LIMITS, **ball.DRIVEN, "ball_radius": Limits(0.0), "flood_speed": Limits(0.0)},
    MazeSampler: maze.LIMITS,
}
OPTIONS = [(sampler, name) for kinds in (RANGES, NUMBERS) for sampler, limits in kinds.items() for name in limits]


@pytest.mark.parametrize(("sampler", "name"), OPTIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "heavy", None, True, 1j, (1.0, 2.0, 3.0), ()])
def test_what_is_no_number_is_refused(sampler, name, value):
    with pytest.raises(ValueError, match=rf"^{name}: got .*, expected .*; change it in the scene or its options$"):
        sampler(**{name: value})


@pytest.mark.parametrize(("sampler", "name"), [each for each in OPTIONS if each[0] in RANGES])
def test_pairs_are_checked_at_both_ends_and_in_their_order(sampler, name):
    low, high = getattr(sampler(), name) if isinstance(getattr(sampler(), name), tuple) else (0.2, 0.3)
    for pair in ((high, low), (low, math.nan), (math.inf, high), (low, "high")):
        with pytest.raises(ValueError, match=f"^{name}: got "):
            sampler(**{name: pair})


@pytest.mark.parametrize(
    ("sampler", "name"), [(s, n) for s, n in OPTIONS if math.isfinite({**RANGES, **NUMBERS}[s][n].least)]
)
def test_numbers_below_the_least_are_refused(sampler, name):
    least = {**RANGES, **NUMBERS}[sampler][name].least
    with pytest.raises(ValueError, match=f"^{name}: got {least - 1.0}"):
        sampler(**{name: least - 1.0})


@pytest.mark.parametrize("sampler", RANGES)
def test_lists_and_whole_numbers_will_do(sampler):
    """What JSON and command lines give."""
    usual = sampler()
    for name in RANGES[sampler]:
        value = getattr(usual, name)
        if isinstance(value, tuple):
            assert sampler(**{name: list(value)}) == usual
    assert DropSampler(gravity=9).gravity == 9.0 and isinstance(DropSampler(gravity=9).gravity, float)


@pytest.mark.parametrize(
    ("sampler", "name", "value", "follows"),
    [
        (DropSampler, "radius", 0.15, None),
        (DropSampler, "depth", 0.0, None),
        (GraspSampler, "friction", 0.02, None),
        (GraspSampler, "width", 0.05, "goal"),  # it is above the item, which is lower now
        (GraspSampler, "yaw", 0.0, "quaternion"),
    ],
)
def test_fixing_a_range_leaves_all_else_as_it_was_drawn(sampler, name, value, follows):
    drawn, fixed = sampler()(np.random.default_rng(3)), sampler(**{name: value})(np.random.default_rng(3))
    same = {each for each in ("colour", "quaternion", "shape", "goal", "gripper") if hasattr(drawn, each)} - {follows}
    assert all(getattr(drawn, each) == getattr(fixed, each) for each in same)
    assert drawn != fixed


def test_a_number_drawn_from_a_fixed_range_is_that_number():
    rng = np.random.default_rng(0)
    for value in rng.normal(size=1000):
        assert draw(float(value), (0.0, 1.0), rng) == value


def test_a_default_that_is_fixed_takes_nothing_from_the_generator():
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    assert draw(2.0, 2.0, one) == 2.0
    assert one.uniform() == other.uniform()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda: GraspSampler(shapes="box"), "shapes: got 'box', expected a tuple of some of"),
        (lambda: GraspSampler(shapes=()), r"shapes: got \(\), expected a tuple of some of"),
        (lambda: GraspSampler(colours=("mauve",)), r"colours: got \('mauve',\)"),
        (lambda: DropSampler(colours=()), r"colours: got \(\)"),
        (lambda: DropSampler(objects=1.5), "objects: got 1.5, expected 1 to 4"),
        (lambda: GraspSampler(distractors=1.5), "distractors: got 1.5, expected 0 to 3"),
        (lambda: GraspSampler(width=0.1), "width: got 0.1, expected at least 0.01 and below 0.1 m"),
        (
            lambda: GraspSampler(sideways=(-0.2, 0.2)),
            "depth, sideways: got .* expected places around which the gripper",
        ),
        (lambda: GraspSampler(lift=0.5), "lift: got 0.5, expected above 0 and at most 0.27 m"),
        (lambda: GraspSampler(depth=-0.19), "depth, sideways: got -0.19, .* around which the gripper reaches"),
        (lambda: FreeFall(sideways=5.0).sampler(np.random.default_rng(0)), "sideways, depth: got .* camera sees a"),
        (lambda: FreeFall(radius=3.0).sampler(np.random.default_rng(0)), "radius, clearance, .*: got 3.0, .* camera"),
        (lambda: RoomSampler(drop=0.05), "drop: got 0.05, expected at least 0.1 and at most 1.2 m"),
        (lambda: TraversalSampler(goal="sequence", sequence_length=2.5), "sequence_length: got 2.5"),
        (lambda: TraversalSampler(cycles=True), "cycles: got True"),
        (lambda: MazeSampler(rows=True), "rows: got True"),
        (lambda: DropSampler(gravity=10**400), "gravity: got 1000"),
        (lambda: TraversalSampler(layout=["grid"]), "layout: got"),
        (
            lambda: TraversalSampler(node_radius=0.6),
            "node_radius: got 0.6, expected at least 0.015625 and below 0.48 m",
        ),
        (lambda: TraversalSampler(max_degree=2.5), "max_degree: got 2.5, expected a whole number from 2 to 100"),
        (
            lambda: TraversalSampler(ball_radius=0.04),
            "ball_radius: got 0.04, expected at least 0.0078125 and below 0.032 m",
        ),
        (lambda: TraversalSampler(max_degree=1000), "max_degree: got 1000, expected a whole number from 2 to 100"),
        (lambda: TraversalSampler(nodes=10**400), "nodes: got 1000.*, expected 2 to 100"),
        (lambda: TraversalSampler(sequence_length="x"), "sequence_length: got x, expected 1 to 4"),
        (lambda: TraversalSampler(layout=np.array(["ring"])), "layout: got array.*, expected one of scattered"),
        (
            lambda: MazeSampler(rows=15, ball_share=0.1),
            "ball_share: got 0.1, expected at least 0.153, with which a ball",
        ),
        (lambda: FreeFall(depth=90.0).sampler(np.random.default_rng(0)), "depth: got .* in which the camera sees a"),
        (lambda: TraversalSampler(layout="spiral"), "layout: got 'spiral', expected one of scattered, grid, ring"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        options()


@dataclasses.dataclass(frozen=True)
class _Some:
    height: object = None
    mass: object = 1


@pytest.mark.parametrize(
    "options",
    [
        {"support": "ledge", "clearance": (0.9, 1.0)},
        {"support": "ramp", "clearance": (1.1, 1.2)},
        {"support": "table", "clearance": (1.0, 1.2)},
        {"objects": 4, "sideways": (-0.7, 0.7)},
        {"radius": 0.5},
        {"sideways": (-2.0, 2.0)},
    ],
)
def test_objects_are_drawn_where_the_camera_sees_them(options):
    """Or an episode in the middle of many would be refused."""
    family = FreeFall(**options)
    for seed in range(25):
        family.check(family.sampler(np.random.default_rng(seed)))


def test_limits_are_said_as_they_hold():
    for limits, words in (
        (Limits(), "a finite number"),
        (Limits(unit="m"), "a finite number of m"),
        (Limits(0.0, unit="kg", above=True), "a finite number of kg, above 0"),
        (Limits(0.0, 2.0, "m/s", above=True), "above 0 and at most 2 m/s"),
    ):
        assert str(limits) == words
        assert [limits.hold(value) for value in (0.0, math.nan)] == [not limits.above, False]
    check_ranges(_Some(), {"height": Limits()})  # None, its default, passes
    with pytest.raises(ValueError, match="mass: got 3, expected at least 0 and below 3"):
        check_numbers(_Some(mass=3), {"mass": Limits(0.0, 3.0, below=True)})
