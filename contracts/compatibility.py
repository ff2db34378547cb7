"""Finds what a change of the protos breaks: promises before x promises now -> sentences."""

from collections.abc import Sequence

from contracts.snapshot import PARTS, Promise

# What to do instead of changing a fact, by kind and fact.
_REMEDIES = {
    ("field", "number"): "give it {old} again; what is new needs a field of its own",
    ("field", "type"): "give it {old} again, and add a field of the new type beside it",
    ("field", "label"): "make it {old} again, and add another field beside it",
    ("field", "oneof"): "leave it where it was, and add another field there",
    ("field", "default"): "leave its default, for peers do not send what has its default",
    ("value", "number"): "give it {old} again; what is new needs a value of its own",
    ("rpc", "request"): "take {old} again, and add an rpc for the other",
    ("rpc", "response"): "return {old} again, and add an rpc for the other",
    ("rpc", "requests"): "take {old} again, and add an rpc beside it",
    ("rpc", "responses"): "return {old} again, and add an rpc beside it",
}


def breaks(before: Sequence[Promise], now: Sequence[Promise]) -> list[str]:
    """List what a change breaks, in one sentence each, with what to do instead.

    Args:
        before: What was promised.
        now: What the protos promise now.

    Returns:
        Nothing when peers built from either understand each other.
    """
    known = {_key(promise) for promise in before}
    found = {_key(promise): promise for promise in now}
    owners = {promise.name for promise in now}
    sentences: list[str] = []
    for promise in before:
        if promise.kind == "reserved":
            sentences += _reuse(promise, now) if promise.owner in owners else ()
        elif _key(promise) in found:
            sentences += _changes(promise, found[_key(promise)])
        elif promise.kind not in PARTS or promise.owner in owners:
            sentences += _loss(promise, [one for one in now if _key(one) not in known], now)
    return sentences + _new_demands(before, now)


def _changes(before: Promise, now: Promise) -> list[str]:
    """Say which facts are others than before."""
    return [
        f"{before.kind} {before.name} had {fact} {_shown(before, fact)} and has "
        f"{_shown(now, fact)}; {remedy.format(old=before.facts.get(fact, ''))}."
        for (kind, fact), remedy in _REMEDIES.items()
        if kind == before.kind and before.facts.get(fact) != now.facts.get(fact)
    ]


def _loss(gone: Promise, new: Sequence[Promise], now: Sequence[Promise]) -> list[str]:
    """Say that something is not there any more, unless its number and name are reserved."""
    what = f"{gone.kind} {gone.name}"
    if gone.kind not in ("field", "value"):
        return [f"{what} is gone; put it back, for peers that were built before still use it."]
    number = int(gone.facts["number"])
    for other in new:
        if _is_at(other, gone):
            return [
                f"{what} is called {other.name} now; give it its name again, for JSON and "
                "generated code go by it."
            ]
    if _reserves_name(now, gone.name) and _reserves_numbers(now, gone.owner, number, number):
        return []
    short = gone.name.rpartition(".")[2]
    return [
        f"{what} is gone and may be taken for another one; put it back, or reserve what it had: "
        f'reserved {number}; reserved "{short}".'
    ]


def _reuse(reserved: Promise, now: Sequence[Promise]) -> list[str]:
    """Say that something reserved is free again."""
    if not reserved.facts:
        if _reserves_name(now, reserved.name):
            return []
        return [f"reserved {reserved.name} is free again; reserve it, for it had a meaning once."]
    first, last = _range(reserved)
    if _reserves_numbers(now, reserved.owner, first, last):
        return []
    return [
        f"reserved numbers {first} to {last} of {reserved.owner} are free again; reserve them, "
        "for they had a meaning once."
    ]


def _new_demands(before: Sequence[Promise], now: Sequence[Promise]) -> list[str]:
    """Say which new fields peers from before would have to send."""
    known, owners = {_key(promise) for promise in before}, {promise.name for promise in before}
    return [
        f"field {one.name} is new and required; make it optional, for peers that were built "
        "before do not send it."
        for one in now
        if one.facts.get("label") == "required" and one.owner in owners and _key(one) not in known
    ]


def _key(promise: Promise) -> tuple[str, str]:
    return promise.kind, promise.name


def _is_at(one: Promise, other: Promise) -> bool:
    """Whether two fields or values have the same place under different names."""
    return (one.kind, one.owner, one.facts.get("number")) == (
        other.kind,
        other.owner,
        other.facts["number"],
    )


def _reserves_name(now: Sequence[Promise], name: str) -> bool:
    return any(one.kind == "reserved" and one.name == name for one in now)


def _reserves_numbers(now: Sequence[Promise], owner: str, first: int, last: int) -> bool:
    """Whether numbers are reserved, by one range or by several that touch."""
    ranges = [_range(one) for one in now if one.kind == "reserved" and one.name == f"{owner}."]
    missing = first
    for low, high in sorted(ranges):
        if low <= missing <= high:
            missing = high + 1
    return missing > last


def _range(reserved: Promise) -> tuple[int, int]:
    return int(reserved.facts["first"]), int(reserved.facts["last"])


def _shown(promise: Promise, fact: str) -> str:
    return promise.facts.get(fact, "none")
