import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { readSource, repositoryRoot } from './architecture.ts';
import { WRONG_SOURCES } from './wrong-sources.ts';

interface Report {
  readonly diagnostics: readonly { readonly code: string; readonly filename: string }[];
  readonly number_of_files: number;
}

test('the linter refuses every source that breaks an architecture rule', () => {
  const folder = mkdtempSync(join(tmpdir(), 'agentmesh-lint-'));
  try {
    // Without types: these rules need none. A root for each source, as the rules go by path and some paths are the same.
    const config = JSON.parse(readSource('.oxlintrc.json')) as object;
    const untyped = JSON.stringify({ ...config, options: {} });
    for (const [index, [path, source]] of WRONG_SOURCES.entries()) {
      const file = join(folder, String(index), path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, source);
      writeFileSync(join(folder, String(index), '.oxlintrc.json'), untyped);
    }
    const oxlint = join(repositoryRoot, 'node_modules/oxlint/bin/oxlint');
    const { stdout } = spawnSync(process.execPath, [oxlint, '-f', 'json'], { cwd: folder, encoding: 'utf8' });
    const report = JSON.parse(stdout) as Report;
    expect(report.number_of_files).toBe(WRONG_SOURCES.length);
    const refused = new Set(
      report.diagnostics
        .filter(({ code }) => code.includes('(no-restricted-'))
        .map(({ filename }) => Number.parseInt(filename, 10)),
    );
    expect(WRONG_SOURCES.filter((_, index) => !refused.has(index))).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
