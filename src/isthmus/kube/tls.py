"""TLS towards an API server out of PEM in memory; verified unless a person's file says otherwise."""

import re
import ssl
from typing import Literal

from isthmus.kube.access import Access
from isthmus.lib.tls import load_pair


def make_context(access: Access) -> ssl.SSLContext | None:
    """The TLS side of an access, None for plain http. Raises ssl.SSLError, or ValueError for bad text."""
    if access.server.startswith("http://"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.ca_pem is None:
        context.load_default_certs()
    else:
        # Bundles may hold comments in any encoding between their certificates.
        blocks = re.findall(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", access.ca_pem)
        context.load_verify_locations(cadata=b"\n".join(blocks).decode("ascii"))
    # Python 3.13 asks more of certificates than Kubernetes' own clients do, and than many clusters' have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.client_cert_pem and access.client_key_pem:
        load_pair(context, access.client_cert_pem, access.client_key_pem)
    return context


def check_material(access: Access) -> tuple[Literal["ca", "client"], str] | None:
    """Which certificate of an access cannot be used and why, before any connection is tried."""
    # The system's own certificates take tens of milliseconds to load, and are not what is in question.
    try:
        if access.ca_pem is not None:
            make_context(Access(access.server, ca_pem=access.ca_pem))
    except (ssl.SSLError, ValueError):
        return "ca", "holds no certificate that can be read"
    try:
        if access.client_cert_pem and access.client_key_pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_pair(context, access.client_cert_pem, access.client_key_pem)
    except (ssl.SSLError, ValueError):
        return "client", "and client-key-data are no certificate and unencrypted key that belong together"
    return None
