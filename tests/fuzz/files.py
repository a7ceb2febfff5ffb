"""Things that are no files, or are not what they should be, where stackc expects a file or a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.case import Case, Words
from tests.fuzz.folders import CALIBRATION, LOG
from tests.fuzz.inputs import one_service
from tests.fuzz.mutation import mutated_text
from tests.fuzz.writing import as_header, as_json

_DEVICES = ("/dev/zero", "/dev/null", "/dev/full", "/dev/tty", "/dev/random", "/proc/self/mem", "/proc/self/environ")
_DEEP = (
    b"[" * 900_000, b"{a: " * 200_000, b"- " * 400_000, b"? " * 3000, b'{"a":' * 200_000, b"[" * 5000 + b"]" * 5000,
    b"a:\n" + b"".join(b" " * depth + b"b:\n" for depth in range(1, 1300)),
)  # fmt: skip
_EMPTY = (b"", b"\n", b"# nothing\n", b"---\n", b"...\n", b"null\n", b"{}\n", b"[]\n", b'""', b"~", b"5")
_LAUGHS = b"a0: &a0 [x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 8)) for i in range(1, 12)
)


def _text_of(kind: str, case: Case, good: bytes) -> bytes | None:
    """The contents of an odd file that is a file; None for other kinds."""
    rng = case.rng
    made: dict[str, Callable[[], bytes]] = {
        "empty": lambda: rng.choice(_EMPTY),
        "big": lambda: good + b"\n" + b"# a comment that says nothing\n" * rng.choice((30_000, 400_000)),
        "deep": lambda: rng.choice(_DEEP),
        "laughs": lambda: _LAUGHS + good,
        "binary": lambda: rng.randbytes(3000),
        "crlf": lambda: good.replace(b"\n", b"\r\n"),
        "tabs": lambda: good.replace(b"  ", b"\t"),
        "bom": lambda: b"\xef\xbb\xbf" + good,
        "long-line": lambda: good + b"\nx: " + rng.choice((b"y", b"[1, ", b'"', b"1", b"a: ")) * 300_000 + b"\n",
    }
    return made[kind]() if kind in made else None


KINDS = (
    "empty", "big", "deep", "laughs", "binary", "crlf", "tabs", "bom", "long-line", "pipe", "folder", "loop",
    "dangling", "device", "device", "sparse", "unreadable", "socket",
)  # fmt: skip


def put(case: Case, name: str, kind: str, good: bytes) -> None:
    """Put an odd thing where a good file would be."""
    path = case.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    text = _text_of(kind, case, good)
    if text is not None:
        path.write_bytes(text)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("loop", "dangling", "device"):
        path.symlink_to({"loop": path.name, "dangling": "nowhere"}.get(kind) or case.rng.choice(_DEVICES))
    elif kind == "sparse":
        path.touch()
        os.truncate(path, case.rng.choice((2 << 20, 20 << 20, 3 << 30, 1 << 40)))
    elif kind == "unreadable":
        path.write_bytes(good)
        path.chmod(0)
    else:
        _bind(path)


def _bind(path: Path) -> None:
    """A socket; its address must be short, so it is named by way of its folder."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def make_odd(case: Case) -> None:
    """One thing that stackc reads or writes is no plain file."""
    kind = case.rng.choice(KINDS)
    target = case.rng.choice(sorted(_TARGETS))
    case.what, case.has_places = f"{kind} as {target}", False
    pair = case.bases.stack("coder-5090")
    case.pair(pair.name, pair.spec_text, pair.lock_text)
    case.commands = list(_TARGETS[target](case, kind))


def _spec(case: Case, kind: str) -> tuple[Words, ...]:
    pair = case.bases.stack("coder-5090")
    name = f"stacks/{pair.name}.yaml"
    put(case, name, kind, pair.spec_text)
    return ("compile",), ("compile", name), ("lock", name), ("explain", name)


def _second_spec(case: Case, kind: str) -> tuple[Words, ...]:
    put(case, "stacks/zz.yaml", kind, case.bases.stack("coder-5090").spec_text)
    return ("compile",), ("lock",)


def _lock(case: Case, kind: str) -> tuple[Words, ...]:
    pair = case.bases.stack("coder-5090")
    put(case, f"stacks/{pair.name}.lock.yaml", kind, pair.lock_text or b"")
    return ("compile",), ("fit", "Qwen/Qwen2.5-7B-Instruct", "--gpu", "a10"), ("lock",)


