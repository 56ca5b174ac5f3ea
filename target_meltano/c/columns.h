/* What a stream's records look like, and the columns that they become. */

#define LONGEST INT32_MAX /* bytes in a column of texts: Arrow's offsets have 32 bits */

/* RAW: JSON as it is written; DIGITS: a number, as it is written; SKIP: only whether it came */
enum { BOOL, INT, FLOAT, TIME, TEXT, RAW, DIGITS, SKIP, KINDS };
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
    int is_reading; /* a Reader is at work on them, without the GIL */
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

static int has_ends(int kind) {
    return kind == TEXT || kind == RAW || kind == DIGITS;
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
    if (has_ends(column->kind))
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
        if (has_ends(column->kind)) {
            int32_t end = 0;
            column->ends.size = (into->rows + 1) * sizeof end;
            memcpy(&end, column->ends.at + into->rows * sizeof end, sizeof end);
            column->data.size = (size_t)end;
        } else if (column->kind != SKIP)
            column->data.size = into->rows * fixed_size(column->kind);
    }
}
