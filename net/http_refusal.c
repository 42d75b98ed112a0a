#include "net/http_refusal.h"

#include "net/http_reply.h"
#include "src/base/error.h"

struct refusal {
    h2o_ostream_t super; /* first: h2o hands it back */
    h2o_iovec_t body;
};

static void put_body(h2o_ostream_t *super, h2o_req_t *req, h2o_iovec_t *parts, size_t count,
                     h2o_send_state_t state)
{
    struct refusal *refusal = (struct refusal *)super;
    (void)parts;
    if (!h2o_send_state_is_in_progress(state)) /* it comes in one piece */
        h2o_ostream_send_next(super, req, &refusal->body, count ? 1 : 0, state);
}

static void on_setup_ostream(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    (void)filter;
    int err = req->res.status == 413 ? PARLEY_ERR_TOO_LARGE : PARLEY_ERR_BAD_REQUEST;
    if (req->res.status >= 400 && req->res.status < 500) {
        struct refusal *refusal = (struct refusal *)h2o_add_ostream(req, sizeof *refusal, slot);
        refusal->super.do_send = put_body;
        refusal->body.base = h2o_mem_alloc_pool(&req->pool, HTTP_ERROR_BODY_BYTES);
        refusal->body.len = http_error_body(refusal->body.base, err, NULL, 0);
        req->res.content_length = refusal->body.len;
        h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, H2O_STRLIT("application/json"),
                       1);
        slot = &refusal->super.next;
    }
    h2o_setup_next_ostream(req, slot);
}

void http_refusal_register(h2o_pathconf_t *path)
{
    h2o_filter_t *filter = h2o_create_filter(path, sizeof *filter);
    filter->on_setup_ostream = on_setup_ostream;
}
