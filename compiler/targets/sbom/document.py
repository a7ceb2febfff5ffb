"""The document around the components. The same stacks give the same bytes."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from compiler import __version__
from compiler.plan.ir import Plan
from compiler.targets.sbom.components import components_of

SPEC_VERSION = "1.6"
_SCHEMA = f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json"
_ALL = "stacks"


def sbom_object(stacks: Mapping[str, Sequence[Plan]], *, timestamp: int | None = None) -> dict[str, Any]:
    """The bill of materials of stacks, by name.

    Args:
        stacks: the plans of each one's nodes.
        timestamp: seconds since 1970, for whoever wants one in it; otherwise there is none.
    """
    by_stack = {name: components_of(plans) for name, plans in sorted(stacks.items())}
    components = {each.ref: each for found in by_stack.values() for each in found}
    needs = {_ref(name): sorted(each.ref for each in found) for name, found in by_stack.items()}
    tops = [_stack(name) for name in by_stack]
    if len(tops) == 1:
        (top,) = tops
        inner: list[dict[str, Any]] = []
    else:
        top, inner = {"type": "application", "bom-ref": _ALL, "name": _ALL}, tops
        needs[_ALL] = sorted(map(_ref, by_stack))
    listed = [components[ref] for ref in sorted(components)]
    document = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": _metadata(top, timestamp),
        "components": [*inner, *(each.data for each in listed)],
        "dependencies": [
            *({"ref": ref, "dependsOn": needed} for ref, needed in sorted(needs.items())),
            *({"ref": each.ref} for each in listed),
        ],
    }
    opaque = [each.ref for each in listed if each.is_opaque]
    if opaque:  # nobody looked into the images: what lies in them is in none of these lists
        document["compositions"] = [{"aggregate": "unknown", "assemblies": opaque}]
    return {"serialNumber": _serial_number(document), **document}


def format_sbom(document: Mapping[str, Any]) -> str:
    """The text of a document."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _metadata(top: Mapping[str, Any], timestamp: int | None) -> dict[str, Any]:
    tool = {"type": "application", "name": "stackc", "version": __version__}
    data: dict[str, Any] = {"tools": {"components": [tool]}, "component": top}
    if timestamp is not None:
        moment = dt.datetime.fromtimestamp(timestamp, dt.UTC)
        data["timestamp"] = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return data


def _ref(stack: str) -> str:
    return f"stack:{stack}"


def _stack(name: str) -> dict[str, Any]:
    return {"type": "application", "bom-ref": _ref(name), "name": name}


def _serial_number(document: Mapping[str, Any]) -> str:
    """Follows from the content, so that an equal document is the same one."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, format_sbom(document))}"
