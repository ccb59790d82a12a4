#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t clock_thread_us(void)
{
    return now(CLOCK_THREAD_CPUTIME_ID);
}

int64_t clock_wall_us(void)
{
    return now(CLOCK_REALTIME);
}

char *clock_text(int64_t us, char out[CLOCK_TEXT])
{
    int64_t s = us / 1000000, rest = us % 1000000;
    if (rest < 0) {
        rest += 1000000;
        s--;
    }
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    snprintf(out, CLOCK_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)rest);
    return out;
}

char *clock_duration(int64_t us, char out[CLOCK_TEXT])
{
    int64_t s = us / 1000000 + (us % 1000000 >= 500000);
    if (us < 1000000)
        snprintf(out, CLOCK_TEXT, "%lld ms", (long long)(us / 1000));
    else if (us < 59950000) /* from here on, one decimal would show "60.0 s" */
        snprintf(out, CLOCK_TEXT, "%.1f s", (double)us / 1e6);
    else if (s < 3600)
        snprintf(out, CLOCK_TEXT, "%lld min %lld s", (long long)(s / 60), (long long)(s % 60));
    else
        snprintf(out, CLOCK_TEXT, "%lld h %lld min", (long long)(s / 3600),
                 (long long)(s % 3600 / 60));
    return out;
}

/* "", "Z", "+HH", "+HHMM" or "+HH:MM", up to the text's end. NULL: none of these. */
static const char *parse_zone(const char *p, int64_t *seconds)
{
    struct tm offset = {0};
    *seconds = 0;
    if (*p == 'Z')
        return p + 1;
    if (*p != '+' && *p != '-')
        return p;
    int sign = *p == '-' ? -1 : 1;
    if (!(p = strptime(p + 1, "%H", &offset)))
        return NULL;
    if (*p == ':')
        p++;
    if (*p && !(p = strptime(p, "%M", &offset)))
        return NULL;
    *seconds = sign * (offset.tm_hour * 3600 + offset.tm_min * 60);
    return p;
}

/* "HH:MM", "HH:MM:SS" or "HH:MM:SS.ffffff". NULL: none of these. */
static const char *parse_time_of_day(const char *p, struct tm *tm, int64_t *us)
{
    if (!(p = strptime(p, "%H:%M", tm)))
        return NULL;
    if (*p == ':' && !(p = strptime(p + 1, "%S", tm)))
        return NULL;
    if (*p != '.')
        return p;
    int64_t unit = 100000;
    for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
        *us += (*p - '0') * unit;
    return p;
}

bool clock_parse(const char *text, int64_t *us)
{
    struct tm tm = {.tm_mday = 1};
    int64_t fraction = 0, zone = 0;
    const char *p = strptime(text, "%Y-%m-%d", &tm);
    if (p && (*p == 'T' || *p == ' ') && p[1] && (p = parse_time_of_day(p + 1, &tm, &fraction)))
        p = parse_zone(p, &zone);
    if (!p)
        return false;
    int day = tm.tm_mday;
    *us = ((int64_t)timegm(&tm) - zone) * 1000000 + fraction;
    return !*p && tm.tm_mday == day; /* timegm makes 2 March of 30 February */
}

bool clock_is_ahead(int64_t us)
{
    static const int64_t day_us = (int64_t)24 * 3600 * 1000000;
    return us > clock_wall_us() + day_us;
}
