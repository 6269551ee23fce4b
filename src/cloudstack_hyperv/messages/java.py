"""Full Java class names: the packages, and the decorator that says which one a class is in."""

from collections.abc import Callable
from typing import Final, TypeVar

from cloudstack_hyperv.messages.wire import WireObject

AGENT_API: Final = "com.cloud.agent.api"
AGENT_TO: Final = f"{AGENT_API}.to"
BAREMETAL: Final = f"{AGENT_API}.baremetal"
CHECK: Final = f"{AGENT_API}.check"
PROXY: Final = f"{AGENT_API}.proxy"
ROUTING: Final = f"{AGENT_API}.routing"
STORAGE: Final = f"{AGENT_API}.storage"
NETWORK_RESOURCE: Final = "com.cloud.network.resource"

CLOUDSTACK: Final = "org.apache.cloudstack"
AGENT_LB: Final = f"{CLOUDSTACK}.agent.lb"
AGENT_ROUTING: Final = f"{CLOUDSTACK}.agent.routing"
BACKUP: Final = f"{CLOUDSTACK}.backup"
CA: Final = f"{CLOUDSTACK}.ca"
DIAGNOSTICS: Final = f"{CLOUDSTACK}.diagnostics"
DIRECT_DOWNLOAD: Final = f"{CLOUDSTACK}.agent.directdownload"
EXTENSIONS: Final = f"{CLOUDSTACK}.framework.extensions.command"
RECONCILE: Final = f"{CLOUDSTACK}.command"
STORAGE_BROWSER: Final = f"{CLOUDSTACK}.storage.command.browser"
STORAGE_COMMAND: Final = f"{CLOUDSTACK}.storage.command"
STORAGE_TO: Final = f"{CLOUDSTACK}.storage.to"

Named = TypeVar("Named", bound=WireObject)


def java_class(package: str) -> Callable[[type[Named]], type[Named]]:
    """Give a class its Java name: that of the Python class in `package`."""

    def name(cls: type[Named]) -> type[Named]:
        cls.java_class = f"{package}.{cls.__name__}"
        return cls

    return name
