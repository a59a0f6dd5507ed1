"""Whose actions a model reads, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from known_models import random_robots

from worldmodel.actions import ActionSpec
from worldmodel.backends.domains import Domain, check_bounds, choose, differences, unusual

BALL = ActionSpec(("x", "y"), ("m/s", "m/s"), (-0.5, -1.0), (0.5, 1.0), "world", 16.0)
ARM = ActionSpec(("dx", "opening"), ("m", "m"), (-0.05, 0.0), (0.05, 0.1), "world", 16.0, gripper="0 closed")
DOMAINS = (
    Domain("ball", BALL, (0, 1), ((-0.4, 0.4), (-0.9, 0.9))),
    Domain("arm", ARM, (2, 3), ((-0.04, 0.04), (0.0, 0.1))),
)


def test_the_bounds_of_a_spec_are_read_as_minus_one_and_one_in_the_domains_own_numbers():
    read = DOMAINS[1].numbers(np.array([[-0.05, 0.0], [0.0, 0.05], [0.05, 0.1]]), 7)
    np.testing.assert_allclose(read, [[0, 0, -1, -1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0]], atol=1e-6)


def test_a_domain_survives_json():
    assert [Domain.from_json(each.to_json()) for each in DOMAINS] == list(DOMAINS)


def test_a_domain_is_chosen_by_its_name_or_by_what_its_actions_mean():
    assert choose(DOMAINS, "arm") is DOMAINS[1]
    assert choose(DOMAINS, BALL) is DOMAINS[0]
    slower = dataclasses.replace(BALL, low=(-0.1, -0.1), high=(0.1, 0.1))
    assert choose(DOMAINS, slower) is DOMAINS[0], "narrower bounds are within what was trained"


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"units": ("cm/s", "cm/s")}, "units"),
        ({"control_hz": 10.0}, "control_hz 10.0 where 16.0 is expected"),
        ({"frame": "gripper"}, "frame"),
        ({"low": (-0.6, -1.0)}, "x from -0.6 to 0.5 where -0.5 to 0.5 was trained"),
    ],
)
def test_a_spec_that_means_something_else_is_refused_with_what_differs(change, phrase):
    other = dataclasses.replace(BALL, **change)
    assert len(differences(BALL, other)) == 1
    with pytest.raises(ValueError, match=r"action_spec: got .*convert the actions") as refusal:
        choose(DOMAINS, other)
    assert phrase in str(refusal.value)


def test_unknown_names_and_models_without_robots_are_refused():
    with pytest.raises(ValueError, match="domain: got 'leg', expected one of ball, arm"):
        choose(DOMAINS, "leg")
    with pytest.raises(ValueError, match="a model without actions"):
        choose((), BALL)


def test_bounds_that_cannot_be_scaled_are_refused():
    with pytest.raises(ValueError, match="RescaleAction"):
        check_bounds(dataclasses.replace(BALL, high=(np.inf, 1.0)))


def test_an_action_out_of_range_is_refused_with_what_was_trained():
    model = random_robots().conditioned(domain="ball")
    spec, ((low, high), *_) = model.backend.action_spec, choose(model.recipe.domains, "ball").usual
    actions = np.zeros((1, 8, len(spec.names)))
    actions[0, 3, 0] = 2.0 * spec.high[0]
    expected = (
        f"action {spec.names[0]}: got .* 98 % of its training data had {spec.names[0]} from {low:.3g} to {high:.3g}"
    )
    with pytest.raises(ValueError, match=expected):
        model.rollout(np.zeros((1, 32, 32, 3), np.uint8), seeds=[0], actions=actions)


def test_guidance_over_actions_without_any_is_refused():
    model = random_robots().conditioned(domain="ball", action_guidance=2.0)
    with pytest.raises(ValueError, match="actions: got None with action_guidance 2, expected some"):
        model.rollout(np.zeros((1, 32, 32, 3), np.uint8), seeds=[0], progress=False)


def test_the_range_report_counts_what_lies_outside_most_of_the_training_data():
    actions = np.array([[[0.4, 0.0], [0.45, 0.0]], [[-0.5, -1.0], [0.0, 0.9]]])
    assert unusual(DOMAINS[0], actions) == {"x": 0.5, "y": 0.25}
    with pytest.raises(ValueError, match="actions: got none, expected at least one"):
        unusual(DOMAINS[0], actions[:0])
