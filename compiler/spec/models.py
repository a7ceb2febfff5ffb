"""The shape of stacks/NAME.yaml. Models validate and nothing more; rules across fields are in `checks.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from compiler.spec.base import (
    AbsolutePath,
    Name,
    Publisher,
    SpecModel,
)
from compiler.spec.engines import EngineSpec, with_engines
from compiler.spec.kubernetes import KubernetesSpec
from compiler.spec.nodes.counted import with_counted
from compiler.spec.nodes.devices import with_devices
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.nodes.parts import entry_of_part, machine_of_part, whole, with_parts
from compiler.spec.operations import (
    GatewaySpec,
    MonitoringSpec,
    PatchesSpec,
)
from compiler.spec.rollouts import SUFFIX, with_candidates
from compiler.spec.services import ServiceSpec, on_part
from compiler.spec.slurm import SlurmSpec

Target = Literal["scripts", "systemd", "compose", "quadlet", "kubernetes", "slurm"]


def _machines(nodes: dict[str, NodeSpec]) -> dict[str, NodeSpec]:
    """Every machine by itself, and of one with cards of several models each of them."""
    return with_parts(with_counted(nodes))


class PolicySpec(SpecModel):
    """What may be served.

    Attributes:
        licenses: that a model may have; an empty list allows every licence.
        publishers: trusted for quantized variants, beside the model's own.
        gated: models whose terms must be accepted on the Hub.
        trust_remote_code: models that run Python code of their repository; only their servers run it.
        margin: plans that fit only at the expected values, and not at the high end of every estimate.
        unconfirmed: what is not known exactly, such as a commit, a hash, or the digest of an image; denied, it is an
            error and no warning.
        minimum_bits: per weight, over all weights where files mix types, such as 4; models with fewer are not served.
        commercial: what is served is used commercially: models whose licence forbids that, or is not known to allow
            it, are not served, nor those that were made from such a one.
        licensed: repositories whose licence you answer for: you read it, or have an agreement of your own.
    """

    licenses: tuple[str, ...] = Field(default=(), strict=False)
    publishers: tuple[Publisher, ...] = Field(default=(), strict=False)
    gated: Literal["deny", "allow"] = "deny"
    trust_remote_code: Literal["deny", "allow"] = "deny"
    margin: Literal["deny", "allow"] = "deny"
    unconfirmed: Literal["deny", "allow"] = "allow"
    minimum_bits: Annotated[float, Field(gt=0, le=32)] | None = None
    commercial: bool = False
    licensed: tuple[str, ...] = Field(default=(), strict=False)


class SecretsSpec(SpecModel):
    """Paths on the server of files that hold secrets.

    Attributes:
        hf_token: for downloads from the Hub.
        api_key: opens the servers; behind a gateway only the gateway has it.
        client_keys: one key on each line, with which clients come to the gateway.
    """

    hf_token: AbsolutePath | None = None
    api_key: AbsolutePath | None = None
    client_keys: AbsolutePath | None = None


class PathsSpec(SpecModel):
    """Where things lie on the server.

    Attributes:
        install: the stack's own folder; /opt/stackc/NAME by default.
        state: its state and caches, a folder of its own too; /var/lib/stackc/NAME by default.
        vllm: the executable, for servers without containers; /opt/stackc/vllm-VERSION/bin/vllm by default.
        vllm_cpu: the same of its build for CPUs, where a stack has both.
        llama_server: the same of llama.cpp; /opt/stackc/llama.cpp-BUILD/llama-server by default.
        nginx: the executable; /usr/sbin/nginx by default.
        litellm: the executable; /opt/stackc/litellm-VERSION/bin/litellm by default.
    """

    install: AbsolutePath | None = None
    state: AbsolutePath | None = None
    vllm: AbsolutePath | None = None
    vllm_cpu: AbsolutePath | None = None
    llama_server: AbsolutePath | None = None
    nginx: AbsolutePath | None = None
    litellm: AbsolutePath | None = None


class Spec(SpecModel):
    """A whole stack as written.

    Attributes:
        stack: its name, which is also that of the file.
        engine: which engines run, each in one release.
        nodes: machines, by name; here each by itself, and of one with cards of several models each of these.
        services: servers, by name.
        policy: what may be served.
        secrets: files on the server that hold secrets.
        paths: where things lie on the server.
        targets: what is emitted: programs to run by hand (always), systemd units, a compose file, Podman's quadlets,
            documents for Kubernetes, batch jobs of Slurm.
        slurm: what the target of that name must know of the cluster.
        gateway: one port in front of all servers; None for none.
        monitoring: what Prometheus scrapes; None for none.
        patches: keys to add to what is emitted.
        kubernetes: what clusters differ in, for that target.
    """

    stack: Name
    engine: EngineSpec
    nodes: Annotated[dict[Name, NodeSpec], Field(min_length=1), AfterValidator(_machines)]
    services: Annotated[dict[Name, ServiceSpec], Field(min_length=1)]
    policy: PolicySpec = PolicySpec()
    secrets: SecretsSpec = SecretsSpec()
    paths: PathsSpec = PathsSpec()
    targets: Annotated[tuple[Target, ...], Field(min_length=1, strict=False)] = ("scripts", "systemd", "compose")
    gateway: GatewaySpec | None = None
    monitoring: MonitoringSpec | None = None
    patches: PatchesSpec = PatchesSpec()
    kubernetes: KubernetesSpec | None = None
    slurm: SlurmSpec | None = None

    _replica_of: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _servers: Mapping[str, int] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        return with_engines(with_devices(with_candidates(data)))

    @property
    def has_gpus(self) -> bool:
        """Whether its nodes have GPUs; all of them have, or none."""
        return any(node.gpus is not None for node in self.nodes.values())

    @property
    def written_nodes(self) -> Mapping[str, NodeSpec]:
        """The nodes as a file has them: of those that one entry stands for the first, by the entry's name."""
        found: dict[str, NodeSpec] = {}
        for name, node in self.nodes.items():
            found.setdefault(entry_of_part(name, node), whole(node))
        return found

    @property
    def machines(self) -> dict[str, NodeSpec]:
        """Every machine, whole, by its name."""
        return {machine_of_part(name): whole(node) for name, node in self.nodes.items()}

    def members(self) -> dict[str, tuple[str, ...]]:
        """What `node` of a service may name: every machine, and every entry with a count, with their nodes."""
        found: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            for word in {machine_of_part(name), entry_of_part(name, node)}:
                found.setdefault(word, []).append(name)
        return {word: tuple(names) for word, names in found.items()}

    def candidate_of(self, service: str) -> str | None:
        """The service that this one may replace; None outside a rollout."""
        service = self._replica_of.get(service, service)
        base = self.services.get(service.removesuffix(SUFFIX)) if service.endswith(SUFFIX) else None
        return service.removesuffix(SUFFIX) if base is not None and base.rollout is not None else None

    def replica_of(self, service: str) -> str | None:
        """The service of which this is a further server; None for the first one, which has the service's own name."""
        return self._replica_of.get(service)

    def service_of(self, server: str) -> str:
        """The service, as the file has it, that a server is of."""
        return self._replica_of.get(server, server)

    def servers_of(self, service: str) -> int:
        """How many servers a service has in the whole stack."""
        return self._servers.get(service, 1)

    def counted(
        self, services: dict[str, ServiceSpec], replica_of: Mapping[str, str], servers: Mapping[str, int]
    ) -> Spec:
        """The same with these servers: which of them are further ones of a service, and how many each has."""
        found = self.model_copy(update={"services": services})
        found._replica_of, found._servers = replica_of, servers  # noqa: SLF001  of its own class
        return found

    def of_machine(self, machine: str) -> Spec:
        """The stack that one machine is, with all services."""
        parts = {name: node for name, node in self.nodes.items() if machine_of_part(name) == machine}
        return self.model_copy(update={"nodes": parts})

    def on(self, node: str, services: Iterable[str]) -> Spec:
        """The stack that one node is, with those of the services that run there."""
        chosen = {name: on_part(self.services[name], self.nodes[node]) for name in services}
        return self.model_copy(update={"nodes": {node: self.nodes[node]}, "services": chosen})
