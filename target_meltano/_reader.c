/* The fast path in C: plain RECORD lines of known streams, straight into columns, without the GIL.

It does what `decode.Reader` and `decode.Messages` do with msgspec, and no more: parse a line, check
types and names, keep the values of each leaf. What they mean is decided by `columns.py` for both.
A line that is not taken leaves no trace and is not wrong yet: Python looks at it. So this file may
refuse what it likes, but must never accept something differently; tests/both_paths.py holds it to that.

Behind each line stands its line end, or the NUL that ends a bytes object. No JSON token goes on at
either: the parser needs no other check of where a line ends, and a line with a NUL in it is refused. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS 200 /* of nested values; deeper ones are left to the slow path */
#define LONGEST INT32_MAX /* bytes in a column of texts: Arrow's offsets have 32 bits */

typedef const unsigned char *Text;

/* --- bytes that grow */

typedef struct {
    unsigned char *at;
    size_t size, room;
} Bytes;

static int reserve(Bytes *bytes, size_t more) {
    size_t needed = bytes->size + more, room = bytes->room + bytes->room / 2;
    if (needed <= bytes->room)
        return 1;
    room = room < 64 ? 64 : room;
    room = room < needed ? needed : room;
    unsigned char *at = realloc(bytes->at, room);
    if (!at)
        return 0;
    bytes->at = at;
    bytes->room = room;
    return 1;
}

static int append(Bytes *bytes, const void *from, size_t size) {
    if (!size)
        return 1;
    if (!reserve(bytes, size))
        return 0;
    memcpy(bytes->at + bytes->size, from, size);
    bytes->size += size;
    return 1;
}

/* --- names, and where they stand */

typedef struct {
    char *at;
    size_t size;
} Name;

typedef struct {
    Name *names;
    int32_t *slots; /* positions of names by their hash, -1 for none; twice as many as names, or more */
    size_t count, mask;
} Names;

static size_t hash_of(Text at, size_t size) {
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 1099511628211u;
    return (size_t)(hash ^ (hash >> 32));
}

static int is_name(const Name *name, Text at, size_t size) {
    return name->size == size && memcmp(name->at, at, size) == 0;
}

/* Return the position of a name, or -1. *guess* is tried first: fields mostly come in one order. */
static Py_ssize_t find(const Names *names, Text at, size_t size, size_t guess) {
    if (guess < names->count && is_name(&names->names[guess], at, size))
        return (Py_ssize_t)guess;
    if (!names->count)
        return -1;
    for (size_t slot = hash_of(at, size);; slot++) {
        int32_t found = names->slots[slot & names->mask];
        if (found < 0 || is_name(&names->names[found], at, size))
            return found;
    }
}

static int add_name(Names *names, Text at, size_t size) {
    Name *grown = realloc(names->names, (names->count + 1) * sizeof(Name));
    if (!grown)
        return 0;
    names->names = grown;
    char *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, at, size);
    grown[names->count++] = (Name){copy, size};
    if (names->count * 2 > names->mask) {
        size_t slots = names->mask ? (names->mask + 1) * 2 : 8;
        int32_t *made = realloc(names->slots, slots * sizeof(int32_t));
        if (!made)
            return 0;
        names->slots = made;
        names->mask = slots - 1;
        memset(made, 0xff, slots * sizeof(int32_t));
        for (size_t i = 0; i + 1 < names->count; i++) {
            size_t slot = hash_of((Text)grown[i].at, grown[i].size);
            while (made[slot & names->mask] >= 0)
                slot++;
            made[slot & names->mask] = (int32_t)i;
        }
    }
    size_t slot = hash_of(at, size);
    while (names->slots[slot & names->mask] >= 0)
        slot++;
    names->slots[slot & names->mask] = (int32_t)names->count - 1;
    return 1;
}

static void clear_names(Names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i].at);
    free(names->names);
    free(names->slots);
    memset(names, 0, sizeof *names);
}

/* --- what a stream's records look like, and the columns that they become */

enum { BOOL, INT, FLOAT, TIME, TEXT, RAW, SKIP, KINDS }; /* RAW: JSON as it is written; SKIP: only whether it came */
enum { NOTHING, VALUE, ABSENT, CUT };                    /* of a row: null, a value, no such field, a value but for its last digits */
enum { ONLY_NULL = -1, OBJECT = -2 };                    /* instead of the number of a column */