def _calibration(case: Case, kind: str) -> tuple[Words, ...]:
    pair = case.bases.stack("coder-5090")
    spec = pair.spec_text.replace(b"{vllm: 0.33.0}", b"{vllm: 0.33.0, calibration: cal.yaml}")
    case.write(f"stacks/{pair.name}.yaml", spec)
    put(case, "stacks/cal.yaml", kind, CALIBRATION)
    return ("compile",), ("compile", f"stacks/{pair.name}.yaml")


def _model(path: str) -> Callable[[Case, str], tuple[Words, ...]]:
    def make(case: Case, kind: str) -> tuple[Words, ...]:
        config = as_json(case.rng.choice(case.bases.configs))
        good = {"config.json": config, "model.safetensors": as_header({}), "tokenizer_config.json": b"{}"}
        for name, content in good.items():
            case.write(f"model/{name}", content)
        put(case, f"model/{path}", kind, good[path])
        shutil.rmtree(case.folder / "stacks")
        case.write("stacks/x.yaml", as_json(one_service(case.rng, str(case.folder / "model"))))
        return ("lock",), ("fit", str(case.folder / "model"), "--gpu", "a10")

    return make


def _log(case: Case, kind: str) -> tuple[Words, ...]:
    put(case, "server.log", kind, LOG)
    return (("calibrate", "server.log", "--gpu", "h100-80gb", "--out", "out.yaml"),)


def _log_config(case: Case, kind: str) -> tuple[Words, ...]:
    case.write("server.log", LOG)
    put(case, "config.json", kind, as_json(case.rng.choice(case.bases.configs)))
    return (("calibrate", "server.log", "--gpu", "h100-80gb", "--config", "config.json"),)


def _template(case: Case, kind: str) -> tuple[Words, ...]:
    put(case, "own/systemd/service.j2", kind, b"[Unit]\n")
    return (("compile", "--templates", "own"),)


def _tree(case: Case, kind: str) -> tuple[Words, ...]:
    put(case, "generated/coder-5090", kind, b"x")
    return ("compile",), ("compile", "--check"), ("compile", "--prune")


def _output(case: Case, kind: str) -> tuple[Words, ...]:
    put(case, "generated", kind, b"x")
    return ("compile",), ("compile", "--check"), ("compile", "--prune")


def _written(case: Case, kind: str) -> tuple[Words, ...]:
    case.write("server.log", LOG)
    put(case, "out.yaml", kind, CALIBRATION)
    case.touches = {"calibrate": ("out.yaml", "nowhere")}  # a link is followed, also one that leads to nothing yet
    return (("calibrate", "server.log", "--gpu", "h100-80gb", "--out", "out.yaml"),)


_TARGETS: dict[str, Callable[[Case, str], tuple[Words, ...]]] = {
    "spec": _spec, "a second spec": _second_spec, "lock": _lock, "calibration": _calibration, "log": _log,
    "log's config": _log_config, "template": _template, "tree": _tree, "output": _output,
    "calibrate --out": _written,
    **{path: _model(path) for path in ("config.json", "model.safetensors", "tokenizer_config.json")},
}  # fmt: skip

_FOREIGN_NAMES = ("extra", "a b", "a\nb", "\u202e", "-rf", "x" * 250, b"\xff\xfe".decode("utf-8", "surrogateescape"))
_MANIFEST_LINES = (
    "../../precious/keep",
    "/etc/passwd",
    "a\0b",
    "y" * 5000,
    "",
    "..",
    ".",
    "bin",
    "bin/../../../precious/keep",
    "plan.json ",
)


def make_tree(case: Case) -> None:
    """A compiled tree that somebody has damaged, and a run that meets it."""
    rng = case.rng
    pair = case.bases.stack(rng.choice(("tiny-cpu", "coder-5090")))
    case.pair(pair.name, pair.spec_text, pair.lock_text)
    case.write("precious/keep", "mine")
    case.has_places = False
    shutil.copytree(_compiled(case, pair.name), case.folder / "generated", symlinks=True)
    done = [_damage(case, case.folder / "generated" / pair.name) for _ in range(rng.choice((1, 1, 2, 3)))]
    case.what = ", ".join(done)
    named: Words = (f"stacks/{pair.name}.yaml",) if rng.random() < 0.5 else ()
    case.commands = [case.often_json("compile", *rng.choice(((), ("--check",), ("--prune",))), *named)]
    if rng.random() < 0.3:
        case.commands += [("compile", "--prune"), ("compile", "--check")]


