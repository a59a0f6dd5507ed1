"""Does a world model rank policies as MuJoCo does? The same policies, from the same starts, in both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata
from tqdm.auto import tqdm

from worldmodel.backends.domains import matched
from worldmodel.envs.imagined_dream import Dreamer
from worldmodel.envs.imagined_dream import Episode as Dream
from worldmodel.envs.imagined_readout import Readout, readout_for
from worldmodel.envs.imagined_starts import Start
from worldmodel.envs.imagined_wrappers import ChunkActions
from worldmodel.evaluators.confusion import Confusion
from worldmodel.evaluators.intervals import Interval, wilson
from worldmodel.evaluators.ranking import mmrv, pearson
from worldmodel.graded import GradedPolicy
from worldmodel.policies import Policy, checked_actions, run_episode
from worldmodel.progress import hidden_unless

Maker = Callable[[Any, Any, int, int], Policy]  # from a family, a scene, the actions of a chunk and a seed
SKILLS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
STAGES = ("reach", "lift", "hold")  # of those that a family has, beside success
MUJOCO, JUDGED = "MuJoCo", "judge on MuJoCo"


@dataclass(frozen=True)
class Outcome:
    """One episode of a policy, in MuJoCo or imagined."""

    world: str  # MuJoCo, the judge on MuJoCo's pictures, or a row of the model
    policy: str
    scene: int  # its seed
    stages: dict[str, bool]  # success and what else was reached at any frame
    error: str = ""


def graded(skills: Sequence[float] = SKILLS) -> dict[str, Maker]:
    """Makers of :class:`worldmodel.graded.GradedPolicy`, by name."""

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
    policy that raises has failed its episode, in that world, and the others go on.

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


def _start(env: Any, observation: Mapping[str, np.ndarray]) -> Start:
    beside = {"agent_pos": np.array(observation["agent_pos"])}
    return Start(np.array(observation["pixels"]), beside, readout_for(env), env.scene)


def _in_mujoco(env: Any, n: int, name: str, maker: Maker, number: int, start: Start) -> list[Outcome]:
    """The true outcome, looked at in every frame, and what the judge makes of the same pictures."""
    names = _stages(start.readout)
    policy, error = _made(maker, env.family, start, n, number)
    if policy is None:
        return [Outcome(world, name, number, dict.fromkeys(names, False), error) for world in (MUJOCO, JUDGED)]
    # To the end: a judge that sees a success a frame later than MuJoCo must not find the clip cut there.
    true = run_episode(env, policy, seed=number, stages=names, until_success=False)
    judged = dict.fromkeys(names, False)
    if len(true.actions) and start.readout is not None:
        reading = start.readout.begin({"pixels": start.frame, **start.observation})
        _, signals = start.readout.read(reading, true.video[None, 1:], true.actions[None])
        judged = {stage: bool(credited(signals, stage)[0]) for stage in names}
    return [Outcome(MUJOCO, name, number, true.stages, true.error), Outcome(JUDGED, name, number, judged, true.error)]


def _imagined(
    dreamer: Dreamer, row: str, batch: Sequence[tuple[int, str, Start, Maker]], frames: int, env: Any
) -> list[Outcome]:
    """Outcomes of a batch of episodes, chunk after chunk, in one batch of the model each."""
    made = [_made(maker, env.family, start, dreamer.actions, number) for number, _, start, maker in batch]
    policies, errors = [policy for policy, _ in made], [error for _, error in made]
    dreams: list[Dream] = [dreamer.begin(start, number) for number, _, start, _ in batch]
    stages = [dict.fromkeys(_stages(start.readout), False) for _, _, start, _ in batch]
    legal = np.ones(len(batch), bool)
    space = ChunkActions(env, dreamer.actions).action_space
    for _ in range(-(-frames // dreamer.actions)):
        chosen = {}
        for index, policy in enumerate(policies):
            if policy is None or errors[index] or stages[index]["success"]:
                continue
            observation = {**dreams[index].observation, "pixels": dreams[index].frame}
            try:
                chosen[index] = checked_actions(policy.infer(observation)["actions"], space, True)
                dreamer.model.backend.action_spec.check(chosen[index])
            except Exception as error:  # whatever a policy raises
                errors[index] = f"{type(error).__name__}: {error}"
                chosen.pop(index, None)
        if not chosen:
            break
        stepped = dreamer.step([dreams[index] for index in chosen], np.stack(list(chosen.values())))
        for index, (dream, chunk) in zip(chosen, stepped, strict=True):
            dreams[index] = dream
            signals = {
                name: value[None, : frames - dream.frames + len(chunk.video)] for name, value in chunk.signals.items()
            }
            for stage in stages[index]:
                stages[index][stage] |= bool(credited(signals, stage)[0] and legal[index])
            legal[index] &= bool(np.all(chunk.signals.get("legal", True)))
    return [
        Outcome(
            row, name, number, {key: seen and not errors[index] for key, seen in stages[index].items()}, errors[index]
        )
        for index, (number, name, _, _) in enumerate(batch)
    ]


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
        policy = maker(family, start.scene, n, seed)
        policy.reset()
    except Exception as error:  # whatever a policy raises
        return None, f"{type(error).__name__}: {error}"
    return policy, ""


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the outcomes say of the model, JSON-ready.

    Returns:
        ``policies``: of each policy and world, its success rate with Wilson's interval and how many episodes failed
        with an error. ``worlds``: of the judge and of each row of the model, against MuJoCo: Pearson's and Spearman's
        correlation with Fisher's interval (None with fewer than 4 policies or equal rates), MMRV, calibration (bias,
        mean absolute error, and the least-squares line from judged to true rates), and the confusion of every stage,
        its false successes among it.
    """
    worlds = list(dict.fromkeys(each.world for each in outcomes))
    names = list(dict.fromkeys(each.policy for each in outcomes))
    table = {(each.world, each.policy, each.scene): each for each in outcomes}
    scenes = sorted({each.scene for each in outcomes})
    rates: dict[str, dict[str, Interval]] = {
        world: {
            name: wilson(sum(table[world, name, scene].stages["success"] for scene in scenes), len(scenes))
            for name in names
        }
        for world in worlds
    }
    errors = {w: {name: sum(bool(table[w, name, s].error) for s in scenes) for name in names} for w in worlds}
    policies = {
        name: {world: {**asdict(rates[world][name]), "errors": errors[world][name]} for world in worlds}
        for name in names
    }
    true = np.array([rates[MUJOCO][name].value for name in names])
    compared = {}
    for world in worlds:
        if world != MUJOCO:
            seen = np.array([rates[world][name].value for name in names])
            pairs = [(table[world, name, scene], table[MUJOCO, name, scene]) for name in names for scene in scenes]
            compared[world] = {**agreement(seen, true), "stages": _confusions(pairs)}
    return {"scenes": len(scenes), "episodes": len(outcomes), "policies": policies, "worlds": compared}


