"""Recording ground truth: seeded scenes under scripted policies, simulated in parallel, stored one by one."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from worldmodel.json_values import tuples
from worldmodel.processes import finish
from worldmodel.storage import EpisodeStore, StoreError
from worldmodel.storage.format import as_json

if TYPE_CHECKING:
    from worldmodel.envs.scene_env import SceneEnv

MADE_BY = ("worldmodel", "mujoco", "numpy", "networkx", "gymnasium-robotics")  # packages that decide pixels
BLOCK = 5  # episodes a worker records between two reports of progress


@dataclasses.dataclass(frozen=True)
class Episode:
    """What is recorded under a key."""

    key: str
    seed: int  # of the scene
    policy: str


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a worker needs to record any episode."""

    out: Path  # a store that has been created
    settings: dict[str, Any]
    env: str  # Gymnasium id
    env_options: str  # JSON
    depth: bool


def collect(
    out: Path,
    env: str = "free-fall",
    *,
    episodes: int,
    seed: int = 0,
    image_size: int = 64,
    fps: float | None = None,
    num_frames: int | None = None,
    policies: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    depth: bool = False,
    workers: int | None = None,
) -> EpisodeStore:
    """Record clips of an environment into a store at ``out``.

    With k policies, episode i plays the scene of seed ``seed + i // k`` under policy ``i % k``:
    the same first frame goes with every policy. Episodes already there are kept, so an
    interrupted run goes on where it stopped. A clip depends on its seed, its policy and the
    settings alone, not on the number of workers.

    Args:
        out: folder of the store.
        env: short name such as ``free-fall``, or Gymnasium id; that of any other MuJoCo environment of Gymnasium's kind
            records clips of aimless actions.
        episodes: number of clips.
        seed: seed of the first scene.
        image_size: height and width in pixels.
        fps, num_frames: rate and length of the clips; the family's defaults if None.
        policies: names of the family's scripted policies; its first one if empty.
        options: fields of the family's sampler (JSON values).
        depth: record depth images too.
        workers: processes; one for each core if None.

    Raises:
        ValueError: an option is malformed; nothing has been written then.
        StoreError: ``out`` holds something else, or episodes of other settings.
        OSError: the disk is full; finished clips stay readable.
    """
    for name, value, least in (
        ("episodes", episodes, 1),
        ("seed", seed, 0),
        ("workers", 1 if workers is None else workers, 1),
    ):
        if value < least:
            raise ValueError(f"{name}: got {value}, expected at least {least}; give a larger number")
    if not is_ours(env):
        return _collect_other(out, env, episodes, seed, image_size, fps, num_frames, policies, options, depth)
    clip = {"image_size": image_size, "fps": fps, "num_frames": num_frames}
    recipe, policies = _prepare(out, env, clip, as_json("options", dict(options or {})), policies, depth)
    with _telling_of_full_disks(out, episodes):
        store = EpisodeStore.create(out, "truth", settings=recipe.settings, exist="resume")
        missing = [each for each in plan(episodes, seed, policies) if each.key not in store]
        jobs = [(recipe, missing[first : first + BLOCK]) for first in range(0, len(missing), BLOCK)]
        with (
            tqdm(total=episodes, initial=episodes - len(missing), desc="MuJoCo", unit="clip") as progress,
            contextlib.closing(finish(_record_block, jobs, workers, fewest=2)) as finished,
        ):
            for recorded in finished:
                progress.update(recorded)
    return store


