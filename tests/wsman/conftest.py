"""Fixtures of the WS-Man client's tests: an account file for the scripted host's NTLM."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.wsman.scripted_host import PASSWORD, USER


@pytest.fixture(autouse=True)
def ntlm_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell pyspnego's server side whom it knows."""
    domain, _, user = USER.partition("\\")
    accounts = tmp_path / "ntlm-accounts"
    accounts.write_text(f"{domain}:{user}:{PASSWORD}\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(accounts))
