/* target_meltano._reader: plain RECORD lines of known streams, straight into columns, without the GIL.

It does what `structs.py` does with msgspec, and no more: parse a line, check types and names, keep
the values of each leaf. What they mean is decided by `columns.py` for both. A line that is not taken
leaves no trace and is not wrong yet: Python looks at it. So C may refuse what it likes, but must
never accept something differently; tests/both_paths.py holds it to that.

Begin with records.h, where a line is read. What is here is how Python sees it. */

#define PY_SSIZE_T_CLEAN
#include "bytes.h"
#include "json.h"
#include "times.h"
#include "columns.h"
#include "records.h"
#include <structmember.h>

/* --- what Python sees: a block of memory */

typedef struct {
    PyObject_HEAD
    unsigned char *at;
    size_t size;
} Block;

static void block_free(Block *self) {
    free(self->at);
    PyObject_Free(self);
}

static int block_view(Block *self, Py_buffer *view, int flags) {
    return PyBuffer_FillInfo(view, (PyObject *)self, self->at, (Py_ssize_t)self->size, 1, flags);
}

static PyBufferProcs block_as_buffer = {.bf_getbuffer = (getbufferproc)block_view};

static PyTypeObject BlockType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "target_meltano._reader.Block",
    .tp_basicsize = sizeof(Block),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)block_free,
    .tp_as_buffer = &block_as_buffer,
    .tp_doc = "Memory that is freed with the last array in it.",
};

/* Return the bytes as a Block, which has them from now on. */
static PyObject *block(Bytes *bytes) {
    if (!reserve(bytes, bytes->size ? 0 : 1))
        return PyErr_NoMemory();
    Block *made = PyObject_New(Block, &BlockType);
    if (!made)
        return NULL;
    unsigned char *at = realloc(bytes->at, bytes->size ? bytes->size : 1);
    made->at = at ? at : bytes->at;
    made->size = bytes->size;
    memset(bytes, 0, sizeof *bytes);
    return (PyObject *)made;
}

/* Return a bit for each byte that is *one* or *other*, the lowest bit first, as Arrow has them. */
static PyObject *bits(Text bytes, size_t count, int one, int other) {
    Bytes made = {0};
    if (!reserve(&made, count / 8 + 1))
        return PyErr_NoMemory();
    memset(made.at, 0, count / 8 + 1);
    made.size = count / 8 + 1;
    for (size_t i = 0; i < count; i++)
        made.at[i / 8] |= (unsigned char)((bytes[i] == one || bytes[i] == other) << (i % 8));
    PyObject *found = block(&made);
    free(made.at);
    return found;
}

/* --- what Python sees: columns */

static Object *object_of(PyObject *plan, Columns *into);

/* Take a field into an object: (name, column), (name, None) for null only, (name, plan of an object). */
static int add_field(Object *to, PyObject *field, Columns *into) {
    const char *name;
    Py_ssize_t size;
    PyObject *what;
    size_t at = to->names.count;
    if (!PyArg_ParseTuple(field, "y#O", &name, &size, &what))
        return 0;
    if (!add_name(&to->names, (Text)name, (size_t)size))
        return PyErr_NoMemory() != NULL;
    to->columns[at] = ONLY_NULL;
    if (PyTuple_Check(what)) {
        to->columns[at] = OBJECT;
        return (to->children[at] = object_of(what, into)) != NULL;
    }
    if (what != Py_None) {
        to->columns[at] = PyLong_AsSsize_t(what);
        if (to->columns[at] < 0 || (size_t)to->columns[at] >= into->count) {
            PyErr_SetString(PyExc_ValueError, "no such column");
            return 0;
        }
    }
    return 1;
}

