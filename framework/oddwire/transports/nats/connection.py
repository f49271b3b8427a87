"""One connection to the broker: requests and appends, with errors of one kind. Needs nats-py: ``oddwire[cluster]``.

nats-py keeps the connection. What it does not do is here: a request fails as soon as the connection is lost, and not
after its time limit; and nothing waits in a buffer for a broker that is gone, since nobody would know what of it was
sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.client import PatientClient
from oddwire.transports.nats.errors import (
    NO_STREAM,
    BrokerDenied,
    BrokerRefused,
    BrokerUnavailable,
    StreamFull,
    UnexpectedSequence,
)
from oddwire.transports.nats.login import check_login

try:
    from nats import errors
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
except ImportError:
    raise TransportError("the broker's client needs nats-py: pip install 'oddwire[cluster]'") from None

__all__ = ["BrokerConnection", "Stored", "StoredMessage"]

logger = get_logger("oddwire.transports.nats")

_CONNECT_TIMEOUT: Final = 5  # seconds; nats-py takes a number without a fraction
_PING_INTERVAL: Final = 5  # seconds; a link that is dead is seen after two or three
_AGAIN: Final = 0.25  # seconds between attempts to connect
_TIME_LIMIT: Final = 5.0
_NO_RESPONDERS: Final = "503"
_NO_MESSAGE: Final = 10037
_WRONG_LAST: Final = 10071
_FULL: Final = {10002, 10023, 10047, 10077}  # limits of the account, of the server, storage, the stream's own limits
_DENIED: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)
_TEMPORARY: Final = 503  # no leader now, or JetStream is starting


class Stored(NamedTuple):
    """A message that the broker has stored; ``duplicate`` if it was stored before."""

    sequence: int
    duplicate: bool


class StoredMessage(NamedTuple):
    """A message of a stream."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    data: bytes


