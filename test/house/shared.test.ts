import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { describeWithShared, sharedRoot } from '../shared.ts';

const root = join(import.meta.dirname, '..', '..');

// A run of this very file without a shared root; the variable keeps that run from starting another.
test.skipIf(process.env.AGENTMESH_SHARED === '/nowhere')(
  'without the shared root a group counts as one skipped test, named before the summary',
  async () => {
    const vitest = join(root, 'node_modules/vitest/vitest.mjs');
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [vitest, 'run', '--root', root, '--no-color', 'test/house/shared.test.ts'],
      { env: { ...process.env, AGENTMESH_SHARED: '/nowhere', NO_COLOR: '1', FORCE_COLOR: '0' } },
    );
    expect(stderr).toContain('1 group of tests SKIPPED');
    expect(stderr).toContain('the shared root > skipped for want of shared/vectors/identity');
    expect(stdout).toMatch(/Tests\s+2 skipped \(2\)/);
  },
);

describeWithShared('vectors/identity', 'the shared root', (absolutePath) => {
  test('lends its folder to the tests that name it', () => {
    expect(absolutePath).toBe(join(sharedRoot, 'vectors', 'identity'));
    expect(existsSync(join(absolutePath, 'ed25519'))).toBe(true);
  });
});
