"""nats-py's client, which connects anew also where nats-py would close for good."""

from __future__ import annotations

from typing import Final

from oddwire.errors import TransportError

try:
    from nats import errors
    from nats.aio.client import Client
except ImportError:
    raise TransportError("the broker's client needs nats-py: pip install 'oddwire[cluster]'") from None

__all__ = ["PatientClient"]

_NOT_FINAL: Final = ("permissions violation", "stale connection")  # nats-py does what is right with them


class PatientClient(Client):
    """A `Client` that a broker's error does not close, once it was connected.

    A login that expires, or is taken back, is one: the file that it is in is read again at each attempt, and may have
    another one by then. nats-py would close, or end its task of attempts, and nobody would hear of it.
    """

    async def _process_err(self, err_msg: str) -> None:
        if not self.is_connected or any(text in err_msg.lower() for text in _NOT_FINAL):
            await super()._process_err(err_msg)
            return
        error = errors.Error(f"nats: {err_msg.strip().strip(chr(39))}")
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except (OSError, errors.Error, TimeoutError):
            self._hang_up()
            raise
        except Exception as error:  # a file without a login, as it is being written
            self._hang_up()
            raise errors.Error(f"nats: {str(error) or type(error).__name__}") from error

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        transport = self._transport
        if not self.is_connected or transport is None or transport.at_eof():
            # nats-py would write it to a transport that is closed, where one of TLS raises
            self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)

    def _hang_up(self) -> None:
        """Close what the next attempt would leave open."""
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]