def _compiled(case: Case, name: str) -> Path:
    """The tree as it should be, made once in a run."""
    from tests.fuzz.running import run_command  # noqa: PLC0415 (which runs what is made here)

    good = case.folder.parent / f"good-{name}"
    if not good.exists():
        outcome = run_command(("compile", "--output", str(good)), case.folder)
        assert outcome.code == 0, outcome.text
    return good


def _damage(case: Case, tree: Path) -> str:
    """One change to a tree; what it was."""
    change = case.rng.choice(_DAMAGES)
    if not tree.is_dir() or tree.is_symlink():
        return "nothing is left to damage"
    try:
        change(case, tree)
    except OSError as error:
        return f"{change.__name__} could not: {error.strerror}"
    return change.__name__.strip("_")


def _victim(case: Case, tree: Path) -> Path:
    """A file of the tree that has not been made a terabyte before."""
    facts = {path: path.lstat() for path in tree.rglob("*")}
    small = [path for path, found in facts.items() if stat.S_ISREG(found.st_mode) and found.st_size < 1 << 20]
    return case.rng.choice(sorted(small))


def _manifest_changed(case: Case, tree: Path) -> None:
    manifest = tree / "SHA256SUMS"
    if stat.S_ISREG(manifest.lstat().st_mode) and manifest.stat().st_size < 1 << 20:
        manifest.write_bytes(mutated_text(case.rng, manifest.read_bytes(), LOG))


def _manifest_names_more(case: Case, tree: Path) -> None:
    with (tree / "SHA256SUMS").open("a", encoding="utf-8") as file:
        file.write(f"{'0' * 64}  {case.rng.choice(_MANIFEST_LINES)}\n")


def _manifest_is_odd(case: Case, tree: Path) -> None:
    put(case, str((tree / "SHA256SUMS").relative_to(case.folder)), case.rng.choice(KINDS), b"x")


def _file_is_odd(case: Case, tree: Path) -> None:
    victim = _victim(case, tree)
    put(case, str(victim.relative_to(case.folder)), case.rng.choice(KINDS), victim.read_bytes())


def _file_gone(case: Case, tree: Path) -> None:
    _victim(case, tree).unlink()


def _file_changed(case: Case, tree: Path) -> None:
    victim = _victim(case, tree)
    victim.write_bytes(mutated_text(case.rng, victim.read_bytes(), b"x\n"))


def _file_leads_out(case: Case, tree: Path) -> None:
    victim = _victim(case, tree)
    victim.unlink()
    victim.symlink_to(case.rng.choice((case.folder / "precious", case.folder / "precious/keep", "/etc/passwd")))


def _folder_leads_out(case: Case, tree: Path) -> None:
    folder = case.rng.choice(sorted(path for path in tree.iterdir() if path.is_dir()))
    shutil.rmtree(folder)
    folder.symlink_to(case.folder / "precious")


def _tree_leads_out(case: Case, tree: Path) -> None:
    shutil.rmtree(tree)
    tree.symlink_to(case.rng.choice((str(case.folder / "precious"), "nowhere", tree.name)))


def _tree_is_a_file(case: Case, tree: Path) -> None:
    shutil.rmtree(tree)
    tree.write_text("mine")


def _modes(case: Case, tree: Path) -> None:
    victim = case.rng.choice((_victim(case, tree), tree / "bin", tree))
    victim.chmod(case.rng.choice((0o777, 0o600, 0o700, 0o4755)))


def _foreign_file(case: Case, tree: Path) -> None:
    (case.rng.choice((tree, tree / "bin", tree.parent)) / case.rng.choice(_FOREIGN_NAMES)).write_text("mine")


def _left_by_a_dead_run(case: Case, tree: Path) -> None:
    staged = tree.parent / f".{tree.name}.abcdefgh"
    staged.mkdir(exist_ok=True)
    (staged / "plan.json").write_text(case.rng.choice(("{", "")))


def _foreign_tree(case: Case, tree: Path) -> None:
    folder = tree.parent / "isos"
    folder.mkdir(exist_ok=True)
    (folder / "disk.iso").write_text("mine")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  disk.iso\n")


_DAMAGES: tuple[Callable[[Case, Path], None], ...] = (
    _manifest_changed, _manifest_names_more, _manifest_is_odd, _file_is_odd, _file_gone, _file_changed,
    _file_leads_out, _folder_leads_out, _tree_leads_out, _tree_is_a_file, _modes, _foreign_file, _left_by_a_dead_run,
    _foreign_tree,
)  # fmt: skip
