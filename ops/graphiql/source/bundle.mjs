// Builds assets/graphiql.js, assets/graphiql.css and assets/LICENSES.txt; README.md says how to run it.
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const [entry, assets] = process.argv.slice(2);
const result = await build({
  entryPoints: [entry],
  outfile: `${assets}/graphiql.js`,
  nodePaths: ["node_modules"],
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2020",
  charset: "utf8",
  legalComments: "none", // the licences are collected below, whole
  define: { "process.env.NODE_ENV": '"production"' },
  metafile: true,
});

// The embedded fonts are three quarters of the style sheet; the system's own fonts serve.
const css = `${assets}/graphiql.css`;
writeFileSync(css, readFileSync(css, "utf8").replace(/@font-face\{[^}]*\}/g, ""));

const packages = new Set();
for (const output of Object.values(result.metafile.outputs)) {
  for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
    const found = input.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/);
    if (found && bytesInOutput > 0) packages.add(found[0]);
  }
}
// These publish no licence file: the text their package.json names, as their repository has it.
const mit = (holder) => readFileSync("node_modules/react/LICENSE", "utf8").replace(/^Copyright.*$/m, holder);
const texts = [...packages].sort().map((folder) => {
  const { name, version, license, author } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.|-mit|$)/i.test(entry));
  if (!file && license !== "MIT") throw new Error(`${name} has no licence text`);
  const holder = `Copyright (c) ${typeof author === "string" ? author : (author?.name ?? `the authors of ${name}`)}`;
  const text = file ? readFileSync(`${folder}/${file}`, "utf8") : mit(holder);
  return `${name} ${version} (${license})\n${"-".repeat(72)}\n${text.trim()}\n`;
});
if (!existsSync(`${assets}/boot.js`)) throw new Error(`${assets} is not the folder of boot.js`);
writeFileSync(`${assets}/LICENSES.txt`, texts.join("\n\n").replaceAll("\r\n", "\n"));
console.log(`${packages.size} packages`);
