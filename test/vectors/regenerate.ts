/** `npm run generate` writes every vector anew and removes those that are no longer made. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SETS } from './sets.ts';
import { filesOf, vectorsRoot } from './vectors.ts';

let count = 0;
for (const [name, set] of Object.entries(SETS)) {
  rmSync(join(vectorsRoot, name), { recursive: true, force: true });
  for (const [path, text] of filesOf(name, set)) {
    mkdirSync(dirname(join(vectorsRoot, path)), { recursive: true });
    writeFileSync(join(vectorsRoot, path), text);
    count++;
  }
}
process.stderr.write(`${count} vectors written\n`);