@contextlib.contextmanager
def _telling_of_full_disks(out: Path, episodes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(f"out: got {out} ({error}), expected a folder that can be written; name another") from error
        raise OSError(
            f"out: got a full disk after {_finished(out)} finished clips in {out}, expected room for "
            f"{episodes}; they stay readable, free some space and run the same command to go on"
        ) from error


def _finished(out: Path) -> int:
    try:
        return len(EpisodeStore.open(out, "truth").keys())
    except StoreError:  # there was no room for its first file
        return 0


def is_ours(env: str) -> bool:
    """Whether an environment is not one of Gymnasium's registry that is none of this package's."""
    import gymnasium as gym

    return env not in gym.registry or env.startswith("worldmodel/")


def _collect_other(
    out: Path,
    env: str,
    episodes: int,
    seed: int,
    image_size: int,
    fps: float | None,
    num_frames: int | None,
    policies: Sequence[str],
    options: Mapping[str, Any] | None,
    depth: bool,
) -> EpisodeStore:
    """Clips of aimless actions in somebody else's MuJoCo environment; see :mod:`worldmodel.wrapped`."""
    from worldmodel.wrapped import PixelEnv

    if list(policies) not in ([], ["random"]) or depth:
        raise ValueError(
            f"policies, depth: got {list(policies)}, {depth}, expected 'random' and no depth for {env}, which has no "
            "scripted policies; leave them out"
        )
    played = PixelEnv(env, (image_size, image_size), 16.0 if fps is None else fps, **dict(options or {}))
    frames = 17 if num_frames is None else num_frames
    settings = {"env": env, "options": as_json("options", dict(options or {})), "image_size": image_size}
    settings |= {"fps": played.fps, "num_frames": frames, "policies": ["random"]}
    with _telling_of_full_disks(out, episodes), contextlib.closing(played):
        store = EpisodeStore.create(out, "truth", settings=settings, exist="resume")
        for number in tqdm(range(seed, seed + episodes), desc="MuJoCo", unit="clip"):
            if episode_name(number) not in store:
                store.write_truth(episode_name(number), played.record(number, frames), seed=number, policy="random")
    return store


def episode_name(seed: int, policy: str | None = None) -> str:
    """Key of the episode recorded with a seed, and a policy where there are several."""
    return f"{seed:08d}" if policy is None else f"{seed:08d}-{policy}"


def plan(episodes: int, seed: int, policies: Sequence[str]) -> list[Episode]:
    """What :func:`collect` records: every scene under every policy in turn."""
    planned = []
    for number in range(episodes):
        scene, turn = divmod(number, len(policies))
        name = episode_name(seed + scene, policies[turn] if len(policies) > 1 else None)
        planned.append(Episode(name, seed + scene, policies[turn]))
    return planned


def environment_id(name: str) -> str:
    """Gymnasium id of an environment given by its short name (``free-fall``) or its id."""
    import gymnasium as gym

    import worldmodel.envs  # noqa: F401  registers the ids

    own = (spec for spec in gym.registry.values() if spec.namespace == "worldmodel")
    ids = [spec.id for spec in own if not spec.name.startswith("Imagined")]  # those are no ground truth
    by_name = {_short_name(each): each for each in ids}
    if name not in ids and name not in by_name:
        raise ValueError(f"env: got {name!r}, expected one of {', '.join(by_name)}; choose one of them")
    return by_name.get(name, name)


def _short_name(env_id: str) -> str:
    """``free-fall`` for ``worldmodel/FreeFall-v0``."""
    camel = env_id.split("/")[1].rsplit("-v", 1)[0]
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in camel).lstrip("-")


def _prepare(
    out: Path, name: str, clip: dict[str, Any], options: dict[str, Any], policies: Sequence[str], depth: bool
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe and the policies; refuses malformed ones before anything is written."""
    env_id = environment_id(name)
    document = json.dumps({**options, **clip})
    env = _make_env(env_id, document)
    sampler = dataclasses.asdict(env.family.sampler)
    if not options.keys() <= sampler.keys():
        got, expected = ", ".join(sorted(options.keys() - sampler.keys())), ", ".join(sampler)
        raise ValueError(f"options: got {got}, expected one of {expected}; correct the name")
    policies = tuple(policies) or tuple(env.family.policies)[:1]
    if not set(policies) <= set(env.family.policies) or len(set(policies)) < len(policies):
        got, expected = ", ".join(policies), ", ".join(env.family.policies)
        raise ValueError(f"policy: got {got}, expected some of {expected}, each once; correct the names")
    settings = {
        "env": env_id,
        **clip,
        "fps": env.fps,
        "num_frames": env.num_frames,
        "options": sampler,
        "policies": policies,
        "depth": depth,
        # what, beside its seed and options, decides a clip's pixels
        "versions": {name: importlib.metadata.version(name) for name in MADE_BY},
    }
    return Recipe(out, settings, env_id, document, depth), policies


def _record_block(recipe: Recipe, block: list[Episode]) -> int:
    store = EpisodeStore.open(recipe.out, "truth", writable=True)
    env = _make_env(recipe.env, recipe.env_options)
    for episode in block:
        truth = env.record(seed=episode.seed, policy=episode.policy, depth=recipe.depth)
        store.write_truth(episode.key, truth, seed=episode.seed, policy=episode.policy)
    return len(block)


@functools.lru_cache(maxsize=1)
def _make_env(env_id: str, options: str) -> SceneEnv:
    """One env for all blocks of a process: making its renderer takes as long as recording a clip."""
    import gymnasium as gym

    import worldmodel.envs  # noqa: F401  registers the ids
    from worldmodel.envs.scene_env import SceneEnv

    made = {name: tuples(value) for name, value in json.loads(options).items()}
    env = gym.make(env_id, disable_env_checker=True, **made).unwrapped
    if not isinstance(env, SceneEnv):
        raise ValueError(f"env: got {env_id}, expected one of MuJoCo scenes with ground truth; choose another")
    return env


def env_of(settings: Mapping[str, Any]) -> SceneEnv:
    """The environment of a truth store's settings, with its options, picture size, rate and length; one a process."""
    clip = {name: settings[name] for name in ("image_size", "fps", "num_frames")}
    return _make_env(environment_id(settings["env"]), json.dumps({**settings["options"], **clip}))
