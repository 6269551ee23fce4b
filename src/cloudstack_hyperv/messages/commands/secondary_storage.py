"""Commands that a secondary storage VM carries out: downloads, uploads, lists, OVA files."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import (
    CreateDatadiskTemplateAnswer,
    CreateEntityDownloadURLAnswer,
    DownloadAnswer,
    GetDatadisksAnswer,
    ListTemplateAnswer,
    ListVolumeAnswer,
    UploadAnswer,
    UploadStatusAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import (
    AGENT_API,
    STORAGE,
    STORAGE_COMMAND,
)
from cloudstack_hyperv.messages.objects.storage import (
    DataStoreTO,
    DataTO,
    StorageFilerTO,
)
from cloudstack_hyperv.messages.wire import WireObject


@command(AGENT_API, answer=Answer)
class ComputeChecksumCommand(Command):
    """Compute a template's checksum."""

    store: DataStoreTO | None = None
    template_path: str | None = None
    algorithm: str | None = None
    sec_url: str | None = None
    nfs_version: str | None = None


@command(STORAGE, answer=ListTemplateAnswer)
class ListTemplateCommand(Command):
    """List the templates of a store."""

    store: DataStoreTO | None = None
    nfs_version: str | None = None


@command(STORAGE, answer=ListVolumeAnswer)
class ListVolumeCommand(Command):
    """List the volumes of a store."""

    store: DataStoreTO | None = None
    sec_url: str | None = None
    nfs_version: str | None = None


class PasswordAuth(WireObject):
    """`DownloadCommand$PasswordAuth`."""

    user_name: str | None = None
    password: str | None = None


class Proxy(WireObject):
    """`Proxy`: an HTTP proxy for downloads."""

    host: str | None = msgspec.field(default=None, name="_host")
    port: int = msgspec.field(default=0, name="_port")
    user_name: str | None = msgspec.field(default=None, name="_userName")
    password: str | None = msgspec.field(default=None, name="_password")


class AbstractDownloadCommand(Command):
    """What downloads have in common."""

    url: str | None = None
    format: str | None = None
    account_id: int = 0
    name: str | None = None
    sec_url: str | None = None
    nfs_version: str | None = None


@command(STORAGE_COMMAND, answer=DownloadAnswer)
class DownloadCommand(AbstractDownloadCommand):
    """Fetch a template or volume to a secondary store."""

    hvm: bool = False
    description: str | None = None
    checksum: str | None = None
    auth: PasswordAuth | None = None
    proxy: Proxy | None = msgspec.field(default=None, name="_proxy")
    max_download_size_in_bytes: int | None = None
    id: int = 0
    resource_type: str | None = None
    install_path: str | None = None
    store: DataStoreTO | None = msgspec.field(default=None, name="_store")
    cache_store: DataStoreTO | None = None
    follow_redirects: bool = False


@command(STORAGE_COMMAND, answer=DownloadAnswer)
class DownloadProgressCommand(DownloadCommand):
    """Ask how far a download is, or end it."""

    job_id: str | None = None
    request: str | None = None


@command(STORAGE, answer=UploadAnswer)
class AbstractUploadCommand(Command):
    """What uploads have in common."""

    url: str | None = None
    format: str | None = None
    account_id: int = 0
    name: str | None = None
    nfs_version: str | None = None


@command(STORAGE_COMMAND, answer=UploadStatusAnswer)
class UploadStatusCommand(Command):
    """Ask how far a user's upload is."""

    entity_uuid: str | None = None
    entity_type: str | None = None


@command(STORAGE, answer=CreateEntityDownloadURLAnswer)
class CreateEntityDownloadURLCommand(AbstractDownloadCommand):
    """Make a link under which a volume or template can be fetched."""

    install_path: str | None = None
    parent: str | None = None
    filename_in_extract_url: str | None = msgspec.field(default=None, name="filenameInExtractURL")
    filepath_in_extract_url: str | None = msgspec.field(default=None, name="filepathInExtractURL")
    data: DataTO | None = None


@command(STORAGE, answer=Answer)
class DeleteEntityDownloadURLCommand(AbstractDownloadCommand):
    """Remove such a link."""

    path: str | None = None
    extract_url: str | None = None
    type: str | None = None
    parent_path: str | None = None


@command(STORAGE, answer=Answer)
class CreateVolumeOVACommand(Command):
    """Pack a volume into an OVA (VMware)."""

    sec_url: str | None = None
    vol_path: str | None = None
    vol_name: str | None = None
    pool: StorageFilerTO | None = None


@command(STORAGE, answer=Answer)
class PrepareOVAPackingCommand(Command):
    """Prepare to pack a template into an OVA (VMware)."""

    template_path: str | None = None
    sec_url: str | None = None


@command(STORAGE, answer=GetDatadisksAnswer)
class GetDatadisksCommand(Command):
    """List the disks of an OVA."""

    data: DataTO | None = None
    configuration_id: str | None = None


@command(STORAGE, answer=CreateDatadiskTemplateAnswer)
class CreateDatadiskTemplateCommand(Command):
    """Make a template of an OVA's data disk."""

    data_disk_template: DataTO | None = None
    path: str | None = None
    file_size: int = 0
    bootable: bool = False
    disk_id: str | None = None