typedef struct {
    int kind;
    Bytes data, ends, states;
} Column;

typedef struct Object {
    Names names;
    Py_ssize_t *columns;      /* by field: its column, ONLY_NULL or OBJECT */
    struct Object **children; /* by field: of an OBJECT */
    size_t first, last;       /* the leaves below: columns from first up to last */
    size_t seen;              /* the try that had it last */
} Object;

typedef struct {
    PyObject_HEAD
    Object *root;
    Column *columns;
    size_t count;   /* of columns */
    size_t rows;
    size_t filled;  /* columns that have a cell for the row under way */
    size_t tries;   /* lines that were begun, taken or not */
    int versions;   /* 0: a version does not matter, 1: is refused, 2: is the last column */
    int is_taken;
    size_t size;    /* bytes of the lines */
    Bytes numbers;  /* int64 by row */
    PyObject *lines;
} Columns;

static void free_object(Object *object) {
    if (!object)
        return;
    for (size_t i = 0; i < object->names.count && object->children; i++)
        free_object(object->children[i]);
    clear_names(&object->names);
    free(object->columns);
    free(object->children);
    free(object);
}

static int fixed_size(int kind) {
    return kind == BOOL ? 1 : 8;
}

/* Begin the cell of a row: give it a state. A field that comes twice is refused: the last one would count. */
static int begin(Columns *into, Column *column, int state) {
    if (column->states.size != into->rows || !reserve(&column->states, 1))
        return 0;
    column->states.at[column->states.size++] = (unsigned char)state;
    into->filled++;
    return 1;
}

static int end_text(Column *column) {
    int32_t end = (int32_t)column->data.size;
    return column->data.size <= LONGEST && append(&column->ends, &end, sizeof end);
}

/* Append a cell without a value. */
static int append_nothing(Columns *into, Column *column, int state) {
    static const unsigned char zeros[8];
    if (!begin(into, column, state))
        return 0;
    if (column->kind == SKIP)
        return 1;
    if (column->kind == TEXT || column->kind == RAW)
        return end_text(column);
    return append(&column->data, zeros, fixed_size(column->kind));
}

/* Forget the row under way. */
static void undo(Columns *into) {
    into->filled = 0;
    for (size_t i = 0; i < into->count; i++) {
        Column *column = &into->columns[i];
        if (column->states.size > into->rows)
            column->states.size = into->rows;
        if (column->kind == TEXT || column->kind == RAW) {
            int32_t end = 0;
            column->ends.size = (into->rows + 1) * sizeof end;
            memcpy(&end, column->ends.at + into->rows * sizeof end, sizeof end);
            column->data.size = (size_t)end;
        } else if (column->kind != SKIP)
            column->data.size = into->rows * fixed_size(column->kind);
    }
}

/* --- JSON. Each function returns where it ended, or NULL to refuse. */

static Text blanks(Text p) {
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

static int is_digit(unsigned char c) {
    return (unsigned char)(c - '0') <= 9;
}

/* Skip what is plain in a string: up to a quote, a backslash or a control character, the NUL at the end for one. */
static Text plain(Text p, Text end) {
    const uint64_t ones = 0x0101010101010101u, highs = ones << 7;
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        uint64_t quotes = word ^ (ones * '"'), slashes = word ^ (ones * '\\');
        /* A borrow may flag a byte too much, never one too little: the loop below looks again. */
        uint64_t special = ((quotes - ones) & ~quotes) | ((slashes - ones) & ~slashes) | ((word - ones * 0x20) & ~word);
        if (special & highs)
            break;
        p += 8;
    }
    while (*p != '"' && *p != '\\' && *p >= 0x20)
        p++;
    return p;
}

