// Compares tests/data/versions.tsv with node's `semver`, the reference for semantic versions as npm
// reads them. ci/check-versions.py does the same with the reference for PEP 440.
//
//     npm install --prefix target/ci-node semver@7
//     node ci/check-versions.mjs target/ci-node/node_modules/semver/index.js
//
// Only pairs of two semantic versions are compared, and where PEP 440 reads both of them as something
// else than semantic versioning does, the table follows PEP 440: those are counted and named. Build
// metadata, which semver passes over and the table does not, is left out too. Exits with 1 when a pair
// is wrong.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const semver = createRequire(import.meta.url)(resolve(process.argv[2]));
const table = new URL("../tests/data/versions.tsv", import.meta.url);

// Phases that PEP 440 knows, so that it, not semantic versioning, has the say: 1.0.0-rc.1, 1.0.0-1.
const pep440 = /^v?\d+(\.\d+)*[-_.]?((a|b|c|rc|alpha|beta|pre|preview)[-_.]?\d*)?([-_.]?(post|rev|r)[-_.]?\d*|-\d+)?([-_.]?dev[-_.]?\d*)?$/i;

let checked = 0;
const otherwise = [];
const wrong = [];
readFileSync(table, "utf8").split("\n").forEach((line, at) => {
  if (line === "" || line.startsWith("#")) return;
  const [left, sign, right] = line.split("\t");
  const one = semver.parse(left);
  const other = semver.parse(right);
  if (!one || !other || one.build.length || other.build.length) return;
  checked += 1;
  const expected = ["<", "=", ">"][semver.compare(one, other) + 1];
  if (sign === expected) return;
  const said = `line ${at + 1}: ${left} ${sign} ${right}, but semver says ${expected}`;
  const phases = (one.prerelease.length && pep440.test(left)) || (other.prerelease.length && pep440.test(right));
  // Names that the table takes for one phase: `a` is `alpha`, `c`, `pre` and `preview` are `rc`.
  const alias = [one, other].some((it) => it.prerelease.some((part) => /^(a|b|c|pre|preview)$/i.test(part)));
  const cased = left.toLowerCase() !== left || right.toLowerCase() !== right;
  (phases || alias || cased ? otherwise : wrong).push(said);
});
for (const line of otherwise) console.log(`as PEP 440 has it, or one word in two spellings: ${line}`);
for (const line of wrong) console.log(`WRONG: ${line}`);
console.log(`${checked} pairs checked, ${otherwise.length} otherwise on purpose, ${wrong.length} wrong`);
process.exit(wrong.length || !checked ? 1 : 0);
