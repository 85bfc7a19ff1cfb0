"""Between the CA and its servers."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from isthmus.apps.callers import certifying, judging, placed, placing
from isthmus.ca.admission import admitting
from isthmus.ca.messages import CertificateRequest, encode_request
from isthmus.ca.service import CertificateService
from isthmus.ca.signer import Lifetimes, Signer, new_key
from isthmus.model.service import ClusterId
from isthmus.xds.grpc_status import CallFailed
from isthmus.xds.h2_call import Call
from tests.ca.making import ECHO, MESH, root_signer
from tests.ca.test_admission import EAST, WEST, View, claiming, pod
from tests.support.ca_client import make_csr


async def test_who_proves_nothing_and_names_no_cluster_is_of_the_one_that_shows_its_pod() -> None:
    with admitting(View(pod(EAST)), (WEST, EAST), patience=0.05) as admission:
        place = placing(admission)
        assert (await place(claiming(cluster=""), None)).cluster == EAST
        stranger = claiming("stranger", cluster="")
        assert await place(stranger, None) == stranger
        with pytest.raises(CallFailed, match="nothing was proved"):
            await judging(admission)(claiming(), None)
    assert placed(claiming(cluster="west"))
    assert placed(claiming("", cluster=""))
    assert not placed(claiming(cluster=""))


@dataclass
class Source:
    signer: Signer | None


async def test_of_many_requests_at_once_one_is_signed_in_a_turn_of_the_loop() -> None:
    """Each turn of the loop serves whoever else is ready, so a storm delays a push by one signature."""
    service = CertificateService(Source(root_signer(datetime.now(UTC))), MESH, Lifetimes())
    answer = certifying(service)
    message = encode_request(CertificateRequest(make_csr(new_key(), ECHO.uri)))
    signed_in_a_turn: list[int] = []

    async def ask(pod: int) -> None:
        identity = replace(ECHO, cluster=ClusterId("west"), pod=f"echo-{pod}")
        await answer(message, cast("Call", SimpleNamespace(identity=identity, peer="10.0.0.1:1")))

    async def watch() -> None:
        issued = 0
        while issued < 101:
            await asyncio.sleep(0)
            signed_in_a_turn.append(service.tally.issued - issued)
            issued = service.tally.issued

    gone = [asyncio.ensure_future(ask(pod)) for pod in range(100, 110)]
    everybody = asyncio.gather(watch(), *(ask(pod) for pod in range(100)))
    await asyncio.sleep(0)
    for one in gone[1:]:
        one.cancel()
    await everybody
    assert max(signed_in_a_turn) == 1
    assert len(signed_in_a_turn) < 120, "and nobody waits for those who have gone"
    assert service.tally.issued == 101, "of those who went the first was served at once"