static int hex(Text p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = p[i];
        int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Read an escape, from its backslash on. A lone half of a surrogate pair is refused. */
static Text escape(Text p, uint32_t *code) {
    static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    if (p[1] != 'u') {
        const char *at = p[1] ? strchr(letters, p[1]) : NULL;
        *code = at ? (unsigned char)means[at - letters] : 0;
        return at ? p + 2 : NULL;
    }
    int first = hex(p + 2);
    if (first < 0 || (first >= 0xdc00 && first < 0xe000))
        return NULL;
    *code = (uint32_t)first;
    if (first < 0xd800 || first >= 0xe000)
        return p + 6;
    int second = p[6] == '\\' && p[7] == 'u' ? hex(p + 8) : -1;
    if (second < 0xdc00 || second >= 0xe000)
        return NULL;
    *code = 0x10000 + (((uint32_t)first - 0xd800) << 10) + ((uint32_t)second - 0xdc00);
    return p + 12;
}

static size_t utf8(uint32_t code, unsigned char *out) {
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xc0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xe0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 63));
        out[2] = (unsigned char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | code >> 18);
    out[1] = (unsigned char)(0x80 | (code >> 12 & 63));
    out[2] = (unsigned char)(0x80 | (code >> 6 & 63));
    out[3] = (unsigned char)(0x80 | (code & 63));
    return 4;
}

/* Read a string, from behind its opening quote to behind the closing one; append it to *out*, if there is one,
and refuse NUL there, which few databases hold. */
static Text string(Text p, Text end, Bytes *out) {
    for (;;) {
        Text start = p;
        p = plain(p, end);
        if (out && !append(out, start, (size_t)(p - start)))
            return NULL;
        if (*p == '"')
            return p + 1;
        uint32_t code;
        if (*p != '\\' || !(p = escape(p, &code)))
            return NULL;
        if (out) {
            if (!code || !reserve(out, 4))
                return NULL;
            out->size += utf8(code, out->at + out->size);
        }
    }
}

/* Read a number, by the grammar of JSON; tell whether it is written as an integer. */
static Text number(Text p, int *is_integer) {
    *is_integer = 1;
    p += *p == '-';
    if (*p == '0')
        p++;
    else if (is_digit(*p))
        while (is_digit(*p))
            p++;
    else
        return NULL;
    if (*p == '.') {
        *is_integer = 0;
        if (!is_digit(*++p))
            return NULL;
        while (is_digit(*p))
            p++;
    }
    if (*p == 'e' || *p == 'E') {
        *is_integer = 0;
        p++;
        p += *p == '+' || *p == '-';
        if (!is_digit(*p))
            return NULL;
        while (is_digit(*p))
            p++;
    }
    return p;
}

static Text literal(Text p, const char *word) {
    while (*word)
        if (*p++ != (unsigned char)*word++)
            return NULL;
    return p;
}

/* Read any value, and keep nothing of it. */
static Text skip(Text p, Text end, int level) {
    int is_integer;
    if (level > LEVELS)
        return NULL;
    switch (*p) {
    case '"':
        return string(p + 1, end, NULL);
    case 't':
        return literal(p, "true");
    case 'f':
        return literal(p, "false");
    case 'n':
        return literal(p, "null");
    case '[':
    case '{':
        break;
    default:
        return number(p, &is_integer);
    }
    int is_object = *p == '{', close = is_object ? '}' : ']';
    p = blanks(p + 1);
    if (*p == close)
        return p + 1;
    for (;;) {
        if (is_object) {
            if (*p != '"' || !(p = string(p + 1, end, NULL)))
                return NULL;
            p = blanks(p);
            if (*p != ':')
                return NULL;
            p = blanks(p + 1);
        }
        if (!(p = skip(p, end, level + 1)))
            return NULL;
        p = blanks(p);
        if (*p == close)
            return p + 1;
        if (*p != ',')
            return NULL;
        p = blanks(p + 1);
    }
}

/* Read an integer that fits 64 bits. */
static Text integer(Text p, int64_t *value) {
    int is_integer, is_negative = *p == '-';
    Text end = number(p, &is_integer);
    if (!end || !is_integer || end - p > 19 + is_negative)
        return NULL;
    uint64_t digits = 0; /* up to 19 digits are below 2**64 */
    for (p += is_negative; p < end; p++)
        digits = digits * 10 + (uint64_t)(*p - '0');
    if (digits > (uint64_t)INT64_MAX + (unsigned)is_negative)
        return NULL;
    *value = is_negative ? (int64_t)(0 - digits) : (int64_t)digits;
    return end;
}

