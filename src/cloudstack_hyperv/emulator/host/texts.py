"""Texts that Windows shows in its own language, whatever Locale a client asks for.

Source: recordings of a Japanese Windows 11 client in r4sd/go-wsman; only what they show is here,
everything else stays English.  Clients must not filter on such texts, and with the profile
client-11 it shows who does.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile

_JAPANESE: Final = {
    "Hosting Computer System": "ホスト コンピューター システム",
    "Microsoft Hosting Computer System": "Microsoft ホスト コンピューター システム",
    "Virtual Machine": "仮想マシン",
    "Operating normally": "正常稼働中",
    "Virtual Switch": "仮想スイッチ",
    "Microsoft Virtual Switch": "Microsoft 仮想スイッチ",
    "Virtual switch extension miniport adapter ID": "仮想スイッチ拡張ミニポート アダプター ID",
    "Ethernet Port": "イーサネット ポート",
    "Microsoft External Ethernet Port": "Microsoft 外部イーサネット ポート",
}


def in_language(profile: ReleaseProfile, english: str) -> str:
    """Return a text in the language of the host."""
    return _JAPANESE.get(english, english) if profile.language == "ja-JP" else english
