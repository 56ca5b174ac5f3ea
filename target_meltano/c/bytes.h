/* Bytes that grow; names, and where they stand. */

#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef const unsigned char *Text;

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
    grown[names->count] = (Name){copy, size};
    if ((names->count + 1) * 2 > names->mask) {
        size_t slots = names->mask ? (names->mask + 1) * 2 : 8;
        int32_t *made = realloc(names->slots, slots * sizeof(int32_t));
        if (!made) {
            free(copy);
            return 0;
        }
        names->slots = made;
        names->mask = slots - 1;
        memset(made, 0xff, slots * sizeof(int32_t));
        for (size_t i = 0; i < names->count; i++) {
            size_t slot = hash_of((Text)grown[i].at, grown[i].size);
            while (made[slot & names->mask] >= 0)
                slot++;
            made[slot & names->mask] = (int32_t)i;
        }
    }
    size_t slot = hash_of(at, size);
    while (names->slots[slot & names->mask] >= 0)
        slot++;
    names->slots[slot & names->mask] = (int32_t)names->count++;
    return 1;
}

static void clear_names(Names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i].at);
    free(names->names);
    free(names->slots);
    memset(names, 0, sizeof *names);
}
