/* pg_sessions: which of the server's sessions are our own. */
#include "pg/pg_internal.h"

#include <assert.h>

void pg_session_remember(struct pg *pg, int64_t began_us)
{
    struct pg_share *s = pg->server->share;
    assert(pg->pid == 0);
    pg->pid = PQbackendPID(pg->conn);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < PG_SESSIONS; i++)
        if (s->sessions[i].pid == 0) {
            s->sessions[i] = (struct pg_session){pg->pid, began_us, pg->script_of};
            break;
        }
    pthread_mutex_unlock(&s->mutex);
}

void pg_session_forget(struct pg *pg)
{
    struct pg_share *s = pg->pid ? pg->share : NULL;
    if (!s)
        return;
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < PG_SESSIONS; i++)
        if (s->sessions[i].pid == pg->pid) {
            s->sessions[i] = (struct pg_session){0};
            break;
        }
    pthread_mutex_unlock(&s->mutex);
}

void pg_add_own_sessions(const struct pg_server *server, struct buf *pids, struct buf *began)
{
    struct pg_share *s = server->share;
    const char *comma = "";
    buf_addc(pids, '{');
    buf_addc(began, '{');
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < PG_SESSIONS; i++) {
        const struct pg_session *own = &s->sessions[i];
        if (own->pid == 0 || (own->script_of && own->script_of != server))
            continue;
        buf_addf(pids, "%s%d", comma, own->pid);
        buf_addf(began, "%s%lld", comma, (long long)own->began_us);
        comma = ",";
    }
    pthread_mutex_unlock(&s->mutex);
    buf_addc(pids, '}');
    buf_addc(began, '}');
}
