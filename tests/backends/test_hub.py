"""Repositories of the hub: found in its cache without a network, and refused with what to do."""

from types import SimpleNamespace

import huggingface_hub
import pytest
import tiny_predict
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects

from worldmodel.backends import hub
from worldmodel.backends.checksum import stated_hash
from worldmodel.backends.families import load_backend
from worldmodel.backends.text import ship_prompt
from worldmodel.collect import collect
from worldmodel.training.finetune import FinetuneSettings, finetune_from_folder
from worldmodel.training.start import local_folder

NAME, COMMIT = "nvidia/Cosmos-Predict2.5-2B", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put(cache, revision, subfolder="", recipe=None):
    repository = cache / f"models--{NAME.replace('/', '--')}"
    reference = repository / "refs" / revision
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    return tiny_predict.save(tiny_predict.pipeline(), repository / "snapshots" / COMMIT / subfolder, recipe)


def test_the_known_revision_is_taken_from_the_cache(cache):
    put(cache, "diffusers/base/post-trained")
    backend = load_backend(NAME, "cpu", guardrail="none")
    assert backend.recipe.name == "Cosmos-Predict2.5-2B"
    assert (backend.recipe.num_frames, backend.recipe.image_size, backend.recipe.steps) == (93, (704, 1280), 36)
    with pytest.raises(ValueError, match="got neither the hub nor a cached copy of diffusers/base/pre-trained"):
        load_backend(NAME, "cpu", revision="diffusers/base/pre-trained", guardrail="none")


def test_a_subfolder_of_another_revision(cache):
    put(cache, "main", "pipelines/robot")
    folder = hub.fetch(NAME, "main", "pipelines/robot")
    assert folder.name == "robot" and (folder / "vae" / "config.json").is_file()
    with pytest.raises(ValueError, match=r"got no model_index.json, expected a pipeline; revisions with one are"):
        hub.fetch(NAME, "main")


def test_a_repository_of_the_hub_is_fine_tuned_and_saved_whole(cache, tmp_path):
    put(cache, "diffusers/base/post-trained")
    assert (local_folder(NAME) / "transformer").is_dir()
    ship_prompt(local_folder(NAME), "", tiny_predict.embeddings(1))
    clips = collect(tmp_path / "clips", episodes=2, image_size=32, num_frames=9)
    settings = FinetuneSettings(steps=1, batch=2, levels=1, lora_rank=2)
    out = finetune_from_folder(clips.path, NAME, tmp_path / "out", "cpu", settings)
    backend = load_backend(str(out), "cpu", guardrail="none")
    assert backend.recipe.name == "Cosmos-Predict2.5-2B" and backend.weights_hash == stated_hash(out)
    assert not any(path.is_symlink() for path in out.rglob("*")), "the cache may be cleared"


@pytest.mark.parametrize("subfolder", ["", "pipelines/robot"])
def test_a_pipeline_of_our_own_keeps_its_recipe_its_prompts_and_its_card(cache, subfolder):
    recipe = {"name": "mine", "image_size": (32, 48), "num_frames": 9, "fps": 8.0, "steps": 3}
    folder = put(cache, "main", subfolder, recipe)
    ship_prompt(folder, "", tiny_predict.embeddings(1))
    (folder / "README.md").write_text("My model.\n")
    backend = load_backend(NAME, "cpu", revision="main", subfolder=subfolder or None, guardrail="none")
    assert (backend.recipe.name, backend.recipe.num_frames) == ("mine", 9)
    assert torch.equal(backend._prompts.embed(""), tiny_predict.embeddings(1))
    (folder / "README.md").write_text(f"- weights: SHA-256 `{'0' * 64}`\n")
    with pytest.raises(ValueError, match=r"expected 000000000000..., which README.md describes"):
        load_backend(NAME, "cpu", revision="main", subfolder=subfolder or None, guardrail="none")


@pytest.mark.parametrize("subfolder", ["", "pipelines/robot"])
def test_what_is_fetched_of_a_repository(monkeypatch, subfolder):
    asked = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **options: asked.update(options))
    with pytest.raises(TypeError):
        hub.fetch("me/mine", subfolder=subfolder or None)
    inside = f"{subfolder}/" if subfolder else ""
    wanted = ["model_index.json", "worldmodel.json", "prompts/empty.safetensors", "README.md", "vae/config.json"]
    others = ["prompts/notes.txt", "conversion.pt", "text_encoder/model.safetensors", "robot/action-cond/ema.pt"]
    files = [f"{inside}{name}" for name in (*wanted, *others)] + ["docs/README.md"]
    fetched = list(filter_repo_objects(files, allow_patterns=asked["allow_patterns"]))
    assert fetched == [f"{inside}{name}" for name in wanted]


def answer(code):
    """What huggingface_hub's errors read of an HTTP response."""
    return SimpleNamespace(status_code=code, headers={}, request=None)


def caused(error, cause):
    """The error as huggingface_hub raises it where nothing is in the cache."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError("gated", response=answer(403)), "got no access.* accept it on https://huggingface.co/nvidia"),
        (RevisionNotFoundError("no", response=answer(404)), "revision: got 'x', expected one of diffusers/base/post"),
        (
            RepositoryNotFoundError("no", response=answer(401)),
            "got no such repository, or a private one.*hf auth login",
        ),
        (HfHubHTTPError("no", response=answer(401)), r"got a token that the hub does not take \(401\).*hf auth login"),
        (
            caused(LocalEntryNotFoundError("no"), HfHubHTTPError("no", response=answer(403))),
            r"got a token that the hub does not take \(403\), expected a valid one",
        ),
        (caused(LocalEntryNotFoundError("no"), HfHubHTTPError("no", response=answer(503))), "got neither.*go online"),
        (LocalEntryNotFoundError("no"), "got neither the hub nor a cached copy of x.*go online"),
    ],
)
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(monkeypatch, error, message):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError, match=message) as raised:
        hub.fetch(NAME, "x")
    assert len(str(raised.value).splitlines()) == 1


def test_nothing_pickled_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, allow_patterns, **__: asked.extend(allow_patterns)
    )
    with pytest.raises(TypeError):
        hub.fetch(NAME)
    assert "transformer/*.safetensors" in asked and "model_index.json" in asked
    assert not any(pattern.endswith((".pt", ".bin", ".ckpt", "/*")) for pattern in asked)
    assert not any("text_encoder" in pattern for pattern in asked), "16 GB that a kept prompt does not need"


@pytest.mark.parametrize(
    ("name", "known"), [(NAME, True), ("tiny", False), ("a/b/c", False), ("./folder", False), ("/tmp/x", False)]
)
def test_names_of_repositories(name, known):
    assert hub.is_hub_id(name) is known
