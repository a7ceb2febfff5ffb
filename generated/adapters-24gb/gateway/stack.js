// Models and paths of stack `adapters-24gb`, written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
export default {
  "models": {
    "chat": {
      "max_model_len": 8192,
      "owned_by": "vllm"
    },
    "sql": {
      "max_model_len": 8192,
      "owned_by": "vllm"
    },
    "support": {
      "max_model_len": 8192,
      "owned_by": "vllm"
    }
  },
  "paths": {
    "/v1/chat/completions": {
      "chat": "@route_0",
      "sql": "@route_1",
      "support": "@route_2"
    },
    "/v1/completions": {
      "chat": "@route_0",
      "sql": "@route_1",
      "support": "@route_2"
    },
    "/v1/responses": {
      "chat": "@route_0",
      "sql": "@route_1",
      "support": "@route_2"
    },
    "/v1/messages": {
      "chat": "@route_0",
      "sql": "@route_1",
      "support": "@route_2"
    },
    "/v1/messages/count_tokens": {
      "chat": "@route_0",
      "sql": "@route_1",
      "support": "@route_2"
    }
  }
};
