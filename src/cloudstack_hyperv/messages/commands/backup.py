"""Commands about backups, downloads straight to primary storage, and extensions."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.unmanaged import (
    BackupAnswer,
    BackupStorageStatsAnswer,
    CheckUrlAnswer,
    DirectDownloadAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import BACKUP, DIRECT_DOWNLOAD, EXTENSIONS
from cloudstack_hyperv.messages.objects.storage import PrimaryDataStoreTO, TemplateObjectTO


class BackupRepositoryCommand(Command):
    """A command that mounts a backup repository."""

    backup_path: str | None = None
    backup_repo_type: str | None = None
    backup_repo_address: str | None = None
    mount_options: str | None = None


@command(BACKUP, answer=BackupAnswer)
class TakeBackupCommand(BackupRepositoryCommand):
    """Take a backup of a VM; the pools are declared as a class."""

    vm_name: str | None = None
    volume_pools: list[PrimaryDataStoreTO] | None = None
    volume_paths: list[str] | None = None
    quiesce: bool | None = None


@command(BACKUP, answer=BackupAnswer)
class RestoreBackupCommand(BackupRepositoryCommand):
    """Restore a VM or a volume; the pools are declared as a class."""

    vm_name: str | None = None
    backup_volumes_uuids: list[str] | None = msgspec.field(default=None, name="backupVolumesUUIDs")
    restore_volume_pools: list[PrimaryDataStoreTO] | None = None
    restore_volume_paths: list[str] | None = None
    disk_type: str | None = None
    vm_exists: bool | None = None
    restore_volume_uuid: str | None = msgspec.field(default=None, name="restoreVolumeUUID")
    vm_state: str | None = None
    mount_timeout: int | None = None


@command(BACKUP, answer=BackupAnswer)
class DeleteBackupCommand(BackupRepositoryCommand):
    """Delete a backup."""


@command(BACKUP, answer=BackupStorageStatsAnswer)
class GetBackupStorageStatsCommand(Command):
    """Measure a backup repository."""

    backup_repo_type: str | None = None
    backup_repo_address: str | None = None
    mount_options: str | None = None


@command(BACKUP, answer=Answer)
class PrepareForBackupRestorationCommand(Command):
    """Prepare a VM for its restoration."""

    vm_name: str | None = None


@command(DIRECT_DOWNLOAD, answer=CheckUrlAnswer)
class CheckUrlCommand(Command):
    """Check that a template's URL can be reached; times in milliseconds."""

    format: str | None = None
    url: str | None = None
    connect_timeout: int | None = None
    connection_request_timeout: int | None = None
    socket_timeout: int | None = None
    follow_redirects: bool = False


class DirectDownloadCommand(Command):
    """Fetch a template straight to primary storage; both objects are declared as classes."""

    url: str | None = None
    template_id: int | None = None
    dest_data: TemplateObjectTO | None = None
    dest_pool: PrimaryDataStoreTO | None = None
    checksum: str | None = None
    headers: dict[str, str] | None = None
    connect_timeout: int | None = None
    so_timeout: int | None = None
    connection_request_timeout: int | None = None
    template_size: int | None = None
    format: str | None = None
    follow_redirects: bool = False


@command(DIRECT_DOWNLOAD, answer=DirectDownloadAnswer)
class HttpDirectDownloadCommand(DirectDownloadCommand):
    """Fetch over HTTP."""


@command(DIRECT_DOWNLOAD, answer=DirectDownloadAnswer)
class HttpsDirectDownloadCommand(DirectDownloadCommand):
    """Fetch over HTTPS."""


@command(DIRECT_DOWNLOAD, answer=DirectDownloadAnswer)
class MetalinkDirectDownloadCommand(DirectDownloadCommand):
    """Fetch what a metalink names."""


@command(DIRECT_DOWNLOAD, answer=DirectDownloadAnswer)
class NfsDirectDownloadCommand(DirectDownloadCommand):
    """Fetch from NFS."""


@command(DIRECT_DOWNLOAD, answer=Answer)
class SetupDirectDownloadCertificateCommand(Command):
    """Trust a certificate for downloads."""

    certificate: str | None = None
    certificate_name: str | None = None


@command(DIRECT_DOWNLOAD, answer=Answer)
class RevokeDirectDownloadCertificateCommand(Command):
    """Trust a certificate no more."""

    certificate_alias: str | None = None


@command(EXTENSIONS, answer=Answer)
class ExtensionBaseCommand(Command):
    """What all commands about extensions carry."""

    extension_id: int = 0
    extension_name: str | None = None
    extension_user_defined: bool = False
    extension_relative_path: str | None = None
    extension_state: str | None = None


@command(EXTENSIONS, answer=Answer)
class ExtensionRoutingUpdateCommand(ExtensionBaseCommand):
    """An extension has changed."""

    removed: bool = False


@command(EXTENSIONS, answer=Answer)
class ExtensionServerActionBaseCommand(ExtensionBaseCommand):
    """A command from one management server to another about an extension."""

    ms_id: int = 0


@command(EXTENSIONS, answer=Answer)
class CleanupExtensionFilesCommand(ExtensionServerActionBaseCommand):
    """Remove an extension's files."""


@command(EXTENSIONS, answer=Answer)
class GetExtensionPathChecksumCommand(ExtensionServerActionBaseCommand):
    """Compute the checksum of an extension's files."""


@command(EXTENSIONS, answer=Answer)
class PrepareExtensionPathCommand(ExtensionServerActionBaseCommand):
    """Make an extension's folder."""
