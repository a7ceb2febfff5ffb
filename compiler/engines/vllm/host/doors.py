"""What a server must not open by itself: the options and variables of vLLM 0.33.0 and 0.32.0 that keep it shut."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.interface.group import Member

MEDIA_DOMAINS = "--allowed-media-domains"

NO_DOMAIN = "remote-media-off.invalid"
"""In place of domains. vLLM compares a URL's host name with the list, and takes an empty list for no restriction
(vllm/multimodal/media/connector.py:_assert_url_in_allowed_media_domains); `.invalid` never resolves (RFC 2606)."""

OF_MEDIA: Mapping[str, str] = {
    # A redirect is followed to wherever it leads: no list of domains is asked again.
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    # Another class that fetches media need not know the list.
    "VLLM_MEDIA_CONNECTOR": "http",
}
"""Variables of a server whose model takes images, sound or videos."""

OF_ALL: Mapping[str, str] = {
    # LoRA adapters from any path or repository that a client names.
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    # Python objects in messages, which run code when they are read.
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "0",
    # Paths without a key that reset, profile, put to sleep and call methods of the workers.
    "VLLM_SERVER_DEV_MODE": "0",
}
"""Variables of every server."""

OF_RANKS: Mapping[str, str] = {
    # gloo binds the address that the machine's name resolves to, NCCL that of a network card, and vLLM's queues what
    # the route to the internet has (torch/csrc/distributed/c10d, NCCL's bootstrap, vllm/utils/network_utils.py).
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOOPBACK_IP": "127.0.0.1",
}
"""Variables by which the processes of one server on one machine talk over loopback alone."""


def of_group(member: Member) -> Mapping[str, str]:
    """Variables by which those of a server over several machines talk over one network card of each, and no other."""
    return {
        **OF_RANKS,
        "GLOO_SOCKET_IFNAME": member.interface,
        # With `=` NCCL takes the name as it is; without, all cards whose names begin so.
        "NCCL_SOCKET_IFNAME": f"={member.interface}",
        "VLLM_HOST_IP": member.address,
    }


OF_STAGES_ON_CPU: Mapping[str, str] = {
    # With 1 a server makes no first run, without which its stages have no place for what they hand over (0.32.0).
    "VLLM_CPU_CI_ENV": "0",
}
"""Variables of a server in stages on CPUs."""

FIXED_VARIABLES = frozenset({*OF_MEDIA, *OF_ALL, *OF_RANKS, *OF_STAGES_ON_CPU})
"""Variables for which a launch script takes nobody's word but the plan's."""
