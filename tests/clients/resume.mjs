// A stock graphql-ws client whose socket is cut after its fifth event, in both ways of resuming.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const { url, token, runId } = JSON.parse(process.argv[2]);
const query = `subscription Follow($runId: ID!, $afterSeq: Int) {
  gradingRun(runId: $runId, afterSeq: $afterSeq) { seq kind run { state } task { id state } } }`;

function open() {
  let current;
  const client = createClient({
    url: url.replace("http", "ws"),
    webSocketImpl: class extends WebSocket {
      constructor(...args) {
        super(...args);
        current = this;
      }
    },
    connectionParams: { Authorization: `Bearer ${token}` },
    retryAttempts: 10,
    retryWait: () => new Promise((resume) => setTimeout(resume, 50)),
    shouldRetry: () => true,
  });
  return { client, cut: () => current.terminate() };
}

// As it comes: the client subscribes again by itself, with its original variables.
const stock = [];
let cuts = 0;
const first = open();
await new Promise((done, fail) => {
  first.client.subscribe(
    { query, variables: { runId, afterSeq: 0 } },
    {
      next: ({ data }) => {
        stock.push(data.gradingRun);
        if (stock.length === 5) {
          cuts += 1;
          first.cut();
        }
      },
      error: fail,
      complete: done,
    },
  );
});
await first.client.dispose();

// With its last seq: the README's loop.
const exact = [];
let afterSeq = 0;
for (let again = true; again; ) {
  const { client, cut } = open();
  let seen = 0;
  await new Promise((done) => {
    const stop = client.subscribe(
      { query, variables: { runId, afterSeq } },
      {
        next: ({ data }) => {
          if (data.gradingRun.kind !== "SNAPSHOT") exact.push(data.gradingRun);
          afterSeq = data.gradingRun.seq;
          seen += 1;
          if (seen === 5 && cuts < 2) {
            cuts += 1;
            stop();
            cut();
            done();
          }
        },
        error: done,
        complete: () => {
          if (cuts >= 2 && seen !== 5) again = false;
          done();
        },
      },
    );
  });
  await client.dispose();
}
console.log(
  JSON.stringify({
    cuts,
    stock: stock.map((event) => event.seq),
    stockTasks: Object.fromEntries(
      stock.filter((event) => event.task).map(({ task }) => [task.id, task.state]),
    ),
    stockState: stock.at(-1).run.state,
    exact: exact.map((event) => event.seq),
  }),
);
