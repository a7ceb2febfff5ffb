"""Every field that a launch script or the compose file shows is in the documents for Kubernetes, or says why not."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from compiler.plan.ir import Plan
from tests.faithfulness.knobs import KNOBS
from tests.faithfulness.table import Knob
from tests.faithfulness.test_knobs import changed
from tests.kubernetes.clusters import files, in_cluster

# Each changes a plan and reads all of its documents.
pytestmark = pytest.mark.emitted

_ON_MACHINES = "of a machine, and a cluster has its own"
_PROMETHEUS = "the cluster brings its own Prometheus and Grafana"
_TLS = "the cluster's entrance ends TLS, and asks the gateway without"
_SECRET = "the path is a machine's; in a cluster it is a key of the stack's Secret"
_ORDER = "the cluster numbers the GPUs that a pod gets"
SILENT: Mapping[str, str] = {
    "ContainerFacts.cache": "what a server compiles goes with its pod",
    "Gateway.host": "a pod listens on its own address, and its Service leads there",
    "GpuNode.uuids": _ORDER,
    "HostFacts.closed": "a document sets every variable that a server has",
    "HostFacts.fixed": "a document sets every variable that a server has",
    "HostFacts.title": "of messages of the launch script",
    "Monitoring.dcgm_image": _PROMETHEUS,
    "Monitoring.dcgm_port": _PROMETHEUS,
    "Monitoring.grafana_image": _PROMETHEUS,
    "Monitoring.grafana_port": _PROMETHEUS,
    "Monitoring.has_dcgm": "alerts about GPUs are of the cluster's own exporter",
    "Monitoring.has_grafana": _PROMETHEUS,
    "Monitoring.port": _PROMETHEUS,
    "Monitoring.prometheus_image": _PROMETHEUS,
    "Patches.compose": "of the compose file; an overlay of kustomize changes these",
    "Paths.state": _ON_MACHINES,
    "Program.variable": _ON_MACHINES,
    "Secrets.api_key": _SECRET,
    "Secrets.client_keys": _SECRET,
    "Secrets.hf_token": _SECRET,
    "ServedModel.projector": "the server of the sample is given none",
    "Service.devices": _ORDER,
    "Service.host": "a pod listens on its own address, and its Service leads there",
    "Service.start_after": "the containers of a pod start in the order of the plan",
    "Tls.certificate": _TLS,
    "Tls.challenges": _TLS,
    "Tls.http_port": _TLS,
    "Tls.key": _TLS,
    "Timeouts.ready": "the probe of a pod grants the whole start",
}
SHOWN = [knob for knob in KNOBS if {"launch", "compose"} & knob.shows.keys() and not knob.name.startswith("Kubernetes")]


def workloads(plan: Plan) -> Mapping[str, str]:
    """What pods are made of; the plan itself, which lies among the programs and names a Job, shows everything."""
    texts = files(in_cluster(plan)).items()
    return {name: re.sub(r"prefetch-[0-9a-f]{10}", "", text) for name, text in texts if name != "programs.yaml"}


@pytest.mark.parametrize("knob", SHOWN, ids=lambda knob: knob.name)
def test_what_other_targets_show_a_cluster_is_told_too(knob: Knob) -> None:
    before, after = workloads(knob.sample()), workloads(changed(knob.sample(), knob.path, knob.value))
    assert (before == after) is (knob.name in SILENT)


def test_every_reason_is_needed() -> None:
    assert {knob.name for knob in SHOWN} >= SILENT.keys()
