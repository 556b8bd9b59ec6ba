/** The vectors shared between repositories, and the tests that need them. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, test } from 'vitest';
import { SKIPPED_FOR_SHARED, sharedRoot } from './house/shared-root.ts';

export { sharedRoot };

/**
 * `describe` for tests that need the folder or file `path` of the shared root, whose absolute path they are given.
 * Without a shared root the body is not run (so it may read files while it declares tests) and one skipped test stands
 * for the group; test/house/shared-reporter.ts counts these. A shared root that lacks `path` is a fault: it throws.
 */
export function describeWithShared(path: string, name: string, body: (absolutePath: string) => void): void {
  describe(name, () => {
    if (!existsSync(sharedRoot)) {
      test.skipIf(true)(`${SKIPPED_FOR_SHARED}/${path}`, () => {});
      return;
    }
    const absolutePath = resolve(sharedRoot, path);
    if (!existsSync(absolutePath)) throw new Error(`Cannot test "${name}": the shared root lacks "${path}"`);
    body(absolutePath);
  });
}
