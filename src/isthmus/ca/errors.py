"""What can go wrong between a workload and its certificate. No message holds a key or a token."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from grpc import StatusCode

UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for bytes that somebody else made."""


class CsrRefused(Exception):  # noqa: N818 - the domain's word
    """A certificate signing request that must not be signed as it is; the asker must send another.

    `reason` is one clause that names what is wrong. `foreign` says that it asks for another's identity.
    """

    def __init__(self, reason: str, *, foreign: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.foreign = foreign


class MaterialRefused(Exception):  # noqa: N818 - the domain's word
    """A Secret's certificates or key cannot be a CA's; what was in force before stays.

    `where` names Secret and key (`Secret istio-system/cacerts, key ca-key.pem`), `reason` the fault.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class Unauthenticated(Exception):  # noqa: N818 - the domain's word
    """What a caller showed proves nothing; it must come back with something else.

    `reason` is for our logs; `claimed` is the identity that it claimed without proof, "" if none.
    """

    def __init__(self, reason: str, *, claimed: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.claimed = claimed


class ProofUnavailable(Exception):  # noqa: N818 - the domain's word
    """Whether a caller is who it says cannot be found out now; it should try again with the same."""

    def __init__(self, reason: str, *, claimed: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.claimed = claimed


class CertificateFailed(Exception):  # noqa: N818 - how a call ends
    """A request for a certificate ends with this gRPC status; `reason` may be told to its caller."""

    def __init__(self, code: StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class NotAdmitted(Exception):  # noqa: N818 - the domain's word
    """A proxy says to be what it did not prove to be; it must not have that configuration.

    `reason` names both identities.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PodUnknown(Exception):  # noqa: N818 - a finding
    """A proxy's Pod is not known in its cluster, or not yet: it should come back. `reason` names it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
