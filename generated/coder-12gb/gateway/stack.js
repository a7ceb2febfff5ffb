// Models and paths of stack `coder-12gb`, written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
export default {
  "models": {
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
      "coder": "@route_0"
    },
    "/v1/completions": {
      "coder": "@route_0"
    },
    "/v1/responses": {
      "coder": "@route_0"
    },
    "/v1/messages": {
      "coder": "@route_0"
    },
    "/v1/messages/count_tokens": {
      "coder": "@route_0"
    },
    "/v1/embeddings": {
      "embedder": "@route_1"
    }
  }
};
