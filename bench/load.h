/* bench/load.h: the load generator's parts.
 *
 * Why:    one loop measures everything alike; what is said on a connection is a protocol's business.
 * Shape:  load.c options, report -> load_run.c connections, loop -> load_ws.c or load_http.c requests, answers
 *         load_idle.c holds connections and asks the kernel what they cost.
 * Thread: one.
 * Errors: die: a figure from a run that went wrong is worth nothing.
 */
#ifndef PARLEY_BENCH_LOAD_H
#define PARLEY_BENCH_LOAD_H

#include "bench/histogram.h"
#include "src/base/base.h"

enum { LOAD_ID_HEX = 32, LOAD_WINDOW_MAX = 4096, LOAD_BODY_BYTES_MAX = 60000, LOAD_TOKEN_BYTES = 2049 };

struct load;

struct load_connection {
    int fd;
    uint32_t under_way;
    uint32_t owed; /* refused for being busy: to be sent again, or others instead, from `owed_ns` on */
    uint64_t owed_ns;
    uint64_t due_ns, number; /* HTTP: of the request under way */
    bool again;              /* HTTP: the request `number` is to be sent again */
    uint8_t *out, *in;
    size_t out_len, out_room, in_len, in_room;
    size_t answer_bytes; /* HTTP: of the answer that is coming, once its head is known */
    bool wants_write;
};

enum load_answer_kind {
    LOAD_NO_ANSWER, /* a greeting, a ping */
    LOAD_ANSWERED,
    LOAD_REFUSED, /* busy: again after retry_ms */
};

struct load_answer {
    enum load_answer_kind kind;
    uint64_t due_ns;
    uint32_t retry_ms;
    size_t body_bytes;
};

struct load_protocol {
    const char *unit; /* what is counted */
    uint32_t window_max;
    void (*open)(const struct load *l, struct load_connection *c); /* blocking; NULL: nothing to say */
    /* Appends a request that was due at `due_ns`. */
    void (*put)(struct load *l, struct load_connection *c, uint64_t due_ns);
    /* One whole message at the front; answers its length, 0 when it is not whole. */
    size_t (*take)(struct load *l, struct load_connection *c, const uint8_t *data, size_t len,
                   struct load_answer *out);
};

extern const struct load_protocol load_chat, load_echo, load_get, load_create;

struct load {
    /* options */
    const struct load_protocol *protocol;
    uint16_t port;
    uint32_t connections, window, body_bytes, idle;
    double seconds, rate;
    long server_pid;
    bool json;
    char token[LOAD_TOKEN_BYTES]; /* empty: none */
    const char *data_dir, *ids_path;
    char (*ids)[LOAD_ID_HEX + 1]; /* of conversations */
    uint32_t id_count, id_room;
    char **paths;
    uint32_t path_count;
    uint64_t create; /* conversations */
    uint64_t target; /* ends when so many are answered; 0: by time */
    /* state */
    int epoll;
    struct load_connection *all;
    uint64_t sent, end_ns, owed;
    bool measuring;
    /* result */
    struct histogram latency_ns;
    uint64_t received, refused, skipped, body_bytes_received;
};

/* load.c */
uint64_t load_now_ns(void);
_Noreturn void load_die(const char *what);
void *load_need(void *p);
/* A token of that user, signed with the secret in data_dir. */
void load_mint(const struct load *l, const char *user, char out[LOAD_TOKEN_BYTES]);

/* load_run.c */
int load_connect(const struct load *l, uint32_t index);
void load_write_all(int fd, const char *text, size_t len);
/* Room for `more` bytes behind out_len. */
void load_out_reserve(struct load_connection *c, size_t more);
void load_open(struct load *l);
void load_run(struct load *l, double seconds, bool measuring);
void load_close(struct load *l);

/* load_ws.c */
void load_ws_upgrade(int fd, const char *path, const char *token);
/* Length of the server's frame at the front, head included; 0 when it is not whole. */
size_t load_ws_frame(const uint8_t *p, size_t len, size_t *head);

/* load_http.c */
void load_paths_add(struct load *l, const char *path);

/* load_idle.c */
void load_idle(struct load *l);

#endif
