"""The meaning of actions: what is refused, and the round trip to JSON."""

import dataclasses
import json

import numpy as np
import pytest

from worldmodel.actions import ActionSpec, repeated

SPEC = ActionSpec(
    names=("x", "y", "grip"),
    units=("m", "m", "1"),
    low=(-0.1, -0.1, 0.0),
    high=(0.1, 0.1, 1.0),
    frame="gripper",
    control_hz=16.0,
    gripper="0 open, 1 closed",
)


def test_actions_of_any_leading_shape_come_back_as_float64():
    for shape in ((3,), (5, 3), (2, 5, 3)):
        checked = SPEC.check(np.full(shape, 0.05, np.float32))
        assert checked.shape == shape
        assert checked.dtype == np.float64


def test_what_a_box_draws_passes():
    bounds = np.float32(SPEC.low), np.float32(SPEC.high)
    SPEC.check(np.stack(bounds))
    assert (np.float64(bounds[1]) > SPEC.high).any(), "float32 rounds some bound outwards"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.0, 0.0], r"action: got shape \(2,\), expected 3 numbers \(x in m, y in m, grip in 1\)"),
        (0.0, r"action: got shape \(\), expected 3 numbers"),
        (np.zeros((3, 2)), r"action: got shape \(3, 2\), expected 3 numbers"),
        ([0.0, np.nan, 0.0], "action y: got nan m, expected -0.1 to 0.1 m in the gripper frame"),
        ([0.0, 0.0, np.inf], "action grip: got inf 1, expected 0 to 1 1"),
        ([0.0, 0.2, 0.0], "action y: got 0.2 m, expected -0.1 to 0.1 m in the gripper frame"),
        ([0.0, 0.0, -1.0], "action grip: got -1 1, expected 0 to 1 1"),
        ([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]], "action x: got 50 m"),
        ("left", "action: got 'left', expected 3 numbers"),
        (None, "action: got"),
        ({"x": 0.0}, "action: got"),
    ],
)
def test_other_actions_are_refused_by_name_range_and_unit(action, message):
    with pytest.raises(ValueError, match=message):
        SPEC.check(action)


def test_bounds_that_are_open_on_one_side_hold_on_the_other():
    open_above = dataclasses.replace(SPEC, high=(np.inf, np.inf, np.inf))
    open_above.check([0.0, 1e9, 5.0])
    for action, message in (([0.0, -0.2, 0.0], "action y: got -0.2 m"), ([np.inf, 0.0, 0.0], "action x: got inf m")):
        with pytest.raises(ValueError, match=message):
            open_above.check(action)


def test_json_gives_the_same_spec_back():
    document = json.loads(json.dumps(SPEC.to_json()))
    assert ActionSpec.from_json(document) == SPEC
    assert ActionSpec.from_json({**document, "still": True}) == SPEC, "as earlier versions wrote it"


def test_missing_actions_repeat_the_last_and_are_never_zeros():
    given = np.arange(1.0, 13.0).reshape(2, 2, 3)
    filled = repeated(given, 5)
    np.testing.assert_array_equal(filled[:, :2], given)
    np.testing.assert_array_equal(filled[:, 2:], np.repeat(given[:, 1:], 3, axis=1))
    assert repeated(given, 1) is not None and repeated(given, 1).shape == (2, 2, 3), "none is dropped"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": ("m",)}, "units: got 1"),
        ({"low": (0.0,) * 4}, "low: got 4"),
        ({"high": ()}, "high: got 0"),
        ({"control_hz": 0.0}, "control_hz, scale: got 0.0"),
        ({"control_hz": float("nan")}, "control_hz, scale: got nan"),
        ({"scale": -1.0}, "control_hz, scale: got 16.0, -1.0"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ActionSpec(**{**SPEC.to_json(), **change})
