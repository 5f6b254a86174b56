// Apollo Client runs the demo's three operations against a server; prints what it got as JSON.
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const here = dirname(fileURLToPath(import.meta.url));
const { url, token, assignmentId, gradeId, runId } = JSON.parse(process.argv[2]);
const Authorization = `Bearer ${token}`;
const document = (name) =>
  gql(readFileSync(join(resolve(here, "../.."), "ops/demo/operations", `${name}.graphql`), "utf8"));

const socket = createClient({
  url: url.replace("http", "ws"),
  webSocketImpl: WebSocket,
  connectionParams: { Authorization },
});
const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    new HttpLink({ uri: url, headers: { Authorization } }),
  ),
  cache: new InMemoryCache(),
});

const grades = await client.query({ query: document("grades"), variables: { assignmentId } });
const adjusted = await client.mutate({
  mutation: document("adjust"),
  variables: { input: { gradeId, scores: [], reason: "Read again, agreed." } },
});
const events = [];
await new Promise((done, fail) => {
  client
    .subscribe({ query: document("follow"), variables: { runId, afterSeq: 0 } })
    .subscribe({ next: (event) => events.push(event.data.gradingRun), error: fail, complete: done });
});
await socket.dispose();
console.log(
  JSON.stringify({
    submissions: grades.data.node.submissions.nodes.length,
    userErrors: adjusted.data.adjustGrade.userErrors,
    decidedBy: adjusted.data.adjustGrade.grade?.decidedBy,
    events: events.map((event) => event.seq),
    state: events.at(-1).run.state,
  }),
);
