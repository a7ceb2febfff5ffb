"""Documents for Kubernetes say what the plan says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Argument, GpuNode, Plan
from compiler.targets.deployment import user_of
from compiler.targets.kubernetes import emit_kubernetes
from tests.kubernetes.clusters import (
    CLUSTER,
    PLANS,
    documents,
    files,
    group,
    in_cluster,
    named,
    pod_specs,
    server,
    team,
)
from tests.kubernetes.custom_resources import KINDS
from tests.unit.plan_samples import one_on_two_gpus, two_on_one_gpu, with_service

stacks = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)


def test_each_stack_has_what_its_plan_has() -> None:
    kinds = {(each["apiVersion"], each["kind"]) for plan in (team(), group()) for each in documents(plan)}
    assert kinds >= KINDS.keys()
    assert "gateway.yaml" not in files(in_cluster(one_on_two_gpus()))


# --- what it says ---


@stacks
def test_every_option_of_every_server_is_an_argument(plan: Plan) -> None:
    for service in plan.services:
        args = server(plan, service.name)["args"]
        for argument in service.arguments:
            if argument.flag == "--host":
                assert args[args.index("--host") + 1] == "0.0.0.0"
                continue
            if service.group is not None and argument.reason == "machines" and argument.flag != "--master-port":
                continue  # each machine's own, which the cluster tells it
            joined = f"{argument.flag}={argument.value}"
            place = args.index(argument.flag) if joined not in args else None
            if place is not None:
                words = argument.words
                assert tuple(args[place + 1 : place + 1 + len(words)]) == words


@stacks
def test_a_server_is_given_the_commit_that_the_lock_names(plan: Plan) -> None:
    for service in plan.services:
        model = service.model
        words = " ".join(server(plan, service.name)["args"])
        link = f"/var/lib/stackc/links/{service.name}-0"
        place = (
            model.folder or link
            if not model.is_pinned
            else f"/models--{str(model.repository).replace('/', '--')}/snapshots/{model.commit}"
        )
        assert place in words


def test_a_word_with_a_dollar_is_no_variable_of_the_pod() -> None:
    service = one_on_two_gpus().services[0]
    odd = Argument("--chat-template", "$(HOME)", "spec")
    plan = in_cluster(with_service(one_on_two_gpus(), service.name, arguments=(*service.arguments, odd)))
    assert server(plan, service.name)["args"][-1] == "$$(HOME)"


@stacks
def test_secrets_are_named_and_never_written(plan: Plan) -> None:
    for spec in pod_specs(plan):
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            for variable in container.get("env", ()):
                if variable["name"].endswith(("_KEY", "_TOKEN")):
                    assert variable["valueFrom"]["secretKeyRef"]["name"] == CLUSTER.secret
    assert not [each for each in documents(plan) if each["kind"] == "Secret"]


@stacks
def test_no_pod_runs_as_root_or_keeps_a_capability_that_it_does_not_need(plan: Plan) -> None:
    for spec in pod_specs(plan):
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_servers_of_one_gpu_are_one_pod_that_starts_them_in_order() -> None:
    plan = team()
    spec = named(plan, "Deployment", "coder")["spec"]["template"]["spec"]
    waits, *sidecars = spec["initContainers"]
    assert waits["name"] == "models"
    assert "restartPolicy" not in waits
    in_order = [*(each["name"] for each in sidecars), *(each["name"] for each in spec["containers"])]
    assert in_order == [service.name for service in plan.services]
    assert all(each["restartPolicy"] == "Always" and each["startupProbe"] for each in sidecars)
    (claim,) = spec["resourceClaims"]
    exactly = named(plan, "ResourceClaimTemplate", claim["resourceClaimTemplateName"])["spec"]["spec"]["devices"][
        "requests"
    ][0]
    assert exactly["exactly"]["count"] == 1
    assert isinstance(plan.node, GpuNode)
    assert f"quantity('{plan.node.memory // 2**20}Mi')" in exactly["exactly"]["selectors"][0]["cel"]["expression"]
    for service in plan.services:
        assert server(plan, service.name)["resources"]["claims"] == [{"name": claim["name"]}]
        # One that starts anew must not take its neighbours' clients away.
        assert named(plan, "Service", service.name)["spec"]["publishNotReadyAddresses"] is True


def test_a_server_with_gpus_of_its_own_asks_for_that_many() -> None:
    plan = in_cluster(one_on_two_gpus(), gpu_resource="example.com/gpu", has_claims=False)
    (service,) = plan.services
    assert server(plan, service.name)["resources"]["limits"] == {"example.com/gpu": "2"}
    assert "resourceClaims" not in named(plan, "Deployment", service.name)["spec"]["template"]["spec"]


@stacks
def test_probes_grant_what_the_plan_grants(plan: Plan) -> None:
    for service in plan.services:
        container = server(plan, service.name)
        startup = container["startupProbe"]
        assert startup["failureThreshold"] * startup["periodSeconds"] >= service.timeouts.start
        assert startup["httpGet"] == {"path": "/health", "port": service.port}
        assert container["livenessProbe"]["failureThreshold"] * container["livenessProbe"]["periodSeconds"] >= 60
    for each in documents(plan):
        if each["kind"] == "Deployment" and each["metadata"]["name"] != "gateway":
            spec, own = (
                each["spec"]["template"]["spec"],
                {
                    one["name"]
                    for key in ("initContainers", "containers")
                    for one in each["spec"]["template"]["spec"][key]
                },
            )
            stop = sum(service.timeouts.stop for service in plan.services if service.name in own)
            assert spec["terminationGracePeriodSeconds"] > stop


@stacks
def test_shared_memory_is_in_memory_and_large_enough(plan: Plan) -> None:
    for service in plan.services:
        mounts = {each["mountPath"]: each["name"] for each in server(plan, service.name)["volumeMounts"]}
        if service.shared_memory:
            volumes = {each["name"]: each for spec in pod_specs(plan) for each in spec["volumes"]}
            memory = volumes[mounts["/dev/shm"]]["emptyDir"]
            assert memory["medium"] == "Memory"
            assert int(memory["sizeLimit"].removesuffix("Mi")) * 2**20 >= service.shared_memory


def test_whatever_clusters_differ_in_is_where_it_belongs() -> None:
    plan = team()
    for spec in pod_specs(plan):
        assert spec["nodeSelector"] == {"pool": "gpus"}
        assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
    servers = named(plan, "Deployment", "coder")["spec"]["template"]["spec"]
    assert (servers["runtimeClassName"], servers["priorityClassName"]) == ("nvidia", "serving")
    assert named(plan, "PersistentVolumeClaim", "models")["spec"]["storageClassName"] == "fast"
    assert named(plan, "HTTPRoute", "gateway")["spec"]["parentRefs"] == [{"name": "edge", "namespace": "gateways"}]
    assert named(plan, "InferencePool", "general")["spec"]["endpointPickerRef"]["name"] == "general-picker"
    assert named(plan, "ServiceMonitor", "coder")["metadata"]["labels"]["release"] == "prometheus"
    assert {each["metadata"]["namespace"] for each in documents(plan) if each["kind"] != "Namespace"} == {"models"}


def test_a_claim_that_exists_is_used_and_none_is_made() -> None:
    plan = in_cluster(two_on_one_gpu(), storage=replace(CLUSTER.storage, claim="shared", storage_class=None))
    assert "storage.yaml" not in files(plan)
    claims = {
        each["persistentVolumeClaim"]["claimName"]
        for spec in pod_specs(plan)
        for each in spec["volumes"]
        if "persistentVolumeClaim" in each
    }
    assert claims == {"shared"}


def test_only_the_gateway_its_smoke_test_and_prometheus_reach_the_servers() -> None:
    plan = in_cluster(team(), pool=None)
    (rule,) = named(plan, "NetworkPolicy", "server")["spec"]["ingress"]
    asking = [each.get("podSelector", each.get("namespaceSelector"))["matchLabels"] for each in rule["from"]]
    assert [each.get("app.kubernetes.io/component") for each in asking] == ["gateway", "smoke-test", None]
    assert asking[2] == {"kubernetes.io/metadata.name": "observability"}
    assert {each["port"] for each in rule["ports"]} == {service.port for service in plan.services}
    for kind in ("gateway", "smoke-test", "server", "prefetch"):
        selector = named(plan, "NetworkPolicy", kind)["spec"]["podSelector"]["matchLabels"]
        marked = [each for each in documents(plan) if each["kind"] in ("Deployment", "Job")]
        labels = [each["spec"]["template"]["metadata"]["labels"] for each in marked]
        assert any(selector.items() <= each.items() for each in labels)


def test_services_find_their_servers() -> None:
    plan = team()
    for service in plan.services:
        selector = named(plan, "Service", service.name)["spec"]["selector"]
        found = [
            each["metadata"]["name"]
            for each in documents(plan)
            if each["kind"] == "Deployment"
            and selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert found == ["coder"]


# --- one server over several machines ---


def test_a_group_is_a_pod_for_each_machine_and_one_of_them_answers() -> None:
    plan = group()
    (service,) = plan.services
    found = named(plan, "LeaderWorkerSet", f"{service.name}-group")
    both = found["spec"]["leaderWorkerTemplate"]
    assert found["spec"]["startupPolicy"] == "LeaderCreated", "the leader is ready when the others have joined"
    assert (both["size"], both["restartPolicy"]) == (2, "RecreateGroupOnPodRestart")
    (leader,), (worker,) = (both[each]["spec"]["containers"] for each in ("leaderTemplate", "workerTemplate"))
    assert worker["args"] == [*leader["args"], "--headless"]
    for flag, value in (("--nnodes", "LWS_GROUP_SIZE"), ("--node-rank", "LWS_WORKER_INDEX")):
        assert leader["args"][leader["args"].index(flag) + 1] == f"$({value})"
    assert leader["args"][leader["args"].index("--master-addr") + 1] == "$(LWS_LEADER_ADDRESS)"
    address = {"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    assert address in leader["env"]
    assert address in worker["env"]
    assert not [key for key in worker if key.endswith("Probe")], "it serves no HTTP"


def test_no_service_leads_to_a_machine_that_does_not_answer() -> None:
    plan = group()
    (service,) = plan.services
    selector = named(plan, "Service", service.name)["spec"]["selector"]
    assert selector["leaderworkerset.sigs.k8s.io/worker-index"] == "0"
    worker = named(plan, "LeaderWorkerSet", f"{service.name}-group")["spec"]["leaderWorkerTemplate"]["workerTemplate"]
    assert f"server.stackc/{service.name}" not in worker["metadata"]["labels"]


def test_the_machines_of_a_group_reach_each_other_at_every_port() -> None:
    """NCCL and the engine's queues choose theirs as they start."""
    plan = group()
    (service,) = plan.services
    policy = named(plan, "NetworkPolicy", f"{service.name}-group")["spec"]
    both = named(plan, "LeaderWorkerSet", f"{service.name}-group")["spec"]["leaderWorkerTemplate"]
    for rule, way in ((policy["ingress"], "from"), (policy["egress"], "to")):
        ((other,),) = (each[way] for each in rule)
        assert "ports" not in rule[0]
        for template in ("leaderTemplate", "workerTemplate"):
            assert other["podSelector"]["matchLabels"].items() <= both[template]["metadata"]["labels"].items()


