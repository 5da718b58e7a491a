"""`/sign-in`: how people sign in, as the settings say, and what each provider answers when it is asked."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from backend.access.sign_in_file import Provider
from backend.api.asking import Asks, Page, Paged, Shown
from backend.core.errors import NotFound

router = APIRouter(prefix="/sign-in", tags=["sign-in"])
ProviderName = Annotated[str, Path(max_length=40, description="The provider's name in the settings.", examples=["corp"])]


class ProviderView(Shown):
    """One provider as the settings were loaded, without its secret."""

    name: str
    title: str = Field(description="What its button says.")
    client_id: str
    server_metadata_url: str
    issuers: tuple[str, ...] = Field(description="Who may stand in a token as its issuer; none: whoever the metadata names.")
    scope: str = Field(description="What is asked of it.")
    prompt: str
    algorithms: tuple[str, ...] = Field(description="How its tokens may be signed.")
    require_verified_email: bool = Field(description="Whether nobody gets in without an address that it verified.")
    groups_claim: str = Field(description="The claim whose values are mapped to roles.")
    scim_claim: str = Field(description="The claim by which people of its directory meet; empty: none is named.")
    scim_identity: str = Field(description="The service whose tokens its directory sends; empty: nobody provisions.")


class SignInView(Shown):
    """The settings of sign-in as they were loaded, without a secret; null, or 0, where nobody signs in."""

    signs_in: bool = Field(description="Whether people sign in here at all.")
    seen_at: str | None = Field(description="The address under which browsers see this.")
    redirect_uri: str | None = Field(description="To be registered at each provider, exactly.")
    backchannel_logout_uri: str | None = Field(description="To be registered where a provider tells of logouts.")
    is_secure: bool | None = Field(description="Whether cookies are sent by TLS alone.")
    idle_minutes: int = Field(description="A session ends so long after the last click,")
    absolute_hours: int = Field(description="and so long after the sign-in.")
    claims_days: int = Field(description="Roles that follow from groups lapse so long after the last sign-in.")
    first_administrator: str | None = Field(description="Who is an admin as long as nobody else is one.")


class ExaminedView(Shown):
    """What a provider publishes of itself now."""

    issuer: str
    keys: int = Field(description="How many keys it signs with.")
    ends_sessions: bool = Field(description="Whether it has an address to sign out at.")
    tells_of_logout: bool = Field(description="Whether it says that it sends back-channel logout tokens.")
    problems: tuple[str, ...] = Field(description="What does not fit the settings, and what to do.")


@router.get("")
def show_sign_in(asks: Asks) -> SignInView:
    """How people sign in, as the settings were loaded; for whoever may list other people's sessions."""
    with asks.reading("session.list"):
        found = asks.backend.sign_in
    if found is None:
        return _NOBODY
    seen_at = found.origin + found.base_path
    return SignInView(
        signs_in=True,
        seen_at=seen_at,
        redirect_uri=found.redirect_uri,
        backchannel_logout_uri=f"{seen_at}/api/v1/sign-in/backchannel-logout",
        is_secure=found.is_secure,
        idle_minutes=found.idle_minutes,
        absolute_hours=found.absolute_hours,
        claims_days=found.claims_days,
        first_administrator=found.first_administrator or None,
    )


_NOBODY = SignInView(
    signs_in=False,
    seen_at=None,
    redirect_uri=None,
    backchannel_logout_uri=None,
    is_secure=None,
    idle_minutes=0,
    absolute_hours=0,
    claims_days=0,
    first_administrator=None,
)


@router.get("/providers")
def list_providers(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[ProviderView]:
    """The providers that people sign in at, by name; for whoever may list other people's sessions."""
    items, following = narrow.cut(_providers(asks), lambda one: (one.name,))
    return Page(items=tuple(map(ProviderView.model_validate, items)), next=following)


@router.post("/providers/{provider}/ask")
def ask_provider(asks: Asks, provider: ProviderName) -> ExaminedView:
    """Reads what a provider publishes now, and says what of it does not fit. Nothing is kept; asking again asks again."""
    known = next((one for one in _providers(asks) if one.name == provider), None)
    if known is None:
        raise NotFound("provider", provider, "Look at the settings of sign-in.")
    return ExaminedView.model_validate(asks.backend.providers.examine(known))


def _providers(asks: Asks) -> tuple[Provider, ...]:
    with asks.reading("session.list"):
        return asks.backend.sign_in.providers if asks.backend.sign_in is not None else ()
