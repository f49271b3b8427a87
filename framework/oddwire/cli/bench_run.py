"""One run of `oddwire bench`: the applications that are measured, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.plugins.manager import Contribution
from oddwire.cli.bench_handlers import HandlerRow, Trial, empty_extension, measure, run_for, try_out
from oddwire.cli.bench_rig import Fence, Over, Rig, client_of
from oddwire.cli.bench_samples import Sample
from oddwire.cli.bench_timing import codec_microseconds
from oddwire.codecs import Registry
from oddwire.errors import OddwireError
from oddwire.schema import Message, schema_of

if TYPE_CHECKING:
    from oddwire.cli.bench_flame import Flame

__all__ = ["Bench", "Found", "MessageRow"]

_CODEC: Final = 0.1  # of a message's seconds are for encoding, and as many for decoding


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """What the codec costs for one message: microseconds, and the bytes of its payload."""

    name: str
    codec: str
    size: int
    encode: float
    decode: float

    def to_json(self) -> dict[str, Any]:
        """Return what `oddwire bench --json` has."""
        return {
            "message": self.name,
            "codec": self.codec,
            "bytes": self.size,
            "encode_microseconds": round(self.encode, 3),
            "decode_microseconds": round(self.decode, 3),
        }


@dataclass(slots=True)
class Found:
    """What a run has measured; ``left_out`` are reasons by message."""

    messages: list[MessageRow] = field(default_factory=list)
    handlers: list[HandlerRow] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `oddwire bench --json` has."""
        return {
            "messages": [row.to_json() for row in self.messages],
            "handlers": [row.to_json() for row in self.handlers],
            "left_out": self.left_out,
        }


class Bench:
    """Measures samples of extensions, each for about so many ``seconds``; their stores are in ``folder``.

    The extensions' limits and ``allow`` are taken off them, as otherwise those would be measured.
    """

    def __init__(
        self,
        contributions: Sequence[Contribution],
        samples: Sequence[Sample],
        options: Mapping[str, Any],
        *,
        folder: Path,
        seconds: float,
        bolt8: bool,
    ) -> None:
        self._plugins = [_without_limits(contribution) for contribution in contributions]
        self._clients = [client_of(contribution) for contribution in contributions]
        self._samples = samples
        self._options = options
        self._folder = folder
        self._seconds = seconds
        self._bolt8 = bolt8
        self._fence = Fence(
            [cls for client in self._clients for cls in (one.message for one in client.register_handlers())]
        )
        self._found = Found()

    async def run(self, flame: Flame | None = None) -> Found:
        """Return what was found; with ``flame``, run all handlers once more and draw where the time goes.

        Raises what the extensions' start raises.
        """
        async with AsyncExitStack() as stack:
            real = await stack.enter_async_context(self._rig("real", self._plugins, "memory"))
            await self._measure_codec(real.server.registry)
            trials = [await self._try(real, sample) for sample in self._samples if sample.handler is not None]
            right = [trial for trial in trials if not trial.reason]
            if not right:
                return self._found
            empties = [empty_extension(client, right) for client in self._clients]
            empty = await stack.enter_async_context(self._rig("empty", empties, "memory"))
            bolt8 = None
            if self._bolt8:
                bolt8 = await stack.enter_async_context(self._rig("bolt8", self._plugins, "bolt8"))
            for trial in right:
                await self._measure(trial, real, empty, bolt8)
            if flame is not None:
                with flame:
                    for trial in right:
                        await run_for(bolt8 or real, trial, self._seconds)
        return self._found

    def _rig(self, name: str, plugins: Sequence[object], over: Over) -> Rig:
        folder = self._folder / name
        folder.mkdir()
        options = self._options if plugins is self._plugins else None
        return Rig(plugins, self._clients, fence=self._fence, over=over, folder=folder, options=options)

    async def _try(self, real: Rig, sample: Sample) -> Trial:
        trial = await try_out(real, sample)
        if trial.reason:
            self._found.left_out[sample.name] = trial.reason
        return trial

    async def _measure(self, trial: Trial, real: Rig, empty: Rig, bolt8: Rig | None) -> None:
        registry = real.server.registry
        made = [*([trial.sample.message] if trial.how != "stream" else ()), *trial.answers[:1]]
        codec = sum([sum(await self._codec(registry, message)) for message in made if message is not None])
        try:
            row = await measure(trial, codec, self._seconds, fence=self._fence, real=real, empty=empty, bolt8=bolt8)
        except TimeoutError:
            self._found.left_out[trial.sample.name] = "it is too slow, or does not end"
        except OddwireError as error:
            self._found.left_out[trial.sample.name] = str(error)
        else:
            self._found.handlers.append(row)

    async def _measure_codec(self, registry: Registry) -> None:
        for sample in self._samples:
            if sample.message is None:
                self._found.left_out[sample.name] = sample.reason
                continue
            try:
                payload = registry.encode(sample.message)
                encode, decode = await self._codec(registry, sample.message)
            except OddwireError as error:
                self._found.left_out[sample.name] = str(error)
                continue
            codec = schema_of(sample.cls).codec
            row = MessageRow(name=sample.name, codec=codec, size=len(payload), encode=encode, decode=decode)
            self._found.messages.append(row)

    async def _codec(self, registry: Registry, message: Message) -> tuple[float, float]:
        payload = registry.encode(message)
        seconds = self._seconds * _CODEC
        encode = await codec_microseconds(partial(registry.encode, message), seconds)
        return encode, await codec_microseconds(partial(registry.decode, payload), seconds)


def _without_limits(contribution: Contribution) -> object:
    plugin: Any = contribution.plugin
    plugin.limits = plugin.allow = None
    return plugin
