"""CloudStack's generic tuples, which Gson writes as objects with the keys `t`, `u` and `v`."""

from typing import Generic, TypeVar

from cloudstack_hyperv.messages.wire import WireObject

First = TypeVar("First")
Second = TypeVar("Second")
Third = TypeVar("Third")


class Pair(WireObject, Generic[First, Second]):
    """`com.cloud.utils.Pair`: first and second are `t` and `u`."""

    t: First | None = None
    u: Second | None = None


class Ternary(WireObject, Generic[First, Second, Third]):
    """`com.cloud.utils.Ternary`."""

    t: First | None = None
    u: Second | None = None
    v: Third | None = None