/* Read the double that is nearest to a number.

Up to 15 digits and powers of ten up to 10**22 are doubles themselves, so that one division or
multiplication rounds right (Clinger 1990); the rest is left to strtod. */
static Text nearest(Text p, double *value) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int is_integer, count = 0, places = 0, is_behind = 0;
    uint64_t digits = 0;
    Text end = number(p, &is_integer), at = p + (*p == '-');
    if (!end)
        return NULL;
    for (; at < end && (is_digit(*at) || *at == '.') && count <= 15; at++) {
        if (*at == '.') {
            is_behind = 1;
            continue;
        }
        digits = digits * 10 + (uint64_t)(*at - '0');
        count += digits != 0;
        places += is_behind;
    }
    if (at == end && count <= 15 && places <= 22 && FLT_EVAL_METHOD == 0) {
        *value = (double)digits / powers[places];
        *value = *p == '-' ? -*value : *value;
        return end;
    }
    char *stopped;
    *value = strtod((const char *)p, &stopped); /* elsewhere than at the end where the locale has another point */
    return (Text)stopped == end && *value - *value == 0 ? end : NULL;
}

/* Read so many digits; return -1 if they are none. */
static int digits(Text p, int count) {
    int value = 0;
    while (count--) {
        if (!is_digit(*p))
            return -1;
        value = value * 10 + *p++ - '0';
    }
    return value;
}

/* Return the days since 1970-01-01 of a day that there is, else INT32_MIN. */
static int32_t days(int year, int month, int day) {
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    int is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0, past = year - 1;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > before[month] - before[month - 1] + (is_leap && month == 2))
        return INT32_MIN;
    return past * 365 + past / 4 - past / 100 + past / 400 + before[month - 1] + (is_leap && month > 2) + day - 719163;
}

/* Read a date-time from behind its quote to behind the next one, by the grammar of times.py: microseconds since 1970, UTC. */
static Text timestamp(Text p, int64_t *value, int *is_cut) {
    static const int64_t minute = 60000000, day = 86400000000;
    static const int32_t first = -719162, last = 2932896; /* 0001-01-01, 9999-12-31 */
    int32_t date = p[0] && p[1] && p[2] && p[3] && p[4] == '-' && p[5] && p[6] && p[7] == '-' ? days(digits(p, 4), digits(p + 5, 2), digits(p + 8, 2)) : INT32_MIN;
    int64_t clock = 0, offset = 0;
    *is_cut = 0;
    if (date == INT32_MIN)
        return NULL;
    p += 10;
    if (*p != '"') {
        if (*p != 'T' && *p != 't' && *p != ' ')
            return NULL;
        int hours = digits(p + 1, 2), minutes = hours < 0 || p[3] != ':' ? -1 : digits(p + 4, 2), seconds = 0, micros = 0;
        if (minutes < 0 || minutes > 59)
            return NULL;
        p += 6;
        if (*p == ':') {
            if ((seconds = digits(p + 1, 2)) < 0 || seconds > 60)
                return NULL;
            p += 3;
            if (*p == '.' || *p == ',') {
                int unit = 100000;
                if (!is_digit(*++p))
                    return NULL;
                for (; is_digit(*p); p++, unit /= 10) {
                    micros += (*p - '0') * unit;
                    *is_cut |= !unit && *p != '0';
                }
            }
        }
        clock = (hours * 60 + minutes) * minute + seconds * 1000000 + micros;
        if (hours > 23 && (clock != day || *is_cut))
            return NULL;
        p += *p == ' ' && p[1] != '"';
        if (*p == 'Z' || *p == 'z')
            p++;
        else if (*p == '+' || *p == '-') {
            int sign = *p == '-' ? -1 : 1, ahead = digits(p + 1, 2), more = 0;
            if (ahead < 0 || ahead > 23)
                return NULL;
            p += 3;
            if (*p != '"') {
                p += *p == ':';
                if ((more = digits(p, 2)) < 0 || more > 59)
                    return NULL;
                p += 2;
            }
            offset = sign * (ahead * 60 + more) * minute;
        }
    }
    *value = date * day + clock - offset;
    return *p == '"' && *value >= first * day && *value < (last + 1) * day ? p + 1 : NULL;
}

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
    case SKIP:
        return skip(p, end, 1);
    case INT:
        p = integer(p, &value.integer);
        break;
    case FLOAT:
        p = nearest(p, &value.real);
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

/* --- lines */

typedef struct {
    Columns *columns;
    PyObject *owner; /* who counts its rows */
} Stream;

