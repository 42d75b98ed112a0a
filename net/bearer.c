#include "net/bearer.h"

#include "net/http_reply.h"
#include "net/query.h"
#include "src/base/error.h"
#include "src/machine/event.h"

static int find_token(h2o_req_t *req, bool query_allowed, struct span *token)
{
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
    if (at >= 0) {
        h2o_iovec_t value = req->headers.entries[at].value;
        if (value.len < 7 || !h2o_lcstris(value.base, 7, H2O_STRLIT("bearer ")))
            return -PARLEY_ERR_BAD_TOKEN;
        *token = (struct span){(const uint8_t *)value.base + 7, value.len - 7};
        return 0;
    }
    struct query_param param = {.name = "access_token"};
    struct span path, query;
    query_split(http_span(req->path), &path, &query);
    uint8_t *room = h2o_mem_alloc_pool(&req->pool, req->path.len + 1);
    struct query_scratch scratch = query_scratch_of(room, req->path.len + 1);
    if (!query_allowed || query_read(query, &scratch, &param, 1, NULL) != 0 || !param.present)
        return -PARLEY_ERR_BAD_TOKEN;
    *token = param.value;
    return 0;
}

int bearer_check(struct jwt_verifier *tokens, h2o_req_t *req, bool query_allowed, uint64_t now_ms,
                 struct jwt_claims *claims)
{
    struct span token;
    int err = find_token(req, query_allowed, &token);
    if (!err)
        err = jwt_verifier_check(tokens, token, now_ms, claims);
    if (!err && (claims->sub_len > USER_ID_BYTES_MAX || claims->device_len > DEVICE_ID_BYTES_MAX))
        err = -PARLEY_ERR_BAD_TOKEN;
    return err;
}
