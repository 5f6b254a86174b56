// Starts GraphiQL on the endpoint the page names. Queries and mutations go by HTTP, subscriptions
// by graphql-transport-ws with the headers editor's Authorization as connection parameters.
"use strict";
(() => {
  const { React, createRoot, GraphiQL, createGraphiQLFetcher, createClient, setNonce } = globalThis.GraphiQLBundle;
  const mount = document.getElementById("graphiql");
  setNonce(document.currentScript.nonce); // open dialogs write a style element, which the policy must allow
  const endpoint = new URL(mount.dataset.endpoint, document.baseURI);
  const socket = new URL(endpoint);
  socket.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";

  const overHttp = createGraphiQLFetcher({
    url: endpoint.href,
    headers: { "GraphQL-Require-Preflight": "1" },
  });

  // The editor opens with "Bearer " and no token; sent so, it would read as a broken token.
  const filled = (headers) =>
    Object.fromEntries(Object.entries(headers ?? {}).filter(([, value]) => !/^\s*(bearer\s*)?$/i.test(value)));

  const authorization = (headers) => {
    const entry = Object.entries(headers).find(([name]) => name.toLowerCase() === "authorization");
    return entry ? { Authorization: entry[1] } : {};
  };

  // One socket for one Authorization: a token pasted anew needs a new connection_init.
  let current = { key: null, client: null };
  const client = (connectionParams) => {
    const key = JSON.stringify(connectionParams);
    if (current.key !== key) {
      current.client?.dispose();
      current = { key, client: createClient({ url: socket.href, connectionParams, lazy: true, retryAttempts: 3 }) };
    }
    return current.client;
  };

  const readable = (reason) =>
    reason instanceof CloseEvent ? new Error(`The socket closed: ${reason.code} ${reason.reason}`.trim()) : reason;

  const overSocket = (params, headers) => {
    const events = client(authorization(headers)).iterate(params);
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => events.next().catch((reason) => Promise.reject(readable(reason))),
        return: () => events.return(),
        throw: (reason) => events.throw(reason),
      }),
    };
  };

  const isSubscription = (document, operationName) =>
    (document?.definitions ?? []).some(
      (definition) =>
        definition.kind === "OperationDefinition" &&
        definition.operation === "subscription" &&
        (!operationName || definition.name?.value === operationName),
    );

  const fetcher = (params, options) => {
    const headers = filled(options?.headers);
    return isSubscription(options?.documentAST, params.operationName)
      ? overSocket(params, headers)
      : overHttp(params, { ...options, headers });
  };

  // GraphiQL writes the headers of each past query to local storage, whatever shouldPersistHeaders
  // says. A token stays in this tab's memory.
  const storage = {
    get length() {
      return localStorage.length;
    },
    clear: () => localStorage.clear(),
    getItem: (key) => localStorage.getItem(key),
    removeItem: (key) => localStorage.removeItem(key),
    setItem: (key, value) => localStorage.setItem(key, withoutHeaders(value)),
  };
  const withoutHeaders = (value) => {
    if (!value.includes('"headers"')) return value;
    try {
      return JSON.stringify(JSON.parse(value), (name, inner) => (name === "headers" ? undefined : inner));
    } catch {
      return value; // not JSON: the text of a query
    }
  };

  createRoot(mount).render(
    React.createElement(GraphiQL, {
      fetcher,
      defaultQuery: mount.dataset.defaultQuery,
      defaultHeaders: '{\n  "Authorization": "Bearer "\n}',
      defaultEditorToolsVisibility: "headers",
      isHeadersEditorEnabled: true,
      shouldPersistHeaders: false,
      storage,
    }),
  );
})();
