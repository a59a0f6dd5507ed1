"""The sentence follows the interval, and the Markdown table prints the numbers of the table."""

import pytest
from made_families import around, entries, family

from worldmodel.evaluators.verdict import fixed, headline, markdown_table, open_questions, signed


def scored(**levels):
    """A family in which every row has numbers around a level."""
    return family(
        {
            name: entries(error_px=around(level, spread=0.3 + 0.1 * i), found=[True] * 12)
            for i, (name, level) in enumerate(levels.items())
        }
    )


@pytest.mark.parametrize(
    ("refined", "matched", "word"), [(1.0, 3.0, "beats"), (3.0, 1.0, "loses to"), (1.0, 1.0, "does not beat")]
)
def test_the_method_is_set_against_its_control(refined, matched, word):
    found = scored(truth=0.5, base=4.0, euler_matched=matched, refined=refined, frozen=9.0)
    verdict, numbers = headline(found)
    assert verdict == f"Predict-and-Perturb {word} Euler at the same number of model evaluations."
    assert "over 12 scenes: mean error" in numbers and "with 20 against 20 evaluations a clip" in numbers


@pytest.mark.parametrize(("level", "word"), [(1.0, "beats"), (20.0, "loses to"), (9.0, "cannot be told from")])
def test_one_model_is_set_against_the_best_null(level, word):
    verdict, numbers = headline(scored(truth=0.5, wan=level, frozen=9.0, linear=30.0))
    assert verdict == f"wan {word} frozen first frame on made."
    assert "Skill, from 0 for frozen first frame to 1" in numbers


def test_of_several_models_the_best_is_named_if_it_can_be_told():
    assert headline(scored(truth=0.5, a=3.0, b=1.0, c=5.0, frozen=9.0))[0] == "b beats a, the next of 3, on made."
    assert headline(scored(truth=0.5, a=1.0, b=3.0, frozen=9.0))[0] == "a beats b on made."
    assert headline(scored(truth=0.5, a=1.0, b=1.0, frozen=9.0))[0].endswith("cannot be told apart on made.")


def test_ceilings_alone_are_no_model():
    assert headline(scored(truth=0.5, autoencoder=0.6, frozen=9.0))[0] == "No model was judged on made."


def test_the_markdown_table_prints_the_numbers_of_the_table():
    found = scored(truth=0.5, wan=2.0, frozen=9.0)
    lines = markdown_table(found).splitlines()
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1
    value = found["table"]["wan"]["error_px"]
    assert f"| wan | 20 | {value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}] |" in lines[3]
    assert "error, px" in lines[0] and "failed videos" not in lines[0]


def test_failed_videos_have_a_column_once_there_are_some():
    rows = {"truth": entries(error_px=around(1.0)), "wan": entries(error_px=around(2.0), failures=(3, 4))}
    lines = markdown_table(family(rows)).splitlines()
    assert "failed videos" in lines[0]
    assert "| 2 |" in lines[3]


def test_signs_are_typeset():
    assert [fixed(v, 1) for v in (-1.25, -0.04, 2.0)] == ["−1.2", "0.0", "2.0"]
    assert [signed(v, 1) for v in (-1.25, 0.04, 2.0, None)] == ["−1.2", "0.0", "+2.0", "–"]


def test_an_open_comparison_says_how_many_scenes_it_would_need():
    found = scored(truth=0.5, a=1.0, b=1.02, c=5.0, frozen=9.0)
    questions = open_questions(found)
    (between,) = [line for line in questions if "b minus a" in line]
    needed = next(c for c in found["comparisons"] if (c["a"], c["b"]) == ("b", "a"))["metrics"]["error_px"]
    count = f"{needed['scenes_needed']:,.0f}".replace(",", " ")
    assert needed["scenes_needed"] > 12 and f"80 % power would take {count} scenes, these are 12." in between
    assert not any("c minus" in line for line in questions), "c is plainly worse"
    alike = scored(truth=0.5, a=1.0, b=1.0, frozen=9.0)
    assert needed["n"] == 12 and all("scenes" in line for line in open_questions(alike))
