#include "tools/client/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "src/base/error.h"

static const char SCHEME[] = "http://";

static bool keep(char *to, size_t room, const char *from, size_t len)
{
    if (len >= room)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)from[i] <= ' ' || (unsigned char)from[i] == 0x7f || strchr("@?#\\[]", from[i]))
            return false;
    memcpy(to, from, len);
    to[len] = 0;
    return true;
}

static bool port_valid(const char *port)
{
    size_t len = strlen(port);
    unsigned long number = strtoul(port, NULL, 10);
    return len > 0 && strspn(port, "0123456789") == len && number > 0 && number <= UINT16_MAX;
}

int url_parse(const char *text, struct url *out)
{
    struct url url = {.port = "80"};
    if (strncasecmp(text, SCHEME, sizeof SCHEME - 1) != 0)
        return -PARLEY_ERR_BAD_REQUEST;
    const char *host = text + sizeof SCHEME - 1;
    const char *end = host + strcspn(host, "/");
    const char *prefix = end;
    bool bracket = *host == '[';
    const char *host_end = bracket ? memchr(host, ']', (size_t)(end - host)) : host + strcspn(host, ":/");
    if (!host_end)
        return -PARLEY_ERR_BAD_REQUEST;
    const char *port = host_end + bracket;
    host += bracket;
    if (host_end == host || !keep(url.host, sizeof url.host, host, (size_t)(host_end - host)))
        return -PARLEY_ERR_BAD_REQUEST;
    if (port < end && (*port != ':' || !keep(url.port, sizeof url.port, port + 1, (size_t)(end - port - 1))))
        return -PARLEY_ERR_BAD_REQUEST;
    size_t prefix_len = strlen(prefix);
    while (prefix_len && prefix[prefix_len - 1] == '/')
        prefix_len--;
    if (!port_valid(url.port) || !keep(url.prefix, sizeof url.prefix, prefix, prefix_len))
        return -PARLEY_ERR_BAD_REQUEST;
    *out = url;
    return 0;
}
