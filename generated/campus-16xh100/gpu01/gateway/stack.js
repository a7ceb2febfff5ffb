// Models and paths of stack `campus-16xh100`, written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
export default {
  "models": {
    "coder": {
      "max_model_len": 32768,
      "owned_by": "vllm"
    },
    "complete": {
      "max_model_len": 16384,
      "owned_by": "vllm"
    },
    "general": {
      "max_model_len": 32768,
      "owned_by": "vllm"
    },
    "reasoning": {
      "max_model_len": 32768,
      "owned_by": "vllm"
    },
    "chat": {
      "max_model_len": 32768,
      "owned_by": "vllm"
    },
    "notes": {
      "max_model_len": 16384,
      "owned_by": "vllm"
    },
    "legacy": {
      "max_model_len": 16384,
      "owned_by": "vllm"
    },
    "summaries": {
      "max_model_len": 32768,
      "owned_by": "vllm"
    },
    "drafts": {
      "max_model_len": 16384,
      "owned_by": "llama.cpp"
    },
    "translate": {
      "max_model_len": 16384,
      "owned_by": "vllm"
    },
    "titles": {
      "max_model_len": 2048,
      "owned_by": "vllm"
    },
    "embed": {
      "max_model_len": 2048,
      "owned_by": "llama.cpp"
    }
  },
  "paths": {
    "/v1/chat/completions": {
      "coder": "@route_0",
      "general": "@route_2",
      "reasoning": "@route_3",
      "chat": "@route_4",
      "notes": "@route_5",
      "legacy": "@route_6",
      "summaries": "@route_7",
      "drafts": "@route_8",
      "translate": "@route_9",
      "titles": "@route_10"
    },
    "/v1/completions": {
      "coder": "@route_0",
      "complete": "@route_1",
      "general": "@route_2",
      "reasoning": "@route_3",
      "chat": "@route_4",
      "notes": "@route_5",
      "legacy": "@route_6",
      "summaries": "@route_7",
      "drafts": "@route_8",
      "translate": "@route_9",
      "titles": "@route_10"
    },
    "/v1/responses": {
      "coder": "@route_0",
      "general": "@route_2",
      "reasoning": "@route_3",
      "chat": "@route_4",
      "notes": "@route_5",
      "legacy": "@route_6",
      "summaries": "@route_7",
      "drafts": "@route_8",
      "translate": "@route_9",
      "titles": "@route_10"
    },
    "/v1/messages": {
      "coder": "@route_0",
      "general": "@route_2",
      "reasoning": "@route_3",
      "chat": "@route_4",
      "notes": "@route_5",
      "legacy": "@route_6",
      "summaries": "@route_7",
      "drafts": "@route_8",
      "translate": "@route_9",
      "titles": "@route_10"
    },
    "/v1/messages/count_tokens": {
      "coder": "@route_0",
      "general": "@route_2",
      "reasoning": "@route_3",
      "chat": "@route_4",
      "notes": "@route_5",
      "legacy": "@route_6",
      "summaries": "@route_7",
      "drafts": "@route_8",
      "translate": "@route_9",
      "titles": "@route_10"
    },
    "/v1/embeddings": {
      "embed": "@route_11"
    }
  },
  "teams": {
    "students": [
      "chat",
      "embed",
      "general"
    ]
  }
};
