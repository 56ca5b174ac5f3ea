/* The grammar of JSON. Each function reads from a place on and returns where it ended, or NULL to refuse.

Behind each line stands its line end, or the NUL that ends a bytes object. No token goes on at either:
nothing else need be known of where a line ends, and a line with a NUL in it is refused. */

#include <float.h>
#include <math.h>

#define LEVELS 200 /* of nested values; deeper ones are left to the slow path */

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

/* Read NaN, Infinity or -Infinity, which JSON does not know and Python writes: values of numbers, if digits.NOT_FINITE
are what their column holds. */
static Text not_finite(Text p, double *value) {
    if (*p == 'N') {
        *value = NAN;
        return literal(p, "NaN");
    }
    *value = *p == '-' ? -INFINITY : INFINITY;
    return literal(p + (*p == '-'), "Infinity");
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
