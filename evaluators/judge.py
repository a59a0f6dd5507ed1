"""A vision-language model as a side column: it answers a rubric's questions, and its own error is measured.

Never part of a headline. An endpoint that is down leaves the column empty and ``exit_code`` not 0; every
other number stands.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_video
from worldmodel.evaluators.endpoint import Endpoint, Reply, ask
from worldmodel.evaluators.rubric import Question, Rubric
from worldmodel.evaluators.statistics import Confusion, Interval

FRAMES = 8  # of a clip that are shown
MIN_SIDE_PX = 256  # smaller pictures are enlarged: patches of such models are about 28 px
GIVE_UP = 3  # questions in a row for which the endpoint is down; the others are not asked
INCOMPLETE = 3  # exit code where a question has no answer
NOT_ASKED = Reply(None, f"endpoint: got no reply to {GIVE_UP} questions in a row, expected one; start it and ask again")


@dataclass(frozen=True)
class Clip:
    """A video to be judged."""

    name: str
    video: np.ndarray  # (T, H, W, 3) uint8
    fps: float
    family: str  # id of the environment, such as worldmodel/Grasp-v0
    task: str  # what is to be seen, in a sentence


@dataclass(frozen=True)
class Answer:
    """One question about one clip and what came of it."""

    clip: str
    question: str
    passed: bool | None  # None without an answer
    reply: Reply

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"clip": self.clip, "question": self.question, "passed": self.passed, **asdict(self.reply)}


@dataclass(frozen=True)
class JudgeColumn:
    """All answers of one rubric, with what they took."""

    rubric: str
    endpoint: Endpoint
    answers: tuple[Answer, ...]

    @property
    def exit_code(self) -> int:
        """0 if every question has its answer, else ``INCOMPLETE``."""
        return 0 if all(answer.passed is not None for answer in self.answers) else INCOMPLETE

    @property
    def scores(self) -> dict[str, float]:
        """Share of its questions that each clip passes; nan, an empty cell, unless all are answered."""
        given: dict[str, list[float]] = {}
        for answer in self.answers:
            given.setdefault(answer.clip, []).append(np.nan if answer.passed is None else float(answer.passed))
        return {clip: float(np.mean(passed)) for clip, passed in given.items()}

    @property
    def failures(self) -> dict[str, int]:
        """How often each reason kept an answer away."""
        return dict(Counter(answer.reply.failure for answer in self.answers if answer.reply.failure).most_common())

    @property
    def cost_usd(self) -> float:
        """What all attempts cost; nan without the endpoint's prices."""
        return self.endpoint.cost_usd(*(sum(getattr(a.reply, name) for a in self.answers) for name in _TOKENS))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the key is not among them."""
        replies = [answer.reply for answer in self.answers]
        return {
            "rubric": self.rubric,
            "url": self.endpoint.url,
            "model": self.endpoint.model,
            "parameters": dict(self.endpoint.parameters),
            "exit_code": self.exit_code,
            "scores": self.scores,
            "failures": self.failures,
            "attempts": sum(reply.attempts for reply in replies),
            **{name: sum(getattr(reply, name) for reply in replies) for name in _TOKENS},
            "cost_usd": self.cost_usd,
            "seconds": sum(reply.seconds for reply in replies),
            "answers": [answer.to_dict() for answer in self.answers],
        }


_TOKENS = ("prompt_tokens", "completion_tokens")


def judge(
    clips: Iterable[Clip], rubric: Rubric, endpoint: Endpoint, *, frames: int = FRAMES, parallel: int = 1
) -> JudgeColumn:
    """Ask the rubric's questions of every clip; one clip is held at a time.

    Args:
        frames: how many of a clip are shown, evenly spaced from the first to the last.
        parallel: questions under way at once.
    """
    if frames < 2 or parallel < 1:
        raise ValueError(f"frames, parallel: got {frames}, {parallel}, expected at least 2 and 1; change them")
    answers: list[Answer] = []
    with ThreadPoolExecutor(parallel) as pool:
        asker = _Asker(endpoint)
        for clip in clips:
            shown = show(clip, frames)
            questions = rubric.for_family(clip.family)
            prompts = [[*shown, _prompt(rubric, question, clip)] for question in questions]
            for question, reply in zip(questions, pool.map(asker, prompts, questions), strict=True):
                passed = None if reply.answer is None else reply.answer in question.passing
                answers.append(Answer(clip.name, question.id, passed, reply))
    if not answers:
        raise ValueError(f"clips: got none that {rubric.name} has a question for, expected some; take another rubric")
    return JudgeColumn(rubric.name, endpoint, tuple(answers))


def show(clip: Clip, frames: int) -> list[dict[str, Any]]:
    """Parts of a chat message: ``frames`` pictures of a clip as PNG data URIs, each after its time."""
    check_video(f"clip {clip.name}", clip.video)
    indices = np.unique(np.rint(np.linspace(0, len(clip.video) - 1, frames)).astype(int))
    scale = int(np.ceil(MIN_SIDE_PX / min(clip.video.shape[1:3])))
    parts: list[dict[str, Any]] = []
    for number, t in enumerate(indices, start=1):
        picture = cv2.cvtColor(clip.video[t], cv2.COLOR_RGB2BGR)
        if scale > 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        encoded = base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
        parts.append({"type": "text", "text": f"Frame {number} of {len(indices)}, at {t / clip.fps:.2f} s:"})
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}})
    return parts


class _Asker:
    """Asks until the endpoint has been down for ``GIVE_UP`` questions in a row."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self.misses = endpoint, 0

    def __call__(self, content: Sequence[Mapping[str, Any]], question: Question) -> Reply:
        if self.misses >= GIVE_UP:
            return NOT_ASKED
        reply = ask(self.endpoint, content, question.answers)
        self.misses = self.misses + 1 if reply.down else 0
        return reply


