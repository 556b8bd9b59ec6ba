#!/usr/bin/env node
// Plain JavaScript of the plainest kind: an old Node must get as far as the message below.
// cli/bin.js and daemon/bin.js differ in the name only (test/house/bins.test.ts).
import { existsSync } from 'fs';

const name = 'agentmeshd';
const folder = 'daemon';

const wanted = [22, 18]; // the first Node that runs .ts files unasked; "engines" in package.json says the same
const found = process.versions.node.split('.').map(Number);

function exists(path) {
  return existsSync(new URL(path, import.meta.url));
}

if (found[0] < wanted[0] || (found[0] === wanted[0] && found[1] < wanted[1])) {
  let message = `Cannot start ${name}: Node is ${process.versions.node}, want >= ${wanted.join('.')}\n`;
  if (exists('../node_modules/node/bin/node')) message += `Run "npx ${name}": it finds the Node of this checkout\n`;
  process.stderr.write(message);
  process.exitCode = 1;
} else {
  // A checkout has main.ts beside this file, dist/ has main.js; in the package this file lies beside dist/.
  import(['./main.ts', './main.js'].find(exists) || `../dist/${folder}/main.js`);
}
