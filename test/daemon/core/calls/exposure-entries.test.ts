import { expect, test } from 'vitest';
import {
  createExposureEntries,
  type ExposureEntriesComponents,
} from '../../../../daemon/core/calls/exposure-entries.ts';
import type { Exposure } from '../../../../daemon/core/calls/exposures.ts';
import { MeshError } from '../../../../protocol/index.ts';
import { quiet } from '../log/log-world.ts';

const EXPOSURE: Exposure = {
  name: 'files',
  server: { command: ['cat', '/srv'], cwd: '/srv', env: { TOKEN: 'secret-1' } },
  capability: null,
  needs: { write: 'write:files' },
  policy: 'ab'.repeat(32),
  description: null,
  origin: 'command',
};
const POLICY = { name: 'moderate', digest: 'ab'.repeat(32) };

function entriesWith(problem?: MeshError) {
  const announced: unknown[][] = [];
  const announce = async (...said: unknown[]) => {
    if (problem !== undefined) throw problem;
    announced.push(said);
    return () => {};
  };
  const recorder = { announce } as ExposureEntriesComponents['recorder'];
  return { announced, entries: createExposureEntries({ recorder, log: quiet }) };
}

/** The members of the entry about it. */
async function membersOf(exposure: Partial<Exposure>): Promise<Record<string, unknown>> {
  const { announced, entries } = entriesWith();
  await entries.exposed({ ...EXPOSURE, ...exposure }, POLICY);
  return announced[0]?.[1] as Record<string, unknown>;
}

test('an entry says which server, by digests that differ where it does', async () => {
  const members = await membersOf({});
  expect(members).toMatchObject({ server: 'files', origin: 'command', needs: 1, decidedBy: POLICY });
  expect(members).not.toHaveProperty('url');
  const other = await membersOf({ server: { command: ['cat', '/other'], cwd: '/srv', env: { TOKEN: 'secret-1' } } });
  expect(other['start']).not.toBe(members['start']);
  expect(other['mapping']).toBe(members['mapping']);
  const mapped = await membersOf({ needs: { write: 'write:other' } });
  expect(mapped['start']).toBe(members['start']);
  expect(mapped['mapping']).not.toBe(members['mapping']);
});

test('it holds neither what variables and headers hold nor the path of a URL, and no digest of the former', async () => {
  const members = await membersOf({});
  const again = await membersOf({ server: { command: ['cat', '/srv'], cwd: '/srv', env: { TOKEN: 'secret-2' } } });
  expect(again).toEqual(members);
  const url = 'https://mcp.example.com/tenant-7/mcp?key=secret-3';
  const reached = await membersOf({ server: { url, headers: { 'X-Key': 'secret-4' } } });
  expect(reached['url']).toBe('https://mcp.example.com');
  expect(JSON.stringify([members, reached])).not.toMatch(/secret|tenant/);
});

test('what the log cannot hold is not exposed, but withdrawn', async () => {
  const { entries } = entriesWith(new MeshError('log_halted', 'Cannot write'));
  await expect(entries.exposed(EXPOSURE, undefined)).rejects.toMatchObject({ code: 'log_halted' });
  expect((await entries.withdrawn('files', 'command'))(undefined)).toBeUndefined();
});
