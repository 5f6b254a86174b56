"""What `helm test` asks: is the server ready, and does it answer GraphQL?"""
# ruff: noqa: T201 - what the pod prints is its log

import sys

import httpx

# The Service itself, whatever proxy the environment names.
with httpx.Client(base_url=sys.argv[1], timeout=10, trust_env=False) as http:
    ready = http.get("/ready")
    print("/ready", ready.status_code, ready.text)
    answer = http.post("/graphql", json={"query": "{ __typename }"})
    print("/graphql", answer.status_code, answer.text)

if ready.status_code != 200 or answer.json() != {"data": {"__typename": "Query"}}:
    sys.exit("the server is not ready, or does not answer GraphQL")
