/* Date-times, by the grammar of times.py, whose functions say what is right. */

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
    int year = digits(p, 4), month = year < 0 || p[4] != '-' ? -1 : digits(p + 5, 2);
    int32_t date = month < 0 || p[7] != '-' ? INT32_MIN : days(year, month, digits(p + 8, 2));
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
            if ((seconds = digits(p + 1, 2)) < 0 || seconds > 59) /* a leap second is told, or refused */
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
            if (!strncmp((const char *)p - 6, "+00:00+00:00\"", 13)) /* as tap-mysql marks what is deleted */
                p += 6;
        }
    }
    *value = date * day + clock - offset;
    return *p == '"' && *value >= first * day && *value < (last + 1) * day ? p + 1 : NULL;
}
