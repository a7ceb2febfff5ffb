"""`stackc images`: which images a stack runs, and the digests that registries give for their tags."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler import __version__
from compiler.checks.read import lock_path
from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.progress import progress
from compiler.cli.report import finish, unreadable
from compiler.cli.run.specs import spec_paths
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import LockedImage
from compiler.pipeline import explain_stack
from compiler.plan.ir import Image
from compiler.resolve.answers import AccessError, MissingError, SourceError
from compiler.resolve.registry.client import Registries
from compiler.resolve.registry.reference import InvalidReferenceError, parse_reference
from compiler.units import counted

_TAGGED, _UNCONFIRMED = "W0304", "E0318"
"""An image by its tag, and what `unconfirmed: deny` makes of it: what this command is there to settle."""


def run(specs: tuple[Path, ...], *, pin: bool, upgrade: bool, levels: SpecLevels, form: str) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    if upgrade and not pin:
        raise click.UsageError("--upgrade is for --pin")
    stacks, diagnostics = _read(spec_paths(specs), levels, tells_tags=not pin)
    if not pin or has_errors(diagnostics):
        finish(form, diagnostics, result=_object(stacks), lines=[line for each in stacks for line in each.lines])
    wanted = {tag for stack in stacks for tag in stack.wanted(upgrade=upgrade)}
    with progress(is_silent=form == "json" or loudness() is Loudness.QUIET) as told:
        answers = _ask(sorted(wanted), Registries(told.say))
    diagnostics += tuple(each for each in answers.values() if isinstance(each, Diagnostic))
    digests = {tag: each for tag, each in answers.items() if isinstance(each, str)}
    lines: list[str] = []
    for stack in stacks:
        found, said = _pin(stack, digests)
        diagnostics += found
        lines += said if loudness() is not Loudness.QUIET else []
    finish(form, diagnostics, result=_object(stacks) | {"pinned": digests}, lines=lines)


@dataclass(frozen=True, slots=True)
class StackImages:
    """A spec and the images of its plan, each once."""

    path: Path
    images: tuple[Image, ...]

    @property
    def lines(self) -> list[str]:
        """For people."""
        rows = [f"  {image.part:<14} {image.reference}{_known(image)}" for image in self.images]
        return [f"{self.path}:", *(rows or ["  no containers"])]

    def wanted(self, *, upgrade: bool) -> list[str]:
        """Those to ask for, by tag. What the spec names by digest is never asked."""
        unknown = (None, "lock", "catalogue") if upgrade else (None,)
        return [tag_of(image) for image in self.images if image.source in unknown and "@" not in tag_of(image)]


def tag_of(image: Image) -> str:
    """The image as the lock names it: as it is written, without the digest that the lock or the catalogue added."""
    return image.reference.partition("@")[0] if image.source in ("lock", "catalogue") else image.reference


def _known(image: Image) -> str:
    if image.source is None:
        return "  (digest not known)"
    return "" if image.read is None else f"  ({image.source}, read {image.read})"


def _read(
    paths: Sequence[Path], levels: SpecLevels, *, tells_tags: bool
) -> tuple[list[StackImages], tuple[Diagnostic, ...]]:
    """What each stack runs. Of warnings those of images are told, and none that is about to be settled."""
    stacks: list[StackImages] = []
    diagnostics: tuple[Diagnostic, ...] = ()
    for path in paths:
        try:
            explained, found = explain_stack(path, str(path))
        except OSError as error:
            diagnostics += (unreadable(str(path), error),)
            continue
        told = [each for each in found if has_errors((each,)) and each.code != _UNCONFIRMED]
        told += [each for each in found if each.code == _TAGGED and tells_tags]
        diagnostics += levels.for_spec(path).applied(told)
        if explained is not None:
            images = dict.fromkeys(image for plan in explained.plans for image in plan.images)
            stacks.append(StackImages(path, tuple(images)))
    return stacks, diagnostics


def _ask(tags: Sequence[str], registries: Registries) -> Mapping[str, str | Diagnostic]:
    """The digest of each tag, or why there is none."""
    answers: dict[str, str | Diagnostic] = {}
    for tag in tags:
        try:
            answers[tag] = registries.digest(parse_reference(tag))
        except InvalidReferenceError as error:
            answers[tag] = Diagnostic("E0319", str(error), helps=(Help("correct the image in the spec"),))
        except SourceError as error:
            # The same question has the same answer until somebody corrects a name or reads the digest by hand.
            code = "E0319" if isinstance(error, MissingError | AccessError) else "E0317"
            answers[tag] = Diagnostic(code, error.message, None, error.notes, tuple(map(Help, error.helps)))
    return answers


def _pin(stack: StackImages, digests: Mapping[str, str]) -> tuple[tuple[Diagnostic, ...], list[str]]:
    """Write the digests of one stack into its lock; those of images that it no longer runs go."""
    target = lock_path(stack.path)
    lock, problems = read_lock(target, str(target))
    if lock is None:
        return problems, []
    tags = list(dict.fromkeys(tag_of(image) for image in stack.images))
    kept = {tag: lock.images[tag] for tag in tags if tag in lock.images}
    asked = {tag: _locked(digests[tag], kept.get(tag)) for tag in tags if tag in digests}
    images = kept | asked
    try:
        is_written = write_lock(target, lock.model_copy(update={"images": images}))
    except OSError as error:
        message = f"cannot write {target}: {error.strerror or error}"
        help_ = Help("the lock on disk is as it was; repeat when the cause is mended")
        return (Diagnostic("E0601", message, helps=(help_,)),), []
    changes = [f"  {tag}: {_change(kept.get(tag), asked[tag])}" for tag in asked]
    changes += [f"  {tag}: no longer used" for tag in lock.images if tag not in images]
    return (), [f"{target}: {'written' if is_written else 'unchanged'}, {counted(len(images), 'image')}", *changes]


def _locked(digest: str, known: LockedImage | None) -> LockedImage:
    """The day is that of the first answer, so that asking again changes nothing while the tag stays."""
    if known is not None and known.digest == digest:
        return known
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return LockedImage(digest=digest, read=today, by=f"stackc {__version__}")


def _change(old: LockedImage | None, new: LockedImage) -> str:
    if old is None or old.digest == new.digest:
        return f"{new.digest}{'' if old is None else ', unchanged'}"
    return f"{old.digest} of {old.read} → {new.digest}"


def _object(stacks: Sequence[StackImages]) -> dict[str, Any]:
    return {
        "images": {
            str(stack.path): [
                {"part": each.part, "reference": each.reference, "digest": each.digest, "source": each.source}
                for each in stack.images
            ]
            for stack in stacks
        }
    }
