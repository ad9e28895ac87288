"""Lets pydantic, and so FastAPI, take what programs are told about jobs, queues and workers as it is.

Pydantic is not imported here: it calls these methods when a model, a route or a ``TypeAdapter`` names such a type.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ForPydantic(msgspec.Struct, frozen=True):
    """A struct that may be a field or a response model; in JSON, it is an object with its fields by name."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """How pydantic checks, dumps and describes it."""
        from pydantic_core import core_schema

        def validate(value: Any, inner: Any) -> Any:
            return value if isinstance(value, cls) else cls(**inner(value))

        def dump(value: Any, inner: Any) -> Any:
            return inner(msgspec.structs.asdict(value))

        fields = core_schema.typed_dict_schema(
            {
                field.encode_name: core_schema.typed_dict_field(
                    handler.generate_schema(field.type), required=field.required
                )
                for field in msgspec.structs.fields(cls)
            },
            cls=cls,
        )
        serialization = core_schema.wrap_serializer_function_ser_schema(dump, schema=fields)
        return core_schema.no_info_wrap_validator_function(validate, fields, serialization=serialization)
