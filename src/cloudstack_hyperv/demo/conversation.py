"""The commands of a VM's whole life, as a stock CloudStack 4.22 management server sends them.

Plain JSON objects with the field names and wrappers of CloudStack's Java classes: one zone, one
Hyper-V host, a local `Filesystem` pool, a `cifs://` secondary store whose credentials stand in the
URL's query and are cut off before CopyCommand is posted (HypervDirectConnectResource.java).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

AGENT = "com.cloud.agent.api."
STORAGE = "org.apache.cloudstack.storage.command."
TO = "org.apache.cloudstack.storage.to."

SECONDARY_URL = "cifs://10.1.1.5/secondary"
SECONDARY_QUERY = "?user=cloud&password=s3cr3t&domain=EXAMPLE"
TEMPLATE_PATH = "template/tmpl/1/202/2ad7ab5d-fd0b-4b7c-8f0d-2c8b5b8f9d02.vhdx"
ISO_PATH = "template/tmpl/2/210/210-2-9c0a1b7e-15c9-4a9a-8f0d-2c8b5b8f9d03.iso"
ROOT_UUID = "19ae8e67-cb2c-4ab4-901e-e0b864272b59"
DATA_UUID = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
VM_NAME = "i-2-17-VM"
VM_UUID = "8b030b6a-0243-440a-8cc5-45d08815ca11"
TAGGED_MAC = "02:00:51:2c:00:0e"
UNTAGGED_MAC = "02:00:51:2c:00:0f"
GUEST_VLAN = 261
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Zone:
    """What the conversation is about: the host, its labels and its pool."""

    host_address: str
    label: str
    """Traffic label: name of the virtual switch."""
    pool_uuid: str
    pool_path: str
    template_size: int
    """Virtual size of the template, in bytes."""
    root_size: int
    data_size: int

    def primary(self) -> Json:
        """The local pool as PrimaryDataStoreTO, wrapped."""
        return {
            f"{TO}PrimaryDataStoreTO": {
                "uuid": self.pool_uuid,
                "name": "hv1-local",
                "id": 2,
                "poolType": "Filesystem",
                "host": self.host_address,
                "path": self.pool_path,
                "port": 0,
                "url": f"Filesystem://{self.host_address}/{self.pool_path}/?ROLE=Primary"
                f"&STOREUUID={self.pool_uuid}",
                "isManaged": False,
            }
        }

    def filer(self) -> Json:
        """The local pool as StorageFilerTO."""
        return {
            "id": 2,
            "uuid": self.pool_uuid,
            "host": self.host_address,
            "path": self.pool_path,
            "port": 0,
            "type": "Filesystem",
        }


def base(wait: int = 0) -> Json:
    """The fields that every command ends with."""
    return {"wait": wait, "bypassHostMaintenance": False}


def secondary(*, credentials: bool) -> Json:
    """The secondary store as NfsTO (also the class of a CIFS store), wrapped."""
    query = SECONDARY_QUERY if credentials else ""
    return {
        "com.cloud.agent.api.to.NfsTO": {
            "_url": SECONDARY_URL + query,
            "_role": "Image",
            "uuid": "c1d7ab5d-fd0b-4b7c-8f0d-2c8b5b8f9d11",
        }
    }


def startup(zone: Zone) -> list[Json]:
    """StartupCommand: an array of one tagged StartupRoutingCommand with empty capacities."""
    return [
        {
            f"{AGENT}StartupRoutingCommand": {
                "cpus": 0,
                "speed": 0,
                "memory": 0,
                "dom0MinMemory": 0,
                "poolSync": False,
                "supportsClonedVolumes": False,
                "pool": "b8a7c1de-1d4c-3f6e-8c7f-0a3f4a1b2c3d",
                "hypervisorType": "Hyperv",
                "hostDetails": {
                    "com.cloud.network.Networks.RouterPrivateIpStrategy": "HostLocal",
                },
                "hostTags": [],
                "groupDetails": {},
                "type": "Routing",
                "dataCenter": "1",
                "pod": "1",
                "cluster": "1",
                "guid": "4a3f8d8e-79bb-3c1f-9f23-6c5a7f3c2f11-HypervResource",
                "name": zone.host_address,
                "version": "4.22.0.0",
                "privateIpAddress": zone.host_address,
                "storageIpAddress": zone.host_address,
                "contextMap": {},
                **base(),
            }
        }
    ]


def check_network(zone: Zone) -> Json:
    """CheckNetworkCommand for one physical network with all labels on one switch."""
    return {
        "networkInfoList": [
            {
                "physicalNetworkId": 200,
                "privateNetworkName": zone.label,
                "publicNetworkName": zone.label,
                "guestNetworkName": zone.label,
                "storageNetworkName": zone.label,
            }
        ],
        **base(),
    }


def modify_pool(zone: Zone) -> Json:
    """ModifyStoragePoolCommand of the local pool."""
    return {
        "add": True,
        "pool": zone.filer(),
        "localPath": f"/mnt//{zone.pool_uuid}",
        "details": {},
        **base(),
    }


def template_on_secondary(zone: Zone) -> Json:
    """The registered template as TemplateObjectTO."""
    return {
        "path": TEMPLATE_PATH,
        "uuid": "2ad7ab5d-fd0b-4b7c-8f0d-2c8b5b8f9d02",
        "id": 202,
        "format": "VHDX",
        "accountId": 1,
        "hvm": True,
        "displayText": "Demo template",
        "imageDataStore": secondary(credentials=False),
        "name": "202-1-2ad7ab5d",
        "size": zone.template_size,
        "hypervisorType": "Hyperv",
        "bootable": True,
        "uniqueName": "demo-hyperv",
        "directDownload": False,
        "deployAsIs": False,
    }


def copy_template(zone: Zone) -> Json:
    """CopyCommand: template, secondary to primary."""
    source = template_on_secondary(zone)
    destination = {**source, "imageDataStore": zone.primary()}
    del destination["path"]
    return {
        "srcTO": {f"{TO}TemplateObjectTO": source},
        "destTO": {f"{TO}TemplateObjectTO": destination},
        "executeInSequence": False,
        "options": {},
        "options2": {},
        **base(10800),
    }


def volume(zone: Zone, uuid: str, *, kind: str, size: int, **more: Any) -> Json:
    """A VolumeObjectTO on the local pool."""
    identity = 22 if kind == "ROOT" else 23
    return {
        "uuid": uuid,
        "volumeType": kind,
        "dataStore": zone.primary(),
        "name": f"{'ROOT' if kind == 'ROOT' else 'DATA'}-17",
        "size": size,
        "volumeId": identity,
        "vmName": VM_NAME,
        "accountId": 2,
        "provisioningType": "THIN",
        "poolId": 2,
        "id": identity,
        "cacheMode": "NONE",
        "hypervisorType": "Hyperv",
        **more,
    }


def copy_root(zone: Zone, install_path: str) -> Json:
    """CopyCommand: template on primary to root volume, grown to the offering's size."""
    source = {
        **template_on_secondary(zone),
        "path": install_path,
        "imageDataStore": zone.primary(),
    }
    return {
        "srcTO": {f"{TO}TemplateObjectTO": source},
        "destTO": {
            f"{TO}VolumeObjectTO": volume(zone, ROOT_UUID, kind="ROOT", size=zone.root_size)
        },
        "executeInSequence": False,
        "options": {},
        "options2": {},
        **base(10800),
    }


