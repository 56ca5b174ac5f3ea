/* Lines with a plain RECORD of a stream that is known, into the columns of that stream. */

/* Read the value of a leaf into its column. */
static Text cell(Text p, Text end, Columns *into, Column *column) {
    Text start = p;
    int is_cut = 0;
    union {
        int64_t integer;
        double real;
        unsigned char boolean;
    } value;
    if (*p == 'n' && column->kind != SKIP)
        return append_nothing(into, column, NOTHING) ? literal(p, "null") : NULL;
    if (!begin(into, column, VALUE))
        return NULL;
    switch (column->kind) {
    case TEXT:
        if (*p != '"' || !(p = string(p + 1, end, &column->data)))
            return NULL;
        return end_text(column) ? p : NULL;
    case RAW:
        if (!(p = skip(p, end, 1)) || !append(&column->data, start, (size_t)(p - start)))
            return NULL;
        return end_text(column) ? p : NULL;
    case DIGITS: {
        int is_integer;
        if (!(p = number(start, &is_integer)) && !(p = not_finite(start, &value.real)))
            return NULL;
        return append(&column->data, start, (size_t)(p - start)) && end_text(column) ? p : NULL;
    }
    case SKIP:
        return (p = skip(start, end, 1)) ? p : not_finite(start, &value.real);
    case INT:
        p = integer(p, &value.integer);
        break;
    case FLOAT:
        if (!(p = nearest(start, &value.real)))
            p = not_finite(start, &value.real);
        break;
    case TIME:
        p = *p == '"' ? timestamp(p + 1, &value.integer, &is_cut) : NULL;
        if (is_cut)
            column->states.at[into->rows] = CUT;
        break;
    default:
        value.boolean = *p == 't';
        p = literal(p, *p == 't' ? "true" : "false");
    }
    return p && append(&column->data, &value, fixed_size(column->kind)) ? p : NULL;
}

/* Read an object, or null, into the columns below it. */
static Text object(Text p, Text end, Columns *into, Object *known, Bytes *scratch, int level) {
    if (level > LEVELS || known->seen == into->tries)
        return NULL;
    known->seen = into->tries;
    if (*p == 'n') {
        for (size_t i = known->first; i < known->last; i++)
            if (!append_nothing(into, &into->columns[i], NOTHING))
                return NULL;
        return literal(p, "null");
    }
    if (*p != '{')
        return NULL;
    p = blanks(p + 1);
    if (*p == '}')
        return p + 1;
    for (size_t guess = 0;; guess++) {
        if (*p != '"')
            return NULL;
        Text name = p + 1, after = plain(name, end);
        size_t size = (size_t)(after - name);
        if (*after == '"')
            p = after + 1;
        else { /* an escape, or no string */
            scratch->size = 0;
            if (!(p = string(name, end, scratch)))
                return NULL;
            name = scratch->at;
            size = scratch->size;
        }
        Py_ssize_t found = find(&known->names, name, size, guess);
        if (found < 0)
            return NULL;
        guess = (size_t)found;
        p = blanks(p);
        if (*p != ':')
            return NULL;
        p = blanks(p + 1);
        Py_ssize_t column = known->columns[found];
        if (column >= 0)
            p = cell(p, end, into, &into->columns[column]);
        else if (column == OBJECT)
            p = object(p, end, into, known->children[found], scratch, level + 1);
        else
            p = literal(p, "null");
        if (!p)
            return NULL;
        p = blanks(p);
        if (*p == '}')
            return p + 1;
        if (*p != ',')
            return NULL;
        p = blanks(p + 1);
    }
}

typedef struct {
    Columns *columns;
    PyObject *owner; /* who counts its rows */
} Stream;

typedef struct {
    PyObject_HEAD
    Names names;
    Stream *streams; /* by name */
    size_t last;     /* the stream of the line before */
    int is_reading;  /* without the GIL: until it ends no other thread may change what is read into */
    Bytes scratch;   /* for a name with escapes */
} Reader;

