"""Which server, share and name a Windows path leads to."""

from __future__ import annotations

import pytest

from cloudstack_hyperv.config import (
    ConfigurationError,
    HostSettings,
    Secret,
    SecretSource,
    SmbSettings,
    SmbShareSettings,
    StoreSettings,
    WinrmSettings,
)
from cloudstack_hyperv.storage.host_files import HostFileError, PathNotReachable
from cloudstack_hyperv.storage.smb.routes import SmbRoutes
from cloudstack_hyperv.storage.stores import StoreCredentials, StoreUrl
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath

_WINRM = WinrmSettings(
    address="10.1.1.20", user="EXAMPLE\\svc", password=SecretSource(value="winrm-word")
)
_STORE = StoreSettings(
    url="cifs://10.1.1.5:4450/secondary/cloud",
    user="store",
    domain="EXAMPLE",
    password=SecretSource(value="store-word"),
)


def _routes(smb: SmbSettings | None, *stores: StoreSettings) -> SmbRoutes:
    return SmbRoutes.of_host(HostSettings(name="hv1", winrm=_WINRM, smb=smb), stores)


def test_a_drive_goes_by_its_administrative_share_with_the_winrm_login() -> None:
    place = _routes(SmbSettings()).place_of("c:/VMs\\a.vhdx")
    assert (place.share, place.name, place.path) == ("C$", "VMs\\a.vhdx", "C:\\VMs\\a.vhdx")
    assert (place.server.address, place.server.port) == ("10.1.1.20", 445)
    assert place.server.login == "EXAMPLE\\svc"
    assert place.server.password == Secret("winrm-word")
    assert place.server.encryption


def test_a_configured_share_is_preferred_and_the_deepest_first() -> None:
    smb = SmbSettings(
        shares=(
            SmbShareSettings(host_path="D:\\", share="all"),
            SmbShareSettings(host_path="D:\\CloudStack", share="cloudstack$"),
        )
    )
    routes = _routes(smb)
    found = [routes.place_of(path) for path in ("D:\\cloudstack\\a\\b", "D:\\x", "D:\\CloudStack")]
    assert [(place.share, place.name) for place in found] == [
        ("cloudstack$", "a\\b"),
        ("all", "x"),
        ("cloudstack$", ""),
    ]


def test_drives_can_be_left_to_the_shares_that_are_configured() -> None:
    routes = _routes(SmbSettings(admin_shares=False))
    with pytest.raises(PathNotReachable, match=r"C:\\x"):
        routes.place_of("C:\\x")
    assert not routes.reaches("C:\\x")
    assert not _routes(None).reaches("C:\\x")


def test_a_store_goes_to_its_server_with_its_login() -> None:
    place = _routes(None, _STORE).place_of("\\\\10.1.1.5\\Secondary\\cloud\\template\\1")
    assert (str(place.server), place.share) == ("10.1.1.5:4450", "secondary")
    assert place.name == "cloud\\template\\1"
    assert place.server.login == "EXAMPLE\\store"


def test_no_login_goes_to_a_server_that_it_is_not_for() -> None:
    routes = _routes(SmbSettings(), _STORE)
    for path in ("\\\\10.1.1.5\\other\\x", "\\\\10.9.9.9\\secondary\\cloud", "\\\\evil\\C$\\x"):
        with pytest.raises(PathNotReachable):
            routes.place_of(path)


@pytest.mark.parametrize("name", ["10.1.1.20", "HV1"])
def test_a_unc_path_may_name_the_host_itself(name: str) -> None:
    place = _routes(SmbSettings()).place_of(f"\\\\{name}\\ClusterStorage$\\Volume1\\a")
    assert (place.share, place.name) == ("ClusterStorage$", "Volume1\\a")
    assert place.server.address == "10.1.1.20"


def test_a_login_that_comes_with_a_pool_is_remembered_and_the_newest_counts() -> None:
    routes = _routes(SmbSettings())
    url = StoreUrl.parse("cifs://10.1.1.7/pool")
    for word in ("old", "new"):
        routes.learn("\\\\10.1.1.7\\pool", url, StoreCredentials("u", Secret(word), "D"))
    place = routes.place_of("\\\\10.1.1.7\\pool\\a.vhdx")
    assert place.server.password == Secret("new")
    assert place.server.login == "D\\u"


def test_only_names_of_one_share_can_be_renamed() -> None:
    routes = _routes(SmbSettings())
    source, target = routes.on_one_share("C:\\a", "C:\\b\\c")
    assert (source.name, target.name) == ("a", "b\\c")
    with pytest.raises(HostFileError, match="different shares"):
        routes.on_one_share("C:\\a", "D:\\a")


def test_a_user_without_a_password_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"smb\.password"):
        _routes(SmbSettings(user="other"))


@pytest.mark.parametrize("path", ["C:\\..\\x", "C:\\a:stream", "\\\\.\\PhysicalDrive0", "x"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(BadWindowsPath):
        _routes(SmbSettings()).place_of(path)


def test_no_text_of_a_place_shows_its_password() -> None:
    place = _routes(SmbSettings(), _STORE).place_of("\\\\10.1.1.5\\secondary\\cloud\\x")
    assert "store-word" not in f"{place} {place!r} {place.server} {place.server!r}"
