"""Shares a device among the models on it, in proportion to their weights.

Batches cannot be interrupted, so what is shared are places: how many batches a device has
in hand at a time. Whoever has used least, in proportion to its weight, gets the next one:
start-time fair queueing (Goyal, Vin and Cheng, 1996), charged with measured time.

Runs on the event loop alone, so it needs no locks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Device:
    """A GPU, or the processor: its places and the models that want them."""

    in_hand: int = 0
    virtual_ns: float = 0.0
    """How far the models with work have come; one that was idle starts from here."""
    shares: "list[Share]" = field(default_factory=list)

    @property
    def places(self) -> int:
        """As many batches as the greediest of its models would have in hand alone."""
        return max(share.places for share in self.shares)

    def next(self) -> "Share | None":
        """Return who has waited for a place and used least."""
        waiting = [share for share in self.shares if share.is_waiting]
        return min(waiting, key=lambda share: share.virtual_ns, default=None)


class Share:
    """One model's claim on a device."""

    def __init__(
        self, device: Device, *, weight: float, places: int, on_turn: Callable[[], None]
    ) -> None:
        """Join a device.

        Args:
            device: Which.
            weight: The model's part, relative to the others'.
            places: Batches that it would have in hand if it were alone.
            on_turn: Called when it was refused a place and may try again. It then calls
                `take` or `pass_on`, soon.
        """
        self.weight = weight
        self.places = places
        self.virtual_ns = device.virtual_ns
        self.is_waiting = False
        self._device = device
        self._on_turn = on_turn
        device.shares.append(self)

    def take(self) -> bool:
        """Take a place for a batch, if there is one and nobody has a better claim."""
        device = self._device
        if not self.is_waiting:
            self.virtual_ns = max(self.virtual_ns, device.virtual_ns)
        self.is_waiting = True
        if device.in_hand >= device.places or device.next() is not self:
            return False
        self.is_waiting = False
        device.in_hand += 1
        device.virtual_ns = max(device.virtual_ns, self.virtual_ns)
        if device.in_hand < device.places:
            self._call_next()  # who was told of both places has needed one
        return True

    def give_back(self, used_ns: int, *, wants_more: bool = False) -> None:
        """Return a place.

        Args:
            used_ns: What was done in it: nanoseconds of the device.
            wants_more: Whether it would be taken again, so that its model competes for it
                with those that wait.
        """
        self._device.in_hand -= 1
        self.virtual_ns += used_ns / self.weight
        self.is_waiting = self.is_waiting or wants_more
        self._call_next()

    def pass_on(self) -> None:
        """Give up waiting for a place."""
        if self.is_waiting:
            self.is_waiting = False
            self._call_next()

    def leave(self) -> None:
        """Leave the device; all places are given back."""
        self._device.shares.remove(self)
        self._call_next()

    def _call_next(self) -> None:
        if (share := self._device.next()) is not None:
            share._on_turn()
