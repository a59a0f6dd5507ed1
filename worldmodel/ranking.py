"""Does a world model rank policies as MuJoCo does? The same policies, from the same starts, in both."""

from __future__ import annotations

import copy
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.backends.domains import matched
from worldmodel.envs.imagined_dream import Chunk, Dreamer
from worldmodel.envs.imagined_dream import Episode as Dream
from worldmodel.envs.imagined_readout import Readout, readout_for
from worldmodel.envs.imagined_starts import Start
from worldmodel.envs.imagined_wrappers import ChunkActions
from worldmodel.evaluators.confusion import Confusion
from worldmodel.evaluators.intervals import wilson
from worldmodel.evaluators.ranking import agreement_over_starts, pearson
from worldmodel.graded import GradedPolicy, check_skill
from worldmodel.policies import Policy, checked_actions, latency, run_episode
from worldmodel.progress import hidden_unless

Maker = Callable[[Any, Any, int, int], Policy]  # from a family, a scene, the actions of a chunk and a seed
SKILLS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
STAGES = ("reach", "lift", "hold")  # of those that a family has, beside success
MUJOCO, JUDGED = "MuJoCo", "judge on MuJoCo"
SEED = 0  # of the starts drawn for intervals


@dataclass(frozen=True)
class Outcome:
    """One episode of a policy, in MuJoCo or imagined."""

    world: str  # MuJoCo, the judge on MuJoCo's pictures, or a row of the model
    policy: str
    scene: int  # its seed
    stages: dict[str, bool]  # success and what else was reached at any frame
    error: str = ""
    seconds: tuple[float, ...] = ()  # of each call of the policy; none where the judge looks at MuJoCo's pictures


def graded(skills: Sequence[float] = SKILLS) -> dict[str, Maker]:
    """Makers of :class:`worldmodel.graded.GradedPolicy`, by name.

    Raises:
        ValueError: a skill is no number from 0 to 1, or given twice.
    """
    for skill in skills:
        check_skill(skill)
    if len({f"{skill:g}" for skill in skills}) < len(skills):
        raise ValueError(f"skills: got {', '.join(f'{skill:g}' for skill in skills)}, expected each once; drop copies")

    def maker(skill: float) -> Maker:
        return lambda family, scene, n, seed: GradedPolicy(family, scene, n, skill=skill, seed=seed)

    return {f"skill {skill:g}": maker(skill) for skill in skills}


