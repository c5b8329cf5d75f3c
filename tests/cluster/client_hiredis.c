/* client_hiredis.c - what a C program does with a Redis library, against a Holdfast node: blocking calls, binary
 * values, a pipeline, errors. Usage: client_hiredis PORT. Prints the first thing that is not as it should be. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPELINE 1000

static int fail(const char *what)
{
    printf("client_hiredis: %s\n", what);
    return 1;
}

/* 0 when the reply is of this type with this text (NULL: any) or this number (for integers); frees it. */
static int differs(redisReply *reply, int type, const char *text, long long number)
{
    if (reply == NULL)
        return 1;
    int bad = reply->type != type || (text != NULL && strcmp(reply->str, text) != 0) ||
              (type == REDIS_REPLY_INTEGER && reply->integer != number);
    freeReplyObject(reply);
    return bad;
}

static int check_pipeline(redisContext *c)
{
    for (int i = 0; i < PIPELINE; i++)
        if (redisAppendCommand(c, "INCR hiredis:n") != REDIS_OK)
            return fail("redisAppendCommand");
    for (int i = 0; i < PIPELINE; i++) {
        void *reply;
        if (redisGetReply(c, &reply) != REDIS_OK || differs(reply, REDIS_REPLY_INTEGER, NULL, i + 1))
            return fail("pipelined INCR");
    }
    return 0;
}

static int check(redisContext *c)
{
    if (differs(redisCommand(c, "PING"), REDIS_REPLY_STATUS, "PONG", 0))
        return fail("PING");
    freeReplyObject(redisCommand(c, "DEL hiredis:s hiredis:n hiredis:none"));
    if (differs(redisCommand(c, "SET hiredis:s %b", "a\0b\r\n", (size_t)5), REDIS_REPLY_STATUS, "OK", 0))
        return fail("SET of binary");
    redisReply *reply = redisCommand(c, "GET hiredis:s");
    if (reply == NULL || reply->len != 5 || memcmp(reply->str, "a\0b\r\n", 5) != 0)
        return fail("GET of binary");
    freeReplyObject(reply);
    if (differs(redisCommand(c, "GET hiredis:none"), REDIS_REPLY_NIL, NULL, 0))
        return fail("GET of a missing key");
    if (differs(redisCommand(c, "INCR hiredis:s"), REDIS_REPLY_ERROR, "ERR value is not an integer or out of range", 0))
        return fail("INCR of a text");
    return check_pipeline(c);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return fail("usage: client_hiredis PORT");
    redisContext *c = redisConnect("127.0.0.1", atoi(argv[1]));
    if (c == NULL || c->err != 0)
        return fail("redisConnect");
    int rc = check(c);
    redisFree(c);
    return rc;
}
