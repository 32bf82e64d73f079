"""What a form takes, in OpenAPI's words: the pictures, and the options as the table has them."""

from typing import Any

from cartoon.options import FIELDS, Field

Schema = dict[str, Any]


def form_of(files: str, many: bool = False, **others: Schema) -> Schema:
    """A route's `openapi_extra`. files: the field that the pictures come in. others: fields that are no options."""
    picture = {"type": "string", "format": "binary"}
    properties: Schema = {files: {"type": "array", "items": picture} if many else picture}
    properties |= {row.name: {**_schema(row), "default": row.default, "description": row.help} for row in FIELDS}
    schema = {"type": "object", "properties": {**properties, **others}, "required": [files]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _schema(row: Field) -> Schema:
    named: Schema = {"enum": list(row.values)}
    if row.kind == "style":
        return {"type": "string"}
    if row.kind == "choice":
        return named
    if row.kind == "colour":
        return {"anyOf": [named, {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"}]}
    number = {"type": "number" if row.kind == "real" else "integer", "minimum": row.low, "maximum": row.high}
    return {"anyOf": [number, named]} if row.kind == "size" else number
