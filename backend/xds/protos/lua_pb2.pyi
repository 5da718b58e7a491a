from backend.xds.protos import core_pb2 as _core_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lua(_message.Message):
    __slots__ = ("default_source_code",)
    DEFAULT_SOURCE_CODE_FIELD_NUMBER: _ClassVar[int]
    default_source_code: _core_pb2.DataSource
    def __init__(self, default_source_code: _Optional[_Union[_core_pb2.DataSource, _Mapping]] = ...) -> None: ...

class LuaPerRoute(_message.Message):
    __slots__ = ("source_code",)
    SOURCE_CODE_FIELD_NUMBER: _ClassVar[int]
    source_code: _core_pb2.DataSource
    def __init__(self, source_code: _Optional[_Union[_core_pb2.DataSource, _Mapping]] = ...) -> None: ...
