/* target_meltano_postgres._copy: rows of Arrow as PostgreSQL's binary COPY, without the GIL.

It does what copy.py does with pgpq and numpy: tests/test_copy.py holds both to the same. How rows are
laid out: https://www.postgresql.org/docs/current/sql-copy.html, Binary Format. How Arrow hands columns
over: https://arrow.apache.org/docs/format/CDataInterface.html. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define EPOCH_DAYS 10957 /* from 1970 to 2000, where PostgreSQL begins to count */
#define EPOCH_MICROSECONDS (EPOCH_DAYS * INT64_C(86400000000))

struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

enum { BOOLEAN, INTEGER, DOUBLE, DATE, TIME, TIMESTAMP, TEXT, JSONB, NUMERIC, INT2, INT4, REAL };
static const int SIZES[] = {1, 8, 8, 4, 8, 8, 0, 1, 15, 2, 4, 4}; /* at most, beside the text: of a numeric 8 and 7 for half-filled groups */

typedef struct {
    int kind;
    int64_t first;                /* where its rows begin in the buffers */
    const unsigned char *is_valid; /* a bit each, the lowest one first; NULL: all are */
    const void *data;
    const int32_t *ends;
    Py_ssize_t whole, places; /* digits of a numeric before and behind the point, at most */
} Column;

static unsigned char *put16(unsigned char *at, uint32_t value) {
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
    return at + 2;
}

static unsigned char *put32(unsigned char *at, uint32_t value) {
    return put16(put16(at, value >> 16), value & 0xffff);
}

