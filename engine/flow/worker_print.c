#include "flow/worker_print.h"

#include "base/err.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/worker.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM_MS = 500 }; /* how often a wait looks whether its connection is wanted */

/* How many bytes one write may have so that it does not block. A file or /dev/null never blocks; a
 * pipe that is ready takes PIPE_BUF bytes. So a stalled reader cannot keep us when a stop is
 * asked. */
static size_t portion(void)
{
    struct stat s;
    bool blocks = fstat(STDOUT_FILENO, &s) != 0 || !(S_ISREG(s.st_mode) || S_ISCHR(s.st_mode)) ||
                  isatty(STDOUT_FILENO);
    return blocks ? PIPE_BUF : 1 << 20;
}

static bool write_out(struct worker *w, const char *data, size_t len, struct err *e)
{
    size_t most = portion();
    while (len > 0) {
        if (stop_wait_fd(STDOUT_FILENO, POLLOUT, -1) == STOP_ASKED)
            return stop_err(e);
        ssize_t n = write(STDOUT_FILENO, data, len < most ? len : most);
        if (n < 0 && errno == EPIPE) {
            queue_enough(w->flow->queue); /* `| head` has read enough */
            return true;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return err_set(e, ERR_FINAL, "cannot write to standard output: %s", strerror(errno));
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

/* Waits until it is this worker's turn, or the queue has ended. The worker whose turn it is may
 * wait for a connection to PostgreSQL: then this one, which has printed nothing of its batch yet,
 * gives up its own. */
static bool wait_for_turn(struct worker *w, struct err *e)
{
    struct queue *q = w->flow->queue;
    watchdog_rest(); /* another worker prints */
    while (!queue_turn(q, w->batch, ROOM_MS) && !queue_ended(q))
        if (pg_pool_is_wanted(&w->pool))
            return err_set(e, ERR_PASSING,
                           "others wait for the connection to PostgreSQL; reading the rows again");
    return true;
}

bool worker_print(struct worker *w, struct err *e)
{
    struct buf *b = w->config->output == WORKER_BULK ? bulk_body(w->bulk) : &w->output;
    bool ok = true;
    if (b->len > 0 && !wait_for_turn(w, e))
        return false;
    if (b->len > 0 && !queue_ended(w->flow->queue))
        ok = write_out(w, b->data, b->len, e);
    tally_add(w->flow->tally, &(struct counts){.bytes = b->len});
    worker_count(w, &w->attempt.printed);
    w->attempt.printed = (struct counts){0};
    buf_clear(&w->output);
    bulk_clear(w->bulk);
    return ok;
}
