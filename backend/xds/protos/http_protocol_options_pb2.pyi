from backend.xds.protos import core_pb2 as _core_pb2
from google.protobuf import any_pb2 as _any_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HttpFilter(_message.Message):
    __slots__ = ("name", "typed_config")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPED_CONFIG_FIELD_NUMBER: _ClassVar[int]
    name: str
    typed_config: _any_pb2.Any
    def __init__(self, name: _Optional[str] = ..., typed_config: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class HttpProtocolOptions(_message.Message):
    __slots__ = ("common_http_protocol_options", "http_filters", "explicit_http_config")
    class ExplicitHttpConfig(_message.Message):
        __slots__ = ("http_protocol_options",)
        HTTP_PROTOCOL_OPTIONS_FIELD_NUMBER: _ClassVar[int]
        http_protocol_options: _core_pb2.Http1ProtocolOptions
        def __init__(self, http_protocol_options: _Optional[_Union[_core_pb2.Http1ProtocolOptions, _Mapping]] = ...) -> None: ...
    COMMON_HTTP_PROTOCOL_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    HTTP_FILTERS_FIELD_NUMBER: _ClassVar[int]
    EXPLICIT_HTTP_CONFIG_FIELD_NUMBER: _ClassVar[int]
    common_http_protocol_options: _core_pb2.HttpProtocolOptions
    http_filters: _containers.RepeatedCompositeFieldContainer[HttpFilter]
    explicit_http_config: HttpProtocolOptions.ExplicitHttpConfig
    def __init__(self, common_http_protocol_options: _Optional[_Union[_core_pb2.HttpProtocolOptions, _Mapping]] = ..., http_filters: _Optional[_Iterable[_Union[HttpFilter, _Mapping]]] = ..., explicit_http_config: _Optional[_Union[HttpProtocolOptions.ExplicitHttpConfig, _Mapping]] = ...) -> None: ...
