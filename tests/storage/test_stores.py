"""Stores by URL: credentials split off, configuration matched, nothing secret shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.config import SecretSource, StoreSettings
from cloudstack_hyperv.storage.host_files import PathNotReachable
from cloudstack_hyperv.storage.stores import (
    BadStoreUrl,
    Stores,
    StoreUrl,
    credentials_in,
)

STOCK = "cifs://10.1.1.5/secondary?user=cloud&password=s3cr3t&domain=EXAMPLE"


def test_a_stock_url_is_split_at_its_query() -> None:
    url = StoreUrl.parse(STOCK)
    assert (url.scheme, url.server, url.names) == ("cifs", "10.1.1.5", ("secondary",))
    assert url.unc == "\\\\10.1.1.5\\secondary"
    assert url.credentials is not None
    assert url.credentials.password.reveal() == "s3cr3t"
    assert url.credentials.domain == "EXAMPLE"
    assert "s3cr3t" not in str(url) + repr(url)


@pytest.mark.parametrize(
    "text", ["", "cifs://", "/share", "C:\\a", "cifs://a/../b", "cifs://user:hunter2@server/share"]
)
def test_what_is_no_store_url_is_refused_without_its_secrets(text: str) -> None:
    with pytest.raises(BadStoreUrl) as caught:
        StoreUrl.parse(text)
    assert "hunter2" not in str(caught.value)


@given(st.text(min_size=1).filter(lambda text: "&" not in text and "/?" not in text))
def test_a_password_arrives_whole_whatever_it_contains(password: str) -> None:
    quoted = password.replace("%", "%25")
    credentials = credentials_in(f"user=u&password={quoted}&domain=D")
    assert credentials is not None
    assert credentials.password.reveal() == password
    assert repr(credentials).count("***") == 1


def test_what_the_management_server_appends_is_no_part_of_the_query() -> None:
    credentials = credentials_in("user=u&password=p&domain=EXAMPLE/?ROLE=Primary&STOREUUID=x")
    assert credentials is not None
    assert credentials.domain == "EXAMPLE"


def test_a_configured_store_gives_folder_host_path_and_credentials(tmp_path: Path) -> None:
    stores = Stores(
        [
            StoreSettings(
                url="cifs://10.1.1.5/Secondary",
                folder=str(tmp_path),
                host_path="S:\\sec",
                user="configured",
                password=SecretSource(value="pw"),
            )
        ]
    )
    store = stores.find("cifs://10.1.1.5/secondary")
    assert store.folder == str(tmp_path)
    assert store.host_root == "S:\\sec"
    assert store.credentials is not None
    assert store.credentials.user == "configured"
    below = stores.find("smb://10.1.1.5/secondary/deeper")
    assert below.folder == f"{tmp_path}/deeper"
    assert below.host_root == "S:\\sec\\deeper"


def test_a_query_that_arrives_wins_over_the_configuration(tmp_path: Path) -> None:
    stores = Stores(
        [StoreSettings(url="cifs://10.1.1.5/secondary", folder=str(tmp_path), user="configured")]
    )
    store = stores.find(STOCK)
    assert store.credentials is not None
    assert store.credentials.user == "cloud"
    assert "s3cr3t" not in repr(store)


def test_the_nearest_configured_store_is_taken(tmp_path: Path) -> None:
    stores = Stores(
        [
            StoreSettings(url="nfs://h/export", folder="/outer"),
            StoreSettings(url="nfs://h/export/inner", folder="/inner"),
        ]
    )
    assert stores.find("nfs://h/export/inner/x").folder == "/inner/x"
    assert stores.find("nfs://h/export/innermost").folder == "/outer/innermost"


def test_a_store_that_nobody_configured_says_what_to_do() -> None:
    stores = Stores([])
    with pytest.raises(PathNotReachable, match=r"storage\.stores"):
        stores.require_folder(STOCK)
    assert stores.require_host_root(STOCK) == "\\\\10.1.1.5\\secondary"
    with pytest.raises(PathNotReachable, match="host_path"):
        stores.require_host_root("nfs://h/export")