def rank(
    model: Any,
    env: str,
    policies: Mapping[str, Maker],
    *,
    scenes: int,
    seed: int = 0,
    num_frames: int | None = None,
    rows: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int = 64,
    options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> list[Outcome]:
    """Play every policy in every scene, in MuJoCo and in the model.

    Success in the model is read off its pixels; the same reading of MuJoCo's pictures tells the judge's own error. A
    policy that raises, be it after a success, has failed its episode, in that world, and the others go on.

    Args:
        model: a :class:`worldmodel.WorldModel` that takes the environment's actions.
        env: Gymnasium id of this package, such as ``worldmodel/Grasp-v0``.
        policies: name to maker; each episode has a policy of its own.
        scenes: number of starts.
        seed: of the first; the others follow.
        num_frames: of an episode; the environment's default if None.
        rows: name to options of :meth:`worldmodel.WorldModel.step`, such as ``{"refined": {"refine": plan}}``; one
            row of defaults if None.
        batch_size: episodes imagined at once; changes speed and memory only.
        options: fields of the environment's sampler; what is left out is as in the scenes of the model's training.
        progress: show a bar of episodes.

    Raises:
        ValueError: an argument is malformed; nothing has been played then.
    """
    import gymnasium as gym

    import worldmodel.envs  # noqa: F401  registers the ids

    rows = {"model": {}} if rows is None else rows
    if scenes < 1 or batch_size < 1 or not policies or not rows:
        raise ValueError(
            f"scenes, batch_size, policies, rows: got {scenes}, {batch_size}, {len(policies)}, {len(rows)}, expected "
            "at least 1 of each; give more"
        )
    recipe = model.recipe
    ranges = recipe.scene(env, **(options or {}))
    settings = {"image_size": recipe.image_size, "fps": recipe.fps, "num_frames": num_frames, **ranges}
    inner = gym.make(env, disable_env_checker=True, **settings).unwrapped
    model = matched(model, inner.action_spec)  # type: ignore[attr-defined]  # SceneEnv
    _check_rows(model, rows)
    n, outcomes = recipe.num_frames - 1, []
    total = scenes * len(policies) * (1 + len(rows))
    with tqdm(total=total, desc="rank", unit="episode", **hidden_unless(progress)) as bar:
        starts: list[tuple[int, str, Start, Maker]] = []
        for number in range(seed, seed + scenes):
            observation, _ = inner.reset(seed=number)
            start = _start(inner, observation)
            for name, maker in policies.items():
                outcomes += _in_mujoco(inner, n, name, maker, number, start)
                bar.update()
                starts.append((number, name, start, maker))
        frames = inner.num_frames - 1  # type: ignore[attr-defined]
        for row, choices in rows.items():
            dreamer = Dreamer(model, dict(choices))
            for first in range(0, len(starts), batch_size):
                batch = starts[first : first + batch_size]
                outcomes += _imagined(dreamer, row, batch, frames, inner)
                bar.update(len(batch))
    inner.close()
    return outcomes


def _check_rows(model: Any, rows: Mapping[str, Mapping[str, Any]]) -> None:
    known = sorted(set(inspect.signature(model.step).parameters) - {"state", "actions"})
    for row, choices in rows.items():
        if row in (MUJOCO, JUDGED):
            raise ValueError(f"rows: got {row!r}, expected a name that is not MuJoCo's or the judge's; choose another")
        if unknown := sorted(set(choices) - set(known)):
            raise ValueError(f"rows: got {', '.join(unknown)}, expected options among {', '.join(known)}; drop them")
        model.provenance(**choices)  # refuses what a step would


def _start(env: Any, observation: Mapping[str, np.ndarray]) -> Start:
    beside = {"agent_pos": np.array(observation["agent_pos"])}
    return Start(np.array(observation["pixels"]), beside, readout_for(env), env.scene)


def _in_mujoco(env: Any, n: int, name: str, maker: Maker, number: int, start: Start) -> list[Outcome]:
    """The true outcome, looked at in every frame, and what the judge makes of the same pictures."""
    names = _stages(start.readout)
    nothing = dict.fromkeys(names, False)
    policy, error = _made(maker, env.family, start, n, number)
    if policy is None:
        return [Outcome(world, name, number, nothing, error) for world in (MUJOCO, JUDGED)]
    # To the end: a judge that sees a success a frame later than MuJoCo must not find the clip cut there.
    true = run_episode(env, policy, seed=number, stages=names, until_success=False)
    reached = judged = nothing
    if not true.error:
        reached = true.stages
        if start.readout is not None:
            reading = start.readout.begin({"pixels": start.frame, **start.observation})
            _, signals = start.readout.read(reading, true.video[None, 1:], true.actions[None])
            judged = {stage: bool(credited(signals, stage)[0]) for stage in names}
    return [
        Outcome(MUJOCO, name, number, reached, true.error, _rounded(true.seconds)),
        Outcome(JUDGED, name, number, judged, true.error),
    ]


def _imagined(
    dreamer: Dreamer, row: str, batch: Sequence[tuple[int, str, Start, Maker]], frames: int, env: Any
) -> list[Outcome]:
    """Outcomes of a batch of episodes, chunk after chunk to the end, in one batch of the model each."""
    space = ChunkActions(env, dreamer.actions).action_space
    played = [_Played(dreamer, env.family, *each) for each in batch]
    for _ in range(-(-frames // dreamer.actions)):
        asked = [(each, each.ask(space, dreamer.model.backend.action_spec)) for each in played if not each.error]
        going = [(each, actions) for each, actions in asked if actions is not None]
        if not going:
            break
        stepped = dreamer.step([each.dream for each, _ in going], np.stack([actions for _, actions in going]))
        for (each, _), (dream, chunk) in zip(going, stepped, strict=True):
            each.go_on(dream, chunk, frames)
    return [each.outcome(row) for each in played]


class _Played:
    """One imagined episode under a policy."""

    def __init__(self, dreamer: Dreamer, family: Any, number: int, name: str, start: Start, maker: Maker) -> None:
        self.number, self.name = number, name
        self.dream: Dream = dreamer.begin(start, number)
        self.stages = dict.fromkeys(_stages(start.readout), False)
        self.seconds: list[float] = []
        self.policy, self.error = _made(maker, family, start, dreamer.actions, number)
        if self.policy is not None:
            try:
                self.policy.reset()
            except Exception as error:  # whatever a policy raises
                self.error = _told(error)

    def ask(self, space: Any, spec: Any) -> np.ndarray | None:
        """The policy's next chunk (n, A), or None where it failed."""
        assert self.policy is not None
        # Frames are shared with other episodes, and with other rows: a policy may write into its own alone.
        seen = copy.deepcopy({**self.dream.observation, "pixels": self.dream.frame})
        try:
            began = time.monotonic()
            answer = self.policy.infer(seen)
            self.seconds.append(time.monotonic() - began)
            actions = checked_actions(answer.get("actions"), space, True)
            spec.check(actions)
        except Exception as error:  # whatever a policy raises
            self.error = _told(error)
            return None
        return actions

    def go_on(self, dream: Dream, chunk: Chunk, frames: int) -> None:
        """Look at a chunk, as far as it lies within an episode of that many frames."""
        before, left = self.dream, frames - dream.frames + len(chunk.video)
        signals = {name: value[None, :left] for name, value in chunk.signals.items()}
        for stage in self.stages:
            self.stages[stage] |= bool(credited(signals, stage)[0]) and before.legal
        self.dream = dream

    def outcome(self, row: str) -> Outcome:
        reached = {stage: seen and not self.error for stage, seen in self.stages.items()}
        return Outcome(row, self.name, self.number, reached, self.error, _rounded(self.seconds))


def credited(signals: Mapping[str, np.ndarray], stage: str) -> np.ndarray:
    """Whether each of B clips reached a stage (B,) before anything happened that cannot."""
    reached = np.asarray(signals[stage], bool)
    if "legal" in signals:
        reached = np.logical_and(reached, np.cumprod(signals["legal"], axis=1))
    return np.asarray(reached.any(axis=1))


def _stages(readout: Readout | None) -> tuple[str, ...]:
    known = () if readout is None else readout.signals
    return (*(stage for stage in STAGES if stage in known), "success")


def _made(maker: Maker, family: Any, start: Start, n: int, seed: int) -> tuple[Policy | None, str]:
    try:
        return maker(family, start.scene, n, seed), ""
    except Exception as error:  # whatever a policy raises
        return None, _told(error)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _rounded(seconds: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(each), 6) for each in seconds)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the outcomes say of the model, JSON-ready.

    Returns:
        ``policies``: of each policy and world, its success rate with Wilson's interval, how many episodes failed with
        an error, the first of them, and the ``latency`` of its calls in seconds (None where it was not asked).
        ``latency``: of each policy in all worlds. ``worlds``: of the judge and of each row of the model, against
        MuJoCo: what :func:`agreement` says, and the confusion of every stage, its false successes among it.
    """
    worlds = list(dict.fromkeys(each.world for each in outcomes))
    names = list(dict.fromkeys(each.policy for each in outcomes))
    table = {(each.world, each.policy, each.scene): each for each in outcomes}
    scenes = sorted({each.scene for each in outcomes})
    played = {(w, name): [table[w, name, scene] for scene in scenes] for w in worlds for name in names}
    success = {w: np.array([[each.stages["success"] for each in played[w, name]] for name in names]) for w in worlds}
    compared = {}
    for world in worlds:
        if world != MUJOCO:
            pairs = [pair for name in names for pair in zip(played[world, name], played[MUJOCO, name], strict=True)]
            compared[world] = {**agreement(success[world], success[MUJOCO]), "stages": _confusions(pairs)}
    return {
        "scenes": len(scenes),
        "episodes": len(outcomes),
        "policies": {name: {world: _performance(played[world, name]) for world in worlds} for name in names},
        "latency": {name: _latency([each for world in worlds for each in played[world, name]]) for name in names},
        "worlds": compared,
    }


def _performance(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    errors = [each.error for each in outcomes if each.error]
    return {
        **asdict(wilson(sum(each.stages["success"] for each in outcomes), len(outcomes))),
        "errors": len(errors),
        "first_error": errors[0] if errors else "",
        "latency": _latency(outcomes),
    }


def _latency(outcomes: Sequence[Outcome]) -> dict[str, float] | None:
    seconds = [second for each in outcomes for second in each.seconds]
    return latency(seconds) if seconds else None


def agreement(seen: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """How successes (n policies, S starts) in a model agree with the true ones.

    Returns:
        ``pearson``, ``spearman`` (None with fewer than 3 policies or equal rates) and ``mmrv`` (None with one policy),
        with the intervals over starts of
        :func:`~worldmodel.evaluators.ranking.agreement_over_starts`, which is ``bootstrap`` (its ends are None with
        one start); ``pearson_fisher``, the interval over policies for comparison (None with fewer than 4);
        ``calibration``: bias, mean absolute error, and the least-squares line from judged to true rates.
    """
    judged, real = seen.mean(axis=1), true.mean(axis=1)
    differ = np.ptp(judged) > 0 and np.ptp(real) > 0
    slope, intercept = np.polyfit(judged, real, 1) if np.ptp(judged) > 0 else (None, None)
    return {
        "n": len(seen),
        **_over_starts(seen, true),
        "pearson_fisher": asdict(pearson(judged, real)) if differ and len(seen) >= 4 else None,
        "calibration": {
            "bias": float(np.mean(judged - real)),
            "mean_absolute_error": float(np.abs(judged - real).mean()),
            "slope": None if slope is None else float(slope),
            "intercept": None if intercept is None else float(intercept),
        },
    }


def _over_starts(seen: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    policies, starts = seen.shape
    if policies < 2:
        return {"pearson": None, "spearman": None, "mmrv": None, "bootstrap": None}
    enough = starts >= 2
    if not enough:  # the values stand, without an interval
        seen, true = np.repeat(seen, 2, axis=1), np.repeat(true, 2, axis=1)
    found = agreement_over_starts(predicted=seen, reference=true, rng=np.random.default_rng(SEED))
    intervals = {name: getattr(found, name) for name in ("pearson", "spearman", "mmrv")}
    told = {name: None if each is None else asdict(each) for name, each in intervals.items()}
    if not enough:
        told = {name: each and {**each, "low": None, "high": None} for name, each in told.items()}
    return {**told, "bootstrap": {"draws": found.draws, "seed": SEED, "left_out": found.left_out} if enough else None}


def _confusions(pairs: Sequence[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    found = {}
    for stage in pairs[0][0].stages:
        judged, true = (np.array([pair[side].stages[stage] for pair in pairs]) for side in (0, 1))
        counts = Confusion(
            tp=int((judged & true).sum()),
            fp=int((judged & ~true).sum()),
            fn=int((~judged & true).sum()),
            tn=int((~judged & ~true).sum()),
        )
        interval = counts.false_success
        found[stage] = {
            **asdict(counts),
            "false_success": None if np.isnan(interval.value) else asdict(interval),
            "mcc": counts.mcc,
        }
    return found


def lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary as lines of a terminal."""
    worlds = [MUJOCO, *summary["worlds"]]
    told = [f"{'success rate [95 %]':24s}" + _cells(worlds) + f"{'call p50, p95 [ms]':>24s}"]
    for name, row in summary["policies"].items():
        calls = summary["latency"][name]
        took = "-" if calls is None else f"{1e3 * calls['p50']:.1f}, {1e3 * calls['p95']:.1f}"
        told.append(f"{name:24s}" + _cells(_interval(row[world]) for world in worlds) + f"{took:>24s}")
    compared = summary["worlds"].values()
    for label, pick in (
        ("Pearson r *", lambda world: _interval(world["pearson"])),
        ("Spearman rho *", lambda world: _interval(world["spearman"])),
        ("MMRV *", lambda world: _interval(world["mmrv"], 3)),
        ("bias", lambda world: f"{world['calibration']['bias']:.3f}"),
        ("mean absolute error", lambda world: f"{world['calibration']['mean_absolute_error']:.3f}"),
    ):
        told.append(f"{label:24s}{'':24s}" + _cells(map(pick, compared)))
    for stage in next(iter(compared))["stages"]:
        cells = _cells(_interval(world["stages"][stage]["false_success"]) for world in compared)
        told.append(f"{'false ' + stage:24s}{'':24s}{cells}")
    return [*told, *_bootstrap_lines(summary), *_error_lines(summary)]


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"{text:>24s}" for text in texts)


def _bootstrap_lines(summary: Mapping[str, Any]) -> list[str]:
    """What the intervals of the agreement are."""
    draws = {world: each["bootstrap"] for world, each in summary["worlds"].items() if each["bootstrap"] is not None}
    if not draws:
        return []
    left_out = ", ".join(f"{each['left_out']} ({world})" for world, each in draws.items())
    return [
        f"* [95 %]: percentiles of {next(iter(draws.values()))['draws']} bootstrap draws of the {summary['scenes']} "
        f"starts, for these policies; draws of equal rates left out of the correlations: {left_out}"
    ]


def _error_lines(summary: Mapping[str, Any]) -> list[str]:
    """Of each policy that failed by an error, in how many episodes, and the first message."""
    told = []
    for name, row in summary["policies"].items():
        failed = {world: each for world, each in row.items() if each["errors"] and world != JUDGED}
        if failed:
            counts = ", ".join(f"{each['errors']} of {summary['scenes']} ({world})" for world, each in failed.items())
            first = next(iter(failed.values()))["first_error"]
            told.append(f"{name}: episodes failed by an error: {counts}; the first: {first}")
    return told


def save(outcomes: Sequence[Outcome], summary: Mapping[str, Any], path: Path) -> Path:
    """Write both as JSON; every episode is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**summary, "outcomes": [asdict(each) for each in outcomes]}, indent=1) + "\n")
    return path


def load(path: Path) -> list[Outcome]:
    """The outcomes of a file that :func:`save` wrote, to be summarised again."""
    stored = json.loads(path.read_text())["outcomes"]
    return [Outcome(**{**each, "seconds": tuple(each.get("seconds", ()))}) for each in stored]


def _interval(value: Mapping[str, Any] | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    shown = f"{value['value']:.{digits}f}"
    return shown if value["low"] is None else f"{shown} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