static unsigned char *put64(unsigned char *at, uint64_t value) {
    return put32(put32(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

static int is_set(const unsigned char *bits, int64_t at) {
    return bits[at >> 3] >> (at & 7) & 1;
}

/* Put digits as a group of a numeric, as if zeros came behind them where there are fewer than *size*. */
static unsigned char *put_group(unsigned char *at, const char *digits, Py_ssize_t count, Py_ssize_t size) {
    uint32_t group = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        group = group * 10 + (uint32_t)(i < count ? digits[i] - '0' : 0);
    return put16(at, group);
}

static const char *behind_digits(const char *p, const char *end) {
    while (p < end && (unsigned char)(*p - '0') <= 9)
        p++;
    return p;
}

/* Put NaN or an infinity: a numeric without groups, and a word in place of its sign. NULL for any other text. */
static unsigned char *put_not_finite(unsigned char *at, const char *p, size_t size) {
    uint32_t sign = size == 3 && !memcmp(p, "NaN", 3)            ? 0xc000
                    : size == 8 && !memcmp(p, "Infinity", 8)  ? 0xd000
                    : size == 9 && !memcmp(p, "-Infinity", 9) ? 0xf000
                                                              : 0;
    return sign ? put16(put16(put32(at, 0), sign), 0) : NULL;
}

/* Put a number of JSON's grammar as the server's numeric_recv reads it: groups of four digits, the point between
two of them. NULL for one with an exponent, of no such grammar, or of more digits than its column may have. */
static unsigned char *put_numeric(unsigned char *at, const char *p, const char *end, const Column *column) {
    int is_negative = p < end && *p == '-';
    const char *whole = p + is_negative, *point = behind_digits(whole, end);
    const char *fraction = point < end && *point == '.' ? point + 1 : end;
    if (point == whole)
        return put_not_finite(at, p, (size_t)(end - p));
    if (*whole == '0' && point - whole > 1)
        return NULL;
    if (point < end && (fraction == end || behind_digits(fraction, end) != end))
        return NULL;
    whole += *whole == '0';
    Py_ssize_t before = point - whole, after = end - fraction;
    if (before > column->whole || after > column->places)
        return NULL;
    Py_ssize_t groups = (before + 3) / 4;
    at = put16(at, (uint32_t)(groups + (after + 3) / 4));
    at = put16(at, (uint32_t)(groups - 1)); /* of the first group, as a power of 10000 */
    at = put16(at, is_negative ? 0x4000 : 0);
    at = put16(at, (uint32_t)after);
    for (Py_ssize_t size = (before + 3) % 4 + 1; whole < point; whole += size, size = 4)
        at = put_group(at, whole, size, size);
    for (; fraction < end; fraction += 4)
        at = put_group(at, fraction, end - fraction, 4);
    return at;
}

/* Put a value with its length in front; NULL for a number that put_numeric does not take, and for times that
PostgreSQL's count does not reach, or takes for -infinity. */
static unsigned char *put_value(unsigned char *at, const Column *column, int64_t row) {
    unsigned char *value = at + 4;
    uint64_t bits;
    row += column->first;
    switch (column->kind) {
    case BOOLEAN:
        *value = (unsigned char)is_set(column->data, row);
        break;
    case DATE: {
        int32_t days = ((const int32_t *)column->data)[row];
        if (days <= INT32_MIN + EPOCH_DAYS)
            return NULL;
        put32(value, (uint32_t)(days - EPOCH_DAYS));
        break;
    }
    case INT2:
        put16(value, (uint16_t)((const int16_t *)column->data)[row]);
        break;
    case INT4:
    case REAL: /* the same bytes */
        put32(value, ((const uint32_t *)column->data)[row]);
        break;
    case DOUBLE:
        memcpy(&bits, (const double *)column->data + row, sizeof bits);
        put64(value, bits);
        break;
    case INTEGER:
    case TIME:
        put64(value, (uint64_t)((const int64_t *)column->data)[row]);
        break;
    case TIMESTAMP: {
        int64_t microseconds = ((const int64_t *)column->data)[row];
        if (microseconds <= INT64_MIN + EPOCH_MICROSECONDS)
            return NULL;
        put64(value, (uint64_t)(microseconds - EPOCH_MICROSECONDS));
        break;
    }
    default: {
        const char *text = (const char *)column->data + column->ends[row];
        size_t size = (size_t)(column->ends[row + 1] - column->ends[row]);
        if (column->kind == NUMERIC) {
            unsigned char *end = put_numeric(value, text, text + size, column);
            if (end)
                put32(at, (uint32_t)(end - value));
            return end;
        }
        if (column->kind == JSONB)
            *value++ = 1; /* the version of its format */
        if (size)
            memcpy(value, text, size);
        put32(at, (uint32_t)(value + size - at - 4));
        return value + size;
    }
    }
    put32(at, (uint32_t)SIZES[column->kind]);
    return value + SIZES[column->kind];
}

/* Return the kind of a column by its Arrow type; texts are what *texts_are* says: TEXT, JSONB or NUMERIC. */
static int kind_of(const char *format, int texts_are) {
    static const struct {
        const char *format;
        int kind;
    } known[] = {{"b", BOOLEAN}, {"s", INT2}, {"i", INT4}, {"f", REAL}, {"l", INTEGER}, {"g", DOUBLE}, {"tdD", DATE}, {"ttu", TIME}, {"tsu:UTC", TIMESTAMP}, {"z", TEXT}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(format, known[i].format) == 0)
            return known[i].kind;
    return strcmp(format, "u") == 0 && texts_are >= TEXT && texts_are <= NUMERIC ? texts_are : -1;
}

/* Read where columns are; return how many bytes a COPY of them has at most, or 0 with an exception. */
static size_t find_columns(Column *columns, const struct ArrowSchema *schema, const struct ArrowArray *batch, PyObject *kinds) {
    size_t size = 19 + 2 + (size_t)batch->length * 2;
    for (Py_ssize_t i = 0; i < batch->n_children; i++) {
        const struct ArrowArray *array = batch->children[i];
        Column *column = &columns[i];
        int texts_are;
        if (!PyArg_ParseTuple(PyTuple_GetItem(kinds, i), "inn", &texts_are, &column->whole, &column->places))
            return 0;
        column->kind = schema->children[i]->dictionary ? -1 : kind_of(schema->children[i]->format, texts_are);
        if (column->kind < 0) {
            PyErr_Format(PyExc_TypeError, "column %zd: its Arrow type is %s", i, schema->children[i]->format);
            return 0;
        }
        column->first = array->offset + batch->offset;
        column->is_valid = array->buffers[0];
        column->data = array->buffers[array->n_buffers - 1];
        size += (size_t)batch->length * (4 + (size_t)SIZES[column->kind]);
        if (column->kind >= TEXT && column->kind <= NUMERIC && batch->length) {
            column->ends = array->buffers[1];
            size += (size_t)(column->ends[column->first + batch->length] - column->ends[column->first]);
        }
    }
    return size;
}

/* Put what Python makes of a number, whose groups are no more than it has digits for. NULL with an exception. */
static unsigned char *put_odd(unsigned char *at, PyObject *odd, const Column *column, int64_t row, Py_ssize_t i) {
    if (column->kind != NUMERIC) {
        PyErr_Format(PyExc_ValueError, "row %zd, column %zd: a time that PostgreSQL cannot hold", (Py_ssize_t)row, i);
        return NULL;
    }
    const int32_t *ends = column->ends + column->first + row;
    Py_ssize_t length = ends[1] - ends[0], size;
    PyObject *value = PyObject_CallFunction(odd, "y#nn", (const char *)column->data + ends[0], length, (Py_ssize_t)row, i);
    char *bytes;
    if (!value || PyBytes_AsStringAndSize(value, &bytes, &size) < 0) {
        Py_XDECREF(value);
        return NULL;
    }
    if (size <= length + SIZES[NUMERIC]) { /* there is room for so much */
        memcpy(put32(at, (uint32_t)size), bytes, (size_t)size);
        at += 4 + size;
    } else {
        PyErr_Format(PyExc_ValueError, "row %zd, column %zd: %zd bytes for a number of %zd", (Py_ssize_t)row, i, size, length);
        at = NULL;
    }
    Py_DECREF(value);
    return at;
}

/* Put rows, header and trailer around them. Return where they end, or NULL with an exception. */
static unsigned char *put_rows(unsigned char *at, const Column *columns, Py_ssize_t count, int64_t rows, PyObject *odd) {
    memcpy(at, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    at += 19;
    PyThreadState *state = PyEval_SaveThread();
    for (int64_t row = 0; row < rows && at; row++) {
        at = put16(at, (uint32_t)count);
        for (Py_ssize_t i = 0; i < count && at; i++) {
            const Column *column = &columns[i];
            if (column->is_valid && !is_set(column->is_valid, column->first + row)) {
                at = put32(at, UINT32_MAX);
                continue;
            }
            unsigned char *end = put_value(at, column, row);
            if (!end) {
                PyEval_RestoreThread(state);
                end = put_odd(at, odd, column, row, i);
                state = PyEval_SaveThread();
            }
            at = end;
        }
    }
    PyEval_RestoreThread(state);
    return at ? put16(at, UINT16_MAX) : NULL;
}

static PyObject *encode(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *schema_at, *batch_at, *kinds, *odd, *made = NULL;
    if (!PyArg_ParseTuple(arguments, "OOO!O", &schema_at, &batch_at, &PyTuple_Type, &kinds, &odd))
        return NULL;
    const struct ArrowSchema *schema = PyCapsule_GetPointer(schema_at, "arrow_schema");
    const struct ArrowArray *batch = schema ? PyCapsule_GetPointer(batch_at, "arrow_array") : NULL;
    if (!batch)
        return NULL;
    if (strcmp(schema->format, "+s") != 0 || PyTuple_Size(kinds) != batch->n_children || batch->null_count > 0) {
        PyErr_SetString(PyExc_ValueError, "wanted a batch, and what each of its columns is");
        return NULL;
    }
    Column *columns = calloc((size_t)batch->n_children + 1, sizeof(Column));
    size_t size = columns ? find_columns(columns, schema, batch, kinds) : 0;
    if (!columns)
        PyErr_NoMemory();
    if (size)
        made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (made) {
        char *start = PyBytes_AS_STRING(made);
        unsigned char *end = put_rows((unsigned char *)start, columns, (Py_ssize_t)batch->n_children, batch->length, odd);
        if (end)
            _PyBytes_Resize(&made, (char *)end - start);
        else
            Py_CLEAR(made);
    }
    free(columns);
    return made;
}

static PyMethodDef methods[] = {
    {"encode", encode, METH_VARARGS,
     "encode(schema, array, kinds, odd): return a COPY of a batch, by the capsules of its `__arrow_c_array__`.\n"
     "*kinds* tells of each column whether its texts are text (6), jsonb (7), or (8) numeric, and how many digits\n"
     "that has before and behind the point. Of numbers with an exponent, and others that are not plain,\n"
     "odd(token, row, column) returns the bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "target_meltano_postgres._copy",
    .m_doc = "Binary COPY in C; see `copy`.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__copy(void) {
    return PyModule_Create(&module);
}
