/* channel.c - a non-blocking socket and poll() make calls that end on time.
 * Invariants: fd is non-blocking and never passed on by exec; in holds unread bytes only beyond `taken`; scan belongs
 * to the bytes from `taken` on.
 * Failure: connect closes what it opened; after any other failure the caller closes, since the place in the stream
 * is lost. Name lookup is the one step that may outlast its deadline, as long as the resolver's own. */
#include "node/client/channel.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES 16384
#define IN_BYTES_KEPT (256 << 10) /* A larger buffer is given back once it is empty. */

int64_t channel_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void channel_init(struct channel *ch)
{
    *ch = (struct channel){.fd = -1};
}

void channel_close(struct channel *ch)
{
    if (ch->fd >= 0)
        close(ch->fd);
    ch->fd = -1;
    resp_buf_release(&ch->in);
    ch->taken = 0;
    ch->scan = (struct resp_scan){0};
}

bool channel_is_open(const struct channel *ch)
{
    return ch->fd >= 0;
}

static int fail(struct channel *ch, int rc, const char *why)
{
    snprintf(ch->why, sizeof ch->why, "%s", why);
    return rc;
}

static int fail_errno(struct channel *ch, int rc, int error)
{
    return fail(ch, rc, strerrordesc_np(error) != NULL ? strerrordesc_np(error) : "system error");
}

/* Until the socket is ready for one of `events` or has failed, which the next call on it will tell. */
static int wait_ready(struct channel *ch, short events, int64_t deadline_ms, short *ret_events)
{
    for (;;) {
        int64_t left = deadline_ms - channel_now_ms();
        struct pollfd poll_fd = {.fd = ch->fd, .events = events};
        int n = poll(&poll_fd, 1, left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left);
        if (n > 0) {
            *ret_events = poll_fd.revents;
            return 0;
        }
        if (n < 0 && errno != EINTR)
            return fail_errno(ch, CHANNEL_ECLOSED, errno);
        if (n == 0 && left <= 0)
            return fail(ch, CHANNEL_EDEADLINE, "timed out");
    }
}

/* ---- Connecting ---- */

static int await_connected(struct channel *ch, int64_t deadline_ms)
{
    short ready;
    int rc = wait_ready(ch, POLLOUT, deadline_ms, &ready);
    if (rc != 0)
        return rc;
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(ch->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    return error == 0 ? 0 : fail_errno(ch, CHANNEL_ECONNECT, error);
}

static int connect_one(struct channel *ch, const struct addrinfo *to, int64_t deadline_ms)
{
    ch->fd = socket(to->ai_family, to->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, to->ai_protocol);
    if (ch->fd < 0)
        return fail_errno(ch, CHANNEL_ECONNECT, errno);
    int rc = 0;
    if (connect(ch->fd, to->ai_addr, to->ai_addrlen) != 0)
        rc = errno == EINPROGRESS ? await_connected(ch, deadline_ms) : fail_errno(ch, CHANNEL_ECONNECT, errno);
    if (rc != 0) {
        channel_close(ch);
        return rc;
    }
    setsockopt(ch->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* Only a matter of speed. */
    return 0;
}

int channel_connect(struct channel *ch, const struct address *to, int64_t deadline_ms)
{
    assert(!channel_is_open(ch));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int gai = getaddrinfo(to->host, to->port, &hints, &found);
    if (gai != 0)
        return fail(ch, CHANNEL_ECONNECT, gai_strerror(gai));
    int rc = CHANNEL_ECONNECT;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        rc = connect_one(ch, a, deadline_ms);
        if (rc == 0 || rc == CHANNEL_EDEADLINE)
            break;
    }
    freeaddrinfo(found);
    return rc;
}

bool channel_is_quiet(struct channel *ch)
{
    char byte;
    if (ch->in.len > ch->taken)
        return false;
    ssize_t n = recv(ch->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* ---- Bytes ---- */

/* Replies given out make room for those to come. */
static void in_compact(struct channel *ch)
{
    if (ch->taken == ch->in.len && ch->in.cap > IN_BYTES_KEPT)
        resp_buf_release(&ch->in);
    else if (ch->taken > 0 && ch->taken >= ch->in.len / 2) {
        memmove(ch->in.base, ch->in.base + ch->taken, ch->in.len - ch->taken);
        ch->in.len -= ch->taken;
    } else {
        return;
    }
    ch->taken = 0;
}

/* What has arrived, if anything. */
static int read_some(struct channel *ch)
{
    in_compact(ch);
    if (!resp_reserve(&ch->in, READ_BYTES))
        return fail(ch, CHANNEL_ENOMEM, "out of memory");
    ssize_t n = recv(ch->fd, ch->in.base + ch->in.len, ch->in.cap - ch->in.len, 0);
    if (n > 0)
        ch->in.len += (size_t)n;
    if (n == 0)
        return fail(ch, CHANNEL_ECLOSED, "the node closed the connection");
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        return fail_errno(ch, CHANNEL_ECLOSED, errno);
    return 0;
}

/* As much as the kernel takes now. */
static int write_some(struct channel *ch, const char *bytes, size_t len, size_t *sent)
{
    ssize_t n = send(ch->fd, bytes, len, MSG_NOSIGNAL);
    if (n >= 0)
        *sent += (size_t)n;
    else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        return fail_errno(ch, CHANNEL_ECLOSED, errno);
    return 0;
}

int channel_send(struct channel *ch, const void *bytes, size_t len, int64_t deadline_ms)
{
    size_t sent = 0;
    int rc = write_some(ch, bytes, len, &sent);
    while (rc == 0 && sent < len) {
        short ready = 0;
        rc = wait_ready(ch, POLLOUT | POLLIN, deadline_ms, &ready);
        if (rc == 0 && (ready & POLLIN) != 0)
            rc = read_some(ch);
        if (rc == 0 && (ready & ~POLLIN) != 0)
            rc = write_some(ch, (const char *)bytes + sent, len - sent, &sent);
    }
    return rc;
}

/* ---- Replies ---- */

static int take_reply(struct channel *ch, struct resp_value **ret)
{
    if (resp_value_build(&ch->scan, ch->in.base + ch->taken, ret) != RESP_VALUE_DONE)
        return fail(ch, CHANNEL_ENOMEM, "out of memory");
    ch->taken += ch->scan.pos;
    ch->scan = (struct resp_scan){0};
    return 0;
}

static enum resp_value_status scan_more(struct channel *ch)
{
    size_t len = ch->in.len - ch->taken;
    return len == 0 ? RESP_VALUE_MORE : resp_value_scan(&ch->scan, ch->in.base + ch->taken, len);
}

int channel_receive(struct channel *ch, int64_t deadline_ms, struct resp_value **ret)
{
    enum resp_value_status status;
    while ((status = scan_more(ch)) == RESP_VALUE_MORE) {
        short ready;
        int rc = wait_ready(ch, POLLIN, deadline_ms, &ready);
        if (rc == 0)
            rc = read_some(ch);
        if (rc != 0)
            return rc;
    }
    if (status != RESP_VALUE_DONE)
        return fail(ch, CHANNEL_EPROTOCOL, "the answer is not RESP");
    return take_reply(ch, ret);
}
