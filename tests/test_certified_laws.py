"""Laws across clips: worlds that keep or break one are told apart, by closed forms and by rendered scenes."""

import json

import numpy as np
import pytest

from worldmodel import certified_laws
from worldmodel.certified_laws import (
    HEAVY,
    LARGER,
    LAWS,
    LIGHT,
    MEMBERS,
    PRIOR,
    PULL,
    VARIANTS,
    WEAKER,
    Times,
    certify_laws,
    law_table,
    read_rows,
    read_times,
    score_laws,
)
from worldmodel.evaluators.free_fall import score_free_fall

N = 40
RNG = np.random.default_rng(0)
PLAIN = np.sqrt(2 * RNG.uniform(0.4, 1.0, N) / 9.81)
TRUE = {
    "plain": PLAIN,
    "large": PLAIN * LARGER**0.5,
    "light": PLAIN,
    "heavy": PLAIN,
    "weak": PLAIN / WEAKER**0.5,
}
OBSERVED = PLAIN * RNG.uniform(*PRIOR, N) ** 0.5
PRIOR_TIMES = PLAIN[:, None] * RNG.uniform(*PRIOR, (N, MEMBERS)) ** 0.5
LAWS_BY_NAME = {law.metric.name: law for law in LAWS}


def times(shown=TRUE, members=None):
    return Times(TRUE, shown, OBSERVED, members)


WORLDS = {
    "replay": times(members=np.repeat(OBSERVED[:, None], MEMBERS, axis=1)),
    "half_speed": times({name: 2 * each for name, each in TRUE.items()}),
    "picture_alone": times(dict.fromkeys(VARIANTS, PLAIN)),
    "one_duration": times(dict.fromkeys(VARIANTS, np.full(N, 0.5))),
    "heavier_faster": times({**TRUE, "heavy": PLAIN * (HEAVY / LIGHT) ** (-PULL / 2)}),
    "prior": times(members=PRIOR_TIMES),
    "one_future": times(members=np.repeat(PLAIN[:, None], MEMBERS, axis=1)),
    "frozen": times(dict.fromkeys(VARIANTS, np.full(N, np.nan)), np.full((N, MEMBERS), np.nan)),
}


@pytest.mark.parametrize(
    ("law", "world", "error"),
    [
        ("root_height", "one_duration", 0.5),
        ("root_height", "half_speed", 0.0),
        ("size", "picture_alone", 0.5),
        ("mass", "heavier_faster", PULL / 2),
        ("mass", "picture_alone", 0.0),
        ("gravity_effect", "picture_alone", 1.0),
        ("gravity_effect", "half_speed", 1.0),
        *((name, "replay", 0.0) for name in LAWS_BY_NAME if name != "coverage"),
    ],
)
def test_a_world_breaks_a_law_by_as_much_as_it_should(law, world, error):
    assert LAWS_BY_NAME[law].error(WORLDS[world]) == pytest.approx(error, abs=1e-9)


def test_what_never_lands_obeys_nothing():
    for name in ("root_height", "height_ratio", "size", "mass", "gravity_effect"):
        assert np.isnan(LAWS_BY_NAME[name].error(WORLDS["frozen"]))
    assert LAWS_BY_NAME["crps"].error(WORLDS["frozen"]) == pytest.approx(1.5 - OBSERVED.mean())


def test_every_declaration_holds_of_such_worlds_and_fails_where_they_change_places(monkeypatch):
    monkeypatch.setattr(certified_laws, "RESAMPLES", 50)
    checked = certify_laws(WORLDS, np.random.default_rng(0))
    assert all(each.holds and each.n == N for each in checked)
    assert {(law.metric.name, *rank) for law in LAWS for rank in law.metric.ranks} == {
        (each.metric, each.above, each.below) for each in checked if each.strict
    }
    worse = {**WORLDS, "replay": WORLDS["one_duration"], "one_duration": WORLDS["replay"]}
    failed = {(each.metric, each.below) for each in certify_laws(worse, np.random.default_rng(0)) if not each.holds}
    assert {("root_height", "one_duration"), ("size", "one_duration"), ("gravity_effect", "half_speed")} <= failed
    unseen = {**WORLDS, "replay": WORLDS["frozen"]}
    assert not any(
        each.holds for each in certify_laws(unseen, np.random.default_rng(0)) if each.metric == "root_height"
    )
    table = law_table(WORLDS)
    assert table["root_height"]["kinds"]["frozen"] is None
    assert table["size"]["kinds"]["picture_alone"] == pytest.approx(0.5)


def test_a_scene_is_rendered_in_every_world(tmp_path, monkeypatch):
    pictures = []

    def watched(video, truth):
        pictures.append((video[0], truth.video[0]))
        return score_free_fall(video, truth)

    monkeypatch.setattr(certified_laws, "score_free_fall", watched)
    score_laws(tmp_path, 4_000_000, 64)
    assert len({truth.tobytes() for _, truth in pictures}) == 1  # no cause shows in the first frame
    assert sum(not np.array_equal(*pair) for pair in pictures) == 2 * len(VARIANTS)  # but what a codec or network made
    (row,) = read_rows(tmp_path, [4_000_000])
    assert json.loads((tmp_path / "4000000.json").read_text()) == row
    found = read_times([row, row])
    true, shown = found["replay"].true, found["replay"].shown
    assert true["large"] / true["plain"] == pytest.approx(LARGER**0.5, rel=0.02)
    assert true["weak"] / true["plain"] == pytest.approx(WEAKER**-0.5, rel=0.02)
    assert all(np.abs(shown[name] - true[name]).max() < 0.02 for name in VARIANTS)
    assert np.abs(found["one_duration"].shown["large"] - 0.5).max() < 0.03
    assert found["heavier_faster"].shown["heavy"][0] < 0.7 * true["heavy"][0]
    assert np.array_equal(found["picture_alone"].shown["weak"], shown["plain"])
    members = found["prior"].members
    assert members.shape == (2, MEMBERS) and len(np.unique(members)) > MEMBERS / 2
    assert np.isnan(found["frozen"].members).all()
