import json
from importlib import resources

import pytest

from worldmodel.evaluators.rubric import Question, load_rubric, rubric_names

GOOD = {
    "format": 1,
    "title": "t",
    "instructions": "i",
    "questions": [{"id": "a", "text": "?", "answers": ["yes", "no"], "pass": ["yes"]}],
}


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(GOOD | changes))
        return path

    return write


@pytest.mark.parametrize("name", rubric_names())
def test_every_rubric_of_the_package_can_be_asked_and_labelled(name):
    rubric = load_rubric(name)
    assert "{task}" in rubric.instructions and rubric.title
    for question in rubric.questions:
        assert question.text.endswith(("?", ".")) and question.id == question.id.lower()
        assert all(question.label(kind, "other", {}) is False for kind in question.fails_on)
    assert any(question.fails_on for question in rubric.questions)


@pytest.mark.parametrize("name", rubric_names())
def test_every_rubric_says_what_it_is_like_and_that_it_copies_nothing(name):
    document = json.loads((resources.files("worldmodel.evaluators") / "rubrics" / f"{name}.json").read_text())
    assert document["style"]["reference"].startswith("arXiv ") and "written for this project" in document["licence"]


def test_three_benchmarks_are_there():
    assert rubric_names() == ["five_points", "physics_standards", "robot"]


def test_labels_of_clips_of_known_worth():
    question = Question(
        "done", "?", ("yes", "no"), ("yes",), outcome={"worldmodel/Grasp-v0": "success"}, fails_on=("vanish",)
    )
    assert question.label("replay", "worldmodel/Grasp-v0", {"success": True}) is True
    assert question.label("h264", "worldmodel/Grasp-v0", {"success": False}) is False
    assert question.label("replay", "worldmodel/FreeFall-v0", {"success": False}) is True
    assert question.label("vanish", "worldmodel/Grasp-v0", {"success": True}) is False
    assert question.label("teleport", "worldmodel/Grasp-v0", {"success": True}) is None


def test_families_choose_their_questions():
    robot = load_rubric("robot")
    assert robot.for_family("worldmodel/Grasp-v0") == robot.questions and robot.for_family("worldmodel/Maze-v0") == ()
    assert len(load_rubric("five_points").for_family("worldmodel/Maze-v0")) == 2


def test_a_file_of_one_s_own(write):
    rubric = load_rubric(write())
    assert rubric.name == "mine" and rubric.questions[0].passing == ("yes",)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": 2}, "rubric mine: got format 2, expected 1"),
        ({"questions": []}, r"rubric mine: got ids \[\]"),
        ({"questions": GOOD["questions"] * 2}, r"got ids \['a', 'a'\]"),
        ({"questions": [{"id": "a", "text": "?", "answers": ["yes", "no"]}]}, "got no field 'pass'"),
        ({"questions": [{**GOOD["questions"][0], "pass": ["yes", "no"]}]}, "a: answers and pass that offer no choice"),
        ({"questions": [{**GOOD["questions"][0], "pass": ["maybe"]}]}, "offer no choice"),
        ({"questions": [{**GOOD["questions"][0], "fails_on": ["haunted"]}]}, "a: fails_on haunted, expected frozen"),
        ({"questions": [{**GOOD["questions"][0], "passes": []}]}, "a: fields passes, expected answers"),
        ({"questions": ["a"]}, "rubric mine: got "),
    ],
)
def test_a_bad_file_is_refused_by_name_and_field(write, changes, message):
    with pytest.raises(ValueError, match=message):
        load_rubric(write(**changes))


def test_no_such_rubric_and_no_json(tmp_path):
    with pytest.raises(ValueError, match="rubric: got 'robots', expected five_points, physics_standards, robot or a"):
        load_rubric("robots")
    (tmp_path / "mine.json").write_text("{")
    with pytest.raises(ValueError, match="rubric mine: got Expecting"):
        load_rubric(tmp_path / "mine.json")