def _prompt(rubric: Rubric, question: Question, clip: Clip) -> dict[str, Any]:
    offered = " or ".join(f'{{"answer": "{answer}"}}' for answer in question.answers)
    text = f"{rubric.instructions}\n\n{question.text}\n\nReply with nothing but {offered}."
    return {"type": "text", "text": text.replace("{task}", clip.task)}


@dataclass(frozen=True)
class JudgeError:
    """How often a judge is right about one question, on clips of known worth; a missing answer is a wrong one."""

    question: str
    confusion: Confusion  # positive = the clip should pass, or is said to
    unanswered: int

    def to_dict(self) -> dict[str, Any]:
        """Counts, and the rates with their 95 % intervals."""
        rates = {"sensitivity": self.confusion.sensitivity, "specificity": self.confusion.specificity}
        return {
            "question": self.question,
            **asdict(self.confusion),
            "unanswered": self.unanswered,
            **{name: asdict(rate) for name, rate in rates.items()},
        }


def judge_errors(answers: Sequence[Answer], labels: Mapping[tuple[str, str], bool]) -> list[JudgeError]:
    """The judge's error on each question, and over all of them under the name ``all``.

    Args:
        labels: of (clip, question), whether the right answer passes (``Question.label``); others are not counted.
    """
    known = [answer for answer in answers if (answer.clip, answer.question) in labels]
    if not known:
        raise ValueError("labels: got none for these answers, expected some; judge certified clips, see Question.label")
    return [
        JudgeError(
            question,
            _count(group, labels),
            sum(answer.passed is None for answer in group),
        )
        for question, group in _groups(known)
    ]


def error_table(errors: Sequence[JudgeError]) -> str:
    """Sensitivity and specificity with Wilson's 95 % intervals, as Markdown."""
    lines = [["question", "should pass", "seen", "should fail", "seen", "unanswered"], ["---"] * 6]
    for error in errors:
        c = error.confusion
        good, bad = _rate_text(c.sensitivity), _rate_text(c.specificity)
        lines.append([error.question, str(c.tp + c.fn), good, str(c.tn + c.fp), bad, str(error.unanswered)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _groups(answers: Sequence[Answer]) -> Iterator[tuple[str, list[Answer]]]:
    for question in dict.fromkeys(answer.question for answer in answers):
        yield question, [answer for answer in answers if answer.question == question]
    yield "all", list(answers)


def _count(answers: Sequence[Answer], labels: Mapping[tuple[str, str], bool]) -> Confusion:
    counts = Counter((labels[answer.clip, answer.question], answer.passed) for answer in answers)
    return Confusion(
        tp=counts[True, True],
        fp=counts[False, True] + counts[False, None],
        fn=counts[True, False] + counts[True, None],
        tn=counts[False, False],
    )


def _rate_text(rate: Interval) -> str:
    return "–" if np.isnan(rate.value) else f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