/* Return an object by its plan, a tuple: first leaf, behind its last leaf, fields. */
static Object *object_of(PyObject *plan, Columns *into) {
    Py_ssize_t first, last;
    PyObject *fields;
    if (!PyArg_ParseTuple(plan, "nnO!", &first, &last, &PyTuple_Type, &fields))
        return NULL;
    if (first < 0 || last < first || (size_t)last > into->count) {
        PyErr_SetString(PyExc_ValueError, "no such columns");
        return NULL;
    }
    size_t count = (size_t)PyTuple_Size(fields);
    Object *made = calloc(1, sizeof(Object));
    if (made) {
        made->first = (size_t)first;
        made->last = (size_t)last;
        made->columns = calloc(count + 1, sizeof *made->columns);
        made->children = calloc(count + 1, sizeof *made->children);
    }
    if (!made || !made->columns || !made->children) {
        free_object(made);
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (!add_field(made, PyTuple_GetItem(fields, (Py_ssize_t)i), into)) {
            free_object(made);
            return NULL;
        }
    return made;
}

static void columns_free(Columns *self) {
    for (size_t i = 0; i < self->count && self->columns; i++) {
        free(self->columns[i].data.at);
        free(self->columns[i].ends.at);
        free(self->columns[i].states.at);
    }
    free(self->columns);
    free(self->numbers.at);
    free_object(self->root);
    Py_XDECREF(self->lines);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *columns_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    PyObject *plan, *kinds;
    int versions;
    static char *names[] = {"plan", "kinds", "versions", NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "O!O!i", names, &PyTuple_Type, &plan, &PyTuple_Type, &kinds, &versions))
        return NULL;
    Columns *self = (Columns *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->versions = versions;
    self->lines = PyList_New(0);
    size_t count = (size_t)PyTuple_Size(kinds);
    self->columns = calloc(count + 1, sizeof(Column));
    if (!self->lines || !self->columns) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->count = count;
    for (size_t i = 0; i < count; i++) {
        int32_t start = 0;
        long kind = PyLong_AsLong(PyTuple_GetItem(kinds, (Py_ssize_t)i));
        if (kind < 0 || kind >= KINDS) {
            Py_DECREF(self);
            PyErr_SetString(PyExc_ValueError, "no such kind");
            return NULL;
        }
        self->columns[i].kind = (int)kind;
        if (has_ends((int)kind) && !append(&self->columns[i].ends, &start, sizeof start)) {
            Py_DECREF(self);
            return PyErr_NoMemory();
        }
    }
    if (versions == 2 && (!count || self->columns[count - 1].kind != INT)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_ValueError, "no column for the version");
        return NULL;
    }
    if (!(self->root = object_of(plan, self))) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* Return a column's ends and data, and a bit by row for: a value, absent, cut. Each may be None: all have a value, none is. */
static PyObject *column_taken(Column *column, size_t rows) {
    size_t counts[4] = {0};
    PyObject *parts[5] = {NULL};
    for (size_t i = 0; i < rows; i++)
        counts[column->states.at[i]]++;
    if (has_ends(column->kind))
        parts[0] = block(&column->ends);
    if (column->kind == BOOL)
        parts[1] = bits(column->data.at, rows, 1, 1);
    else if (column->kind != SKIP)
        parts[1] = block(&column->data);
    if (counts[VALUE] + counts[CUT] < rows)
        parts[2] = bits(column->states.at, rows, VALUE, CUT);
    if (counts[ABSENT])
        parts[3] = bits(column->states.at, rows, ABSENT, ABSENT);
    if (counts[CUT])
        parts[4] = bits(column->states.at, rows, CUT, CUT);
    PyObject *made = PyErr_Occurred() ? NULL : PyTuple_New(5);
    for (int i = 0; i < 5; i++) {
        if (!parts[i])
            Py_INCREF(parts[i] = Py_None);
        if (made)
            PyTuple_SetItem(made, i, parts[i]);
        else
            Py_DECREF(parts[i]);
    }
    return made;
}

static PyObject *columns_take(Columns *self, PyObject *nothing) {
    (void)nothing;
    if (self->is_taken) {
        PyErr_SetString(PyExc_ValueError, "the columns were taken before");
        return NULL;
    }
    if (self->is_reading) {
        PyErr_SetString(PyExc_RuntimeError, "another thread reads into these columns");
        return NULL;
    }
    self->is_taken = 1;
    PyObject *numbers = block(&self->numbers), *columns = PyList_New((Py_ssize_t)self->count);
    for (size_t i = 0; i < self->count && numbers && columns; i++) {
        PyObject *made = column_taken(&self->columns[i], self->rows);
        if (!made)
            Py_CLEAR(columns);
        else
            PyList_SetItem(columns, (Py_ssize_t)i, made);
    }
    PyObject *found = numbers && columns ? PyTuple_Pack(2, numbers, columns) : NULL;
    Py_XDECREF(numbers);
    Py_XDECREF(columns);
    return found;
}

static PyMethodDef columns_methods[] = {
    {"take", (PyCFunction)columns_take, METH_NOARGS, "Return the numbers of the lines, and each column's parts; once."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef columns_members[] = {
    {"rows", T_PYSSIZET, offsetof(Columns, rows), READONLY, "How many records were taken."},
    {"size", T_PYSSIZET, offsetof(Columns, size), READONLY, "Bytes of their lines."},
    {"lines", T_OBJECT_EX, offsetof(Columns, lines), READONLY, "Where their lines are, as runs: [(lines, start, count), ...]."},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject ColumnsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "target_meltano._reader.Columns",
    .tp_basicsize = sizeof(Columns),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = columns_new,
    .tp_dealloc = (destructor)columns_free,
    .tp_methods = columns_methods,
    .tp_members = columns_members,
    .tp_doc = "Columns(plan, kinds, versions): what a stream's records became; see `decode.Decoder`.",
};

/* --- what Python sees: lines */

typedef struct {
    PyObject_HEAD
    PyObject *data;
    Bytes starts; /* size_t: where each line begins, and behind the last one's end */
} Lines;

static Py_ssize_t lines_count(Lines *self) {
    return (Py_ssize_t)(self->starts.size / sizeof(size_t)) - 1;
}

/* Return where a line is, and its size without the line end. */
static Text line_at(Lines *self, Py_ssize_t at, size_t *size) {
    const size_t *starts = (const size_t *)(void *)self->starts.at;
    *size = starts[at + 1] - starts[at] - 1;
    return (Text)PyBytes_AS_STRING(self->data) + starts[at];
}

static PyObject *lines_item(Lines *self, Py_ssize_t at) {
    size_t size;
    if (at < 0 || at >= lines_count(self)) {
        PyErr_SetString(PyExc_IndexError, "no such line");
        return NULL;
    }
    Text start = line_at(self, at, &size);
    return PyBytes_FromStringAndSize((const char *)start, (Py_ssize_t)size);
}

static void lines_free(Lines *self) {
    Py_XDECREF(self->data);
    free(self->starts.at);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *lines_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    PyObject *data;
    Py_ssize_t size;
    if ((named && PyDict_Size(named)) || !PyArg_ParseTuple(arguments, "Sn", &data, &size))
        return NULL;
    Lines *self = (Lines *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(self->data = data);
    Text start = (Text)PyBytes_AS_STRING(data), p = start, end = start + size;
    int is_whole = size >= 0 && size <= PyBytes_GET_SIZE(data) && (!size || end[-1] == '\n');
    size_t at = 0;
    int has_room = append(&self->starts, &at, sizeof at);
    while (is_whole && has_room && p < end) {
        p = (Text)memchr(p, '\n', (size_t)(end - p)) + 1;
        at = (size_t)(p - start);
        has_room = append(&self->starts, &at, sizeof at);
    }
    if (is_whole && has_room)
        return (PyObject *)self;
    Py_DECREF(self);
    if (!has_room)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "no whole lines");
    return NULL;
}

static PySequenceMethods lines_as_sequence = {.sq_length = (lenfunc)lines_count, .sq_item = (ssizeargfunc)lines_item};

static PyTypeObject LinesType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "target_meltano._reader.Lines",
    .tp_basicsize = sizeof(Lines),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = lines_new,
    .tp_dealloc = (destructor)lines_free,
    .tp_as_sequence = &lines_as_sequence,
    .tp_doc = "Lines(data, size): the lines in the first *size* bytes, without their ends; bytes objects once they are asked for.",
};

/* --- what Python sees: the reader */

/* Forget all streams. What runs when an owner goes finds a Reader that knows none. */
static int reader_forget(Reader *self) {
    Stream *streams = self->streams;
    size_t count = self->names.count;
    self->streams = NULL;
    self->last = 0;
    clear_names(&self->names);
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(streams[i].columns);
        Py_DECREF(streams[i].owner);
    }
    free(streams);
    return 0;
}

/* An owner may refer back to the Reader. */
static int reader_visit(Reader *self, visitproc visit, void *arg) {
    for (size_t i = 0; i < self->names.count; i++) {
        Py_VISIT(self->streams[i].columns);
        Py_VISIT(self->streams[i].owner);
    }
    return 0;
}

static void reader_free(Reader *self) {
    PyObject_GC_UnTrack(self);
    reader_forget(self);
    free(self->scratch.at);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Tell whether no thread reads; else set an exception: what it reads into would be freed under its hands. */
static int is_idle(Reader *self) {
    if (self->is_reading)
        PyErr_SetString(PyExc_RuntimeError, "another thread reads with this Reader");
    return !self->is_reading;
}

static PyObject *reader_clear(Reader *self, PyObject *nothing) {
    (void)nothing;
    if (!is_idle(self))
        return NULL;
    reader_forget(self);
    Py_RETURN_NONE;
}

static PyObject *reader_put(Reader *self, PyObject *arguments) {
    const char *name;
    Py_ssize_t size;
    PyObject *columns, *owner;
    if (!PyArg_ParseTuple(arguments, "y#O!O", &name, &size, &ColumnsType, &columns, &owner) || !is_idle(self))
        return NULL;
    Py_ssize_t at = find(&self->names, (Text)name, (size_t)size, self->last);
    Stream before = {NULL, NULL};
    if (at >= 0)
        before = self->streams[at];
    else {
        at = (Py_ssize_t)self->names.count;
        Stream *grown = realloc(self->streams, ((size_t)at + 1) * sizeof *grown);
        if (!grown)
            return PyErr_NoMemory();
        self->streams = grown;
        if (!add_name(&self->names, (Text)name, (size_t)size))
            return PyErr_NoMemory();
    }
    Py_INCREF(columns);
    Py_INCREF(owner);
    self->streams[at] = (Stream){(Columns *)columns, owner};
    Py_XDECREF(before.columns);
    Py_XDECREF(before.owner);
    Py_RETURN_NONE;
}

static int reader_has(Reader *self, PyObject *name) {
    char *at;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(name, &at, &size) < 0)
        return -1;
    return find(&self->names, (Text)at, (size_t)size, self->last) >= 0;
}

/* Let the columns know where their lines are, and add to *runs* whose they are; tell whether that went well. */
static int handed_over(PyObject *runs, PyObject *lines, Py_ssize_t start, const Line *found, size_t count) {
    int is_fine = 1;
    for (size_t i = 0, first = 0; i < count && is_fine; i++) {
        const Stream *stream = found[i].stream;
        if (i + 1 < count && found[i + 1].stream == stream)
            continue;
        Py_ssize_t its = (Py_ssize_t)(i + 1 - first);
        PyObject *whose = Py_BuildValue("On", stream->owner, its), *where = Py_BuildValue("Onn", lines, start + (Py_ssize_t)first, its);
        is_fine = whose && where && PyList_Append(runs, whose) == 0 && PyList_Append(stream->columns->lines, where) == 0;
        Py_XDECREF(whose);
        Py_XDECREF(where);
        first = i + 1;
    }
    return is_fine;
}

/* Return where lines of a list, or of Lines, are; NULL with an exception. */
static Line *located(PyObject *lines, Py_ssize_t start, Py_ssize_t stop) {
    Line *found = malloc((size_t)(stop - start + 1) * sizeof *found);
    if (!found)
        return (Line *)PyErr_NoMemory();
    for (Py_ssize_t i = start; i < stop; i++) {
        Line *line = &found[i - start];
        *line = (Line){NULL, 0, NULL};
        if (PyObject_TypeCheck(lines, &LinesType))
            line->at = line_at((Lines *)lines, i, &line->size);
        else {
            char *at;
            Py_ssize_t size;
            if (PyBytes_AsStringAndSize(PyList_GetItem(lines, i), &at, &size) < 0) {
                free(found);
                return NULL;
            }
            line->at = (Text)at;
            line->size = (size_t)size;
        }
    }
    return found;
}

static void mark_reading(Reader *self, int is_reading) {
    self->is_reading = is_reading;
    for (size_t i = 0; i < self->names.count; i++)
        self->streams[i].columns->is_reading = is_reading;
}

static PyObject *reader_read(Reader *self, PyObject *arguments) {
    PyObject *lines;
    Py_ssize_t start, stop;
    long long number;
    int are_utf8;
    if (!PyArg_ParseTuple(arguments, "OnnLp", &lines, &start, &stop, &number, &are_utf8))
        return NULL;
    if (!PyList_Check(lines) && !PyObject_TypeCheck(lines, &LinesType)) {
        PyErr_SetString(PyExc_TypeError, "wanted Lines, or a list");
        return NULL;
    }
    if (start < 0 || stop < start || stop > PySequence_Size(lines)) {
        PyErr_SetString(PyExc_IndexError, "no such lines");
        return NULL;
    }
    if (!is_idle(self))
        return NULL;
    for (size_t i = 0; i < self->names.count; i++) {
        const Columns *columns = self->streams[i].columns;
        if (columns->is_taken || columns->is_reading) {
            PyErr_SetString(columns->is_taken ? PyExc_ValueError : PyExc_RuntimeError,
                            columns->is_taken ? "the columns were taken before" : "another thread reads into these columns");
            return NULL;
        }
    }
    PyObject *runs = PyList_New(0);
    mark_reading(self, 1);
    /* Few lines at first: where each second one is odd, not all that come after it are looked for each time. */
    for (Py_ssize_t window = 64; runs && start < stop; window *= 2) {
        size_t count = (size_t)(stop - start < window ? stop - start : window), done = 0;
        /* A list is another thread's to change while the GIL is not ours: its lines stay for as long as we hold them. */
        PyObject *held = PyList_Check(lines) ? PyList_GetSlice(lines, start, start + (Py_ssize_t)count) : Py_NewRef(lines);
        Py_ssize_t first = held == lines ? start : 0, last = first + (Py_ssize_t)count;
        if (held && PySequence_Size(held) < last)
            PyErr_SetString(PyExc_IndexError, "no such lines");
        Line *found = held && !PyErr_Occurred() ? located(held, first, last) : NULL;
        if (found) {
            Py_BEGIN_ALLOW_THREADS
            for (; done < count; done++)
                if (!line(self, &found[done], number + (long long)done, are_utf8))
                    break;
            Py_END_ALLOW_THREADS
        }
        if (!found || !handed_over(runs, lines, start, found, done))
            Py_CLEAR(runs);
        free(found);
        Py_XDECREF(held);
        if (done < count)
            break;
        start += (Py_ssize_t)count;
        number += (long long)count;
    }
    mark_reading(self, 0);
    return runs;
}

static PyMethodDef reader_methods[] = {
    {"put", (PyCFunction)reader_put, METH_VARARGS, "put(name, columns, owner): let these take the records of a stream, from now on."},
    {"clear", (PyCFunction)reader_clear, METH_NOARGS, "Forget all streams."},
    {"read", (PyCFunction)reader_read, METH_VARARGS,
     "read(lines, start, stop, number, are_utf8): take lines until one is no plain record of a stream that is known.\n"
     "*number* is that of the first one. Return how many came for whom, in order: [(owner, count), ...]."},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods reader_as_sequence = {.sq_contains = (objobjproc)reader_has};

static PyTypeObject ReaderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "target_meltano._reader.Reader",
    .tp_basicsize = sizeof(Reader),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = (destructor)reader_free,
    .tp_traverse = (traverseproc)reader_visit,
    .tp_clear = (inquiry)reader_forget,
    .tp_methods = reader_methods,
    .tp_as_sequence = &reader_as_sequence,
    .tp_doc = "Reads plain records of several streams into their Columns; one thread at a time, others get a RuntimeError.",
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "target_meltano._reader",
    .m_doc = "The fast path in C; see `decode`.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__reader(void) {
    if (PyType_Ready(&BlockType) < 0 || PyType_Ready(&ColumnsType) < 0 || PyType_Ready(&LinesType) < 0 ||
        PyType_Ready(&ReaderType) < 0)
        return NULL;
    PyObject *made = PyModule_Create(&module);
    if (!made || PyModule_AddObjectRef(made, "Columns", (PyObject *)&ColumnsType) < 0 ||
        PyModule_AddObjectRef(made, "Lines", (PyObject *)&LinesType) < 0 || PyModule_AddObjectRef(made, "Reader", (PyObject *)&ReaderType) < 0)
        return NULL;
    return made;
}
