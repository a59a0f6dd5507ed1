import base64
import json

import camera_scenes as scenes
import cv2
import numpy as np
import pytest
from chat_server import Said, chat, closed_url

from worldmodel.evaluators.endpoint import Endpoint
from worldmodel.evaluators.judge import GIVE_UP, INCOMPLETE, Clip, error_table, judge, judge_errors, show
from worldmodel.evaluators.results import plain
from worldmodel.evaluators.rubric import Question, Rubric
from worldmodel.evaluators.statistics import wilson

FALL = "worldmodel/FreeFall-v0"
RUBRIC = Rubric(
    "two",
    "Two questions",
    "Look at: {task}",
    (
        Question("there", "Is it there?", ("yes", "no"), ("yes",), fails_on=("vanish",)),
        Question("physics", "How good?", ("1", "2", "3"), ("2", "3"), families=(FALL,), fails_on=("vanish", "frozen")),
    ),
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def clip(name: str = "a", grey: int = 100, family: str = FALL, side: int = 32) -> Clip:
    video = np.full((17, side, side, 3), grey, np.uint8) + np.arange(17, dtype=np.uint8)[:, None, None, None]
    return Clip(name, video, 16.0, family, "A ball falls.")


def endpoint(url: str, **settings) -> Endpoint:
    return Endpoint(url, "eye", **{"backoff_s": 0.0, "attempts": 2, "timeout_s": 10.0, **settings})


def pictures(request: dict) -> list[np.ndarray]:
    """What a judge would see, (H, W, 3) RGB."""
    parts = request["messages"][0]["content"]
    uris = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert all(uri.startswith("data:image/png;base64,") for uri in uris)
    encoded = [np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8) for uri in uris]
    return [cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for data in encoded]


def question_of(request: dict) -> str:
    return request["messages"][0]["content"][-1]["text"]


def by_brightness(request: dict) -> Said:
    """A judge that passes what begins bright."""
    bright = pictures(request)[0].mean() > 128
    physics = "How good?" in question_of(request)
    return Said(json.dumps({"answer": ("3" if bright else "1") if physics else ("yes" if bright else "no")}))


def test_the_frames_are_the_clip_s_first_to_last_in_colour_and_large_enough():
    video = np.stack([np.roll(scenes.texture(40), t, axis=1) for t in range(9)])
    parts = show(Clip("a", video, 8.0, FALL, ""), frames=5)
    shown = pictures({"messages": [{"content": parts}]})
    times = [part["text"] for part in parts if part["type"] == "text"]
    assert times == [f"Frame {i + 1} of 5, at {0.25 * i:.2f} s:" for i in range(5)]
    assert all(picture.shape == (280, 280, 3) for picture in shown)
    small = [cv2.resize(picture, (40, 40), interpolation=cv2.INTER_AREA) for picture in shown]
    assert np.abs(np.stack(small).astype(int) - video[::2]).mean() < 3


def test_large_pictures_are_sent_as_they_are_and_short_clips_once_each():
    video = np.random.default_rng(0).integers(0, 256, (3, 256, 300, 3)).astype(np.uint8)
    shown = pictures({"messages": [{"content": show(Clip("a", video, 8.0, FALL, ""), frames=8)}]})
    assert (np.stack(shown) == video).all()


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_column_of_two_clips(parallel):
    with chat(by_brightness) as server:
        priced = endpoint(server.url, prompt_usd=10.0, completion_usd=100.0)
        column = judge([clip("good", 200), clip("bad", 20)], RUBRIC, priced, parallel=parallel)
    assert column.scores == {"good": 1.0, "bad": 0.0} and column.exit_code == 0 and column.failures == {}
    assert [(a.clip, a.question, a.reply.answer, a.passed) for a in column.answers] == [
        ("good", "there", "yes", True),
        ("good", "physics", "3", True),
        ("bad", "there", "no", False),
        ("bad", "physics", "1", False),
    ]
    assert column.cost_usd == pytest.approx(4 * (100 * 10 + 7 * 100) / 1e6)
    texts = {question_of(request) for request in server.requests}
    assert (
        'Look at: A ball falls.\n\nIs it there?\n\nReply with nothing but {"answer": "yes"} or {"answer": "no"}.'
        in texts
    )


def test_a_clip_is_asked_its_family_s_questions_only():
    with chat(Said()) as server:
        column = judge([clip(family="worldmodel/Maze-v0")], RUBRIC, endpoint(server.url))
    assert [answer.question for answer in column.answers] == ["there"] and len(server.requests) == 1


def test_one_clip_is_held_at_a_time():
    with chat(Said(), Said('{"answer": "2"}'), Said(), Said('{"answer": "2"}')) as server:
        asked_before = []

        def clips():
            for name in ("a", "b"):
                asked_before.append(len(server.requests))
                yield clip(name)

        judge(clips(), RUBRIC, endpoint(server.url))
    assert asked_before == [0, 2]


