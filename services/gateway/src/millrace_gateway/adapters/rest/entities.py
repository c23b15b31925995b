"""The newest prediction of an entity, over HTTP, from the online store."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from millrace.serving.online_features import Store
from millrace.store.lookup import Lookup
from millrace_gateway.adapters.publishing import publish
from millrace_gateway.adapters.rest.doors import RestDoor
from millrace_gateway.adapters.rest.refusals import JSON
from millrace_gateway.logic.errors import NotFoundError

DeploymentName = Annotated[str, Path(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=100)]
EntityKey = Annotated[str, Path(min_length=1, max_length=1_000)]


class Entities:
    """The newest predictions, as a materializer of a predictions topic keeps them. Safe from several threads.

    Args:
        store: The online store.
        topics: Topic of predictions by deployment, where it is another than `<deployment>.predictions`.
    """

    def __init__(self, store: Store, topics: Mapping[str, str]) -> None:
        self._store: Final = store
        self._topics: Final = topics

    def newest(self, deployment: str, key: str) -> bytes:
        """The newest prediction of the records with this key, as a line of JSON. Blocks for one round trip.

        Raises:
            NotFoundError: There is none.
            TransientError: The online store is away or refuses this gateway, or nobody keeps this deployment's
                predictions in it, or not all of them are there yet.
        """
        topic = self._topics.get(deployment, f"{deployment}.predictions")
        found = self._store.fetch([Lookup(topic, [key.encode()])])[0]
        predictions = publish(found.records).predictions
        if not predictions:
            found.require_filled()
            raise NotFoundError(f"deployment {deployment} has no prediction of {key!r}", remedy="check the key")
        return predictions[0].text


def entities_door(entities: Entities) -> RestDoor:
    """`GET /v1/deployments/{deployment}/entities/{key}`."""
    router = APIRouter(tags=["predictions"])

    @router.get(
        "/v1/deployments/{deployment}/entities/{key:path}",
        response_model=None,
        responses={200: {"content": {JSON: {}}}},
    )
    async def newest(deployment: DeploymentName, key: EntityKey) -> Response:
        """The newest prediction of the records with this key, which is the entity."""
        text = await asyncio.to_thread(entities.newest, deployment, key)
        return Response(text, media_type=JSON, headers={"cache-control": "no-store"})

    return RestDoor(router)
