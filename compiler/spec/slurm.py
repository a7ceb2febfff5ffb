"""What the target `slurm` must know of a cluster."""

from __future__ import annotations

from typing import Annotated

from compiler.spec.base import SpecModel
from compiler.spec.forms import form

# Slurm's own names; what a shell or a line of #SBATCH would read otherwise is kept out.
_Word = Annotated[str, form(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "a name of Slurm: letters, digits and any of `._-`")]


class SlurmSpec(SpecModel):
    """The jobs that `targets: [slurm]` submits.

    Attributes:
        partition: whose nodes are as the spec says.
        account: that the job is charged to; the user's own by default.
        qos: its quality of service; the partition's own by default.
        time: the longest that it runs, as Slurm writes it: `7-00:00:00` are seven days. The partition's own by default.
        gres: what the cluster calls its GPUs, such as `gpu` (the default) or `gpu:h100`; `none` for a partition that
            counts none.
        constraint: a feature that its nodes must have.
    """

    partition: _Word
    account: _Word | None = None
    qos: _Word | None = None
    time: (
        Annotated[
            str,
            form(
                r"^([0-9]{1,3}-)?[0-9]{1,3}:[0-9]{2}(:[0-9]{2})?$",
                "a time as Slurm writes it, such as `12:00:00` or `7-00:00:00`",
            ),
        ]
        | None
    ) = None
    gres: (
        Annotated[str, form(r"^(none|gpu(:[A-Za-z0-9][A-Za-z0-9._-]{0,40})?)$", "`gpu`, `gpu:TYPE` or `none`")] | None
    ) = None
    constraint: _Word | None = None
