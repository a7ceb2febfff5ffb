// Models and paths of stack `duo-48gb`, written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
export default {
  "models": {
    "general": {
      "max_model_len": 16384,
      "owned_by": "vllm"
    },
    "coder": {
      "max_model_len": 16384,
      "owned_by": "llama.cpp"
    },
    "embedder": {
      "max_model_len": 2048,
      "owned_by": "llama.cpp"
    }
  },
  "paths": {
    "/v1/chat/completions": {
      "general": "@route_0",
      "coder": "@route_1"
    },
    "/v1/completions": {
      "general": "@route_0",
      "coder": "@route_1"
    },
    "/v1/responses": {
      "general": "@route_0",
      "coder": "@route_1"
    },
    "/v1/messages": {
      "general": "@route_0",
      "coder": "@route_1"
    },
    "/v1/messages/count_tokens": {
      "general": "@route_0",
      "coder": "@route_1"
    },
    "/v1/embeddings": {
      "embedder": "@route_2"
    }
  }
};
