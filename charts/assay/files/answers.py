"""What `helm test` asks: is the server ready, and does it answer GraphQL?"""

import json
import sys
import urllib.request

base = sys.argv[1]
# A Service is reached directly, whatever proxy the image was given.
http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

with http.open(f"{base}/ready", timeout=10) as answer:
    print("/ready", answer.status, answer.read().decode())

question = urllib.request.Request(
    f"{base}/graphql",
    data=json.dumps({"query": "{ __typename }"}).encode(),
    headers={"Content-Type": "application/json", "Accept": "application/json"},
)
with http.open(question, timeout=10) as answer:
    found = json.load(answer)
    print("/graphql", answer.status, found)

if found != {"data": {"__typename": "Query"}}:
    sys.exit("the server does not answer GraphQL")
