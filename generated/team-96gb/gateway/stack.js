// Models and paths of stack `team-96gb`, written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
export default {
  "models": {
    "coder": {
      "max_model_len": 24576,
      "owned_by": "vllm"
    },
    "general": {
      "max_model_len": 32768,
      "owned_by": "vllm"
    }
  },
  "paths": {
    "/v1/chat/completions": {
      "coder": "@route_0",
      "general": "@route_1"
    },
    "/v1/completions": {
      "coder": "@route_0",
      "general": "@route_1"
    },
    "/v1/responses": {
      "coder": "@route_0",
      "general": "@route_1"
    },
    "/v1/messages": {
      "coder": "@route_0",
      "general": "@route_1"
    },
    "/v1/messages/count_tokens": {
      "coder": "@route_0",
      "general": "@route_1"
    }
  }
};
