"""From a spec to what its servers may fetch: nothing, or from the hosts that the spec names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints.families.table import VISION_MODELS
from compiler.engines.vllm.answers.media import takes_media
from compiler.engines.vllm.host.doors import FIXED_VARIABLES, MEDIA_DOMAINS, OF_STAGES_ON_CPU
from compiler.engines.vllm.releases.architectures import load_registry
from compiler.lock.models import ModelFacts
from compiler.pipeline import Compiled, compile_stack, render_plan
from compiler.plan.ir import Argument, Service
from compiler.render.syntax import read_unit
from tests.conftest import ROOT

LOCK = ROOT / "tests/cases/errors/media-hosts/media-hosts.lock.yaml"
HOSTS = ("images.example.org", "cdn.example.org")


def compiled(folder: Path, **service: Any) -> Compiled:
    """A stack with a model that takes images."""
    shutil.copy(LOCK, folder / "x.lock.yaml")
    see = {"model": "example/eyes", "quantization": "none", "context": "4K", "port": 8000, **service}
    nodes = {"n": {"gpus": {"model": "l40s"}}}
    data = {"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": nodes, "services": {"see": see}}
    (folder / "x.yaml").write_text(json.dumps(data))
    made, found = compile_stack(folder / "x.yaml", "x.yaml")
    assert made is not None, found
    return made


def service_of(made: Compiled) -> Service:
    return made.plan.services[0]


def media_argument(service: Service) -> Argument:
    (found,) = [each for each in service.arguments if each.flag == MEDIA_DOMAINS]
    return found


def addresses(made: Compiled, key: str) -> list[str]:
    text = next(each.text for each in render_plan(made.plan) if str(each.path) == "systemd/x-see.service")
    return [word for value in read_unit(text).values("Service", key) for word in value.split()]


def test_nothing_is_fetched_by_default(tmp_path: Path) -> None:
    made = compiled(tmp_path)
    service = service_of(made)
    # An empty list would be no restriction, and a name that somebody may own would be one day.
    assert media_argument(service).value == "remote-media-off.invalid"
    assert dict(service.environment).keys() >= FIXED_VARIABLES - OF_STAGES_ON_CPU.keys()
    assert dict(service.environment)["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"
    assert (addresses(made, "IPAddressDeny"), addresses(made, "IPAddressAllow")) == (["any"], ["localhost"])


def test_named_hosts_are_opened_and_redirects_are_not(tmp_path: Path) -> None:
    made = compiled(tmp_path, allowed_media_domains=list(HOSTS))
    service = service_of(made)
    assert media_argument(service) == Argument(MEDIA_DOMAINS, HOSTS, "spec")
    assert dict(service.environment)["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"
    assert "192.168.0.0/16" in addresses(made, "IPAddressDeny")
    script = next(each.text for each in made.artifacts if str(each.path) == "bin/launch-see")
    assert f"  {MEDIA_DOMAINS} {HOSTS[0]} {HOSTS[1]}\n" in script
    plan = next(json.loads(each.text) for each in made.artifacts if str(each.path) == "plan.json")
    assert plan["services"][0]["media_domains"] == list(HOSTS)


def facts(architecture: str, **config: Any) -> ModelFacts:
    return ModelFacts(
        source="hub", commit=None, license=None, chat_template=None, config={"architectures": [architecture], **config}
    )


@pytest.mark.parametrize("version", ["0.33.0", "0.32.0"])
def test_every_model_that_may_take_media_is_shut(version: str) -> None:
    registry = load_registry(version)
    multimodal = {
        "Qwen2AudioForConditionalGeneration",
        "WhisperForConditionalGeneration",
        "PixtralForConditionalGeneration",
    }
    assert registry.media >= multimodal | (VISION_MODELS.keys() & registry.native - {"Gemma4ForCausalLM"})
    for name in registry.media:
        assert takes_media(facts(name), version), name
    # What vLLM runs through transformers, or with code of a repository, may take anything.
    assert takes_media(facts("FromSomewhereElse"), version)
    assert takes_media(facts("Qwen2VLForSequenceClassification"), version)


def test_models_of_text_alone_are_not_told_about_media() -> None:
    for name in ("LlamaForCausalLM", "Qwen2ForCausalLM", "LlamaForSequenceClassification", "DeepseekV3ForCausalLM"):
        assert not load_registry("0.33.0").takes_media(name), name
