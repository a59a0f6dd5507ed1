"""Plots put numbers where they belong, in colours that rows keep."""

import re

import pytest
from made_families import around, entries, family

from worldmodel.evaluators.plots import _nice_ticks, differences, distribution, error_over_time, plots_of, skills
from worldmodel.evaluators.report_style import COLOURS, ink, slots_of


def scored(**levels):
    return family({name: entries(error_px=around(level)) for name, level in levels.items()})


def test_skill_lies_between_the_null_and_the_ceiling():
    svg = skills(scored(truth=1.0, half=5.5, frozen=10.0))
    zero, one = (float(x) for x in re.findall(r'class="zero" x1="([\d.]+)"', svg))
    (dot,) = (float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg))
    assert dot == pytest.approx((zero + one) / 2, abs=0.02 * (one - zero))


def test_a_difference_is_coloured_by_which_row_is_better():
    svg = differences(scored(truth=1.0, good=2.0, bad=6.0, frozen=10.0))
    assert re.findall(r'<g class="(\w+)">', svg) == ["worse", "better", "better"], "bad - good, good - null, bad - null"


def test_a_distribution_climbs_from_nothing_to_everything():
    svg = distribution(scored(truth=1.0, model=30.0))
    for points in re.findall(r'class="line \w+" points="([^"]+)"/><', svg):
        heights = [float(point.split(",")[1]) for point in points.split()]
        assert heights == sorted(heights, reverse=True)


def test_plots_that_the_numbers_do_not_allow_are_left_out():
    found = scored(truth=1.0, model=3.0)
    assert error_over_time(found) == ""
    assert set(plots_of(found)) == {"distribution"}, "without a null there is neither skill nor a comparison"


def test_errors_over_time_are_drawn_where_they_were_scored():
    rows = {name: entries(error_px=around(1.0)) for name in ("truth", "model")}
    for entry in rows["model"]:
        entry["score"]["frame_error_px"] = [None] + [2.0] * 16
    svg = error_over_time(family(rows))
    assert svg.count('class="band') == 1
    assert ">model<" in svg


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-8.3, 0.7), (0.0, 8.0), (1e-3, 4e-3), (-250.0, 90.0)])
def test_ticks_are_few_and_round(low, high):
    ticks = _nice_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)


def test_rows_of_the_demo_keep_their_colours_and_others_get_free_ones():
    slots = slots_of(["truth", "base", "my model", "another", "refined"])
    assert slots["base"] == "base" and slots["refined"] == "refined"
    assert len(set(slots.values())) == 5 and set(slots.values()) <= set(COLOURS)
    assert len(slots_of([f"m{i}" for i in range(30)])) == 30
    assert ink("refined") == (226, 87, 12)
