"""What DuckDB means otherwise: statements of Snowflake, node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

FORMATS = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "HH24:MI:SS.FF6": "%H:%M:%S.%f",
    'YYYY-MM-DD"T"HH24:MI:SS.FF6"Z"': "%Y-%m-%dT%H:%M:%S.%fZ",
}


def rewritten(node: Any, own_table: Callable[[exp.Table], str | None]) -> Any:
    if isinstance(node, exp.Table):
        own = own_table(node)
        if own:
            node.set("this", exp.to_identifier(own, quoted=True))
        return node
    if isinstance(node, exp.ParseJSON) or (isinstance(node, exp.Anonymous) and node.name.upper() == "PARSE_JSON"):
        arguments = [node.this, node.expression] if isinstance(node, exp.ParseJSON) else node.expressions
        duplicates = arguments[1] if len(arguments) > 1 and arguments[1] else exp.Literal.string("s")
        made = exp.Anonymous(this="fs_variant", expressions=[arguments[0], duplicates])
        return exp.Cast(this=made, to=exp.DataType.build("JSON"))
    if isinstance(node, exp.Cast) and node.to.this == exp.DataType.Type.DECFLOAT:  # one text for one number, also out of a FLOAT
        text = exp.Upper(this=exp.cast(node.this, "VARCHAR"))
        return exp.Anonymous(this="regexp_replace", expressions=[text, exp.Literal.string(r"\.0$"), exp.Literal.string("")])
    if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.DECFLOAT:
        return exp.DataType.build("VARCHAR")  # the engine has no such number: it is the text that it was given as
    if isinstance(node, exp.UnixToTime) and node.text("scale") == "6":  # the engine would round
        whole = exp.DataType.build("BIGINT")
        whole.meta["of the engine"] = True
        return exp.Anonymous(this="make_timestamp", expressions=[exp.Cast(this=node.this, to=whole)])
    if isinstance(node, exp.TimeToStr):  # of what is a time by its look
        node.set("format", exp.Literal.string(node.text("format").replace('"', "")))
    if isinstance(node, exp.ToChar) and node.args.get("format"):
        spelt = node.args["format"].name
        what = node.this
        if spelt.startswith("HH24"):
            what = exp.Add(this=exp.cast(exp.Literal.string("1970-01-01"), "DATE"), expression=exp.cast(what, "TIME"))
        return exp.Anonymous(this="strftime", expressions=[what, exp.Literal.string(FORMATS[spelt])])
    return node


def whole_number(node: Any) -> Any:
    """NUMBER without digits is NUMBER(38,0), not a 64-bit integer."""
    kinds = exp.DataType.Type
    whole = (kinds.INT, kinds.SMALLINT, kinds.TINYINT, kinds.BIGINT)
    if not isinstance(node, exp.DataType) or node.meta.get("of the engine"):
        return node
    if (node.this in whole or (node.this == kinds.DECIMAL and not node.expressions)):
        digits = [exp.DataTypeParam(this=exp.Literal.number(number)) for number in (38, 0)]
        return exp.DataType(this=kinds.DECIMAL, expressions=digits, nested=False)
    return node
