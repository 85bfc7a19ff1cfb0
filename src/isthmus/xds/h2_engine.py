"""h2, made when it is first needed.

Most connections are one call from beginning to end, whose opening is read elsewhere (`h2_opening`) and whose
DATA passes h2 by. What h2 would have been told by then is kept as it came; when something happens that h2 is
to decide on, it is made and told, and is in the state in which it would be had it been there from the start:
that state depends on nothing else.
"""

from functools import lru_cache

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from isthmus.xds.h2_frames import FIRST_WINDOW, frame, window_update
from isthmus.xds.h2_intake import MOST_FRAME, PREFACE
from isthmus.xds.limits import Limits

INFLOW = 1024 * 1024
"""The window that is given to each stream and to the connection, in bytes."""
_CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class _H2(H2Connection):
    MAX_CLOSED_STREAMS = 256


def _new(limits: Limits) -> H2Connection:
    h2 = _H2(_CONFIGURATION)
    h2.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.concurrent,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.metadata_bytes,
            SettingCodes.INITIAL_WINDOW_SIZE: INFLOW,
            SettingCodes.MAX_FRAME_SIZE: MOST_FRAME,
        },
    )
    h2.decoder.max_header_list_size = limits.metadata_bytes
    h2.initiate_connection()
    return h2


@lru_cache(maxsize=16)
def greeting(limits: Limits) -> bytes:
    """What a connection begins with: our SETTINGS, and a connection's window as wide as a stream's. h2 is not
    told of the latter: what it counts it gives back at once.
    """
    return _new(limits).data_to_send() + window_update(0, INFLOW - FIRST_WINDOW)


class Engine:
    """One connection's."""

    __slots__ = ("_h2", "_limits", "_told", "made")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._h2: H2Connection | None = None
        self._told: list[tuple[int, int, int, bytes]] = []
        self.made = False
        """Whether h2 is needed already."""

    def skip(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """A frame came that was understood, and answered as h2 would have; h2 is not `made` yet."""
        self._told.append((kind, flags, stream_id, payload))

    @property
    def h2(self) -> H2Connection:
        """It. Raises h2's ProtocolError."""
        if self._h2 is None:
            self._h2 = _new(self._limits)
            self.made = True
            self._h2.receive_data(PREFACE + b"".join(frame(*one) for one in self._told))
            self._h2.clear_outbound_data_buffer()
            self._told = []
        return self._h2

    def output(self) -> bytes:
        """What it has to send."""
        return b"" if self._h2 is None else self._h2.data_to_send()
