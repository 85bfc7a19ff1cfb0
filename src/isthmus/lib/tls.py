"""Certificates and keys in memory, on their way into OpenSSL."""

import os
import ssl
import tempfile
from pathlib import Path


def load_pair(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Have new connections show this certificate chain (PEM). Raises ssl.SSLError.

    OpenSSL's Python binding reads files only: both stand in a private folder for that moment.
    """
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        path = Path(folder) / "pair.pem"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(chain.rstrip() + b"\n" + key)
        context.load_cert_chain(path, password=_no_password)


def _no_password() -> str:
    raise ssl.SSLError("the private key is encrypted")
