"""A cluster's state without a server around it, for tests of single rooms of the API server."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from isthmus.lab.apiserver.bootstrap import bootstrap
from isthmus.lab.apiserver.cluster import Cluster, Settings, assemble
from isthmus.lab.pki import PkiFiles, make_pki


@pytest.fixture(scope="session")
def pki_files(tmp_path_factory: pytest.TempPathFactory) -> PkiFiles:
    return make_pki(tmp_path_factory.mktemp("pki"), cluster="test", node_name="test-node")


@pytest.fixture
def cluster(pki_files: PkiFiles) -> Cluster:
    """A new cluster with what every cluster has."""
    settings = Settings(pki_files, IPv4Network("10.96.0.0/16"), IPv4Address("127.0.0.1"), 6443)
    made = assemble(settings)
    bootstrap(made)
    return made
