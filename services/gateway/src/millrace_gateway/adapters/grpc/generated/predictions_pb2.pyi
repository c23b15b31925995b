from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SubscribeRequest(_message.Message):
    __slots__ = ("deployment", "start", "keys", "version", "class_name", "min_score", "max_score")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MAX_SCORE_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    start: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    version: int
    class_name: str
    min_score: float
    max_score: float
    def __init__(self, deployment: _Optional[str] = ..., start: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ..., class_name: _Optional[str] = ..., min_score: _Optional[float] = ..., max_score: _Optional[float] = ...) -> None: ...

class PredictionEvent(_message.Message):
    __slots__ = ("id", "prediction", "deleted")
    class DeletedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    id: str
    prediction: bytes
    deleted: _containers.ScalarMap[int, int]
    def __init__(self, id: _Optional[str] = ..., prediction: _Optional[bytes] = ..., deleted: _Optional[_Mapping[int, int]] = ...) -> None: ...
