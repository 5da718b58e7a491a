"""`/sign-in/providers`: where people sign in, as the settings say, and what each provider answers when it is asked."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from backend.access.sign_in_file import Provider
from backend.api.asking import Asks, Page, Paged, Shown
from backend.core.errors import NotFound

router = APIRouter(prefix="/sign-in/providers", tags=["sign-in"])
ProviderName = Annotated[str, Path(max_length=40, description="The provider's name in the settings.", examples=["corp"])]


class ProviderView(Shown):
    """One provider as the settings were loaded, without its secret."""

    name: str
    title: str = Field(description="What its button says.")
    client_id: str
    server_metadata_url: str
    groups_claim: str = Field(description="The claim whose values are mapped to roles.")
    scim_claim: str = Field(description="The claim by which people of its directory meet; empty: none is named.")
    scim_identity: str = Field(description="The service whose tokens its directory sends; empty: nobody provisions.")


class ExaminedView(Shown):
    """What a provider publishes of itself now."""

    issuer: str
    keys: int = Field(description="How many keys it signs with.")
    ends_sessions: bool = Field(description="Whether it has an address to sign out at.")
    tells_of_logout: bool = Field(description="Whether it says that it sends back-channel logout tokens.")
    problems: tuple[str, ...] = Field(description="What does not fit the settings, and what to do.")


@router.get("")
def list_providers(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[ProviderView]:
    """The providers that people sign in at, by name; for whoever may list other people's sessions."""
    items, following = narrow.cut(_providers(asks), lambda one: (one.name,))
    return Page(items=tuple(map(ProviderView.model_validate, items)), next=following)


@router.post("/{provider}/ask")
def ask_provider(asks: Asks, provider: ProviderName) -> ExaminedView:
    """Reads what a provider publishes now, and says what of it does not fit. Nothing is kept; asking again asks again."""
    known = next((one for one in _providers(asks) if one.name == provider), None)
    if known is None:
        raise NotFound("provider", provider, "Look at the settings of sign-in.")
    return ExaminedView.model_validate(asks.backend.providers.examine(known))


def _providers(asks: Asks) -> tuple[Provider, ...]:
    with asks.reading("session.list"):
        return asks.backend.sign_in.providers if asks.backend.sign_in is not None else ()
