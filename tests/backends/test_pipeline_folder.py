"""Reading a pipeline folder: the scheduler of a flow is taken, any other refused."""

import shutil

import pytest
import tiny_predict
import tiny_wan
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

import worldmodel
from worldmodel.backends.families import load_backend
from worldmodel.backends.pipeline_folder import UNIPC, read_scheduler
from worldmodel.model import EMBEDDED


def saved(scheduler, folder):
    scheduler.save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    tiny_predict.save(tiny_predict.pipeline(), root / "predict")
    tiny_wan.text_to_video().save_pretrained(root / "wan")
    shutil.copytree(EMBEDDED["tiny"], root / "embedded")
    return root


@pytest.mark.parametrize("make", [tiny_predict.karras, tiny_predict.shifted, tiny_wan.scheduler])
def test_the_schedulers_of_the_hub_are_taken(tmp_path, make):
    assert read_scheduler(saved(make(), tmp_path), UNIPC)["prediction_type"] == "flow_prediction"


def test_the_embedded_models_scheduler_is_taken():
    assert read_scheduler(EMBEDDED["tiny"], UNIPC)["use_flow_sigmas"] is True
    assert len(worldmodel.load("tiny", "cpu").backend.sigmas(4)) == 5


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (DDIMScheduler(), "'DDIMScheduler', expected UniPCMultistepScheduler"),
        (UniPCMultistepScheduler(), "'use_flow_sigmas': False, 'prediction_type': 'epsilon'}, expected"),
        (UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="sample"), "'prediction_type': 'sample'}"),
        (UniPCMultistepScheduler(prediction_type="flow_prediction"), "'use_flow_sigmas': False"),
    ],
)
@pytest.mark.parametrize("family", ["predict", "wan", "embedded"])
def test_a_scheduler_of_no_flow_is_refused(folders, tmp_path, family, scheduler, message):
    folder = saved(scheduler, shutil.copytree(folders / family, tmp_path / family))
    with pytest.raises(ValueError, match=f"scheduler: got .*{message}") as raised:
        load_backend(str(folder), "cpu", guardrail="none")
    assert len(str(raised.value).splitlines()) == 1


def test_a_flow_of_another_class_is_taken_where_the_model_knows_it(folders, tmp_path):
    euler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    load_backend(str(saved(euler, shutil.copytree(folders / "wan", tmp_path / "wan"))), "cpu")
    folder = saved(euler, shutil.copytree(folders / "predict", tmp_path / "predict"))
    with pytest.raises(ValueError, match="got 'FlowMatchEulerDiscreteScheduler', expected UniPC"):
        load_backend(str(folder), "cpu", guardrail="none")