def create_data(zone: Zone) -> Json:
    """CreateObjectCommand: a blank data volume."""
    data = volume(zone, DATA_UUID, kind="DATADISK", size=zone.data_size)
    return {"data": {f"{TO}VolumeObjectTO": data}, **base()}


def disk(zone: Zone, uuid: str, *, kind: str, size: int, sequence: int) -> Json:
    """A DiskTO as StartCommand carries it."""
    to = volume(zone, uuid, kind=kind, size=size, path=uuid, format="VHDX", deviceId=sequence)
    return {
        "data": {f"{TO}VolumeObjectTO": to},
        "diskSeq": sequence,
        "path": uuid,
        "type": kind,
        "details": {"managed": "false", "volumeSize": str(size)},
    }


def nic(zone: Zone, device: int, mac: str, uri: str) -> Json:
    """A NicTO of a guest network."""
    return {
        "deviceId": device,
        "networkRateMbps": 200,
        "defaultNic": device == 0,
        "pxeDisable": False,
        "nicUuid": f"99cb4813-23af-428c-a87a-2d1899be4f4{device}",
        "details": {},
        "mtu": 1500,
        "networkId": 204 + device,
        "uuid": f"5a0c5b1e-8d3f-4a44-9c0a-3f2d7b6e1a2{device}",
        "ip": f"10.1.{1 + device}.67",
        "netmask": "255.255.255.0",
        "gateway": f"10.1.{1 + device}.1",
        "mac": mac,
        "dns1": "10.1.1.1",
        "broadcastType": "Vlan",
        "type": "Guest",
        "broadcastUri": uri,
        "isolationUri": uri,
        "securityGroupEnabled": False,
        "name": zone.label,
    }


