"""One server over several machines: which of them this one is, and where the others find each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """A machine of a group.

    Attributes:
        node: its name in the spec.
        address: at which the others reach it.
        interface: the network card that has the address.
    """

    node: str
    address: str
    interface: str


@dataclass(frozen=True, slots=True)
class Group:
    """The machines of one server, as one of them sees them.

    Attributes:
        rank: of this machine, from 0; the first of them answers clients.
        members: all machines, by rank.
        rendezvous_port: of the first machine, at which the engine's processes find each other.
        watch_port: of the first machine, at which the others hold a connection, so that each knows of a lost one.
    """

    rank: int
    members: tuple[Member, ...]
    rendezvous_port: int
    watch_port: int

    @property
    def size(self) -> int:
        """How many machines."""
        return len(self.members)

    @property
    def is_led_here(self) -> bool:
        """Whether this machine is the one that answers."""
        return self.rank == 0

    @property
    def leader(self) -> Member:
        """The machine that answers."""
        return self.members[0]

    @property
    def own(self) -> Member:
        """This machine."""
        return self.members[self.rank]
