"""docs/openapi.yaml is true: what the server serves is in it, and what it answers is as it says."""
import os
import re

import jsonschema
import pytest
import requests
import yaml

from client import User, mint

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
NOWHERE = "0" * 32


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


SPEC = yaml.safe_load(text_of("docs/openapi.yaml"))
METHODS = ("get", "put", "post", "delete", "patch", "options", "head", "trace")


def operations():
    return {(m.upper(), path): item[m] for path, item in SPEC["paths"].items() for m in METHODS if m in item}


def resolved(node):
    while "$ref" in node:
        at = SPEC
        for key in node["$ref"].removeprefix("#/").split("/"):
            at = at[key]
        node = at
    return node


def check(schema, value):
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": SPEC["components"], **schema}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


def holds(method, path, answer):
    """The answer is one that the operation has, and has the form that stands there."""
    responses = operations()[method, path]["responses"]
    assert str(answer.status_code) in responses, (method, path, answer.status_code, answer.text)
    response = resolved(responses[str(answer.status_code)])
    assert answer.headers["content-type"] == "application/json"
    check(response["content"]["application/json"]["schema"], answer.json())
    return answer


def test_every_reference_leads_somewhere_and_every_example_is_one():
    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                resolved(node)
            if "schema" in node and "example" in node:
                check(node["schema"], node["example"])
            for example in node.get("examples", []) if "type" in node else []:
                check(node, example)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
    walk(SPEC)
    for schema in SPEC["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [o["operationId"] for o in operations().values()]
    assert len(names) == len(set(names))


def test_what_is_served_is_described_and_nothing_else():
    """The tables of the server's source are the list."""
    chat = set(re.findall(r'\{"([A-Z]+)", "(/v1/[^"]*)", \w+\}', text_of("net/chat_http.c")))
    door = {(m, p) for p, m in re.findall(r'\{"(/[^"]*)", "([A-Z]+)", false, \w+\}', text_of("net/http_server.c"))}
    assert len(chat) >= 12 and len(door) >= 3, "the tables have another form now: teach this test"
    assert set(operations()) == chat | door
    for path, item in SPEC["paths"].items():
        named = {resolved(p)["name"] for p in item.get("parameters", []) if resolved(p)["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))


def test_query_parameters_are_those_that_are_read():
    read = set(re.findall(r'\[CHAT_\w+\] = "(\w+)"', text_of("net/chat_http.c")))
    read |= set(re.findall(r'query_param param = \{\.name = "(\w+)"\}', text_of("net/chat_ws.c")))
    described = {resolved(p)["name"] for path, item in SPEC["paths"].items()
                 for p in item.get("parameters", []) + [q for m in METHODS for q in item.get(m, {}).get("parameters", [])]
                 if resolved(p)["in"] == "query"}
    assert described == read


def test_error_codes_are_those_of_the_table():
    table = text_of("src/base/error.h").split("Below here")[0]
    codes = set(re.findall(r'X\(\w+, "(\w+)", \d+', table))
    error = SPEC["components"]["schemas"]["Error"]["properties"]["error"]
    assert set(error["properties"]["code"]["enum"]) == codes


# -- each operation by at least one real request


@pytest.fixture(scope="module")
def world(server):
    ann = User(server, "ann")
    c = ann.create(["bob"])
    sent = ann.send(c, "hello").json()
    return ann, User(server, "bob"), c, sent


def fill(path, **values):
    return re.sub(r"\{(\w+)\}", lambda found: values[found.group(1)], path)


# operation -> the requests that must succeed, as (query, body)
GOOD = {
    ("GET", "/health"): [({}, None)],
    ("GET", "/ready"): [({}, None)],
    ("GET", "/v1/conversations"): [({}, None), ({"limit": 1, "after": NOWHERE}, None)],
    ("POST", "/v1/conversations"): [({}, {"type": "group", "client_id": "o1", "title": "t"}),
                                    ({}, {"type": "group", "client_id": "o1", "title": "t"}),
                                    ({}, {"type": "direct", "client_id": "o2", "members": ["carl"]})],
    ("GET", "/v1/conversations/{id}"): [({}, None)],
    ("GET", "/v1/conversations/{id}/members"): [({}, None), ({"all": "true", "page": 0}, None)],
    ("POST", "/v1/conversations/{id}/members"): [({}, {"client_id": "o3", "user": "dan", "role": "admin"}),
                                                 ({}, {"client_id": "o3", "user": "dan", "role": "admin"})],
    ("PUT", "/v1/conversations/{id}/members/{user}"): [({}, {"client_id": "o4", "role": "admin"})],
    ("DELETE", "/v1/conversations/{id}/members/{user}"): [({"client_id": "o5"}, None)],
    ("GET", "/v1/conversations/{id}/messages"): [({}, None), ({"after": 0, "limit": 1}, None),
                                                 ({"before": 2 ** 63}, None), ("around", None), ("client", None)],
    ("POST", "/v1/conversations/{id}/messages"): [({}, {"client_msg_id": "o6", "body": "x"}),
                                                  ({}, {"client_msg_id": "o6", "body": "x"})],
    ("POST", "/v1/conversations/{id}/fences"): [({}, {"client_msg_id": "o6"}), ({}, {"client_msg_id": "o8"})],
    ("GET", "/v1/conversations/{id}/messages/{message}"): [({}, None)],
    ("PUT", "/v1/conversations/{id}/receipt"): [({}, {"read": 1}), ({}, {"read": 1}), ({}, {"delivered": 1})],
    ("POST", "/v1/conversations/{id}/typing"): [({}, None)],
    ("GET", "/v1/conversations/{id}/members/{user}/presence"): [({}, None)],
    ("PUT", "/v1/users/me/presence"): [({}, {"state": "away"})],
    ("PUT", "/v1/users/me/profile"): [({}, {"client_id": "o7", "display_name": "Ann"})],
    ("GET", "/v1/users/{user}/profile"): [({}, None)],
}


def test_every_operation_answers_as_it_says(server, world):
    ann, bob, c, sent = world
    special = {"around": {"around": sent["id"]}, "client": {"client_msg_id": "ann-1"}}
    assert set(GOOD) | {("GET", "/v1/ws")} == set(operations()), "a new operation needs a request here"
    for (method, path), asks in sorted(GOOD.items(), key=lambda item: item[0][0] == "DELETE"):
        user = "ann" if path == "/v1/users/{user}/profile" else "bob"
        for query, body in asks:
            named = isinstance(query, str)
            answer = ann.call(method, fill(path, id=c, user=user, message=sent["id"]), json=body,
                              params=special[query] if named else query)
            assert answer.status_code in (200, 201), (method, path, answer.text)
            holds(method, path, answer)


@pytest.mark.parametrize("method, path", sorted(set(GOOD) | {("GET", "/v1/ws")}))
def test_every_refusal_is_one_that_is_described(server, world, method, path):
    ann, _, c, sent = world
    eve = User(server, "eve")
    where = fill(path, id=c, user="nobody", message=sent["id"])
    nowhere = fill(path, id=NOWHERE, user="nobody", message="1")
    asks = []
    if "security" in operations()[method, path] and not operations()[method, path]["security"]:
        return
    asks.append(requests.request(method, server.url + where, timeout=10))
    asks.append(ann.call(method, where, params={"as": "bob"}))
    asks.append(eve.call(method, where, params={"limit": "x"}, data=b"{"))
    if path != "/v1/ws":
        assert asks[0].status_code == 401 and asks[1].status_code == 403
    body = {"client_id": "r", "client_msg_id": "r", "body": "x", "user": "x", "role": "member", "type": "group",
            "display_name": "x", "state": "online"} if method in ("PUT", "POST") else None
    for target in (where, nowhere):
        asks.append(eve.call(method, target, params={"client_id": "r"}, json=body))
    asks.append(eve.call(method, where, data=b'{"x":"\xff"}'))
    if body:
        asks.append(eve.call(method, where, json={**body, "client_id": "x" * 65, "client_msg_id": "x" * 65}))
        asks.append(eve.call(method, where, data=iter([b"chunked"])))
    for answer in asks:
        holds(method, path, answer)


def test_the_description_of_tokens_is_true(server, world):
    assert SPEC["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    answer = requests.get(server.url + "/v1/ws", params={"access_token": mint(server, "ann")}, timeout=10)
    assert answer.status_code == 400  # the token is taken; it is only no upgrade
