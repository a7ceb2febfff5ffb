r"""Ask running models the questions of a file, and check their answers.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

The file is YAML, or JSON if its name ends so:

  pass_rate: 90%            # of the mean score; 100% if not said. --pass-rate overrides it
  service: NAME             # if not said by --service, --all or --compare; else every service that generates
  defaults: {temperature: 0, max_tokens: 512, system: "Answer briefly."}
  cases:
    - name: capital         # unique
      prompt: What is the capital of France?      # or `messages: [{role: user, content: …}, …]`
      checks:               # all must pass
        - contains: Paris   # or a list; `not_contains` likewise
        - equals: Paris     # the whole answer, without space around it
        - regex: (?i)\bparis\b
        - json_schema: {type: object, required: [city]}   # the answer, or its ```json block
        - python: |         # tests of the answer's code (its ```python block)
            assert add(1, 2) == 3
      temperature: 0.8      # 0 if not said
      max_tokens: 256       # 1024, or a quarter of the context, if not said
      samples: 5            # answers to ask for, 1 if not said
      pass_at: 1            # the score is the chance that one of so many samples passes (pass@k)

Python checks may use functions of the answer by name. Their `assert` statements, `test…` functions and unittest classes
are run; `python: {tests: …, seconds: 10, memory_mib: 512}` sets limits. The code runs without network, in an empty
folder and with limits on everything; what this machine's kernel cannot provide of that is reported, and is an error
with --require-isolation. It guards against mishaps, and is no place for hostile programs.

YAML and JSON schemas need PyYAML and jsonschema, which vLLM brings: where this Python lacks them, its Python is used.
Without vLLM they must be installed.

Exit codes: 0 the pass rate was reached, 1 a request failed, 2 usage or mistakes in the file, 3 unreachable, 4 no plan,
no key file, no such Python or no sandbox, 5 the key was refused, 6 the model is not served, 24 a case was lost and
--no-lost was given, 25 below the pass rate.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore
from typing import NamedTuple, NoReturn

from stack import (
    EXIT_ENVIRONMENT,
    EXIT_USAGE,
    JsonObject,
    StackError,
    choose_answering,
    first_replicas,
    load_plan,
    positive_count,
    positive_number,
    report_form,
)
from stack.ask.server import EXIT_FAILED, Endpoint, ServerError, check_ready, find_endpoint, find_vllm
from stack.judge import evaluation_report as report_of
from stack.judge.answer_checks import MissingModule, Verdict, judge, try_sandbox
from stack.judge.evaluation import Case, Evaluation, parse_rate, read_evaluation
from stack.judge.evaluation_report import Lost, Outcome, Sample, ServiceReport

EXIT_LOST, EXIT_BELOW = 24, 25
MAX_TOKENS = 1024
SHOWN_ERROR = 300
PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
FORMATS = {"text": report_of.format_text, "json": report_of.format_json, "junit": report_of.format_junit}
# Set while a second Python runs this program, so that there is never a third.
RERUN = "STACKC_EVALUATE_RERUN"
# Each sandbox may use a core of its own; the requests wait for the server, not for us.
SANDBOXES = BoundedSemaphore(max(1, (os.cpu_count() or 2) // 2))


class Options(NamedTuple):
    """The command line."""

    file: str
    service: list[str]
    all: bool
    compare: list[str] | None
    pass_rate: float | None
    concurrency: int | None
    through_gateway: bool
    api_key_file: str | None
    request_timeout: float
    require_isolation: bool
    save: str | None
    against: str | None
    no_lost: bool
    format: str


def choose(plan: JsonObject, evaluation: Evaluation, options: Options) -> list[JsonObject]:
    """The services to ask, the second of `--compare` last."""
    named = options.compare or options.service or ([evaluation.service] if evaluation.service else [])
    if options.all or not named:
        found = [each for each in choose_answering(plan, []) if each["task"] in PATHS and _is_reachable(each, options)]
        # Replicas are one revision, which answers alike.
        return first_replicas(found)
    chosen = {each["name"]: each for each in choose_answering(plan, named)}
    wrong = [name for name, each in chosen.items() if each["task"] not in PATHS]
    if wrong:
        raise StackError(EXIT_USAGE, f"{', '.join(wrong)}: the task is no generation of text")
    return [chosen[name] for name in dict.fromkeys(named)]


def _is_reachable(service: JsonObject, options: Options) -> bool:
    return not (options.through_gateway and service.get("candidate_of"))


def evaluate(endpoint: Endpoint, evaluation: Evaluation, concurrency: int) -> ServiceReport:
    """Ask every case as often as it says, so many at once."""
    if endpoint.service["task"] != "chat" and any(len(case.messages) > 1 for case in evaluation.cases):
        raise StackError(EXIT_USAGE, f"{endpoint.name} completes a prompt: it knows no `messages` and no `system`")
    jobs = [(case, number) for case in evaluation.cases for number in range(case.samples)]
    with ThreadPoolExecutor(concurrency) as pool:
        samples = list(pool.map(lambda job: take_sample(endpoint, *job), jobs))
    outcomes, start = [], 0
    for case in evaluation.cases:
        outcomes.append(Outcome(case, samples[start : start + case.samples]))
        start += case.samples
    return ServiceReport(endpoint.name, outcomes)


def take_sample(endpoint: Endpoint, case: Case, seed: int) -> Sample:
    """Ask once and check the answer."""
    try:
        reply = endpoint.server.request("POST", PATHS[endpoint.service["task"]], request_body(endpoint, case, seed))
        if reply.status != 200:
            text = reply.body[:SHOWN_ERROR].decode("utf-8", "replace")
            return Sample("", "", [], f"HTTP {reply.status}: {text}")
        answer, finish = read_answer(reply.json())
    except ServerError as error:
        return Sample("", "", [], str(error))
    return Sample(answer, finish, [_judge(check.kind, check.argument, answer) for check in case.checks])


def _judge(kind: str, argument: object, answer: str) -> Verdict:
    if kind != "python":
        return judge(kind, argument, answer)
    with SANDBOXES:
        return judge(kind, argument, answer)


def request_body(endpoint: Endpoint, case: Case, seed: int) -> JsonObject:
    """The request. Each sample has a seed of its own, the same in every run."""
    context: int = endpoint.service["max_model_len"]
    body: JsonObject = {
        "model": endpoint.model,
        "max_tokens": case.max_tokens or min(MAX_TOKENS, max(1, context // 4)),
        "temperature": case.temperature,
        "seed": seed,
    }
    if endpoint.service["task"] == "chat":
        return {**body, "messages": case.messages}
    return {**body, "prompt": case.messages[0]["content"]}


def read_answer(reply: JsonObject) -> tuple[str, str]:
    """Text and finish reason. A model that only reasoned has said nothing."""
    try:
        choice = reply["choices"][0]
        text = choice["message"].get("content") if "message" in choice else choice["text"]
        return str(text or ""), str(choice.get("finish_reason"))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ServerError(f"the answer has no text: {type(error).__name__} {error}") from error


def find_all_lost(plan: JsonObject, reports: list[ServiceReport], options: Options) -> list[Lost]:
    """Cases that passed in the file of `--against`, or at the first service of `--compare`."""
    lost: list[Lost] = []
    if options.compare:
        before, after = reports
        lost += report_of.find_lost(after, report_of.scores_of(before), f"at {before.service}")
    if options.against:
        known = report_of.load(Path(options.against))
        stable = {each["name"]: each.get("candidate_of") for each in plan["services"]}
        for report in reports:
            # A candidate that was never saved itself is judged by the revision that it would replace.
            scores = known.get(report.service) or known.get(stable[report.service] or "") or {}
            lost += report_of.find_lost(report, scores, "before")
    return lost


def exit_code(reports: list[ServiceReport], pass_rate: float, lost: list[Lost], options: Options) -> int:
    """What the caller must know first."""
    outcomes = [outcome for report in reports for outcome in report.outcomes]
    if any(sample.error is not None for outcome in outcomes for sample in outcome.samples):
        return EXIT_FAILED
    # Scores are fractions such as 1/3: their mean may miss a rate by rounding alone.
    if any(report.rate < pass_rate - 1e-9 for report in reports):
        return EXIT_BELOW
    return EXIT_LOST if lost and options.no_lost else 0


def parse_options() -> Options:
    """Read the command line."""
    text = str(__doc__).partition("again.\n\n")[2]
    parser = argparse.ArgumentParser(
        description="Ask running models the questions of a file, and check their answers.",
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="cases and checks, YAML or JSON")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--service", action="append", default=[], metavar="NAME", help="ask this one; may be repeated")
    which.add_argument("--all", action="store_true", help="ask every service that generates text")
    which.add_argument("--compare", nargs=2, metavar=("S1", "S2"), help="name cases that S1 passes and S2 does not")
    parser.add_argument("--pass-rate", type=_rate, metavar="RATE", help="such as 0.9 or 90%%")
    parser.add_argument(
        "--concurrency", type=positive_count, metavar="N", help="requests at once; the service's concurrency"
    )
    parser.add_argument("--through-gateway", action="store_true", help="ask the gateway instead of the servers")
    parser.add_argument("--api-key-file", metavar="FILE", help="default: as planned")
    parser.add_argument(
        "--request-timeout", type=positive_number, default=600.0, metavar="SECONDS", help="of one (600)"
    )
    parser.add_argument("--require-isolation", action="store_true", help="exit 4 if the sandbox lacks anything")
    parser.add_argument("--save", metavar="FILE", help="keep the results for --against")
    parser.add_argument("--against", metavar="FILE", help="name cases that passed there and do not now")
    parser.add_argument("--no-lost", action="store_true", help="exit 24 if such a case was named")
    parser.add_argument("--format", type=report_form, choices=sorted(FORMATS), default="text")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="as --format json")
    return Options(**vars(parser.parse_args()))


def _rate(text: str) -> float:
    rate = parse_rate(text)
    if rate is None:
        raise ValueError(text)
    return rate


def read_file(plan: JsonObject, options: Options) -> Evaluation:
    """The evaluation, with vLLM's Python if this one cannot read it."""
    try:
        return read_evaluation(Path(options.file))
    except MissingModule as missing:
        problem = f"{options.file} needs the Python module {missing}, which {sys.executable} does not have"
        if RERUN in os.environ or "vllm" not in plan["engines"]:
            raise StackError(EXIT_ENVIRONMENT, problem) from None
        rerun(plan, problem)


