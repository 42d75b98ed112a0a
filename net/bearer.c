#include "net/bearer.h"

#include "net/http_reply.h"
#include "net/query.h"
#include "src/base/error.h"
#include "src/machine/event.h"

static int check(struct jwt_verifier *tokens, struct span token, uint64_t now_ms, struct jwt_claims *claims)
{
    int err = jwt_verifier_check(tokens, token, now_ms, claims);
    if (!err && (claims->sub_len > USER_ID_BYTES_MAX || claims->device_len > DEVICE_ID_BYTES_MAX))
        err = -PARLEY_ERR_BAD_TOKEN;
    return err;
}

int bearer_check_field(struct jwt_verifier *tokens, struct span authorization, uint64_t now_ms,
                       struct jwt_claims *claims)
{
    enum { SCHEME_BYTES = sizeof "bearer " - 1 };
    if (authorization.len < SCHEME_BYTES ||
        !h2o_lcstris((const char *)authorization.data, SCHEME_BYTES, H2O_STRLIT("bearer ")))
        return -PARLEY_ERR_BAD_TOKEN;
    struct span token = {authorization.data + SCHEME_BYTES, authorization.len - SCHEME_BYTES};
    return check(tokens, token, now_ms, claims);
}

int bearer_check(struct jwt_verifier *tokens, h2o_req_t *req, bool query_allowed, uint64_t now_ms,
                 struct jwt_claims *claims)
{
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
    if (at >= 0)
        return bearer_check_field(tokens, http_span(req->headers.entries[at].value), now_ms, claims);
    struct query_param param = {.name = "access_token"};
    struct span path, query;
    query_split(http_span(req->path), &path, &query);
    uint8_t *room = h2o_mem_alloc_pool(&req->pool, req->path.len + 1);
    struct query_scratch scratch = query_scratch_of(room, req->path.len + 1);
    if (!query_allowed || query_read(query, &scratch, &param, 1, NULL) != 0 || !param.present)
        return -PARLEY_ERR_BAD_TOKEN;
    return check(tokens, param.value, now_ms, claims);
}
