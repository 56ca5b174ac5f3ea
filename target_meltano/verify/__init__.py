"""Whether the tables hold what a stream of messages says: a proof that shares nothing with the writer.

Each record is read by the slow, obvious path, and each of its values is looked for where its path says
that it is; the rows of the tables are read and compared with what the records make of them.

    bytes -> lines -> records -> rows expected --.
                                                  >-- in the order of their keys -> differences
                        tables -> rows stored  --'

What is shared with the code that writes is the meaning of things alone: of values (`values.py`, `times.py`,
`digits.py`; of those of Parquet `parquet.py`), of names (`naming.py`), of rules for personal data
(`masked_stream.py`), and how a dialect looks up a table (`Dialect.found`). How SCHEMAs become columns, which
values a record has for them, what it does to the row of its key, and what of it the table has is worked out
anew here, in another way; `tests/test_boundaries.py` holds that.
"""
