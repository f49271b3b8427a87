"""What one handler costs: side by side with an empty one, and with the same bytes as a message without a schema."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from oddwire.app import Context, Extension
from oddwire.app.declarations.handlers import yields
from oddwire.cli.bench_rig import Fence, Rig
from oddwire.cli.bench_samples import Sample
from oddwire.cli.bench_timing import PATIENCE, Course, Spent, side_by_side
from oddwire.errors import OddwireError, RemoteFailure
from oddwire.schema import Message
from oddwire.session.wire.frame_types import Code, describe_code

__all__ = ["HandlerRow", "How", "Trial", "empty_extension", "measure", "run_for", "try_out"]

How = Literal["plain", "request", "stream", "reliable"]

_PARTS: Final = 1000  # of a stream, at most
_LOOK: Final = 1.0  # seconds of a stream, at most, to see how many parts it has


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of sending a message once: how it is sent, with what it is answered; or why it cannot be measured."""

    sample: Sample
    how: How = "plain"
    answers: tuple[Message, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRow:
    """What one message takes in memory, in microseconds, of both ends, and the ``shares`` of the processor's time.

    ``empty`` is that with an empty handler, ``schemaless`` that of the same bytes, sent plainly, without a schema and
    with an empty handler; ``bolt8`` is that over BOLT 8, if it was measured.
    """

    name: str
    how: How
    spent: Spent
    shares: dict[str, float]
    empty: Spent
    schemaless: Spent
    bolt8: Spent | None = None

    @property
    def ratios(self) -> tuple[float, float]:
        """How often the processor's time is that with an empty handler, and that without a schema."""
        return self.spent.working / self.empty.working, self.spent.working / self.schemaless.working

    @property
    def encryption(self) -> float:
        """The share of BOLT 8, of 1, in the processor's time of a message that comes by it."""
        return 0.0 if self.bolt8 is None else max(0.0, 1 - self.spent.working / self.bolt8.working)

    def to_json(self) -> dict[str, Any]:
        """Return what `oddwire bench --json` has."""
        found: dict[str, Any] = {
            "message": self.name,
            "sent": self.how,
            **_plain(self.spent),
            "shares": {name: round(value, 2) for name, value in self.shares.items()},
            "ratios": dict(
                zip(("empty_handler", "no_schema"), (round(ratio, 2) for ratio in self.ratios), strict=True)
            ),
        }
        if self.bolt8 is not None:
            found["bolt8"] = {**_plain(self.bolt8), "share": round(self.encryption, 3)}
        return found


def _plain(spent: Spent) -> dict[str, float]:
    return {
        "per_second": round(1e6 / spent.elapsed),
        "microseconds": round(spent.working, 2),
        "waiting_microseconds": round(spent.waiting, 2),
    }


async def try_out(rig: Rig, sample: Sample) -> Trial:
    """Send a message once, as its handler wants it."""
    handler, made = sample.handler, sample.message
    if handler is None or made is None:
        return Trial(sample=sample, reason=sample.reason or "nothing handles it")
    if handler.rate is not None:
        return Trial(sample=sample, reason=f"its rate= of {handler.rate:g}/s would be measured")
    try:
        if handler.reliable:
            await rig.deliver(made, 1)
            return Trial(sample=sample, how="reliable")
        if yields(handler.function):
            return await _try_stream(rig, sample, made)
        if sample.replies:
            try:
                reply = await rig.peer.request(made, _union(sample.replies), timeout=PATIENCE, force=True)
            except RemoteFailure as error:
                if error.code != Code.NO_REPLY:
                    raise
            else:
                return Trial(sample=sample, how="request", answers=(reply,))
        if handler.concurrent:
            return Trial(
                sample=sample, reason="it is concurrent and replies nothing: nobody can tell when it has ended"
            )
        before = rig.server.counters.failed.total()
        await rig.send(made, 1)
        if rig.server.counters.failed.total() > before:
            return Trial(sample=sample, reason="its handler fails with these values; the log says how")
    except RemoteFailure as error:
        return Trial(sample=sample, reason=f"its handler says: {error} ({describe_code(error.code)})")
    except OddwireError as error:
        return Trial(sample=sample, reason=str(error))
    return Trial(sample=sample)


async def _try_stream(rig: Rig, sample: Sample, made: Message) -> Trial:
    if not sample.replies:
        reason = "what its stream yields is not known: annotate what it returns, AsyncIterator[Part] say"
        return Trial(sample=sample, reason=reason)
    answers: list[Message] = []
    until = time.monotonic() + _LOOK
    parts = rig.peer.stream(made, _union(sample.replies), timeout=PATIENCE, force=True)
    async for part in parts:
        answers.append(part)
        if len(answers) == _PARTS or time.monotonic() > until:
            break
    await parts.aclose()
    reason = "" if answers else "its stream has no parts with these values"
    return Trial(sample=sample, how="stream", answers=(*answers,), reason=reason)


def empty_extension(client: Extension, trials: Sequence[Trial]) -> Extension:
    """Return the extension with the same messages whose handlers only return what those of the trials did."""
    empty = Extension(client.name, version=client.version, versions=client.versions)
    handled = set()
    for trial in trials:
        if trial.reason or trial.sample.extension != client.name:
            continue
        handled.add(trial.sample.cls)
        empty.on(trial.sample.cls, reliable=trial.how == "reliable")(_handler(trial))
    for handler in client.register_handlers():
        if handler.message not in handled:
            empty.register(handler.message)
    return empty


def _handler(trial: Trial) -> Any:
    answers = trial.answers

    async def stream(context: Context, found: Any) -> AsyncIterator[Any]:
        for answer in answers:
            yield answer

    async def reply(context: Context, found: Any) -> Any:
        return answers[0]

    async def nothing(context: Context, found: Any) -> None:
        return

    return stream if trial.how == "stream" else reply if answers else nothing


async def measure(
    trial: Trial, codec: float, seconds: float, *, fence: Fence, real: Rig, empty: Rig, bolt8: Rig | None
) -> HandlerRow:
    """Measure one handler; ``codec`` are the microseconds of encoding and decoding its message and reply.

    ``bolt8`` is the rig of the extension over BOLT 8. Raises `TimeoutError` for a handler that is too slow, and what
    sending raises.
    """
    made = trial.sample.message
    assert made is not None  # noqa: S101 - a trial without a message has a reason
    payload = real.client.registry.encode(made)
    plain = fence.bytes(data=payload[2:])
    courses: dict[str, Course] = {
        "real": _course(real, trial, made),
        "empty": _course(empty, trial, made),
        "schemaless": partial(empty.send, plain),
    }
    if trial.how == "request":
        courses["unasked"] = partial(empty.send, made)
    if bolt8 is not None:
        courses |= {"bolt8": _course(bolt8, trial, made)}
    found = await side_by_side(courses, seconds)
    working = {name: spent.working for name, spent in found.items()}
    nothing = working["empty"]
    if trial.how == "plain":
        dispatch, session = nothing - codec, 0.0
    elif trial.how == "request":
        dispatch = working["unasked"] - codec
        session = nothing - working["unasked"]
    else:
        dispatch = working["schemaless"]
        session = nothing - dispatch - codec
    shares = {"codec": codec, "dispatch": dispatch, "session": session, "handler": working["real"] - nothing}
    return HandlerRow(
        name=trial.sample.name,
        how=trial.how,
        spent=found["real"],
        shares={name: max(0.0, value) for name, value in shares.items()},
        empty=found["empty"],
        schemaless=found["schemaless"],
        bolt8=found.get("bolt8"),
    )


async def run_for(rig: Rig, trial: Trial, seconds: float) -> None:
    """Have a handler work for so many seconds."""
    made = trial.sample.message
    assert made is not None  # noqa: S101 - a trial without a message has a reason
    course, count = _course(rig, trial, made), 1
    while seconds > 0:
        took = (await course(count)).elapsed
        seconds -= took
        count = max(1, min(count * 4, int(count * seconds / max(took, 1e-9))))


def _course(rig: Rig, trial: Trial, made: Message) -> Course:
    match trial.how:
        case "request":
            return partial(rig.request, made, _union(trial.sample.replies))
        case "stream":
            return partial(rig.stream, made, _union(trial.sample.replies), len(trial.answers))
        case "reliable":
            return partial(rig.deliver, made)
    return partial(rig.send, made)


def _union(classes: Sequence[type[Message]]) -> type[Message]:
    union: Any = classes[0]
    for cls in classes[1:]:
        union = union | cls
    return union  # type: ignore[no-any-return]
