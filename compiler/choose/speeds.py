"""How fast a server is that was proved to fit."""

from __future__ import annotations

from compiler.choose.demand import SERVICE, Question
from compiler.choose.fits import Fit
from compiler.plan.speed import ServiceSpeed, estimator, service_speed
from compiler.spec.nodes.models import NodeSpec


def speed_of(question: Question, node: NodeSpec, fit: Fit) -> ServiceSpeed | None:
    """Of requests of the usual length, under the load that was asked for and as many as run at once.

    Returns:
        None where it does not fit, or where nothing is known of the speed of its card or its engine.
    """
    server = fit.server
    if server is None:
        return None
    spec = question.file.spec.services[SERVICE]
    terms = server.demand.terms
    engine = question.engines[spec.engine]
    found = estimator(engine, spec, node, server, max(terms.seats, terms.concurrency))
    return service_speed(found, terms.concurrency)
