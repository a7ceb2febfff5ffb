"""Which engines there are: the only list. An engine is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from compiler.engines.interface.engine import Engine
from compiler.spec.engines import LLAMA_CPP, VLLM


def _vllm() -> Engine:
    from compiler.engines.vllm.engine import ENGINE  # noqa: PLC0415  (see above)

    return ENGINE


def _llama_cpp() -> Engine:
    from compiler.engines.llama_cpp.engine import ENGINE  # noqa: PLC0415  (see above)

    return ENGINE


class _Registry(Mapping[str, Engine]):
    """Engines by the key of `engine` in a spec; the first is that of specs that name none."""

    def __init__(self, makers: Mapping[str, Callable[[], Engine]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> Engine:
        return self._makers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


ENGINES: Mapping[str, Engine] = _Registry({VLLM: _vllm, LLAMA_CPP: _llama_cpp})
