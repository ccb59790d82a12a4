#include "base/notify.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { STATUS = 400, WAIT_S = 1 };

static bool several; /* read-only once threads have started */

/* "/run/systemd/notify", or "@name" in the kernel's own namespace. 0: there is none. */
static socklen_t find_socket(struct sockaddr_un *to)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t len = name ? strlen(name) : 0;
    if (len < 2 || len > sizeof to->sun_path - 1 || (name[0] != '/' && name[0] != '@'))
        return 0;
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to->sun_path, name, len);
    if (name[0] == '@')
        to->sun_path[0] = '\0';
    else
        len++;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* The socket is opened for each message: there are few, and nothing has to be kept or shared. */
static void tell(const char *text)
{
    int saved = errno;
    struct sockaddr_un to;
    socklen_t len = find_socket(&to);
    int fd = len ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd >= 0) {
        const struct timeval wait = {.tv_sec = WAIT_S}; /* its queue may be full */
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        ssize_t ignored =
            sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&to, len);
        (void)ignored; /* nobody to tell */
        close(fd);
    }
    errno = saved;
}

void notify_ready(void)
{
    tell("READY=1");
}

void notify_reloading(void)
{
    char text[80];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
    tell(text);
}

void notify_stopping(void)
{
    tell("STOPPING=1");
}

void notify_watchdog(void)
{
    tell("WATCHDOG=1");
}

/* A line break would begin another message; a character that was cut makes all of it invalid. */
static void clean(char *text)
{
    size_t len = strlen(text), at = len;
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    while (at > 0 && ((unsigned char)text[at - 1] & 0xC0) == 0x80)
        at--;
    if (len == STATUS - 1 && at > 0 && (unsigned char)text[at - 1] >= 0xC0)
        text[at - 1] = '\0'; /* perhaps not cut: one character less does no harm */
}

bool notify_hears(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}

void notify_several(void)
{
    several = true;
}

__attribute__((format(printf, 1, 0))) static void tell_status(const char *format, va_list args)
{
    char text[STATUS] = "STATUS=";
    const size_t start = strlen(text);
    if (!notify_hears() || vsnprintf(text + start, sizeof text - start, format, args) < 0)
        return;
    clean(text);
    tell(text);
}

void notify_status(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!several)
        tell_status(format, args);
    va_end(args);
}

__attribute__((format(printf, 1, 2))) static void tell_whole(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell_status(format, args);
    va_end(args);
}

void notify_whole_status(const char *text)
{
    tell_whole("%s", text);
}