static int is_utf8(Text p, Text end) {
    while (p < end) {
        uint64_t word;
        while (end - p >= 8 && (memcpy(&word, p, 8), !(word & 0x8080808080808080u)))
            p += 8;
        if (p == end)
            break;
        unsigned char c = *p++;
        if (c < 0x80)
            continue;
        int more = c < 0xc2 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : 0;
        if (!more || end - p < more)
            return 0;
        /* no longer form than needed, no half of a surrogate pair, nothing above U+10FFFF */
        if ((c == 0xe0 && *p < 0xa0) || (c == 0xed && *p > 0x9f) || (c == 0xf0 && *p < 0x90) || (c == 0xf4 && *p > 0x8f))
            return 0;
        while (more--)
            if ((*p++ & 0xc0) != 0x80)
                return 0;
    }
    return 1;
}

/* Return the columns of a stream, whose name begins at *p*; NULL where there are none. */
static Columns *columns_of(Reader *self, Text p, Text end) {
    Text after = plain(p, end);
    size_t size = (size_t)(after - p);
    if (*after != '"') { /* an escape */
        self->scratch.size = 0;
        if (!string(p, end, &self->scratch))
            return NULL;
        p = self->scratch.at;
        size = self->scratch.size;
    }
    Py_ssize_t found = find(&self->names, p, size, self->last);
    if (found < 0)
        return NULL;
    self->last = (size_t)found;
    return self->streams[found].columns;
}

static Text record(Reader *self, Text p, Text end, Columns *into) {
    into->tries++;
    return *p == '{' ? object(p, end, into, into->root, &self->scratch, 1) : NULL;
}

/* Read a line, to its end, into the columns of its stream, which are returned in *into*; they may have to be undone. */
static int message(Reader *self, Text p, Text end, Columns **into) {
    Text type = NULL, stream = NULL, row = NULL, version = NULL;
    int is_read = 0;
    p = blanks(p);
    if (*p != '{')
        return 0;
    p = blanks(p + 1);
    for (;;) {
        if (*p != '"')
            return 0;
        Text name = p + 1;
        p = plain(name, end);
        size_t size = (size_t)(p - name);
        if (*p != '"')
            return 0;
        p = blanks(p + 1);
        if (*p != ':')
            return 0;
        p = blanks(p + 1);
        Text *known = size == 4 && !memcmp(name, "type", 4)         ? &type
                      : size == 6 && !memcmp(name, "stream", 6)     ? &stream
                      : size == 6 && !memcmp(name, "record", 6)     ? &row
                      : size == 7 && !memcmp(name, "version", 7)    ? &version
                                                                    : NULL;
        if (known && *known)
            return 0; /* it came before: the last one would count */
        if (known)
            *known = p;
        if (known == &row && type && *into) {
            p = record(self, p, end, *into);
            is_read = 1;
        } else
            p = skip(p, end, 1);
        if (!p)
            return 0;
        if (known == &type && (p - type != 8 || memcmp(type, "\"RECORD\"", 8)))
            return 0;
        if (known == &stream) {
            if (*stream != '"' || !(*into = columns_of(self, stream + 1, end)))
                return 0;
        }
        p = blanks(p);
        if (*p == '}')
            break;
        if (*p != ',')
            return 0;
        p = blanks(p + 1);
    }
    if (blanks(p + 1) != end || !type || !*into || !row)
        return 0;
    if (!is_read && !record(self, row, end, *into))
        return 0;
    if (version && (*into)->versions == 1 && *version != 'n')
        return 0;
    if (version && (*into)->versions == 2 && !cell(version, end, *into, &(*into)->columns[(*into)->count - 1]))
        return 0;
    return 1;
}

typedef struct {
    Text at;
    size_t size;
    Stream *stream; /* once it is read */
} Line;

/* Read a line, or leave no trace of it. */
static int line(Reader *self, Line *line, int64_t number, int are_utf8) {
    Text p = line->at, end = p + line->size;
    Columns *into = NULL;
    if (!are_utf8 && !is_utf8(p, end))
        return 0;
    int is_taken = message(self, p, end, &into);
    if (!into)
        return 0;
    for (size_t i = 0; i < into->count && is_taken && into->filled < into->count; i++)
        if (into->columns[i].states.size == into->rows)
            is_taken = append_nothing(into, &into->columns[i], ABSENT);
    if (!is_taken || !append(&into->numbers, &number, sizeof number)) {
        undo(into);
        return 0;
    }
    into->filled = 0;
    into->rows++;
    into->size += line->size;
    line->stream = &self->streams[self->last];
    return 1;
}
