"""Arguments that nobody means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.fuzz.case import Case, Words
from tests.fuzz.folders import LOG
from tests.fuzz.values import odd

_SENSIBLE = ("8K", "max", "1", "2", "a10", "h100-80gb", "awq", "none", "E0401", "stacks", ".", "..")
_LONGEST_WORD = 3000


def make_words(case: Case) -> None:
    """One command with odd words, where a good spec lies."""
    locked = [pair for pair in case.bases.pairs if pair.lock_text is not None]
    pair = case.rng.choice(locked)
    case.pair(pair.name, pair.spec_text, pair.lock_text)
    case.write("server.log", LOG)
    case.has_places = False
    case.touches = {
        "compile": ("generated", "out", "a/"),
        "lock": ("stacks/",),
        "calibrate": ("out.yaml",),
        "report": ("out", "a/"),
    }
    name = case.rng.choice(sorted(_COMMANDS))
    words = _COMMANDS[name](case, f"stacks/{pair.name}.yaml")
    case.commands = [case.often_json(name, *words)]


def _word(case: Case) -> str:
    return str(case.rng.choice((odd(case.rng), odd(case.rng), *_SENSIBLE)))[:_LONGEST_WORD]


def _inside(case: Case) -> str:
    """A word that, taken for a path to write to, stays in the case's folder: a fault must not cost more than that."""
    word = _word(case)
    return "out" if word.startswith(("/", "~")) or ".." in word else word


def _maybe(case: Case, flag: str, good: Sequence[str]) -> Words:
    if case.rng.random() < 0.6:
        return ()
    return (flag, case.rng.choice(good) if case.rng.random() < 0.5 else _word(case))


def _fit(case: Case, spec: str) -> Words:
    models = [name for lock in case.bases.locks for name in lock["models"]]
    options = {
        "--count": ("1", "8", "1024"), "--context": ("8K", "max", "1M"), "--concurrency": ("1", "max", "999999"),
        "--quantization": ("auto", "awq", "none"), "--tp": ("1", "2", "64"), "--pp": ("1", "3"),
        "--kv-cache-dtype": ("fp8", "auto"), "--mig": ("3g.40gb", "1g.10gb"), "--publisher": ("Qwen",),
    }  # fmt: skip
    model = str(case.rng.choice(models)) if case.rng.random() < 0.8 else _word(case)
    gpu = case.rng.choice(("a10", "h100-80gb", "t4")) if case.rng.random() < 0.9 else _word(case)
    return (model, "--gpu", gpu, *(word for flag, good in options.items() for word in _maybe(case, flag, good)))


def _explain(case: Case, spec: str) -> Words:
    return (case.rng.choice((spec, f"{spec}:{_word(case)}", _word(case), _word(case), "e0401")),)


def _compile(case: Case, spec: str) -> Words:
    named = case.rng.choice(((), (spec,), (_word(case),), (spec.replace(".yaml", ".lock.yaml"),), (spec, spec)))
    output = case.rng.choice(("out", ".", "stacks", spec, "a/b/c", "server.log", _inside(case)))
    flags = case.rng.choice(((), ("--output", output), ("--output", output, "--prune"), ("--check",), ("--locked",)))
    return (*named, *flags, *_maybe(case, "--templates", (".", "stacks", "..")))


def _lock(case: Case, spec: str) -> Words:
    return case.rng.choice(((), (spec,), ("--upgrade",), ("--upgrade-service", _word(case)), (_word(case),)))


def _calibrate(case: Case, spec: str) -> Words:
    log = "server.log" if case.rng.random() < 0.7 else _word(case)
    gpu = "h100-80gb" if case.rng.random() < 0.7 else _word(case)
    return (
        log,
        "--gpu",
        gpu,
        *_maybe(case, "--config", ("server.log",)),
        *(("--out", case.rng.choice(("out.yaml", _inside(case)))) if case.rng.random() < 0.4 else ()),
    )


def _plan(case: Case, spec: str) -> Words:
    return case.rng.choice(((), (spec,), (_word(case),), (spec, spec), (spec, "--format", "json")))


def _report(case: Case, spec: str) -> Words:
    lock = spec.replace(".yaml", ".lock.yaml")
    places = ("out.html", spec, lock, "a/b", "stacks")
    out = ("--out", case.rng.choice(places)) if case.rng.random() < 0.6 else ()
    forms = ("html", "svg", "json")
    return (
        *case.rng.choice(((), (spec,), (_word(case),))),
        *out,
        *_maybe(case, "--format", forms),
        *_maybe(case, "--service", ("coder",)),
    )


def _gpus(case: Case, spec: str) -> Words:
    return case.rng.choice(((), (_word(case),), ("--help",)))


_COMMANDS: dict[str, Callable[[Case, str], Words]] = {
    "fit": _fit, "explain": _explain, "compile": _compile, "lock": _lock, "calibrate": _calibrate, "gpus": _gpus,
    "plan": _plan, "report": _report,
}  # fmt: skip
