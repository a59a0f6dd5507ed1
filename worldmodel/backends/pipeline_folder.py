"""Reading a diffusers pipeline folder: what is in it, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

UNIPC = "UniPCMultistepScheduler"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file as a dict, or an error that names it."""
    if not path.is_file():
        raise ValueError(f"{path}: got no such file, expected a pipeline folder in the hub's layout; check the path")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: got malformed JSON ({error}), expected a pipeline's settings; fetch it again"
        ) from None


def load_component(
    kind: Any, folder: Path, component: str, dtype: torch.dtype = torch.float32, spare: Collection[str] = ()
) -> Any:
    """One model of the pipeline, or an error that names its folder.

    Args:
        kind: class of diffusers or transformers.
        folder: of the pipeline.
        component: sub-folder of the model.
        dtype: of the weights.
        spare: names of weights that the files may lack, or have too many.
    """
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "use_safetensors": True}
    if hasattr(kind, "config_class"):  # of transformers, which would make random weights of any settings
        _refuse_another_model(kind, folder / component)
        options["ignore_mismatched_sizes"] = True  # told below, in place of an error without names
    try:
        loaded, notes = kind.from_pretrained(folder, subfolder=component, output_loading_info=True, **options)
    except Exception as error:
        raise _unloadable(folder / component, f"a {kind.__name__}", error) from None
    sizes = {name for name, *_ in notes["mismatched_keys"]}
    wrong = {*notes["missing_keys"], *notes["unexpected_keys"], *sizes} - {*spare}
    if wrong:
        raise ValueError(
            f"{folder / component}: got weights of another {kind.__name__} ({len(wrong)} names or sizes differ, such "
            f"as {min(wrong)}), expected those of its config.json; fetch them again"
        )
    return loaded


def load_processor(kind: Any, folder: Path, component: str) -> Any:
    """A tokenizer or image processor of the pipeline, or an error that names its folder.

    Args:
        kind: class of transformers.
        folder: of the pipeline.
        component: sub-folder of the processor.
    """
    if not (folder / component).is_dir():
        raise ValueError(f"{folder}: got no {component}, expected one in the hub's layout; fetch the pipeline again")
    try:
        return kind.from_pretrained(folder / component, local_files_only=True)
    except Exception as error:
        raise _unloadable(folder / component, f"what an {kind.__name__} reads", error) from None


def read_scheduler(folder: Path, *kinds: str) -> dict[str, Any]:
    """The settings of a pipeline's scheduler, or an error that names its folder if it is none of a flow.

    Args:
        folder: of the pipeline.
        kinds: classes of diffusers that the model takes.
    """
    config, path = read_json(folder / "scheduler" / "scheduler_config.json"), folder / "scheduler"
    kind = config.get("_class_name")
    if kind not in kinds:
        raise ValueError(f"{path}: got {kind!r}, expected {' or '.join(kinds)}; fetch it again")
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    got = {name: config.get(name) for name in flow}
    if kind == UNIPC and got != flow:
        raise ValueError(f"{path}: got a {kind} with {got}, expected {flow}, as for a flow; fetch it again")
    return config


def weight_files(folder: Path, component: str) -> list[Path]:
    """The component's safetensors files, each opened once to see that it is whole."""
    files = sorted((folder / component).glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder / component}: got no *.safetensors file, expected the weights; fetch them again")
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{file}: got a truncated or damaged file ({error}), expected whole safetensors; fetch it again"
            ) from None
    return files


def _refuse_another_model(kind: Any, path: Path) -> None:
    """Refuse the settings of another model than a class of transformers."""
    got, expected = read_json(path / "config.json").get("model_type"), kind.config_class.model_type
    if got != expected:
        raise ValueError(f"{path}: got a model of type {got!r}, expected {expected!r}; fetch the pipeline again")


def _unloadable(path: Path, expected: str, error: Exception) -> ValueError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ValueError(f"{path}: got files that do not load ({reason}), expected {expected}; fetch them again")
