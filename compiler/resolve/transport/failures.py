"""Every way in which a request to the Hub fails, in our own words: what was asked, what came back, what to do."""

from __future__ import annotations

from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from compiler.lock.models import HUB
from compiler.resolve.answers import (
    AccessError,
    GoneError,
    SourceError,
    UnavailableError,
    UnknownNameError,
    plain,
)
from compiler.resolve.transport.patience import asked_wait
from compiler.resolve.transport.question import AbsentError, Question, invalid_name

# The client's own HTTP library, under whichever name this version of the client has it.
_TransportError: type[Exception] = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")

_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY = 401, 403, 404, 429
_SERVER_ERROR = 500


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed in a moment."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= _SERVER_ERROR
    return isinstance(error, _TransportError)


def rate_limit_wait(error: Exception) -> float | None:
    """Seconds that the Hub asks to wait; None where this is no rate limit or it does not say."""
    if isinstance(error, HfHubHTTPError) and error.response.status_code == _TOO_MANY:
        return asked_wait(error.response.headers)
    return None


def as_source_error(error: Exception, what: Question, *, has_token: bool) -> SourceError:
    """The failure of a request as what the user is told. What is no failure of a request is raised as it is."""
    if isinstance(error, OfflineModeIsEnabled):
        helps = ("run `stackc lock` once without HF_HUB_OFFLINE",)
        return UnavailableError("the Hub is not asked while HF_HUB_OFFLINE is set", (f"needed: {what.note}",), helps)
    if isinstance(error, HFValidationError):
        return invalid_name(what.name)
    if isinstance(error, HfHubHTTPError):
        return _http_error(error, what, has_token=has_token)
    if isinstance(error, _TransportError):
        notes = (what.note, f"{type(error).__name__}: {plain(error)}")
        return UnavailableError("the Hub cannot be reached", notes, ("check the network, the proxy and HF_ENDPOINT",))
    if isinstance(error, ValueError | TypeError | KeyError | AttributeError | RecursionError):
        return what.malformed(error)
    if type(error).__name__ == "InvalidURL":
        return UnavailableError(
            "HF_ENDPOINT is not a URL", (what.note, plain(error)), ("correct or unset HF_ENDPOINT",)
        )
    raise error


def _http_error(error: HfHubHTTPError, what: Question, *, has_token: bool) -> SourceError:
    name, status = plain(what.name), error.response.status_code
    notes = (what.note, f"it answered {status} {plain(error.server_message or error.response.reason_phrase)}".rstrip())
    if isinstance(error, RemoteEntryNotFoundError):
        return AbsentError(f"`{name}` has no such file", notes)
    if isinstance(error, DisabledRepoError):
        return AccessError(f"the Hub has disabled `{name}`", notes, ("name another model",))
    is_gated, is_unknown = isinstance(error, GatedRepoError), isinstance(error, RepositoryNotFoundError)
    if status == _UNAUTHORISED and has_token and is_unknown and not is_gated:
        # Whoever has a token that the Hub knows gets a 404.
        return AccessError("the Hub does not accept the token", notes, ("correct HF_TOKEN, or log in again",))
    if is_gated or (status in (_UNAUTHORISED, _FORBIDDEN) and not is_unknown):
        return AccessError(f"access to `{name}` is not granted", notes, _access_helps(name, has_token=has_token))
    if isinstance(error, RevisionNotFoundError):
        return GoneError(f"`{name}` has no such commit any more", notes, ("run `stackc lock --upgrade`",))
    if is_unknown or status == _NOT_FOUND:
        return UnknownNameError(f"the Hub has no model `{name}`", notes + _private_note(has_token=has_token))
    if status == _TOO_MANY:
        return UnavailableError(f"the Hub refused to answer about `{name}`: too many requests", notes, _wait(error))
    return UnavailableError(f"the Hub failed to answer about `{name}`", notes, ("try again later",))


def _private_note(*, has_token: bool) -> tuple[str, ...]:
    if has_token:
        return ("a private model that this token may not read, or a wrong token, looks the same",)
    return ("without a token, a private model looks the same as one that does not exist",)


def _access_helps(name: str, *, has_token: bool) -> tuple[str, ...]:
    accept = f"accept the conditions on {HUB}/{name}"
    if has_token:
        return (f"{accept} with the account that HF_TOKEN belongs to", "check that the token is valid and may read it")
    return (f"{accept}, then set HF_TOKEN to a token of that account",)


def _wait(error: HfHubHTTPError) -> tuple[str, ...]:
    seconds = asked_wait(error.response.headers)
    when = f"try again in {seconds:.0f} s" if seconds is not None else "try again in some minutes"
    return (when, "a token in HF_TOKEN has a higher limit")