def agreement(seen: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """How success rates (n,) in a model agree with the true ones."""
    differ = len(seen) >= 4 and np.ptp(seen) > 0 and np.ptp(true) > 0
    slope, intercept = np.polyfit(seen, true, 1) if np.ptp(seen) > 0 else (float("nan"), float("nan"))
    return {
        "n": len(seen),
        "pearson": asdict(pearson(seen, true)) if differ else None,
        "spearman": asdict(pearson(rankdata(seen), rankdata(true))) if differ else None,
        "mmrv": mmrv(predicted=seen, reference=true) if len(seen) > 1 else None,
        "calibration": {
            "bias": float(np.mean(seen - true)),
            "mean_absolute_error": float(np.abs(seen - true).mean()),
            "slope": None if np.isnan(slope) else float(slope),
            "intercept": None if np.isnan(intercept) else float(intercept),
        },
    }


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
    told = [f"{'success rate [95 %]':24s}" + "".join(f"{world:>24s}" for world in worlds)]
    for name, row in summary["policies"].items():
        cells = (f"{row[w]['value']:.2f} [{row[w]['low']:.2f}, {row[w]['high']:.2f}]" for w in worlds)
        told.append(f"{name:24s}" + "".join(f"{cell:>24s}" for cell in cells))
    for label, key in (("Pearson r", "pearson"), ("Spearman rho", "spearman")):
        cells = (_interval(summary["worlds"][world][key]) for world in worlds[1:])
        told.append(f"{label:24s}{'':24s}" + "".join(f"{cell:>24s}" for cell in cells))
    for label, pick in (
        ("MMRV", lambda world: world["mmrv"]),
        ("bias", lambda world: world["calibration"]["bias"]),
        ("mean absolute error", lambda world: world["calibration"]["mean_absolute_error"]),
    ):
        cells = (f"{pick(summary['worlds'][world]):.3f}" for world in worlds[1:])
        told.append(f"{label:24s}{'':24s}" + "".join(f"{cell:>24s}" for cell in cells))
    for stage in next(iter(summary["worlds"].values()))["stages"]:
        cells = (_interval(summary["worlds"][world]["stages"][stage]["false_success"]) for world in worlds[1:])
        told.append(f"{'false ' + stage:24s}{'':24s}" + "".join(f"{cell:>24s}" for cell in cells))
    return told


def save(outcomes: Sequence[Outcome], summary: Mapping[str, Any], path: Path) -> Path:
    """Write both as JSON; every episode is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**summary, "outcomes": [asdict(each) for each in outcomes]}, indent=1) + "\n")
    return path


def _interval(value: Mapping[str, float] | None) -> str:
    return "-" if value is None else f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
