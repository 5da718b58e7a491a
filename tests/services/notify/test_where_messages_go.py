"""Where a message may go: anybody names the address of a route, so that the servers' networks are not open to it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from backend import bootstrap
from backend.core.errors import Refusal
from backend.settings import Settings
from tests.services.changes.world import World
from tests.services.notify.conftest import Post

LOOPBACK = "127.0.0.0/8"
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@on_sqlite
def test_the_networks_of_servers_are_not_those_of_messages(world: World, tmp_path: Path) -> None:
    url = world.database.url.render_as_string(hide_password=False)
    Post(world, tmp_path)  # with the keys
    for own, is_open in (("", False), (LOOPBACK, True)):
        settings = Settings(
            data_dir=tmp_path, database_url=url, demo_identities=True, allowed_networks=LOOPBACK, message_networks=own
        )
        with closing(bootstrap.build(settings)) as made:
            ana = made.identities.act_as("ana")
            for address in ("http://127.0.0.1:9/quitquitquit", "http://localhost:9/x"):
                if is_open:
                    assert made.routes.add(ana, f"r{len(address)}", address).secret
                    continue
                with pytest.raises(Refusal) as refused:
                    made.routes.add(ana, "r", address)
                assert refused.value.code == "address-not-allowed"
                assert "COUNTERSIGN_MESSAGE_NETWORKS" in refused.value.remedy
            sending = made.courier._sending
            assert [str(one) for one in sending.guard.allowed] == ([own] if own else [])
            assert LOOPBACK in [str(one) for one in sending.mail_guard.allowed], "the administrator named the mail server"
