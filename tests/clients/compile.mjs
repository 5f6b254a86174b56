// relay-compiler and graphql-codegen over the demo's three operations; prints a line each.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { generate } from "@graphql-codegen/cli";
import relay from "relay-compiler";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const operations = join(root, "ops/demo/operations");
const schema = join(root, "schema/schema.graphql");
const work = mkdtempSync(join(tmpdir(), "assay-clients-"));

mkdirSync(join(work, "src"));
writeFileSync(join(work, "schema.graphql"), readFileSync(schema));
for (const file of readdirSync(operations)) {
  const name = basename(file, ".graphql");
  const module = name[0].toUpperCase() + name.slice(1);
  const text = readFileSync(join(operations, file), "utf8");
  writeFileSync(
    join(work, "src", `${module}.js`),
    `const { graphql } = require("react-relay");\nmodule.exports = graphql\`\n${text}\`;\n`,
  );
}
writeFileSync(
  join(work, "relay.config.json"),
  JSON.stringify({ src: "./src", schema: "./schema.graphql", language: "javascript" }),
);
execFileSync(relay, ["relay.config.json"], { cwd: work, stdio: "pipe" });
const artifacts = readdirSync(join(work, "src/__generated__"));
console.log(`relay-compiler: ${artifacts.length} artifacts`);

const made = await generate(
  {
    schema,
    documents: join(operations, "*.graphql"),
    generates: { [join(work, "gql/")]: { preset: "client" } },
    silent: true,
  },
  false,
);
const types = made.map((file) => file.content).join("\n");
for (const name of ["GradesQuery", "AdjustMutation", "FollowSubscription"]) {
  if (!new RegExp(`export type ${name}\\w* =`).test(types)) throw new Error(`no type for ${name}`);
}
console.log(`graphql-codegen: ${made.length} files`);
