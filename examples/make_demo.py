"""Write demo.singer: what a tap of a small web shop sends, the same on every run."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

SEED = 7
FIRST_DAY = dt.datetime(2026, 3, 1, 6, tzinfo=dt.timezone.utc)
STATE_EVERY = 40  # records

INTEGER = {"type": ["null", "integer"]}
NUMBER = {"type": ["null", "number"]}
TEXT = {"type": ["null", "string"]}
FLAG = {"type": ["null", "boolean"]}
DATE = {"type": ["null", "string"], "format": "date"}
TIME = {"type": ["null", "string"], "format": "date-time"}
ANYTHING: dict[str, Any] = {}
LIST = {"type": ["null", "array"]}
FREE = {"type": ["null", "object"]}


def nested(**properties: Any) -> dict[str, Any]:
    return {"type": ["null", "object"], "properties": properties}


SCHEMAS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "customers": (
        ["id"],
        nested(
            id={"type": "integer"},
            name=TEXT,
            email=TEXT,
            born=DATE,
            newsletter=FLAG,
            address=nested(street=TEXT, city=TEXT, country=TEXT, geo=nested(lat=NUMBER, lon=NUMBER)),
            tags=LIST,
            createdAt=TIME,
        ),
    ),
    "products": (
        ["sku"],
        nested(sku={"type": "string"}, title=TEXT, price=NUMBER, weight=INTEGER, attributes=FREE),
    ),
    "orders": (
        ["id"],
        nested(
            id={"type": "integer"},
            customer_id=INTEGER,
            placed_at=TIME,
            status=TEXT,
            total=NUMBER,
            items=LIST,
            shipping=nested(method=TEXT, cost=NUMBER, address=nested(city=TEXT, country=TEXT)),
            note=TEXT,
        ),
    ),
    "exchange_rates": (
        ["day", "currency"],
        nested(day={"type": "string", "format": "date"}, currency={"type": "string"}, rate=NUMBER),
    ),
    "page_views": ([], nested(at=TIME, customer_id=INTEGER, url=TEXT, seconds=NUMBER, payload=ANYTHING)),
}

# What the shop's next release changes: grams get fractions, orders get discounts.
LATER_PRODUCTS = {"weight": NUMBER, "discontinued_at": TIME}
LATER_ORDERS = {"discount": nested(code=TEXT, percent=NUMBER)}

PEOPLE = (
    ("Ada Lovelace", "12 St James's Square", "London", "GB", "51.5079", "-0.1354"),
    ("Zoë Müller", "Bahnhofstraße 7", "Zürich", "CH", "47.376887", "8.541694"),
    ("李小龙", "彌敦道 136 號", "香港", "HK", "22.2988", "114.1722"),
    ("Søren Ångström", "Nyhavn 17", "København", "DK", "55.6798", "12.591"),
    ("Иван Петров", "ул. Шипка 6", "София", "BG", "42.6977", "23.3219"),
    ("مريم حداد", "شارع الحمرا 22", "بيروت", "LB", "33.8959", "35.4797"),
    ("Siobhán O'Brien", "3 Dame Lane", "Dublin", "IE", "53.3441", "-6.2640"),
    ("José Ñandú", "Av. 18 de Julio 1360", "Montevideo", "UY", "-34.9055", "-56.1851"),
)
THINGS = ("Teapot", "Lamp", "Notebook", "Kettle", "Chair", "Umbrella", "Clock", "Backpack")
NOTES = (None, None, None, "Ring twice 🔔", "Danke schön!", 'leave at "No. 5"', "two\nlines", "back\\slash")
OFFSETS = (0, 60, -300, 330, 540)  # minutes east of UTC


def cents(chance: random.Random, low: int, high: int) -> Decimal:
    return Decimal(chance.randint(low, high)).scaleb(-2)


def moment(chance: random.Random, minutes: int, fraction: str = "") -> str:
    """Return a time some minutes after the first day, as a shop somewhere in the world writes it."""
    zone = dt.timezone(dt.timedelta(minutes=chance.choice(OFFSETS)))
    at = (FIRST_DAY + dt.timedelta(minutes=minutes, seconds=chance.randint(0, 59))).astimezone(zone)
    day, offset = at.isoformat()[:19], at.isoformat()[19:]
    return f"{day}{fraction}{'Z' if offset == '+00:00' else offset}"


def customers(chance: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(1, 61):
        name, street, city, country, lat, lon = PEOPLE[number % len(PEOPLE)]
        geo = {"lat": Decimal(lat), "lon": Decimal(lon)} if number % 3 else None
        yield {
            "id": number,
            "name": name,
            "email": f"customer{number}@example.com",
            "born": f"{chance.randint(1950, 2005)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
            "newsletter": chance.choice((True, False, None)),
            "address": {"street": street, "city": city, "country": country, "geo": geo},
            "tags": chance.sample(["vip", "wholesale", "b2b", "prüfen"], chance.randint(0, 2)),
            "createdAt": moment(chance, number * 7),
        }


def products(chance: random.Random, fractions: bool) -> Iterator[dict[str, Any]]:
    for number, title in enumerate(THINGS * 2, 1):
        grams = chance.randint(80, 4000)
        later = {"weight": Decimal(grams) + Decimal("0.25"), "discontinued_at": None}
        yield {
            "sku": f"{title[:3].upper()}-{number:03}",
            "title": title,
            "price": cents(chance, 199, 99_999),
            "weight": grams,
            "attributes": {"colour": chance.choice(["red", "naïve blue"]), "sizes": [1, Decimal("2.50")]},
            **(later if fractions else {}),
        }


def orders(chance: random.Random, numbers: range, discounts: bool) -> Iterator[dict[str, Any]]:
    for number in numbers:
        items = [
            {"sku": f"{title[:3].upper()}-001", "quantity": chance.randint(1, 3), "price": cents(chance, 199, 9_999)}
            for title in chance.sample(THINGS, chance.randint(1, 3))
        ]
        _, _, city, country, _, _ = chance.choice(PEOPLE)
        cost = chance.choice([Decimal("0.00"), Decimal("4.90")])
        discount = {"code": "FRÜHLING", "percent": Decimal("12.5")} if number % 4 == 0 else None
        yield {
            "id": number,
            "customer_id": chance.randint(1, 60),
            "placed_at": moment(chance, 500 + number * 11),
            "status": chance.choice(["paid", "packed", "shipped"]),
            "total": sum((item["price"] * item["quantity"] for item in items), cost),
            "items": items,
            "shipping": {"method": "post", "cost": cost, "address": {"city": city, "country": country}},
            "note": chance.choice(NOTES),
            **({"discount": discount} if discounts else {}),
        }


def exchange_rates(chance: random.Random) -> Iterator[dict[str, Any]]:
    for day in range(10):
        for currency, digits in (("CHF", 6), ("JPY", 9), ("XBT", 24)):
            rate = Decimal(chance.randint(10 ** (digits - 1), 10**digits)).scaleb(1 - digits)
            yield {"day": str((FIRST_DAY + dt.timedelta(days=day)).date()), "currency": currency, "rate": rate}


def page_views(chance: random.Random) -> Iterator[dict[str, Any]]:
    payloads = (None, True, 42, "text", [1, None, {"a": Decimal("1.10")}], {"utm": {"source": "newsletter"}})
    for number in range(200):
        yield {
            "at": moment(chance, 500 + number * 3, f".{chance.randint(0, 999_999):06}"),
            "customer_id": chance.choice([None, chance.randint(1, 60)]),
            "url": f"/p/{chance.choice(THINGS).lower()}",
            "seconds": cents(chance, 10, 30_000),
            "payload": chance.choice(payloads),
        }


def messages() -> Iterator[dict[str, Any]]:
    """Yield all that the tap sends: five streams, one after the other, two of them once more."""
    chance = random.Random(SEED)
    schemas = {stream: (keys, dict(schema)) for stream, (keys, schema) in SCHEMAS.items()}
    bookmarks: dict[str, int] = {}

    def sync(stream: str, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        keys, schema = schemas[stream]
        yield {"type": "SCHEMA", "stream": stream, "key_properties": keys, "schema": schema}
        for record in records:
            yield {"type": "RECORD", "stream": stream, "record": record}
            bookmarks[stream] = bookmarks.get(stream, 0) + 1
            if bookmarks[stream] % STATE_EVERY == 0:
                yield state(stream)
        yield state(None)

    def state(syncing: str | None) -> dict[str, Any]:
        done = {stream: {"records": count} for stream, count in bookmarks.items()}
        return {"type": "STATE", "value": {"bookmarks": done, "currently_syncing": syncing}}

    yield from sync("customers", customers(chance))
    yield from sync("products", products(chance, fractions=False))
    yield from sync("orders", orders(chance, range(1001, 1151), discounts=False))
    yield from sync("exchange_rates", exchange_rates(chance))
    for stream, properties in (("products", LATER_PRODUCTS), ("orders", LATER_ORDERS)):
        schema = schemas[stream][1]
        schema["properties"] = {**schema["properties"], **properties}
    yield from sync("products", products(chance, fractions=True))
    yield from sync("orders", orders(chance, range(1131, 1201), discounts=True))
    yield from sync("page_views", page_views(chance))


def text(message: Any) -> str:
    """Return *message* as JSON; decimals keep their digits, which the standard library cannot do."""
    if isinstance(message, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {text(value)}" for key, value in message.items()) + "}"
    if isinstance(message, list):
        return "[" + ", ".join(map(text, message)) + "]"
    return str(message) if isinstance(message, Decimal) else json.dumps(message, ensure_ascii=False)


def content() -> str:
    return "".join(f"{text(message)}\n" for message in messages())


if __name__ == "__main__":
    Path(__file__).with_name("demo.singer").write_text(content(), encoding="utf-8")
