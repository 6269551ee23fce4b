"""Which parts of a message must never be seen in a log.

CloudStack marks such fields with `@LogLevel(Off)` and hides them by hand elsewhere
(`StringUtils.cleanString` for URLs).  Three nets, each of which is enough for the usual case:

1. `SECRET_FIELDS`: fields known to hold a secret, or text in which secrets stand (the boot
   arguments of a system VM carry its passwords and keys).
2. `is_secret_key`: any key whose name says password, secret, key or the like, wherever it
   stands, because `details` maps and newer releases carry keys that no table knows.
3. `masked_text`: passwords inside any text, in a URL's query (`cifs://h/s?user=u&password=p`)
   or before its host (`smb://user:password@host`).
"""

import re
from typing import Final

from cloudstack_hyperv.messages.json_text import Json

MASK: Final = "***"

SECRET_FIELDS: Final[dict[str, frozenset[str]]] = {
    # simple name of the Java class that declares the field: JSON keys
    "VirtualMachineTO": frozenset({"vncPassword", "bootArgs", "vmData", "ovfProperties"}),
    "StorageFilerTO": frozenset({"userInfo"}),
    "VolumeObjectTO": frozenset({"passphrase"}),
    "S3TO": frozenset({"accessKey", "secretKey"}),
    "SwiftTO": frozenset({"userName", "key"}),
    "SslCertTO": frozenset({"key", "password"}),
    "BgpPeerTO": frozenset({"peerPassword"}),
    "RemoteInstanceTO": frozenset({"vcenterPassword"}),
    "UnmanagedInstanceTO": frozenset({"vncPassword"}),
    "OvfPropertyTO": frozenset({"value"}),
    "Certificates": frozenset({"privKey", "privCert", "certChain", "rootCACert"}),
    "Proxy": frozenset({"_password"}),
    "PasswordAuth": frozenset({"password"}),
    "UsernamePassword": frozenset({"password"}),
    "MigrateWithStorageReceiveAnswer": frozenset({"token"}),
    "MigrateWithStorageSendCommand": frozenset({"token"}),
    "ResizeVolumeCommand": frozenset({"passphrase"}),
    "CheckAndRepairVolumeCommand": frozenset({"passphrase"}),
    "UpdateHostPasswordCommand": frozenset({"newPassword"}),
    "SetupKeyStoreCommand": frozenset({"keystorePassword"}),
    "SetupCertificateCommand": frozenset({"privateKey"}),
    "StartConsoleProxyAgentHttpHandlerCommand": frozenset(
        {"keystoreBits", "keystorePassword", "encryptorPassword"}
    ),
    "ConsoleAccessAuthenticationCommand": frozenset({"_sid", "_ticket"}),
    "ConsoleAccessAuthenticationAnswer": frozenset({"_tunnelSession"}),
    "GetVmVncTicketAnswer": frozenset({"ticket"}),
    "GetExternalConsoleAnswer": frozenset({"password"}),
    "ModifySshKeysCommand": frozenset({"_pubKey", "_prvKey"}),
    "SecStorageVMSetupCommand": frozenset({"copyPassword"}),
    "SecStorageSetupCommand": frozenset({"postUploadKey"}),
    "VmDataCommand": frozenset({"vmData"}),
    "AttachOrDettachConfigDriveCommand": frozenset({"vmData"}),
    "HandleConfigDriveIsoCommand": frozenset({"isoData"}),
    "SavePasswordCommand": frozenset({"password"}),
    "LoadBalancerConfigCommand": frozenset({"lbStatsAuth"}),
    "RemoteAccessVpnCfgCommand": frozenset({"presharedKey"}),
    "Site2SiteVpnCfgCommand": frozenset({"ipsecPsk"}),
    "CreateLoadBalancerApplianceCommand": frozenset({"password"}),
    "CreateLoadBalancerApplianceAnswer": frozenset({"password"}),
    "GetRemoteVmsCommand": frozenset({"password"}),
    "CopyRemoteVolumeCommand": frozenset({"password"}),
    "TakeBackupCommand": frozenset({"mountOptions"}),
    "RestoreBackupCommand": frozenset({"mountOptions"}),
    "DeleteBackupCommand": frozenset({"mountOptions"}),
    "GetBackupStorageStatsCommand": frozenset({"mountOptions"}),
}

_SECRET_KEY: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret|credential|private_?key|prvkey|access_?key|psk$"
    r"|preshared|token|user_?data|vm_?data|user_?info|bootargs|ticket|authorization|cookie",
    re.IGNORECASE,
)
_URL_SECRET: Final = re.compile(
    # The value ends at the next parameter that CloudStack appends or at the slash before the
    # query of a data store URI, not at any "&" or "/": a password may contain both.
    r"(?i)(pass(?:word|wd|phrase)?|pwd|secret(?:key)?|signature|token)=.*?"
    r"(?=&(?:user(?:name)?|domain|role|storeuuid|vers|version)=|/\?role=|\Z)",
    re.DOTALL,
)
_USER_INFO: Final = re.compile(r"(://[^:/?#\s]{0,256}):\S{0,1024}@")


def secret_keys_of(class_names: tuple[str, ...]) -> frozenset[str]:
    """Return the secret JSON keys of a class, given its name and those of its base classes."""
    return frozenset().union(*(SECRET_FIELDS.get(name, frozenset()) for name in class_names))


def is_secret_key(key: str) -> bool:
    """Tell whether the name of a key says that its value is a secret."""
    return _SECRET_KEY.search(key) is not None


def masked_text(text: str) -> str:
    """Return `text` with the passwords of URLs in it replaced by `MASK`."""
    if "=" in text:
        text = _URL_SECRET.sub(rf"\1={MASK}", text)
    return _USER_INFO.sub(rf"\1:{MASK}@", text) if "@" in text else text


def masked_json(value: Json) -> Json:
    """Return a copy of a JSON value in which secret keys and URL passwords are masked."""
    if isinstance(value, dict):
        return {
            masked_text(key): MASK if is_secret_key(key) and item is not None else masked_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked_json(item) for item in value]
    return masked_text(value) if isinstance(value, str) else value
