"""What vLLM's servers call that which rules and panels ask for, in 0.33.0 and 0.32.0."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.interface.host import Signal

SIGNALS: Mapping[Signal, str] = {
    Signal.RUNNING: "vllm:num_requests_running",
    Signal.WAITING: "vllm:num_requests_waiting",
    Signal.GENERATED: "vllm:generation_tokens_total",
    Signal.PROMPTED: "vllm:prompt_tokens_total",
    Signal.CACHE_USED: "vllm:kv_cache_usage_perc",
    Signal.CACHE_FACTS: "vllm:cache_config_info",
    Signal.DISPLACED: "vllm:num_preemptions_total",
    Signal.FIRST_TOKEN: "vllm:time_to_first_token_seconds_bucket",
    Signal.NEXT_TOKEN: "vllm:inter_token_latency_seconds_bucket",
    Signal.WHOLE: "vllm:e2e_request_latency_seconds_bucket",
    Signal.ITERATIONS: "vllm:iteration_tokens_total_count",
    Signal.FINISHED: "vllm:request_success_total",
    Signal.PREFIX_HITS: "vllm:prefix_cache_hits_total",
    Signal.PREFIX_QUERIES: "vllm:prefix_cache_queries_total",
    Signal.GUESSED: "vllm:spec_decode_num_draft_tokens_total",
    Signal.ACCEPTED: "vllm:spec_decode_num_accepted_tokens_total",
    Signal.ANSWERS: "http_requests_total",
    Signal.STARTED: "process_start_time_seconds",
}
