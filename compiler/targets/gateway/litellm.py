"""LiteLLM's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.catalog.packages import LITELLM_VERSION
from compiler.plan.ir import Gateway, Plan, Route, Service
from compiler.targets.gateway.routes import revisions, servers_of
from compiler.targets.gateway.script import variable


@dataclass(frozen=True, slots=True)
class LitellmModel:
    """A server in LiteLLM's list; `timeout` is seconds, `weight` its share among servers of the same name."""

    name: str
    engine_model: str
    service: str
    url: str
    timeout: int
    weight: int
    max_model_len: int


@dataclass(frozen=True, slots=True)
class LitellmConfig:
    """`gateway/litellm.yaml`."""

    stack: str
    version: str
    models: tuple[LitellmModel, ...]
    timeout: int
    has_client_keys: bool


def litellm_config(plan: Plan, gateway: Gateway) -> LitellmConfig:
    """LiteLLM's configuration as a document."""
    models = (model for route in gateway.routes for model in _litellm_models(plan, route))
    timeout = max(route.read_timeout for route in gateway.routes)
    return LitellmConfig(plan.stack, LITELLM_VERSION, tuple(models), timeout, plan.secrets.client_keys is not None)


def _litellm_models(plan: Plan, route: Route) -> tuple[LitellmModel, ...]:
    """Each server with its part of its revision's share, in whole numbers that are divided as the shares are."""
    percent = 0 if route.rollout is None else route.rollout.weight
    (_, stable), (_, candidates) = (*revisions(route), ("", ()))[:2]
    shares = {name: (100 - percent) * max(1, len(candidates)) for name in stable}
    shares |= {name: percent * len(stable) for name in candidates}
    return tuple(
        LitellmModel(
            name=route.name,
            # The provider's prefix goes no further: the server is asked for the name after it.
            engine_model=f"{_provider(plan, service)}/{route.name}",
            service=service.name,
            url=f"os.environ/{variable(service)}",
            timeout=route.read_timeout,
            weight=weight,
            max_model_len=service.max_model_len,
        )
        for service in servers_of(plan, route)
        if (weight := shares[service.name])
    )


def _provider(plan: Plan, service: Service) -> str:
    host = plan.engine_of(service).host
    return host.ranking_provider if service.task == "score" else host.provider
