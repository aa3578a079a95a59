"""What the bodies of requests share: strict models, raw bytes, and texts that people write."""

from typing import Annotated

from fastapi import Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lastgood.redaction import clean

#: an id or a name that a client gives
Text = Annotated[str, Field(min_length=1, max_length=500)]
#: no secret that somebody pasted into a sentence is kept
Cleaned = AfterValidator(clean)
#: why somebody does something, and the same where it has to be said; both go into the ledger
Reason = Annotated[str, Field(max_length=1_000, description="Why; goes into the ledger."), Cleaned]
Said = Annotated[str, Field(min_length=1, max_length=1_000), Cleaned]


class Body(BaseModel):
    """Base of all: unknown keys and loose types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


async def _body(request: Request) -> bytes:
    return await request.body()


#: a body as it came, read before a thread works on it
Sent = Annotated[bytes, Depends(_body)]

__all__ = ["Body", "Cleaned", "Reason", "Said", "Sent", "Text"]