def machine(zone: Zone) -> Json:
    """The VirtualMachineTO: two disks, an empty DVD drive, two NICs (one with a VLAN)."""
    return {
        "id": 17,
        "name": VM_NAME,
        "state": "Starting",
        "type": "User",
        "cpus": 2,
        "minSpeed": 1000,
        "maxSpeed": 1000,
        "minRam": GIB,
        "maxRam": GIB,
        "hostName": "web1",
        "arch": "x86_64",
        "os": "Debian GNU/Linux 12 (64-bit)",
        "bootArgs": "",
        "enableHA": True,
        "limitCpuUse": False,
        "enableDynamicallyScaleVm": False,
        "vncPassword": "31f82f29aff646eb",
        "details": {"rootDiskController": "ide"},
        "uuid": VM_UUID,
        "bootType": "BIOS",
        "bootMode": "LEGACY",
        "enterHardwareSetup": False,
        "disks": [
            disk(zone, ROOT_UUID, kind="ROOT", size=zone.root_size, sequence=0),
            disk(zone, DATA_UUID, kind="DATADISK", size=zone.data_size, sequence=1),
            {"diskSeq": 3, "type": "ISO"},
        ],
        "nics": [
            nic(zone, 0, TAGGED_MAC, f"vlan://{GUEST_VLAN}"),
            nic(zone, 1, UNTAGGED_MAC, "vlan://untagged"),
        ],
        "guestOsDetails": {},
        "extraConfig": {},
    }


def start(zone: Zone) -> Json:
    """StartCommand."""
    return {
        "vm": machine(zone),
        "hostIp": zone.host_address,
        "executeInSequence": False,
        **base(),
    }


def iso_disk() -> Json:
    """The DiskTO of an ISO on the secondary store; this command keeps the store's credentials."""
    return {
        "data": {
            f"{TO}TemplateObjectTO": {
                "path": ISO_PATH,
                "uuid": "9c0a1b7e-15c9-4a9a-8f0d-2c8b5b8f9d03",
                "id": 210,
                "format": "ISO",
                "accountId": 2,
                "hvm": True,
                "imageDataStore": secondary(credentials=True),
                "name": "210-2-9c0a1b7e",
                "hypervisorType": "None",
                "bootable": True,
            }
        },
        "diskSeq": 3,
        "path": ISO_PATH,
        "type": "ISO",
    }


def attach_iso() -> Json:
    """AttachCommand of the ISO."""
    return {"disk": iso_disk(), "vmName": VM_NAME, "inSeq": False, "forced": False, **base()}


def detach_iso() -> Json:
    """DettachCommand of the ISO (the double t is CloudStack's)."""
    return {
        "disk": iso_disk(),
        "vmName": VM_NAME,
        "_managed": False,
        "forced": False,
        "waitDetachDevice": 10000,
        **base(),
    }


def ping(states: list[dict[str, str]], host: str) -> Json:
    """PingRoutingCommand with the state report that was just read."""
    report = {name: {"state": state, "host": host} for one in states for name, state in one.items()}
    return {
        "_hostVmStateReport": report,
        "_gatewayAccessible": True,
        "_vnetAccessible": True,
        "hostType": "Routing",
        "hostId": 5,
        "outOfBand": False,
        **base(),
    }


def stop() -> Json:
    """StopCommand of a user's stop: graceful first."""
    return {
        "vmName": VM_NAME,
        "executeInSequence": False,
        "isProxy": False,
        "checkBeforeCleanup": False,
        "forceStop": False,
        "expungeVM": False,
        **base(),
    }


def delete(zone: Zone, uuid: str, *, kind: str, size: int) -> Json:
    """DeleteCommand of a volume."""
    to = volume(zone, uuid, kind=kind, size=size, path=uuid, format="VHDX")
    return {"data": {f"{TO}VolumeObjectTO": to}, **base()}
