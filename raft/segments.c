/* segments.c - two sorted arrays.
 * Invariants: the first record of a file has index base + 1; the points are sorted by index, and thereby by file. */
#include "raft/segments.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

void segments_release(struct segments *s)
{
    free(s->list);
    free(s->points);
    *s = (struct segments){0};
}

int segments_add(struct segments *s, const struct segment *segment)
{
    assert(s->n == 0 || s->list[s->n - 1].number < segment->number);
    if (s->n == s->capacity) {
        size_t capacity = s->capacity == 0 ? 16 : s->capacity * 2;
        struct segment *list = realloc(s->list, capacity * sizeof *list);
        if (list == NULL)
            return LOG_ENOMEM;
        s->list = list;
        s->capacity = capacity;
    }
    s->list[s->n++] = *segment;
    return 0;
}

struct segment *segments_last(struct segments *s)
{
    assert(s->n > 0);
    return &s->list[s->n - 1];
}

const struct segment *segments_find(const struct segments *s, uint64_t number)
{
    if (s->n == 0 || number < s->list[0].number || number > s->list[s->n - 1].number)
        return NULL;
    size_t i = (size_t)(number - s->list[0].number); /* The numbers have no holes. */
    assert(i < s->n && s->list[i].number == number);
    return &s->list[i];
}

uint64_t segments_bytes(const struct segments *s)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->n; i++)
        bytes += s->list[i].end;
    return bytes;
}

static struct segments_point *points(const struct segments *s)
{
    return s->points + s->points_head;
}

static int points_reserve(struct segments *s)
{
    if (s->points_head + s->n_points < s->points_capacity)
        return 0;
    if (s->points_head > s->points_capacity / 2) { /* Half of it was dropped: move instead of growing. */
        memmove(s->points, points(s), s->n_points * sizeof *s->points);
        s->points_head = 0;
        return 0;
    }
    size_t capacity = s->points_capacity == 0 ? 64 : s->points_capacity * 2;
    struct segments_point *bigger = realloc(s->points, capacity * sizeof *bigger);
    if (bigger == NULL)
        return LOG_ENOMEM;
    s->points = bigger;
    s->points_capacity = capacity;
    return 0;
}

int segments_note(struct segments *s, uint64_t index, uint64_t segment, uint64_t offset, bool jump)
{
    const struct segments_point *last = s->n_points > 0 ? &points(s)[s->n_points - 1] : NULL;
    if (!jump && last != NULL && index - last->index < SEGMENTS_POINT_EVERY)
        return 0;
    assert(last == NULL || last->index < index);
    int rc = points_reserve(s);
    if (rc == 0)
        points(s)[s->n_points++] = (struct segments_point){index, segment, offset};
    return rc;
}

void segments_truncate(struct segments *s, uint64_t index)
{
    while (s->n_points > 0 && points(s)[s->n_points - 1].index >= index)
        s->n_points--;
}

const struct segments_point *segments_point(const struct segments *s, uint64_t index)
{
    size_t low = 0, high = s->n_points; /* Points before low are <= index, those from high on are > index. */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (points(s)[middle].index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &points(s)[low - 1] : NULL;
}

size_t segments_below(const struct segments *s, uint64_t index)
{
    size_t drop = 0;
    for (size_t i = 1; i < s->n; i++) /* The first record of list[i] replaced all of its index and above before it. */
        if (!segment_is_empty(&s->list[i]) && s->list[i].base_index <= index)
            drop = i;
    while (drop + 1 < s->n && segment_is_empty(&s->list[drop])) /* An empty file must not come first: it has no base. */
        drop++;
    return drop;
}

void segments_drop(struct segments *s, size_t n)
{
    assert(n < s->n);
    s->n -= n;
    memmove(s->list, s->list + n, s->n * sizeof *s->list);
    uint64_t first = s->list[0].number;
    while (s->n_points > 0 && points(s)->segment < first) {
        s->points_head++;
        s->n_points--;
    }
}