def test_the_other_machines_of_a_group_have_no_documents_of_their_own() -> None:
    (service,) = group().services
    assert service.group is not None
    other = replace(group(), services=(replace(service, group=replace(service.group, rank=1)),))
    assert emit_kubernetes(other) == ()


# --- programs in pods ---


def test_the_gateway_finds_servers_by_names_that_need_no_search_domain() -> None:
    """nginx asks a name server for the name as it is."""
    script = named(team(), "ConfigMap", "gateway-programs")["data"]["bin__gateway"]
    for service in team().services:
        assert f"{service.name} {service.host} {service.port} {service.name}.models.svc.cluster.example" in script


def test_the_gateway_closes_a_folder_that_it_has_made() -> None:
    """That of a volume is root's, and nobody else may change its mode."""
    spec = named(team(), "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]
    (folder,) = [each["value"] for each in spec["env"] if each["name"] == "STACKC_GATEWAY_DIR"]
    assert Path(folder).parent in [Path(each["mountPath"]) for each in spec["volumeMounts"]]


@stacks
def test_kubectl_apply_can_keep_a_copy_of_each_object(plan: Plan) -> None:
    """It writes what it has applied into an annotation, and all of them together have 256 KiB."""
    for each in documents(plan):
        assert len(json.dumps(each)) < 240_000, each["metadata"]["name"]


def test_a_job_of_another_plan_is_another_job() -> None:
    """What a Job does cannot be changed, and one that is done is not run again."""
    plan = two_on_one_gpu()
    other = with_service(plan, "coder", model=replace(plan.services[0].model, commit="d" * 40))
    names = {
        each["metadata"]["name"]
        for one in (plan, other)
        for each in documents(in_cluster(one))
        if each["kind"] == "Job"
    }
    assert len({name for name in names if name.startswith("prefetch-")}) == 2


def test_a_card_that_is_another_one_gets_no_pod() -> None:
    """`nvidia.com/gpu: 1` is any card, and a smaller one would not hold what the plan has proved for this."""
    plan = in_cluster(one_on_two_gpus(), has_claims=False)
    assert isinstance(plan.node, GpuNode)
    spec = named(plan, "Deployment", "big")["spec"]["template"]["spec"]
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    asked = {each["key"]: (each["operator"], each["values"]) for each in term["matchExpressions"]}
    assert asked["nvidia.com/gpu.compute.major"] == ("In", ["9"])
    assert asked["nvidia.com/gpu.memory"] == ("Gt", [str(plan.node.memory // 2**20 - 1)])
    other = in_cluster(one_on_two_gpus(), has_claims=False, checks_cards=False)
    assert "nodeAffinity" not in named(other, "Deployment", "big")["spec"]["template"]["spec"]["affinity"]


def test_all_pods_that_share_a_volume_of_one_machine_run_there() -> None:
    plan = team()
    for kind, name in (("Deployment", "coder"), ("Job", "prefetch")):
        (found,) = [
            each for each in documents(plan) if each["kind"] == kind and each["metadata"]["name"].startswith(name)
        ]
        near = found["spec"]["template"]["spec"]["affinity"]["podAffinity"]
        (term,) = near["requiredDuringSchedulingIgnoredDuringExecution"]
        servers = named(plan, "Deployment", "coder")["spec"]["template"]["metadata"]["labels"]
        assert term["labelSelector"]["matchLabels"].items() <= servers.items()
    shared = in_cluster(two_on_one_gpu(), storage=replace(CLUSTER.storage, access="ReadWriteMany"))
    assert all("podAffinity" not in each.get("affinity", {}) for each in pod_specs(shared))


def test_slices_are_claimed_by_their_profile() -> None:
    plan = two_on_one_gpu()
    assert isinstance(plan.node, GpuNode)
    plan = in_cluster(replace(plan, node=replace(plan.node, mig="2g.24gb")), device_class="mig.nvidia.com")
    (template,) = [each for each in documents(plan) if each["kind"] == "ResourceClaimTemplate"]
    asked = template["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    assert asked["deviceClassName"] == "mig.nvidia.com"
    assert "profile == '2g.24gb'" in asked["selectors"][0]["cel"]["expression"]


def test_a_low_port_needs_no_root() -> None:
    plan = team()
    assert plan.gateway is not None
    low = replace(plan, gateway=replace(plan.gateway, port=80))
    (setting,) = named(low, "Deployment", "gateway")["spec"]["template"]["spec"]["securityContext"]["sysctls"]
    assert setting == {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    assert "sysctls" not in named(plan, "Deployment", "gateway")["spec"]["template"]["spec"]["securityContext"]


def test_a_server_that_fetches_media_reaches_the_internet_and_no_other_does() -> None:
    plan = in_cluster(with_service(two_on_one_gpu(), "general", media_domains=("images.example.org",)))
    rules = [each for each in documents(plan) if each["kind"] == "NetworkPolicy" and each["spec"].get("egress")]
    outside = {each["metadata"]["name"] for each in rules if "ipBlock" in str(each["spec"]["egress"])}
    assert outside == {"general-media"}


def test_alerts_about_gpus_are_of_the_cluster_s_own_exporter() -> None:
    assert "DCGM" not in str(named(team(), "PrometheusRule", team().stack))


def test_the_unit_s_user_has_no_meaning_here() -> None:
    assert user_of(team().stack) not in "".join(text for name, text in files(team()).items() if name != "programs.yaml")
