"""Questions for a judge that looks at pictures: data files beside this module, in ``rubrics/``.

A file holds::

    {
      "format": 1,
      "title": "...",
      "style": {"benchmark", "reference", "what is alike", "what is not"},
      "licence": "...",
      "instructions": "what the judge is told before each question; {task} is the clip's task",
      "questions": [{
        "id": "...",
        "text": "...",
        "answers": ["yes", "no"],          the closed set
        "pass": ["yes"],                   those that speak for the video
        "families": ["worldmodel/Grasp-v0"],   whose clips are asked; all if missing
        "outcome": {"worldmodel/Grasp-v0": "success"},  what decides whether a true clip passes; without, it does
        "fails_on": ["vanish"]             controls of ``metrics.CONTROLS`` that must not pass
      }]
    }
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from worldmodel.evaluators.metrics import CEILINGS, CONTROLS

FORMAT = 1


@dataclass(frozen=True)
class Question:
    """One question with its closed set of answers; see the module for the fields."""

    id: str
    text: str
    answers: tuple[str, ...]
    passing: tuple[str, ...]
    families: tuple[str, ...] = ()
    outcome: Mapping[str, str] = field(default_factory=dict)
    fails_on: tuple[str, ...] = ()

    def asked_of(self, family: str) -> bool:
        """Whether clips of a family are asked."""
        return not self.families or family in self.families

    def label(self, kind: str, family: str, outcome: Mapping[str, Any]) -> bool | None:
        """Whether the right answer passes, for a clip of known worth; None if it is not known.

        Args:
            kind: of the clip, one of ``metrics.CEILINGS`` or ``metrics.CONTROLS``.
            family: id of the environment.
            outcome: of the truth that the clip was made from.
        """
        if kind in CEILINGS:
            return bool(outcome[self.outcome[family]]) if family in self.outcome else True
        return False if kind in self.fails_on else None


@dataclass(frozen=True)
class Rubric:
    """A set of questions."""

    name: str
    title: str
    instructions: str
    questions: tuple[Question, ...]

    def for_family(self, family: str) -> tuple[Question, ...]:
        """The questions that clips of a family are asked."""
        return tuple(question for question in self.questions if question.asked_of(family))


def rubric_names() -> list[str]:
    """The rubrics that come with the package."""
    folder = resources.files("worldmodel.evaluators") / "rubrics"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def load_rubric(name: str | Path) -> Rubric:
    """A rubric of the package by name, or a file of one's own.

    Raises:
        ValueError: no such rubric, or a field of it that cannot be.
    """
    if isinstance(name, str) and name in rubric_names():
        return _read(name, (resources.files("worldmodel.evaluators") / "rubrics" / f"{name}.json").read_text())
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"rubric: got {str(name)!r}, expected {', '.join(rubric_names())} or a JSON file; correct it")
    return _read(path.stem, path.read_text())


def _read(name: str, text: str) -> Rubric:
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, expected {FORMAT}; convert it")
        questions = tuple(_question(entry) for entry in document["questions"])
        rubric = Rubric(name, document["title"], document["instructions"], questions)
    except KeyError as error:
        raise ValueError(f"rubric {name}: got no field {error}, expected it; add it") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"rubric {name}: got {error}") from None
    ids = [question.id for question in questions]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(f"rubric {name}: got ids {ids}, expected at least one and each once; rename the questions")
    return rubric


def _question(entry: Mapping[str, Any]) -> Question:
    question = Question(
        id=entry["id"],
        text=entry["text"],
        answers=tuple(entry["answers"]),
        passing=tuple(entry["pass"]),
        families=tuple(entry.get("families", ())),
        outcome=dict(entry.get("outcome", {})),
        fails_on=tuple(entry.get("fails_on", ())),
    )
    allowed = {"id", "text", "answers", "pass", "families", "outcome", "fails_on"}
    if unknown := sorted(set(entry) - allowed):
        raise ValueError(
            f"{question.id}: fields {', '.join(unknown)}, expected {', '.join(sorted(allowed))}; rename them"
        )
    if len(set(question.answers)) < 2 or not set(question.passing) < set(question.answers) or not question.passing:
        raise ValueError(
            f"{question.id}: answers and pass that offer no choice, expected some but not all to pass; fix it"
        )
    if unknown := sorted(set(question.fails_on) - set(CONTROLS)):
        raise ValueError(f"{question.id}: fails_on {', '.join(unknown)}, expected {', '.join(CONTROLS)}; correct it")
    return question