def test_an_endpoint_that_is_down_empties_the_column_and_is_left_alone():
    column = judge([clip(str(i)) for i in range(5)], RUBRIC, endpoint(closed_url()))
    assert column.exit_code == INCOMPLETE != 0
    assert len(column.scores) == 5 and np.isnan(list(column.scores.values())).all()
    assert sum(answer.reply.attempts > 0 for answer in column.answers) == GIVE_UP
    assert sorted(column.failures.values()) == [GIVE_UP, 10 - GIVE_UP] and np.isnan(column.cost_usd)


def test_an_endpoint_that_comes_back_is_asked_on():
    with chat(Said(status=503), Said(status=503), by_brightness) as server:
        column = judge([clip("a", 200), clip("b", 200)], RUBRIC, endpoint(server.url))
    assert [answer.passed for answer in column.answers] == [None, True, True, True]
    assert column.exit_code == INCOMPLETE and np.isnan(column.scores["a"]) and column.scores["b"] == 1


def test_prose_is_no_verdict_and_leaves_its_cell_empty():
    with chat(Said("No, it is not there, so the answer is: no")) as server:
        column = judge([clip()], RUBRIC, endpoint(server.url))
    assert np.isnan(column.scores["a"]) and column.exit_code == INCOMPLETE and len(server.requests) == 4
    assert all("expected JSON" in failure for failure in column.failures)


def test_a_column_is_plain_json_without_the_key():
    with chat(by_brightness) as server:
        column = judge([clip("a", 200)], RUBRIC, endpoint(server.url, api_key="secret"))
    text = json.dumps(plain(column.to_dict()), allow_nan=False)
    back = json.loads(text)
    assert "secret" not in text and back["prompt_tokens"] == 200 and back["cost_usd"] is None
    assert back["scores"] == {"a": 1.0} and back["answers"][1]["answer"] == "3" and back["model"] == "eye"


def known(bright: int, dark: int, unlucky: int) -> tuple[list[Clip], dict[tuple[str, str], bool]]:
    """Clips that pass (bright) and fail (dark), and ``unlucky`` that look dark but should pass."""
    greys = [200] * bright + [20] * (dark + unlucky)
    clips = [clip(str(i), grey) for i, grey in enumerate(greys)]
    labels = {(str(i), "there"): i < bright or i >= bright + dark for i in range(len(greys))}
    return clips, labels


def test_the_judge_s_error_on_certified_clips_with_wilson_intervals():
    clips, labels = known(bright=6, dark=5, unlucky=2)
    with chat(by_brightness) as server:
        column = judge(clips, RUBRIC, endpoint(server.url))
    there, every = judge_errors(column.answers, labels)  # "physics" has no labels
    assert (there.confusion.tp, there.confusion.fn, there.confusion.tn, there.confusion.fp) == (6, 2, 5, 0)
    assert there.confusion.sensitivity == wilson(6, 8) and there.confusion.specificity == wilson(5, 5)
    assert every.confusion == there.confusion and (there.question, every.question) == ("there", "all")
    table = error_table([there, every]).splitlines()
    assert table[2] == "| there | 8 | 0.75 [0.41, 0.93] | 5 | 1.00 [0.57, 1.00] | 0 |"
    assert there.to_dict()["sensitivity"]["value"] == 0.75


def test_a_missing_answer_is_a_wrong_one():
    clips, labels = known(bright=2, dark=2, unlucky=0)
    column = judge(clips, RUBRIC, endpoint(closed_url(), attempts=1))
    error = judge_errors(column.answers, labels)[0]
    assert error.unanswered == 4
    assert error.confusion.sensitivity.value == error.confusion.specificity.value == 0


def test_a_rate_without_clips_of_its_kind_is_empty():
    clips, labels = known(bright=3, dark=0, unlucky=0)
    with chat(by_brightness) as server:
        column = judge(clips, RUBRIC, endpoint(server.url))
    assert error_table(judge_errors(column.answers, labels)).splitlines()[2].endswith("| 0 | – | 0 |")


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="clips: got none that two has a question for"):
        judge([], RUBRIC, endpoint("http://127.0.0.1/v1"))
    with pytest.raises(ValueError, match="frames, parallel: got 1, 1"):
        judge([clip()], RUBRIC, endpoint("http://127.0.0.1/v1"), frames=1)
    with pytest.raises(ValueError, match="clip a: got dtype float64"):
        judge([Clip("a", clip().video / 255, 16.0, FALL, "")], RUBRIC, endpoint("http://127.0.0.1/v1"))
    with pytest.raises(ValueError, match="labels: got none"):
        judge_errors([], {})