class BrokerConnection:
    """A connection to the broker; `open` makes one. It connects anew by itself, for ever, until `aclose`.

    All methods raise `BrokerUnavailable` while there is no connection, if it is lost meanwhile, and for answers that do
    not come in time: what was asked for may be done or not. If cancelled, it may be done or not, too.
    """

    def __init__(self, address: BrokerAddress) -> None:
        self.address = address
        self.client = PatientClient()
        """nats-py's client, for subscriptions. What it publishes while there is no connection fails."""
        self.on_lost: list[Callable[[], object]] = []
        """Called when the connection is lost."""
        self.on_back: list[Callable[[], object]] = []
        """Called when it is there again."""
        self.on_denied: list[Callable[[str, BrokerDenied], bool]] = []
        """Called with a subject, in lower case, to which the broker does not let us publish, and the error of that.

        Each returns whether it is told to somebody.
        """
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[str, tuple[asyncio.Future[Msg], str]] = {}
        self._first: asyncio.Future[BaseException] | None = None
        self._closing = False
        self._tells = True
        self._said = ""

    @classmethod
    async def open(
        cls, address: BrokerAddress, *, name: str = "oddwire", patience: float | None = 10.0
    ) -> BrokerConnection:
        """Connect, within ``patience`` seconds, for which a broker that is not there is tried again; None is for ever.

        Raises `BrokerUnavailable` if there was none, `BrokerRefused` for credentials that are none or that the broker
        does not accept, and certificates that are not trusted.
        """
        check_login(address)
        made = cls(address)
        try:
            await made._connect(name, patience)
        except BaseException:
            await made.aclose()
            raise
        return made

    async def _connect(self, name: str, patience: float | None) -> None:
        address = self.address
        self._tells = patience is None  # else what is said last is in the error
        options: dict[str, Any] = {}
        if address.credentials is not None:
            options["user_credentials"] = str(address.credentials)
        if address.nkey is not None:
            options["nkeys_seed"] = str(address.nkey)
        if (tls := address.tls()) is not None:
            options["tls"] = tls
        logging.getLogger("asyncio").addFilter(_is_no_eof_of_tls)
        self._first = asyncio.get_running_loop().create_future()
        connecting = asyncio.create_task(
            self.client.connect(
                servers=address.urls,
                name=name,
                connect_timeout=_CONNECT_TIMEOUT,
                reconnect_time_wait=_AGAIN,  # type: ignore[arg-type] # it sleeps for it
                max_reconnect_attempts=-1,
                ping_interval=_PING_INTERVAL,
                pending_size=-1,  # no buffer
                error_cb=self._failed,
                disconnected_cb=self._lost,
                reconnected_cb=self._back,
                **options,
            )
        )
        try:
            futures: set[asyncio.Future[Any]] = {connecting, self._first}
            await asyncio.wait(futures, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if self._first.done():
                raise BrokerRefused(_refusal(address, self._first.result()))
            if not connecting.done():
                raise BrokerUnavailable(f"no broker answers at {address.shown}: {self._said or 'it is silent'}")
            await connecting
        except (errors.Error, OSError, ValueError) as error:
            raise BrokerRefused(f"{address.shown} cannot be used: {_spelled(error)}") from error
        finally:
            self._first = None
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait({connecting})
        self._tells, self._said = True, ""
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered)

    # The connection's life ----------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self.client.is_connected

    @property
    def max_payload(self) -> int:
        """Bytes of the longest message that the broker takes."""
        return int(self.client.max_payload)

    async def _failed(self, error: BaseException) -> None:
        said = _spelled(error)
        if (denied := _DENIED.match(said)) is not None:
            self._deny(*denied.groups())
            return
        if self._first is not None and _is_final(error):
            if not self._first.done():
                self._first.set_result(error)
            return
        if said == self._said or self._closing:
            return
        self._said = said
        if self._tells and not self.client.is_connected and _is_final(error):
            text = "the broker at %s does not let us in any more, tried again until it does: %s"
            logger.error(text, self.address.shown, said)
        elif self._tells and not self.client.is_connected:
            logger.warning("no broker answers at %s, tried again until one does: %s", self.address.shown, said)
        elif self._tells:
            logger.warning("the broker at %s: %s", self.address.shown, said)

    def _deny(self, what: str, subject: str) -> None:
        """Have whoever waits for an answer from there know that none comes; the broker tells the subject alone."""
        verb = "publish" if what == "publish" else "subscribe"
        text = "'oddwire broker permissions' prints what gateways and workers need"
        error = BrokerDenied(f"this login may not {verb} to {subject}: {text}")
        told = False
        if verb == "publish":
            for future, asked in self._waiting.values():
                if asked.lower() == subject.lower() and not future.done():
                    future.set_exception(error)
                    told = True
            for call in [*self.on_denied]:
                told = call(subject.lower(), error) or told
        if not told and error.reason != self._said and not self._closing:
            self._said = error.reason
            logger.error("the broker at %s: %s", self.address.shown, error.reason)

    async def _lost(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(BrokerUnavailable("the connection to the broker was lost"))
        if self._closing or not self._inbox:
            return
        logger.warning("the connection to the broker at %s is lost", self.address.shown)
        for call in self.on_lost:
            call()

    async def _back(self) -> None:
        self._said = ""
        logger.warning("connected to the broker again")
        for call in self.on_back:
            call()

    async def aclose(self) -> None:
        """Close the connection. Idempotent."""
        self._closing = True
        with contextlib.suppress(errors.Error, OSError, AttributeError):  # the last of asyncio's TLS that was lost
            await self.client.close()
        await self._lost()

    # Requests -----------------------------------------------------------------------------------------

    async def request(self, subject: str, data: bytes, *, time_limit: float = _TIME_LIMIT) -> bytes:
        """Send a request, and return its answer. `BrokerUnavailable` also says that nobody is there to answer."""
        return (await self._ask(subject, data, None, time_limit)).data

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str | None = None,
        expected_last: int | None = None,
        rollup: bool = False,
        headers: Mapping[str, str] | None = None,
        time_limit: float = _TIME_LIMIT,
    ) -> Stored:
        """Store a message in the stream of its subject.

        ``message_id``: one that was stored within the stream's duplicate window is not stored again. ``expected_last``:
        the sequence that the subject's last message must have, 0 for none. ``rollup``: the subject's former messages
        are deleted. Raises `UnexpectedSequence`, `StreamFull`, and `BrokerRefused`.
        """
        said = dict(headers or {})
        if message_id is not None:
            said["Nats-Msg-Id"] = message_id
        if expected_last is not None:
            said["Nats-Expected-Last-Subject-Sequence"] = str(expected_last)
        if rollup:
            said["Nats-Rollup"] = "sub"
        answer = _json((await self._ask(subject, data, said or None, time_limit)).data, subject)
        return Stored(int(answer["seq"]), bool(answer.get("duplicate")))

    async def api(
        self, operation: str, body: Mapping[str, Any] | None = None, *, time_limit: float = _TIME_LIMIT
    ) -> dict[str, Any]:
        """Call JetStream's API: ``STREAM.INFO.name``, say. Raises `BrokerRefused`, whose ``code`` is JetStream's."""
        raw = b"" if body is None else json.dumps(body).encode()
        subject = f"$JS.API.{operation}"
        return _json((await self._ask(subject, raw, None, time_limit)).data, operation)

    async def stream_info(self, name: str, wanted: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return what JetStream says of a stream: its ``config`` and ``state``, say; None if there is no such stream.

        ``wanted`` asks for more of it. Raises `BrokerRefused`.
        """
        try:
            return await self.api(f"STREAM.INFO.{name}", wanted)
        except BrokerRefused as error:
            if error.code != NO_STREAM:
                raise
            return None

    async def last_of(self, stream: str, subject: str) -> StoredMessage | None:
        """Return the last message of a subject, by the stream's leader; None if there is none."""
        return await self._message(stream, {"last_by_subj": subject})

    async def next_of(self, stream: str, subject: str, sequence: int) -> StoredMessage | None:
        """Return the first message of a subject from a sequence on; None if there is none."""
        return await self._message(stream, {"seq": sequence, "next_by_subj": subject})

    async def _message(self, stream: str, which: Mapping[str, Any]) -> StoredMessage | None:
        try:
            message = (await self.api(f"STREAM.MSG.GET.{stream}", which))["message"]
        except BrokerRefused as error:
            if error.code == _NO_MESSAGE:
                return None
            raise
        headers = _headers(base64.b64decode(message.get("hdrs", "")))
        return StoredMessage(message["subject"], message["seq"], headers, base64.b64decode(message.get("data", "")))

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Publish a message, whoever may hear it."""
        try:
            await self.client.publish(subject, data, reply=reply)
        except errors.MaxPayloadError as error:
            text = f"{len(data)} bytes are more than the broker's max_payload, {self.max_payload}"
            raise BrokerRefused(text) from error
        except errors.Error as error:
            raise BrokerUnavailable(f"no connection to the broker: {_spelled(error)}") from error

    async def end(self, subscription: Subscription) -> None:
        """End a subscription of the client's, whether there is a connection or not."""
        with contextlib.suppress(errors.Error, OSError):
            await subscription.unsubscribe()

    async def _ask(self, subject: str, data: bytes, headers: dict[str, str] | None, time_limit: float) -> Msg:
        loop = asyncio.get_running_loop()
        token = str(next(self._numbers))
        future: asyncio.Future[Msg] = loop.create_future()
        self._waiting[token] = future, subject
        timer = loop.call_later(time_limit, self._expire, token, subject, time_limit)
        try:
            try:
                await self.client.publish(subject, data, reply=f"{self._inbox}.{token}", headers=headers)
            except errors.MaxPayloadError as error:
                text = f"{len(data)} bytes are more than the broker's max_payload, {self.max_payload}"
                raise BrokerRefused(text) from error
            except errors.Error as error:
                raise BrokerUnavailable(f"no connection to the broker: {_spelled(error)}") from error
            answer = await future
        finally:
            timer.cancel()
            self._waiting.pop(token, None)
        if answer.headers and answer.headers.get("Status") == _NO_RESPONDERS and not answer.data:
            raise BrokerUnavailable(f"nobody answers at {subject}")
        return answer

    def _expire(self, token: str, subject: str, time_limit: float) -> None:
        future, _ = self._waiting.pop(token, (None, ""))
        if future is not None and not future.done():
            future.set_exception(BrokerUnavailable(f"no answer at {subject} within {time_limit:g} s"))

    async def _answered(self, message: Msg) -> None:
        future, _ = self._waiting.pop(message.subject.rpartition(".")[2], (None, ""))
        if future is not None and not future.done():
            future.set_result(message)


def _json(raw: bytes, what: str) -> dict[str, Any]:
    """Return JetStream's answer. Raises its error."""
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise BrokerRefused(f"{what}: the answer is not JetStream's: {raw!r:.60}")
    error = answer.get("error")
    if error is None:
        return answer
    code, text = int(error.get("err_code") or 0), f"{what}: {printable(str(error.get('description', '')))}"
    if code == _WRONG_LAST:
        raise UnexpectedSequence(text, code)
    if code in _FULL:
        raise StreamFull(text, code)
    if error.get("code") == _TEMPORARY:
        raise BrokerUnavailable(text, code)
    raise BrokerRefused(text, code)


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode(errors="replace").split("\r\n")[1:]
    return {name: value.strip() for name, found, value in (line.partition(":") for line in lines) if found}


def _is_final(error: BaseException) -> bool:
    """Whether trying again is of no use: the broker was there, and said no."""
    said = str(error).lower()
    return isinstance(error, errors.AuthorizationError) or "authorization" in said or "certificate" in said


def _refusal(address: BrokerAddress, error: BaseException) -> str:
    said = _spelled(error)
    if "certificate" in said.lower():
        return f"the certificate of {address.shown} is not to be trusted, unless broker-ca says whose it is: {said}"
    return f"{address.shown} does not let us in: {said}"


def _spelled(error: BaseException) -> str:
    text = str(error) or ("nothing came in time" if isinstance(error, TimeoutError) else type(error).__name__)
    return printable(text).removeprefix("nats: ").strip("'")


def _is_no_eof_of_tls(record: logging.LogRecord) -> bool:
    """Return False for what asyncio says of each connection that nats-py has made one of TLS, once it ends."""
    return not str(record.msg).startswith("returning true from eof_received()")