def rerun(plan: JsonObject, problem: str) -> NoReturn:
    """Become this program under vLLM's Python, which has what vLLM 0.33.0 requires, PyYAML and jsonschema too."""
    try:
        # The script may be linked from elsewhere; the interpreter lies beside the script itself.
        python = find_vllm(plan).resolve().parent / "python3"
        os.execve(python, [str(python), "-I", *sys.argv], {**os.environ, RERUN: "1"})  # noqa: S606 (the same program)
    except (StackError, OSError) as error:
        raise StackError(EXIT_ENVIRONMENT, f"{problem}, and vLLM's Python cannot be run: {error}") from error


def check_sandbox(evaluation: Evaluation, options: Options) -> list[str]:
    """What the sandbox lacks, should any case need it: known before the first answer is run."""
    if not any(check.kind == "python" for case in evaluation.cases for check in case.checks):
        return []
    lacking = try_sandbox()
    if lacking and options.require_isolation:
        raise StackError(EXIT_ENVIRONMENT, f"python checks would run without {', '.join(lacking)}")
    return lacking


def find_endpoints(plan: JsonObject, services: list[JsonObject], options: Options) -> list[Endpoint]:
    """Servers that answer."""
    endpoints = [
        find_endpoint(
            plan,
            service,
            through_gateway=options.through_gateway,
            key_file=options.api_key_file,
            seconds=options.request_timeout,
        )
        for service in services
    ]
    for endpoint in endpoints:
        check_ready(endpoint)
    return endpoints


def main() -> int:
    """Read, ask, check, report."""
    options = parse_options()
    plan = load_plan()
    evaluation = read_file(plan, options)
    services = choose(plan, evaluation, options)
    if not services:
        raise StackError(EXIT_USAGE, f"stack {plan['stack']} has no service that generates text")
    if options.compare and len(services) != 2:
        raise StackError(EXIT_USAGE, "--compare takes two services")
    lacking = check_sandbox(evaluation, options)
    reports = [
        evaluate(endpoint, evaluation, options.concurrency or endpoint.service["concurrency"])
        for endpoint in find_endpoints(plan, services, options)
    ]
    lost = find_all_lost(plan, reports, options)
    given = options.pass_rate if options.pass_rate is not None else evaluation.pass_rate
    pass_rate = 1.0 if given is None else given
    code = exit_code(reports, pass_rate, lost, options)
    print(FORMATS[options.format](report_of.Summary(plan["stack"], reports, pass_rate, lost, lacking, code)))
    if options.save:
        report_of.save(Path(options.save), reports)
    return code
