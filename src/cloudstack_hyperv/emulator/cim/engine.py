"""The CIM engine: every operation of WMI on an emulated host, checked against the class schema.

It stands between the door, which speaks WS-Management, and the providers, which know Hyper-V.
What it raises is listed in `errors`.

All operations are coroutines although only methods may take time: an `Interceptor` (call log,
faults on purpose) can wait, refuse or answer itself before any of them, and sees how each ended.

Whom selectors address:

- Get, Put and Delete take the whole key, or nothing for a class that has exactly one instance.
- A method takes the whole key.  A class marked Singleton takes a part of it too: libvirt sends
  CreationClassName alone, virt-who adds SystemCreationClassName.  Nothing at all is refused, with
  0x8004102F by the virtual system management service and 0x80041001 by the others, as recorded in
  go-wsman's notes; a static method needs none.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.associations import Associations
from cloudstack_hyperv.emulator.cim.errors import (
    ArgumentFault,
    ProviderBug,
    SelectorFault,
    SelectorProblem,
)
from cloudstack_hyperv.emulator.cim.operations import Interceptor, Operation, OperationKind
from cloudstack_hyperv.emulator.cim.provider import (
    Caller,
    CimFault,
    MethodCall,
    MethodReply,
    Provider,
    ProviderHost,
    Row,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.cim.queries import Queries, QueryResult
from cloudstack_hyperv.emulator.cim.schema import ClassDef, MethodDef, Schema
from cloudstack_hyperv.emulator.cim.store import Store, has_values, key_text
from cloudstack_hyperv.emulator.cim.wql_tree import AssociationFilter

__all__ = [
    "AssociationFilter",
    "CimEngine",
    "Interceptor",
    "Operation",
    "OperationKind",
    "QueryResult",
]

T = TypeVar("T")


_NO_KEY_AT_ALL: Final = {
    "msvm_virtualsystemmanagementservice": WmiCode.INVALID_METHOD_PARAMETERS,
}


class CimEngine:
    """WMI of one emulated host."""

    def __init__(
        self,
        host: ProviderHost,
        schema: Schema,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self.host = host
        self.schema = schema
        self.interceptors: list[Interceptor] = list(interceptors)
        """May be changed at any time; the first is asked first."""
        self._store = Store(host, schema)
        self._associations = Associations(self._store)
        self._queries = Queries(self._store, self._associations)

    def class_def(self, namespace: str, class_name: str) -> ClassDef:
        """Return a class; raises CimFault INVALID_NAMESPACE or INVALID_CLASS."""
        return self._store.class_def(namespace, class_name)

    def path_of(self, namespace: str, row: Row) -> ObjectPath:
        """Return a row's full path: host, namespace, class, keys in alphabetical order."""
        return self._store.path_of(namespace, row)

    # -- reading ------------------------------------------------------------------------------

    async def get(self, namespace: str, class_name: str, selectors: Mapping[str, str]) -> Row:
        """Return one instance; raises CimFault, SelectorFault."""
        operation = Operation(OperationKind.GET, namespace, class_name, selectors=selectors)
        return await self._run(operation, lambda: self._addressed(namespace, class_name, selectors))

    async def instances(self, namespace: str, class_name: str) -> list[Row]:
        """Return all instances, those of the class itself before those of its subclasses."""
        operation = Operation(OperationKind.ENUMERATE, namespace, class_name)
        return await self._run(
            operation, lambda: list(self._store.rows(self.class_def(namespace, class_name)))
        )

    async def select_by(
        self, namespace: str, class_name: str, selectors: Mapping[str, str]
    ) -> list[Row]:
        """Return the instances whose properties, keys or not, equal these (selector filter)."""
        operation = Operation(OperationKind.SELECT, namespace, class_name, selectors=selectors)
        return await self._run(
            operation, lambda: self._queries.select_by(namespace, class_name, selectors)
        )

    async def query(self, namespace: str, text: str) -> QueryResult:
        """Run WQL; raises CimFault."""
        operation = Operation(OperationKind.QUERY, namespace, "", query=text)
        return await self._run(operation, lambda: self._queries.run(namespace, text))

    async def associated(
        self, namespace: str, source: ObjectPath, where: AssociationFilter | None = None
    ) -> list[Row]:
        """Return what is associated with an instance (DMTF's AssociatedInstances)."""
        operation = _about(OperationKind.ASSOCIATORS, namespace, source)
        wanted = where or AssociationFilter()
        return await self._run(
            operation,
            lambda: [row for _, row in self._associations.associators(source, namespace, wanted)],
        )

    async def references(
        self, namespace: str, source: ObjectPath, where: AssociationFilter | None = None
    ) -> list[Row]:
        """Return the association rows of an instance (DMTF's AssociationInstances)."""
        operation = _about(OperationKind.REFERENCES, namespace, source)
        wanted = where or AssociationFilter()
        return await self._run(
            operation, lambda: self._associations.references(source, namespace, wanted)
        )

    # -- changing -----------------------------------------------------------------------------

    async def invoke(
        self,
        namespace: str,
        class_name: str,
        selectors: Mapping[str, str],
        method: str,
        arguments: Mapping[str, Value],
        caller: Caller,
    ) -> MethodReply:
        """Call a method; raises CimFault, SelectorFault, ArgumentFault."""
        operation = Operation(
            OperationKind.INVOKE, namespace, class_name, method, selectors, arguments, "", caller
        )
        return await self._run(operation, lambda: self._invoke(operation, caller))

    async def put(
        self,
        namespace: str,
        class_name: str,
        selectors: Mapping[str, str],
        changes: Mapping[str, Value],
        caller: Caller,
    ) -> Row:
        """Change an instance; raises CimFault, SelectorFault, ArgumentFault (a key changed)."""
        operation = Operation(
            OperationKind.PUT, namespace, class_name, "", selectors, changes, "", caller
        )
        return await self._run(operation, lambda: self._put(operation, caller))

    async def create(self, namespace: str, row: Row, caller: Caller) -> ObjectPath:
        """Create an instance and return its path; raises CimFault, ArgumentFault."""
        operation = Operation(
            OperationKind.CREATE, namespace, row.class_name, arguments=row.values, caller=caller
        )
        return await self._run(operation, lambda: self._create(namespace, row, caller))

    async def delete(
        self, namespace: str, class_name: str, selectors: Mapping[str, str], caller: Caller
    ) -> None:
        """Delete an instance; raises CimFault, SelectorFault."""
        operation = Operation(
            OperationKind.DELETE, namespace, class_name, "", selectors, caller=caller
        )
        await self._run(operation, lambda: self._delete(operation, caller))

    async def _run(self, operation: Operation, work: Callable[[], T | Awaitable[T]]) -> T:
        """Do `work` between the interceptors."""
        if not self.interceptors:
            return await _settled(work())
        asked: list[Interceptor] = []
        result: object = None
        error: BaseException | None = None
        try:
            for each in tuple(self.interceptors):
                asked.append(each)
                result = await each.before(operation)
                if result is not None:
                    self._check_answer_of_interceptor(operation, result)
                    break
            else:
                result = await _settled(work())
            return result  # type: ignore[return-value]  # what `work` gives, or a MethodReply
        except BaseException as problem:
            error = problem
            raise
        finally:
            for each in reversed(asked):
                await each.after(operation, result, error)

    def _check_answer_of_interceptor(self, operation: Operation, reply: object) -> None:
        if operation.kind is not OperationKind.INVOKE or not isinstance(reply, MethodReply):
            raise ProviderBug(f"an interceptor answered {operation.kind}")
        class_def = self.class_def(operation.namespace, operation.class_name)
        self._store.checker.reply(reply, class_def, _method(class_def, operation.method))

    # -- addressing ---------------------------------------------------------------------------

    def _addressed(self, namespace: str, class_name: str, selectors: Mapping[str, str]) -> Row:
        class_def = self.class_def(namespace, class_name)
        if not selectors:
            return self._only_instance(class_def)
        keys = self._store.keys(class_def, selectors)
        if len(keys) != len(class_def.keys):
            raise SelectorFault(SelectorProblem.INCOMPLETE, class_def.name)
        row = self._store.find(class_def, keys)
        if row is None:
            raise CimFault(WmiCode.NOT_FOUND, f"no such instance of {class_def.name}")
        return row

    def _only_instance(self, class_def: ClassDef) -> Row:
        rows = self._store.rows(class_def)
        first, second = next(rows, None), next(rows, None)
        if first is None or second is not None:
            raise SelectorFault(SelectorProblem.AMBIGUOUS, class_def.name)
        return first

    def _target(
        self, class_def: ClassDef, method: MethodDef, selectors: Mapping[str, str]
    ) -> Row | None:
        if not selectors:
            if method.static:
                return None
            code = _NO_KEY_AT_ALL.get(class_def.name.lower(), WmiCode.FAILED)
            raise CimFault(code, f"{class_def.name}.{method.name} is no static method")
        keys = self._store.keys(class_def, selectors)
        if len(keys) == len(class_def.keys):
            row = self._store.find(class_def, keys)
        elif class_def.singleton:
            row = next((r for r in self._store.rows(class_def) if has_values(r, keys)), None)
        else:
            raise SelectorFault(SelectorProblem.INCOMPLETE, class_def.name)
        if row is None:
            raise CimFault(WmiCode.NOT_FOUND, f"no such instance of {class_def.name}")
        return row

    # -- methods and changes ------------------------------------------------------------------

    async def _invoke(self, operation: Operation, caller: Caller) -> MethodReply:
        class_def = self.class_def(operation.namespace, operation.class_name)
        method = _method(class_def, operation.method)
        target = self._target(class_def, method, operation.selectors)
        arguments = self._store.checker.arguments(operation.arguments, class_def, method)
        missing = [
            each.name
            for each in method.inputs
            if each.required and arguments.get(each.name) is None
        ]
        if missing:
            raise CimFault(
                WmiCode.INVALID_METHOD_PARAMETERS, f"{method.name} needs {', '.join(missing)}"
            )
        actual = (
            class_def if target is None else self.class_def(class_def.namespace, target.class_name)
        )
        provider = self._writable(actual)
        call = MethodCall(class_def.namespace, actual.name, method.name, target, arguments, caller)
        reply = await _settled(provider.invoke(call))
        self._store.checker.reply(reply, actual, method)
        return reply

    def _put(self, operation: Operation, caller: Caller) -> Row:
        row = self._addressed(operation.namespace, operation.class_name, operation.selectors)
        class_def = self.class_def(operation.namespace, row.class_name)
        changes = self._store.checker.properties(operation.arguments, class_def)
        for key in class_def.keys:
            new = changes.pop(key, None)
            if new is not None and key_text(new).lower() != key_text(row.values[key]).lower():
                raise ArgumentFault(class_def.name, key, "a key cannot be changed")
        changed = self._writable(class_def).put(row, changes, caller)
        self._store.checker.row(changed, class_def)
        return changed

    def _create(self, namespace: str, row: Row, caller: Caller) -> ObjectPath:
        class_def = self.class_def(namespace, row.class_name)
        values = self._store.checker.properties(row.values, class_def)
        path = self._writable(class_def).create(Row(class_def.name, values), caller)
        if not isinstance(path, ObjectPath) or path.class_name != class_def.name:
            raise ProviderBug(f"Create of {class_def.name} returned {path!r}")
        return path

    def _delete(self, operation: Operation, caller: Caller) -> None:
        row = self._addressed(operation.namespace, operation.class_name, operation.selectors)
        self._writable(self.class_def(operation.namespace, row.class_name)).delete(row, caller)

    def _writable(self, class_def: ClassDef) -> Provider:
        provider = self._store.provider(class_def)
        if provider is None:
            raise CimFault(WmiCode.NOT_SUPPORTED, f"nothing serves {class_def.name}")
        return provider


async def _settled(value: T | Awaitable[T]) -> T:
    if inspect.isawaitable(value):
        return await value
    return value


def _about(kind: OperationKind, namespace: str, source: ObjectPath) -> Operation:
    return Operation(kind, namespace, source.class_name, selectors=dict(source.keys))


def _method(class_def: ClassDef, name: str) -> MethodDef:
    method = class_def.method(name)
    if method is None:
        raise CimFault(WmiCode.INVALID_METHOD, f"{class_def.name} has no method {name}")
    return method
