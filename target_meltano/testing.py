"""What every dialect has to pass: subclass `Conformance` in a test module, and pytest runs it.

    class TestPostgres(Conformance):
        def make_dialect(self, **settings): ...
        def rows(self, table): ...

Needs pytest and hypothesis. CONFORMANCE_EXAMPLES is how many examples each kind of value gets (20).
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import re
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from .diff import ChangeType, Column, FoundColumn, Table
from .errors import RecordError, SchemaError, UpgradeError
from .harness import Harness
from .kinds import BINARY, DOUBLE, INTEGER, JSON, NUMBER, STRING, TIMESTAMP
from .library import load
from .planted import PLANTED, Planted
from .samples import (
    INT,
    NUM,
    PAIRS,
    PART,
    PARTS,
    SAMPLES,
    STR,
    UTC,
    Sample,
    applied,
    as_wanted,
    is_up,
    pair_id,
    record,
    schema,
    settings_of,
    state,
)

few = examples(max_examples=int(os.environ.get("CONFORMANCE_EXAMPLES", "20")), deadline=None, suppress_health_check=list(HealthCheck))
counted = itertools.count()


class Conformance(Harness):
    """Proves of a dialect what is promised of every database."""

    # --- tables

    def test_a_stream_becomes_a_table_with_a_column_per_property(self) -> None:
        properties = {f"a_{sample.kind}": sample.schema for sample in SAMPLES if sample.kind != DOUBLE}
        self.load(schema(id=INT, **properties), decode_binary=True)
        found = self.found()
        assert found
        assert found.keys == (self.make_dialect().fold("id"),)
        kinds_found = [column.kind for column in found.columns.values()]
        assert kinds_found == [INTEGER, *(sample.kind for sample in SAMPLES if sample.kind != DOUBLE), TIMESTAMP]
        assert not any(column.narrow for column in found.columns.values())

    def test_nested_objects_are_flattened_and_arrays_keep_all_digits(self) -> None:
        nested = {"type": ["object", "null"], "properties": {"b": {"type": "object", "properties": {"c": INT}}}}
        wanted = schema(id=INT, a=nested, list={"type": "array"})
        digits = [Decimal("1.10"), Decimal("12345678901234567890.123456789012345678901"), [10**30]]
        digits = [number for number in digits if self.holds(JSON, number)]
        self.load(wanted, record(id=1, a={"b": {"c": 5}}, list=digits), record(id=2, a=None))
        assert self.read("id", "a__b__c", "list") == [(1, 5, digits), (2, None, None)]
        if self.keeps_zeros:
            assert list(map(str, self.read("list")[-1][:2])) == list(map(str, digits[:2]))

    @pytest.mark.parametrize(
        "name", ["Ünï", 'q"uote', "a.b", "100%", "%(x)s", "select", "back\\slash", "it's", "\0", "\ud800", "日本"]
    )
    def test_names_are_any_text(self, name: str) -> None:
        for _ in range(2):
            self.load(schema(id=INT, **{name: STR}), record(id=1, **{name: "x"}))
        (row,) = self.rows(self.make_dialect().fold("orders"))
        assert "x" in row.values()
        assert len(row) == 3

    def test_long_names_are_cut_and_stay_apart(self) -> None:
        long = "x" * 300
        for value in ("1", "2"):
            self.load(
                schema(id=INT, **{f"{long}a": STR, f"{long}b": STR}),
                record(id=1, **{f"{long}a": value, f"{long}b": "b"}),
            )
        (row,) = self.rows(self.make_dialect().fold("orders"))
        assert [value for name, value in row.items() if name.lower().startswith("xxx")] == ["2", "b"]

    def test_properties_whose_names_differ_only_in_what_is_folded_are_kept_apart(self) -> None:
        result = self.load(schema(id=INT, UserId=INT, userid=INT), record(id=1, UserId=2, userid=3))
        fold = self.make_dialect().fold
        if fold("UserId") == fold("userid"):
            assert any("'UserId' in" in words and "'userid' in" in words for words in result.summary["warnings"])
        (row,) = self.rows(fold("orders"))
        found = sorted(value for name, value in row.items() if name.lower().startswith("userid"))
        assert (row[fold("id")], found) == (1, [2, 3])

    def test_names_that_collide_are_refused_before_any_ddl(self) -> None:
        with pytest.raises(SchemaError, match=r"'a__b'.*'a\.b'.*column_names"):
            self.load(schema(id=INT, a__b=INT, a={"type": "object", "properties": {"b": INT}}))
        assert self.found() is None
        with pytest.raises(SchemaError, match=r"'Orders' and 'orders'|'orders' and 'Orders'"):
            self.load(schema("Orders"), schema("orders"))

    def test_new_columns_are_added_and_old_ones_stay(self) -> None:
        self.load(schema(id=INT, a=STR), record(id=1, a="x"))
        self.load(schema(id=INT, b=STR), record(id=1, b="y"), record(id=2, b="z"))
        assert self.read("id", "a", "b") == [(1, "x", "y"), (2, None, "z")]

    def test_a_property_that_can_only_be_null_makes_no_column(self) -> None:
        self.load(schema(id=INT, a={"type": "null"}), record(id=1, a=None))
        self.load(schema(id=INT, a=STR), record(id=2, a="x"))
        self.load(schema(id=INT, a={"type": "null"}), record(id=3, a=None))
        assert self.read("id", "a") == [(1, None), (2, "x"), (3, None)]

    # --- values

    @pytest.mark.parametrize("sample", SAMPLES, ids=pair_id)
    @few
    @given(data=st.data())
    def test_values_come_back_as_they_were_sent(self, sample: Sample, data: st.DataObject) -> None:
        pairs = data.draw(st.lists(sample.values, min_size=1, max_size=20))
        stream = f"s{next(counted)}"
        wanted = schema(stream, id=INT, value=sample.schema)
        too_much = [sent for sent, value in pairs if not self.holds(sample.kind, value)]
        if too_much:
            with pytest.raises(RecordError):
                self.load(wanted, record(stream, id=0, value=too_much[0]), **settings_of(sample))
        pairs = [(sent, value) for sent, value in pairs if self.holds(sample.kind, value)]
        records = [record(stream, id=i, value=sent) for i, (sent, _) in enumerate(pairs)]
        self.load(wanted, *records, **settings_of(sample))
        back = self.read("id", "value", table=stream)
        assert back == [(i, wanted) for i, (_, wanted) in enumerate(pairs)]
        if sample.kind != JSON:  # 1.0 is 1 there
            assert [type(value) for _, value in back] == [type(wanted) for _, wanted in pairs]

    @pytest.mark.parametrize("number", ["exact", "double"])
    def test_nan_and_the_infinities_are_values_or_invalid_records(self, number: str) -> None:
        for word in ("NaN", "Infinity", "-Infinity"):
            stream = f"s{next(counted)}"
            sent = [schema(stream, id=INT, value=NUM), record(stream, id=1, value=0.5), record(stream, id=2, value=float(word))]
            fault = None
            try:
                self.load(*sent, number=number)
            except RecordError as refused:
                fault = refused
            if fault:
                assert (fault.stream, fault.path) == (stream, "$.value")
                assert self.read("id", table=stream) == [1]
            else:
                value = self.read("id", "value", table=stream)[1][1]
                assert str(float(value)) == str(float(word))

    def test_numbers_keep_their_own_digits(self) -> None:
        texts = ["19.9", "19.90", "0.000", "-1.50", "123456789012345678901234567890.10"]
        texts = [text for text in texts if self.holds(NUMBER, Decimal(text))]
        self.load(schema(id=INT, n=NUM), *(record(id=i, n=Decimal(text)) for i, text in enumerate(texts)))
        back = [number for _, number in self.read("id", "n")]
        assert back == list(map(Decimal, texts))
        if self.keeps_zeros:
            assert list(map(str, back)) == texts

    # --- upgrades

    @pytest.mark.parametrize(("found", "wanted"), [p for p in PAIRS if is_up(*p)], ids=pair_id)
    def test_an_upgrade_keeps_the_data_or_is_refused_as_a_whole(self, found: Sample, wanted: Sample) -> None:
        (sent, was), (new, expected) = found.one, wanted.one
        self.load(schema(id=INT, v=found.schema), record(id=1, v=sent), record(id=2, v=None), **settings_of(found))
        after = [schema(id=INT, v=wanted.schema, more=STR), record(id=3, v=new)]
        before = self.found()
        if self._can(found, wanted):
            self.load(*after, **settings_of(found, wanted))
            became = as_wanted(found, wanted)
            if not self.keeps_zeros and (found.kind, wanted.kind) == (NUMBER, STRING):
                became = became.rstrip("0")
            assert self.read("id", "v") == [(1, became), (2, None), (3, expected)]
        else:
            with pytest.raises(UpgradeError):
                self.load(*after, **settings_of(found, wanted))
            assert self.read("id", "v") == [(1, was), (2, None)]
            assert self.found() == before

    def _can(self, found: Sample, wanted: Sample) -> bool:
        dialect = self.make_dialect()
        table = Table("s", "t", (Column("v", wanted.kind),))
        spelt = dialect.type_name(dialect.kind(found.kind)).lower()
        try:
            dialect.change_type(ChangeType(table, table.columns[0], FoundColumn("v", found.kind, spelt)))
        except UpgradeError:
            return False
        return True

    @pytest.mark.parametrize(("found", "wanted"), [p for p in PAIRS if not is_up(*p)], ids=pair_id)
    def test_any_other_change_is_refused_before_any_ddl(self, found: Sample, wanted: Sample) -> None:
        self.load(schema(id=INT, v=found.schema), record(id=1, v=found.one[0]), **settings_of(found))
        before = self.found()
        fold = self.make_dialect().fold
        assert before
        if before.columns[fold("v")].holds(wanted.kind):
            pytest.skip(f"one type of this database holds {found.kind} and {wanted.kind}")
        with pytest.raises(UpgradeError, match=r"(?i)orders.*column 'v'.*cannot become"):
            self.load(
                schema(id=INT, v=wanted.schema, more=STR), record(id=2, v=wanted.one[0]), **settings_of(found, wanted)
            )
        assert self.found() == before
        assert self.read("id", "v") == [(1, found.one[1])]

    def test_numbers_that_double_would_change_forbid_the_upgrade(self) -> None:
        number = Decimal("0.1234567890123456789")
        if not self.holds(NUMBER, number):
            pytest.skip("this database's type for numbers cannot hold such")
        self.load(schema(id=INT, v=NUM), record(id=1, v=number))
        with pytest.raises(UpgradeError):
            self.load(schema(id=INT, v=NUM), number="double")
        assert self.read("v") == [number]

    def test_another_key_is_refused_but_for_an_empty_table(self) -> None:
        self.load(schema(id=INT, a=STR))
        self.load(schema(keys=("b",), id=INT, b=INT), record(id=1, b=1))
        found = self.found()
        assert found
        assert found.keys == (self.make_dialect().fold("b"),)
        with pytest.raises(SchemaError, match="key"):
            self.load(schema(id=INT, b=INT))

    # --- rows

    def test_the_last_row_of_a_key_wins_in_a_batch_across_batches_and_runs(self) -> None:
        wanted = schema(id=INT, a=INT)
        self.load(wanted, record(id=1, a=1), record(id=2, a=1), record(id=1, a=2))
        assert self.read("id", "a") == [(1, 2), (2, 1)]
        self.load(wanted, *(record(id=i % 3, a=i) for i in range(10)), batch_rows=2)
        assert self.read("id", "a") == [(0, 9), (1, 7), (2, 8)]
        self.load(wanted, record(id=2, a=-1))
        assert self.read("id", "a") == [(0, 9), (1, 7), (2, -1)]

    def test_keys_are_compared_as_values(self) -> None:
        wanted = schema(keys=("a", "b"), a=STR, b=STR, n=INT)
        pairs = [
            ("a,b", "c"),
            ("a", "b,c"),
            ("", ""),
            ("A", "b"),
            ("a ", "b"),
            ("a", "b"),
            ("é", "e\u0301"),
            ("e\u0301", "é"),
        ]
        for batch_rows in (100, 1):
            self.load(wanted, *(record(a=a, b=b, n=i) for i, (a, b) in enumerate(pairs)), batch_rows=batch_rows)
            assert sorted(self.read("a", "b", "n")) == sorted((a, b, i) for i, (a, b) in enumerate(pairs))

    @pytest.mark.parametrize(
        "sample", [sample for sample in SAMPLES if sample.kind not in (BINARY, JSON, DOUBLE)], ids=pair_id
    )
    def test_a_key_may_be_of_any_scalar_kind(self, sample: Sample) -> None:
        wanted = schema(id=sample.schema, a=INT)
        for value in (1, 2):
            self.load(wanted, record(id=sample.one[0], a=0), record(id=sample.one[0], a=value))
        assert self.read("id", "a") == [(sample.one[1], 2)]

    def test_equal_numbers_are_one_key(self) -> None:
        self.load(schema(id=NUM, a=INT), record(id=Decimal("1.0"), a=1), record(id=1, a=2))
        self.load(schema(id=NUM, a=INT), record(id=Decimal("1.00"), a=3))
        assert self.read("id", "a") == [(1, 3)]

    def test_without_a_key_rows_are_appended(self) -> None:
        for _ in range(2):
            self.load(schema(keys=()), record(id=1), record(id=1), batch_rows=1)
        assert self.read("id") == [1] * 4
        self.load(schema("log"), record("log", id=1), record("log", id=1), load_method="append")
        assert self.read("id", table="log") == [1, 1]

    def test_absent_fields_become_null(self) -> None:
        self.load(schema(id=INT, a=STR, b=STR), record(id=1, a="x", b="y"))
        self.load(schema(id=INT, a=STR, b=STR), record(id=1, b="z"))
        assert self.read("id", "a", "b") == [(1, None, "z")]

    @few
    @given(
        st.lists(PARTS, max_size=12),
        st.sampled_from(["auto", "keep", "null"]),
        st.booleans(),
        st.sampled_from([1, 2, 3, 4, 100]),
        st.booleans(),
    )
    def test_absent_fields_keep_values_and_deleted_rows_go(
        self, parts: list[Any], absent: str, hard: bool, batch_rows: int, named: bool
    ) -> None:
        """As they would one by one, be the time of deletion *named* in the SCHEMA or not."""
        settings: Any = {"absent_fields": absent, "hard_delete": hard, "batch_rows": batch_rows}
        stream = f"parts_{next(counted)}"
        described = {name: its for name, its in PART.items() if named or name != "_sdc_deleted_at"}
        parts = [*parts, {"id": 4, "_sdc_deleted_at": None}]
        self.load(schema(stream, **described), *(record(stream, **part) for part in parts), **settings)
        assert self.read("id", "a", "o__b", "c", "_sdc_deleted_at", table=stream) == applied(parts, absent=absent, hard=hard, named=named)

    def test_absent_fields_are_counted_per_column(self) -> None:
        records = [record(id=1, c=0), record(id=2, o=None, a=None, c=0), record(id=3, o={}, c=0, _sdc_deleted_at=None)]
        summary = self.load(schema(**PART), *records).summary
        assert summary["streams"]["orders"]["absent"] == {"$.a": 2, "$.o.b": 2, "$._sdc_deleted_at": 2}

    def test_loaded_at_is_strictly_increasing_within_a_stream(self) -> None:
        start = dt.datetime.now(UTC) - dt.timedelta(seconds=1)
        self.load(schema(keys=()), *(record(id=i) for i in range(500)), batch_rows=70)
        stamps = [stamp for _, stamp in self.read("id", "__loaded_at")]
        assert stamps == sorted(set(stamps))
        assert start < stamps[0]
        assert stamps[-1] < dt.datetime.now(UTC) + dt.timedelta(seconds=1)

    def test_streams_of_one_input_are_loaded_together(self) -> None:
        names = ["a", "b", "c"]
        lines = [record(name, id=i) for i in range(20) for name in names]
        states: list[Any] = []
        self.load(*map(schema, names), *lines, state(1), states=states)
        assert [self.read("id", table=name) for name in names] == [list(range(20))] * 3
        assert states == [1]

    # --- bad input

    @pytest.mark.parametrize(
        "bad", [{"id": None}, {}, {"id": "x"}, {"id": 2**63}, {"id": 2, "a": "\0"}, {"id": 2, "a": "\ud800"}]
    )
    def test_what_came_before_an_invalid_record_is_committed(self, bad: Mapping[str, Any]) -> None:
        states: list[Any] = []
        with pytest.raises(RecordError, match=r"line 4: stream 'orders': \$\.(id|a): "):
            self.load(
                schema(id=INT, a=STR), record(id=1), state(1), record(**bad), record(id=3), state(2), states=states
            )
        assert (self.read("id"), states) == ([1], [1])

    def test_unknown_fields_are_told_once_refused_or_kept(self) -> None:
        lines = [schema(), record(id=1, new=[Decimal("1.10")]), record(id=2, new=2)]
        warnings = self.load(*lines).summary["warnings"]
        assert len(warnings) == 1
        assert "$.new" in warnings[0]
        with pytest.raises(RecordError, match=r"line 2: .*\$\.new"):
            self.load(*lines, unknown_fields="fail")
        self.load(*lines, unknown_fields="keep")
        assert self.read("id", "__extra") == [(1, {"new": [Decimal("1.10")]}), (2, {"new": 2})]

    # --- verify

    @pytest.mark.parametrize("planted", PLANTED, ids=str)
    def test_verify_finds_a_planted_difference(self, planted: Planted) -> None:
        try:
            self.load(*planted.messages, **planted.settings)
        except RecordError as refused:
            pytest.skip(f"this database's types cannot hold the values: {refused}")
        assert self.verify(*planted.messages, whole=True, **planted.settings) == []
        self.execute(planted.plant(self.make_dialect()))
        found = self.verify(*planted.messages, whole=planted.whole, **planted.settings)
        assert re.search(planted.words, "\n".join(found))
        assert len(found) <= 4

    # --- states

    @pytest.mark.parametrize("batch_rows", [1, 2, 100])
    def test_a_state_follows_its_rows(self, batch_rows: int) -> None:
        """When a STATE comes out, all rows before it can be seen by others."""
        seen = []

        def on_state(text: str) -> None:
            seen.append((json.loads(text), len(self.read("id"))))

        lines = [line for i in range(1, 6) for line in (record(id=i), state(i))]
        load(self.make_dialect(batch_rows=batch_rows), [schema(), *lines], on_state=on_state)
        assert all(rows >= value for value, rows in seen)
        assert seen[-1] == (5, 5)
        if batch_rows == 1:
            assert [value for value, _ in seen] == [1, 2, 3, 4, 5]

    def test_a_schema_that_comes_again_causes_no_commit(self) -> None:
        once = [schema(id=INT, a=STR), *(record(id=i) for i in range(30))]
        often = [line for i in range(30) for line in (schema(id=INT, a=STR), record(id=i))]
        self.commits(*once)  # the tables are there now
        assert self.commits(*often) == self.commits(*once)

    def test_rows_are_committed_while_the_tap_is_silent(self) -> None:
        reading, writing = os.pipe()
        came = threading.Event()
        silent: list[bool] = []

        def tap() -> None:
            with os.fdopen(writing, "wb") as pipe:
                pipe.writelines(json.dumps(line).encode() + b"\n" for line in (schema(), record(id=1), state(1)))
                pipe.flush()
                silent.append(came.wait(20))

        thread = threading.Thread(target=tap)
        thread.start()
        with os.fdopen(reading, "rb") as pipe:
            load(self.make_dialect(batch_seconds=0.2), pipe, on_state=lambda _: came.set())
        thread.join()
        assert silent == [True]
        assert self.read("id") == [1]
