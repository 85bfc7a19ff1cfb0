"""What `isthmus policy check` does: rules and a request in, plain data about the decision out."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.apps.policy_options import own_cluster
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lib.errors import UserError
from isthmus.policy.explaining import Explanation, explain, read_request
from isthmus.policy.files import load_documents, load_policies
from isthmus.policy.pages import describe_policies
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.watching import POLICIES


def check_request(
    request: Path,
    *,
    rules: Sequence[Path],
    kubeconfig: Path | None,
    context: str | None,
    root_namespace: str,
) -> dict[str, Any]:
    """Decide about the request of a file, without a server. Rules come from files, else from a cluster.

    Raises UserError for what cannot be read, bad policies of files included; a cluster's are passed over.
    """
    documents = load_documents(request)
    if len(documents) != 1:
        raise UserError(f"{request} must hold one request; it holds {len(documents)}.")
    attributes = read_request(documents[0], str(request))
    rulebook = Rulebook(root_namespace=root_namespace)
    found = load_policies(rules) if rules else asyncio.run(_list_policies(kubeconfig, context))
    for one in found:
        refusal = rulebook.apply(one).refusal
        if refusal is not None and rules:
            raise refusal
    return _plain(asyncio.run(explain(rulebook, attributes)), rulebook)


async def _list_policies(kubeconfig: Path | None, context: str | None) -> Sequence[dict[str, Any]]:
    async with running_client(own_cluster(kubeconfig, context)) as client:
        try:
            return (await client.list(POLICIES)).items
        except (ApiError, Unreachable) as error:
            raise UserError(f"The policies cannot be read: {error}; name files with --rules.") from None


def _plain(explanation: Explanation, rulebook: Rulebook) -> dict[str, Any]:
    denial, headers = explanation.decision.denial, explanation.decision.headers
    return {
        "allowed": denial is None,
        "deniedBy": None if denial is None else denial.label,
        "status": None if denial is None else denial.refusing.status,
        "headers": None
        if headers is None
        else {
            "add": headers.add,
            "set": headers.set,
            "remove": headers.remove,
            "addToResponse": headers.add_to_response,
        },
        "policies": list(explanation.policies),
        "connection": explanation.connection,
        "unasked": explanation.unasked,
        "rules": [
            {"rule": step.label, "outcome": step.outcome.value, "why": step.why, "dryRun": step.dry_run}
            for step in explanation.steps
        ],
        "rejected": describe_policies(rulebook)["rejected"],
    }
