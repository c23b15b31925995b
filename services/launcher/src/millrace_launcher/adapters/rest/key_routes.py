"""The operations on keys, and who is asking."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from millrace.core.control.keys import Role
from millrace_launcher.adapters.rest.guard import Who, caller_of, takes
from millrace_launcher.adapters.rest.keys import Document, KeyDesk

_LOOKING: Final = takes(Role.VIEWER)
_GIVING: Final = takes(Role.ADMIN)


class NewKey(BaseModel):
    """What a key is to be."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """Names it in the history."""
    role: Role = Role.VIEWER
    """What it may do."""
    lasts_secs: Annotated[int, Field(ge=1, le=10 * 365 * 86_400)] | None = None
    """After so long it opens nothing any more; it never ends by itself where absent."""


def add_keys(api: FastAPI, desk: KeyDesk) -> None:
    """Add the operations to an application."""

    @api.get("/v1/caller", operation_id="caller", openapi_extra=_LOOKING)
    def caller(request: Request) -> Document:
        """Who is asking, and what he may do."""
        found = caller_of(request)
        return {"who": found.who, "role": found.role.value}

    @api.get("/v1/keys", operation_id="keys", openapi_extra=_GIVING)
    def keys() -> list[Document]:
        """All keys, without their texts."""
        return desk.keys()

    @api.post("/v1/keys", operation_id="create_key", openapi_extra=_GIVING)
    def create_key(new: NewKey, who: Who) -> Document:
        """Make a key. Its text is in this answer, and never again anywhere."""
        lasts = None if new.lasts_secs is None else timedelta(seconds=new.lasts_secs)
        return desk.create(new.name, new.role, lasts, who=who)

    @api.post("/v1/keys/{key}/rotate", operation_id="rotate_key", openapi_extra=_GIVING)
    def rotate_key(key: str, who: Who) -> Document:
        """Give a key another text, which is in this answer; the old one opens nothing any more."""
        return desk.rotate(key, who=who)

    @api.delete("/v1/keys/{key}", operation_id="revoke_key", openapi_extra=_GIVING)
    def revoke_key(key: str, who: Who) -> Document:
        """Take a key away, everywhere and for good."""
        return desk.revoke(key, who=who)