typedef struct {
    PyObject_HEAD
    Names names;
    Stream *streams; /* by name */
    size_t last;     /* the stream of the line before */
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
        if ((kind == TEXT || kind == RAW) && !append(&self->columns[i].ends, &start, sizeof start)) {
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
    if (column->kind == TEXT || column->kind == RAW)
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

static PyObject *columns_rows(Columns *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(self->rows);
}

static PyObject *columns_size(Columns *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(self->size);
}

static PyObject *columns_lines(Columns *self, void *closure) {
    (void)closure;
    Py_INCREF(self->lines);
    return self->lines;
}

static PyMethodDef columns_methods[] = {
    {"take", (PyCFunction)columns_take, METH_NOARGS, "Return the numbers of the lines, and each column's parts; once."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef columns_members[] = {
    {"rows", (getter)columns_rows, NULL, "How many records were taken.", NULL},
    {"size", (getter)columns_size, NULL, "Bytes of their lines.", NULL},
    {"lines", (getter)columns_lines, NULL, "Where their lines are, as runs: [(lines, start, count), ...].", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject ColumnsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "target_meltano._reader.Columns",
    .tp_basicsize = sizeof(Columns),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = columns_new,
    .tp_dealloc = (destructor)columns_free,
    .tp_methods = columns_methods,
    .tp_getset = columns_members,
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

static void reader_forget(Reader *self) {
    for (size_t i = 0; i < self->names.count; i++) {
        Py_DECREF(self->streams[i].columns);
        Py_DECREF(self->streams[i].owner);
    }
    free(self->streams);
    self->streams = NULL;
    self->last = 0;
    clear_names(&self->names);
}

static void reader_free(Reader *self) {
    reader_forget(self);
    free(self->scratch.at);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *reader_clear(Reader *self, PyObject *nothing) {
    (void)nothing;
    reader_forget(self);
    Py_RETURN_NONE;
}

static PyObject *reader_put(Reader *self, PyObject *arguments) {
    const char *name;
    Py_ssize_t size;
    PyObject *columns, *owner;
    if (!PyArg_ParseTuple(arguments, "y#O!O", &name, &size, &ColumnsType, &columns, &owner))
        return NULL;
    Py_ssize_t at = find(&self->names, (Text)name, (size_t)size, self->last);
    if (at >= 0) {
        Py_DECREF(self->streams[at].columns);
        Py_DECREF(self->streams[at].owner);
    } else {
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
    Py_RETURN_NONE;
}

static int reader_has(Reader *self, PyObject *name) {
    char *at;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(name, &at, &size) < 0)
        return -1;
    return find(&self->names, (Text)at, (size_t)size, self->last) >= 0;
}

/* Let the columns know where their lines are, and return whose they are; both as runs. */
static PyObject *handed_over(PyObject *lines, Py_ssize_t start, const Line *found, size_t count) {
    PyObject *runs = PyList_New(0);
    for (size_t i = 0, first = 0; i < count && runs; i++) {
        const Stream *stream = found[i].stream;
        if (i + 1 < count && found[i + 1].stream == stream)
            continue;
        Py_ssize_t its = (Py_ssize_t)(i + 1 - first);
        PyObject *whose = Py_BuildValue("On", stream->owner, its), *where = Py_BuildValue("Onn", lines, start + (Py_ssize_t)first, its);
        if (!whose || !where || PyList_Append(runs, whose) < 0 || PyList_Append(stream->columns->lines, where) < 0)
            Py_CLEAR(runs);
        Py_XDECREF(whose);
        Py_XDECREF(where);
        first = i + 1;
    }
    return runs;
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
    for (size_t i = 0; i < self->names.count; i++)
        if (self->streams[i].columns->is_taken) {
            PyErr_SetString(PyExc_ValueError, "the columns were taken before");
            return NULL;
        }
    Line *found = located(lines, start, stop);
    if (!found)
        return NULL;
    size_t count = (size_t)(stop - start), done = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; done < count; done++)
        if (!line(self, &found[done], number + (long long)done, are_utf8))
            break;
    Py_END_ALLOW_THREADS
    PyObject *runs = handed_over(lines, start, found, done);
    free(found);
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
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = (destructor)reader_free,
    .tp_methods = reader_methods,
    .tp_as_sequence = &reader_as_sequence,
    .tp_doc = "Reads plain records of several streams into their Columns.",
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
