"""Every code that stackc prints. The page of a code is pages/CODE.md, shown by `stackc explain CODE`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Errors stop the compilation; warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of finding. `title` is what `stackc explain` lists."""

    code: str
    title: str

    @property
    def severity(self) -> Severity:
        """By the first letter: E or W."""
        return Severity.ERROR if self.code.startswith("E") else Severity.WARNING

    @property
    def is_outside(self) -> bool:
        """Whether the outside world failed, so that the same run may pass later: the Hub, a registry or the disk.

        What only the user can mend is none of it: a name that the Hub does not have, a file that is not there, a token.
        """
        return self.code in _OUTSIDE

    @property
    def is_inherent(self) -> bool:
        """Whether a warning says what is so of every stack of a release, so that once a run is enough."""
        return self.code in _INHERENT


_OUTSIDE = {"E0311", "E0317", "E0601"}
_INHERENT = {"W0201"}


_TITLES = {
    "E0101": "the file is not valid YAML",
    "E0102": "a key is given twice",
    "E0103": "YAML anchors, merges and tags are not part of a spec",
    "E0104": "the file cannot be read",
    "E0201": "unknown key",
    "E0202": "a required key is missing",
    "E0203": "a value has the wrong type or is out of range",
    "E0204": "a quantity cannot be read",
    "E0205": "two services listen on one port",
    "E0206": "unknown GPU",
    "E0207": "a node is GPUs or a CPU",
    "E0208": "unknown engine version, or one that does not run on this node",
    "E0209": "a service has no node of the stack",
    "E0210": "the stack's name and its file's name differ",
    "E0211": "a service asks for GPUs that the node does not have",
    "E0212": "the calibration cannot be used",
    "E0213": "what was measured cannot be used for a calibration",
    "E0214": "a target cannot express this",
    "E0215": "a rollout cannot be done as it is written",
    "E0216": "a server or the gateway is open to everybody, or they contradict each other",
    "E0217": "a patch is not possible",
    "E0218": "the monitoring cannot be done as it is written",
    "E0219": "a feature that the service cannot have",
    "E0220": "a path is no place of the stack's own",
    "E0221": "two paths lie in one another",
    "E0222": "a unit would take the place of one of the system's",
    "E0223": "media cannot come from this host",
    "E0224": "one file holds two secrets",
    "E0225": "what `gateway.cors` names is no website",
    "E0226": "every website could use a gateway that knows no clients",
    "E0228": "the tokenizer mode does not suit the model's files",
    "E0230": "the gateway of several nodes and their servers would not meet",
    "E0231": "sessions cannot be kept with a server as it is written",
    "E0235": "drafts cannot be made as it is written",
    "E0240": "the machines of one entry cannot be told apart",
    "E0241": "cards of several models cannot be together on a node like this",
    "E0250": "a server cannot span these machines",
    "E0255": "replicas of a service cannot each have what must be their own",
    "E0245": "the adapters of a service cannot be named or served like this",
    "E0260": "what the spec says of a cluster does not hold together",
    "E0261": "servers share a GPU, and a cluster hands out whole ones",
    "E0270": "encryption at the gateway would not start, would lock clients out, or would do nothing",
    "E0271": "a team's limits would do nothing, or would close what is not there",
    "E0280": "a job of Slurm cannot run the stack",
    "E0301": "there is no lock",
    "E0302": "the lock does not answer the spec",
    "E0303": "the lock cannot be read",
    "E0304": "no variant has the quantization that was asked for",
    "E0305": "the policy does not allow this model",
    "E0306": "a chat service needs a chat template",
    "E0307": "stackc has no memory formula for this model",
    "E0308": "the engine does not run this architecture, or this quantization on this GPU",
    "E0309": "the model's own configuration is missing or contradictory",
    "E0310": "the Hub has no such model",
    "E0311": "the Hub did not answer as it should",
    "E0312": "access to the model is not granted",
    "E0313": "the model's repository is larger than any that is read",
    "E0314": "the token would be sent where others can read it",
    "E0315": "the weights are not those that config.json describes",
    "E0316": "a name cannot be written into the emitted files",
    "E0317": "the registry did not answer as it should",
    "E0318": "the policy does not allow what is not confirmed",
    "E0319": "the registry gives no such image",
    "E0320": "a model of the user's own cannot be used as it is written",
    "E0321": "the registry has no such model",
    "E0322": "the licence forbids commercial use, or is not known to allow it",
    "E0325": "a draft does not suit the model that it drafts for",
    "E0330": "an adapter that the engine does not load",
    "E0331": "the adapter is for another model",
    "E0401": "a service does not fit",
    "E0402": "a service fits only within the margin of error",
    "E0403": "the context is longer than the model's",
    "E0404": "the model cannot be split over this many GPUs",
    "E0405": "a limit contradicts what the service promises",
    "E0406": "an objective is out of reach",
    "E0501": "stackc decides this engine argument",
    "E0502": "the pinned engine has no such argument",
    "E0503": "the engine argument does not take this value",
    "E0601": "the output cannot be written",
    "E0602": "the generated tree is not what the spec says",
    "E0603": "a file in the generated tree was not written by stackc",
    "E0604": "the templates cannot be used",
    "E0605": "the templates lose what the plan says",
    "E0606": "a generated file was edited by hand",
    "E0701": "unknown currency",
    "E0702": "an amount or a figure that cannot be",
    "E0703": "a figure is missing that nobody else knows",
    "E0704": "amounts in several currencies",
    "W0201": "the engine version is not calibrated",
    "W0202": "the declared memory is the number on the box",
    "W0203": "CPU and GPU share one memory",
    "W0204": "vLLM finds MIG slices only on some machines",
    "W0220": "this opens more than the API",
    "W0221": "LiteLLM carries few requests",
    "W0250": "layers are split over a network",
    "W0255": "replicas of a service share a GPU",
    "W0301": "the lock holds facts that are not confirmed",
    "W0302": "an architecture without formulas was counted as full attention",
    "W0303": "a repository is not quite what its name promised",
    "W0304": "images are named by tags",
    "W0305": "packages are installed without hashes",
    "W0306": "the lock does not say whether a tokenizer needs code",
    "W0307": "a file of the user's says otherwise of a model than what ships",
    "W0308": "a licence allows commercial use under conditions",
    "W0401": "an objective may not be kept",
    "W0402": "an objective cannot be checked",
    "W0501": "the parser is for another family of models",
    "W0502": "a parser was chosen by the architecture alone",
    "W0503": "a model scores texts by words, with no prompt around them",
    "W0701": "a price is older than a year",
}

CODES = {code: Code(code, title) for code, title in _TITLES.items()}
