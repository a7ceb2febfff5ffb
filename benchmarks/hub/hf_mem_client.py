"""Run hf-mem's own code on a loopback Hub; a script for the Python that hf-mem is installed in.

`PYTHON hf_mem_client.py URL REPOSITORY…` prints one JSON object: seconds, and bytes of weights by repository.
hf-mem knows no other endpoint than the real one, so requests are sent elsewhere below its HTTP client.
"""

from __future__ import annotations

import json
import sys
import time

import httpx2
from hf_mem import run

_CLIENT = httpx2.AsyncClient


class Elsewhere(httpx2.AsyncBaseTransport):
    """Sends every request to another origin, and asks for the listing in the form that the loopback Hub has."""

    def __init__(self, url: str) -> None:
        self._origin = httpx2.URL(url)
        self._inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=32, max_keepalive_connections=32))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request, and its answer as the real Hub would give it."""
        repository, is_listing, _ = request.url.path.partition("/tree/")
        target = request.url.raw_path if not is_listing else f"{repository}?blobs=true".encode()
        request.url = self._origin.copy_with(raw_path=target)
        request.headers["Host"] = self._origin.netloc.decode()
        response = await self._inner.handle_async_request(request)
        if not is_listing:
            return response
        siblings = json.loads(await response.aread())["siblings"]
        files = [{"type": "file", "path": file["rfilename"], "size": file.get("size")} for file in siblings]
        return httpx2.Response(200, json=files)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def main(url: str, repositories: list[str]) -> None:
    def client(**options: object) -> httpx2.AsyncClient:
        for own in ("http2", "limits"):
            options.pop(own, None)
        return _CLIENT(**options, transport=Elsewhere(url))

    httpx2.AsyncClient = client
    start = time.perf_counter()
    weights = {name: run(name, hf_token="none").memory for name in repositories}
    print(json.dumps({"seconds": time.perf_counter() - start, "weights": weights}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
