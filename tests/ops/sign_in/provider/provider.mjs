// A certified OpenID provider on a port of its own: people "ann", "bob" and "eve", one confidential
// client (the server under test) and one public one (a script). `/control` changes what the
// published key set holds, and whether anything answers at all.
import http from "node:http";
import { Provider } from "oidc-provider";

const { port, redirectUri, resource } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const people = {
  ann: { email: "ann@example.edu", email_verified: true },
  bob: { email: "bob@example.edu", email_verified: false },
  eve: { email: "eve@elsewhere.org", email_verified: true },
  admin: { email: "admin@example.edu", email_verified: true },
};
const jwks = { keys: JSON.parse(process.argv[3]) };
const resourceServer = (audience) => ({
  scope: "api",
  audience,
  accessTokenTTL: 600,
  accessTokenFormat: "jwt",
  jwt: { sign: { alg: "RS256" } },
});
const provider = new Provider(issuer, {
  jwks,
  clients: [
    {
      client_id: "assay",
      client_secret: "a secret of at least thirty-two characters",
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code"],
    },
    {
      client_id: "script",
      token_endpoint_auth_method: "none",
      application_type: "native",
      redirect_uris: ["http://127.0.0.1/done"],
      grant_types: ["authorization_code"],
    },
  ],
  cookies: { keys: ["not a secret"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, indicator) => resourceServer(indicator),
      defaultResource: () => undefined,
      useGrantedResource: () => true,
    },
  },
  findAccount: (ctx, id) =>
    people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  ttl: { AccessToken: 600, IdToken: 600, Session: 600, Grant: 600, Interaction: 600 },
});

const state = { away: false, junk: [] };
const answer = provider.callback();
http
  .createServer(async (request, response) => {
    if (request.url.startsWith("/control")) {
      let body = "";
      for await (const chunk of request) body += chunk;
      Object.assign(state, JSON.parse(body));
      response.end("{}");
    } else if (state.away) {
      request.socket.destroy();
    } else if (request.url === "/jwks" && state.junk.length) {
      const keys = jwks.keys.map(({ kty, kid, n, e }) => ({ kty, kid, n, e, use: "sig" }));
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ keys: [...state.junk, ...keys] }));
    } else {
      answer(request, response);
    }
  })
  .listen(port, "127.0.0.1", () => console.log(`${issuer} for ${resource}`));
