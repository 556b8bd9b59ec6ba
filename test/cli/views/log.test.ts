import { describe, expect, test } from 'vitest';
import { createPaint } from '../../../cli/text/style.ts';
import type { View } from '../../../cli/text/table.ts';
import { formatConviction } from '../../../cli/views/convictions.ts';
import {
  auditRow,
  formatAudit,
  formatAuditCsv,
  formatEntryLine,
  formatLogStatus,
  formatVerdict,
  intentOf,
  logCell,
  shortType,
} from '../../../cli/views/log.ts';
import type { LogEntryView, LogStatus } from '../../../protocol/control/index.ts';
import { createAgent, createOrganisation, NOW_MS } from '../../builders.ts';

const view: View = { nowMs: NOW_MS, paint: createPaint(false), columns: undefined };
const at = (seconds: number): string => new Date(NOW_MS + seconds * 1000).toISOString();
const acme = createOrganisation('acme');
const beta = createOrganisation('beta');
const scout = createAgent(acme, 'scout');
const names = new Map([
  [acme.did, 'Acme'],
  [scout.did, 'scout'],
]);
const ID = '01a204bb-4ed0-7825-95a3-0aacf0e8cfed';
const entryOf = (data: unknown, more: Record<string, unknown> = {}): LogEntryView => ({
  index: 7,
  id: ID,
  entry: { time: '2026-11-18T11:06:40.123Z', type: 'agentmesh.agent.action.v1', data, ...more },
});
const action = { actor: scout.did, phase: 'outcome', op: 'execute_tool', tool: 'search' };

describe('a line of an entry', () => {
  test('is place, time, type, actor and facts, with names for what has one', () => {
    const entry = entryOf({ ...action, peer: acme.did, in: 'x', facts: { hits: 3 }, sig: { kid: 'k', sig: 's' } });
    expect(formatEntryLine(entry, view, names)).toBe(
      '     7  2026-11-18 11:06:40  agent.action          scout  op=execute_tool  tool=search  peer=Acme  in=x  hits=3\n',
    );
  });

  test('marks an intent, says what it is about, and leaves out what fills the screen', () => {
    const data = { actor: acme.did, phase: 'intent', statement: 'A'.repeat(500), binding: 'B', principal: acme.did };
    const entry = entryOf(data, { type: 'agentmesh.did.operation.v1', subject: scout.did });
    expect(formatEntryLine(entry, view, names)).toBe(
      '     7  2026-11-18 11:06:40  did.operation?        Acme  scout\n',
    );
    const long = formatEntryLine(entryOf({ ...action, facts: { text: 'x'.repeat(5_000) } }), view);
    expect(long.length).toBeLessThan(400);
  });

  test('cuts ids short on a terminal only', () => {
    const entry = entryOf({ ...action, peer: beta.did });
    expect(formatEntryLine(entry, view)).toContain(`peer=${beta.did}`);
    const narrow = formatEntryLine(entry, { ...view, columns: 80 });
    expect(narrow).toMatch(/peer=did:mesh:bafyrei[a-z2-7]{6}…\n$/);
  });

  test.each([
    ['without data', {}],
    ['with data of another kind', { data: [1] }],
    ['with numbers for texts', { time: 5, type: null, data: { actor: 7, phase: {}, op: [] } }],
    ['with a line in a text', { data: { ...action, tool: 'a\nb\u001b[2J' } }],
  ])('of an entry %s is one harmless line all the same', (_, change) => {
    const entry = { index: 7, id: ID, entry: { time: at(0), type: 'x', ...change } };
    const line = formatEntryLine(entry, view);
    expect(line.endsWith('\n') && !line.slice(0, -1).includes('\n')).toBe(true);
    expect(line).not.toContain('\u001b');
    expect(() => auditRow(entry)).not.toThrow();
  });

  test('types of other makers are shown in full', () => {
    expect(shortType('agentmesh.session.ended.v1')).toBe('session.ended');
    expect(shortType('com.example.ticket')).toBe('com.example.ticket');
  });
});

describe('decisions and approvals', () => {
  const policy = { hash: '0'.repeat(64), version: 'acme', rule: 'deletes-wait', decision: 'require_approval' };
  const refused = entryOf(
    {
      actor: scout.did,
      phase: 'outcome',
      action: 'tool_call',
      approval: '03aa03390ef948c7',
      code: 'approval_pending',
      in: 'C'.repeat(43),
      op: 'execute_tool',
      policy,
      server: 'files',
      tool: 'delete_file',
    },
    { type: 'agentmesh.action.refused.v1' },
  );
  const decided = entryOf(
    {
      actor: acme.did,
      phase: 'intent',
      approver: beta.did,
      at: at(0),
      decision: 'approve',
      digest: '0'.repeat(64),
      id: '03aa03390ef948c7',
      reason: 'seen',
      signature: 'S'.repeat(86),
    },
    { type: 'agentmesh.approval.decided.v1', subject: '03aa03390ef948c7' },
  );
  const people = new Map([...names, [beta.did, 'bob@beta.com']]);

  test('are lines that say what, by which rule, and by whom', () => {
    expect(formatEntryLine(refused, view, people)).toBe(
      '     7  2026-11-18 11:06:40  action.refused        scout  action=tool_call  tool=delete_file  server=files  ' +
        'decision=require_approval  rule=deletes-wait  policy=acme  approval=03aa03390ef948c7  code=approval_pending\n',
    );
    expect(formatEntryLine(decided, view, people)).toBe(
      '     7  2026-11-18 11:06:40  approval.decided?     Acme  decision=approve  approver=bob@beta.com  reason=seen  id=03aa03390ef948c7\n',
    );
  });

  test('are rows that say what, by which rule, and by whom', () => {
    const loaded = { actor: acme.did, phase: 'outcome', digest: 'd', name: 'acme', source: 'configuration' };
    const rows = [
      auditRow(refused),
      auditRow(decided),
      auditRow(entryOf(loaded, { type: 'agentmesh.policy.loaded.v1', subject: 'd' })),
    ];
    expect(rows).toMatchObject([
      { action: 'tool_call', resource: 'delete_file', outcome: 'approval_pending', rule: 'deletes-wait', approver: '' },
      { action: 'approval.decided', resource: '03aa03390ef948c7', decision: 'approve', approver: beta.did },
      { action: 'policy.loaded', resource: 'acme', outcome: 'ok', decision: '' },
    ]);
    expect(formatAudit(rows, view, people)).toMatch(
      / approval_pending +require_approval by deletes-wait +7\n.* approve by bob@beta.com +7\n/,
    );
  });
});

describe('the state of the log', () => {
  const status: LogStatus = {
    origin: 'agentmesh/v1/log/z6Mk/0',
    generation: 0,
    vkey: 'agentmesh/v1/log/z6Mk/0+01020304+AQ==',
    treeSize: 12,
    root: `${'A'.repeat(43)}=`,
    headAt: at(-60),
    headAgeSeconds: 60,
    released: {
      treeSize: 10,
      root: `${'A'.repeat(43)}=`,
      cosignatures: [{ name: 'w', did: beta.did, at: at(-5), ageSeconds: 5 }],
      quorumMet: true,
    },
    policy: '',
    watched: true,
    witnesses: [
      { name: 'w', did: beta.did, treeSize: 10, cosignedAt: at(-5), ageSeconds: 5, reachable: true, error: null },
      {
        name: 'v',
        did: null,
        treeSize: null,
        cosignedAt: null,
        ageSeconds: null,
        reachable: false,
        error: 'no answer',
      },
    ],
    problem: null,
    monitor: { logs: 1, checkpoints: 4, proven: 0, withheld: [] },
    mirrors: [],
  };

  test('says what is released, who cosigned and how long ago, and who did not answer', () => {
    const shown = formatLogStatus(status, view, new Map([[beta.did, 'Beta']]));
    expect(shown).toContain(`Released     10, 2 not yet\n`);
    expect(shown).toContain(`Cosigned by  ${beta.did} (Beta), 5 s ago by its clock\n`);
    expect(shown).toContain('Quorum       met\n');
    expect(shown).toContain('             v: has cosigned nothing yet; not connected; no answer\n');
    expect(shown).not.toContain('warning');
  });

  test('says whose logs do not show that they agree, and which copies are kept', () => {
    expect(formatLogStatus(status, view)).toMatch(
      /\nOther logs +1 log watched, 4 checkpoints compared\nCopies kept +-\n/,
    );
    const held = { organisations: [beta.did], treeSizes: [41, 57] as const, since: at(-300), last: at(-5), times: 3 };
    const withheld = [
      { ...held, origin: 'agentmesh/v1/log/z6Mk/0' },
      { ...held, origin: 'agentmesh/v1/log/z6Mj/0', organisations: [], times: 1 },
    ];
    const mirrors = [
      { did: beta.did, origin: 'agentmesh/v1/log/z6Mk/0', treeSize: 57, problem: null },
      { did: beta.did, origin: 'agentmesh/v1/log/z6Mk/1', treeSize: 0, problem: 'unreachable' },
    ];
    const monitor = { logs: 2, checkpoints: 9, proven: 1, withheld };
    const shown = formatLogStatus({ ...status, monitor, mirrors }, view, new Map([[beta.did, 'Beta']]));
    const lines = shown.split('\n').map((line) => line.trim());
    const first = lines.indexOf('Other logs   2 logs watched, 9 checkpoints compared');
    expect(lines.slice(first + 1, first + 6)).toEqual([
      '1 fork proven since the start: see "conviction list"',
      expect.stringMatching(
        /^did:mesh:\w+ \(Beta\): has not shown that its trees of 41 and 57 entries agree; asked 3 times since 5 min ago/,
      ),
      expect.stringMatching(/^agentmesh\/v1\/log\/z6Mj\/0: has not shown .* asked 1 time since/),
      `Copies kept  ${beta.did} (Beta): 57 entries`,
      `${beta.did} (Beta): 0 entries; could not be extended (unreachable)`,
    ]);
  });

  test('says that nobody watches, and that it is halted before anything else', () => {
    const alone = formatLogStatus({ ...status, released: null, watched: false, witnesses: [] }, view);
    expect(alone).toMatch(/\nCosigned by +nobody\n/);
    expect(alone).toMatch(/\nQuorum +none: the policy names no witness\n/);
    expect(alone).toContain('Nobody watches this log');
    const problem = { code: 'log_halted', message: 'the anchor is newer', place: 'log.anchor' };
    const halted = formatLogStatus({ ...status, problem, watched: false }, view);
    expect(halted).toMatch(/^Log .*\nState +HALTED: the anchor is newer\nSeen in +log\.anchor\n/);
    expect(halted).not.toContain('Nobody watches');
  });

  test('in the status of the daemon is one line, a warning wherever it is one', () => {
    const { origin, treeSize, headAt } = status;
    const log = {
      origin,
      treeSize,
      headAt,
      releasedSize: 12,
      cosigners: 2,
      quorumMet: true,
      watched: true,
      problem: null,
    };
    expect(logCell(log)).toBe('12 entries, 12 cosigned by 2 witnesses');
    expect(logCell({ ...log, watched: false })).toMatchObject({ text: '12 entries, nobody watches it', tone: 'warn' });
    expect(logCell({ ...log, quorumMet: false })).toMatchObject({ tone: 'warn' });
    const problem = { code: 'log_halted', message: 'why', place: null };
    expect(logCell({ ...log, problem })).toEqual({ text: 'HALTED: why', tone: 'bad' });
  });
});

describe('a verdict', () => {
  const report = {
    origin: 'agentmesh/v1/log/z6Mk/0',
    treeSize: 12,
    root: 'A',
    cosignatures: [],
    policy: null,
    entries: 12,
    signatures: 12,
    tiles: 1,
    since: [],
    entry: null,
  };
  const valid = { ok: true, code: null, message: null, data: {} };
  const policy = { from: 'FILE', enforced: false, quorumMet: false, hasQuorum: true };

  test('that is valid still says what was not looked at, and whose word the policy is', () => {
    expect(formatVerdict({ ...valid, report }, view)).toContain('not looked at: no policy');
    const shown = formatVerdict({ ...valid, report: { ...report, policy } }, view);
    expect(shown).toMatch(/\nQuorum +NOT met, by the policy of FILE, which came with the log: its maker's word\n$/);
    const none = { ...policy, enforced: true, hasQuorum: false, quorumMet: true };
    expect(formatVerdict({ ...valid, report: { ...report, policy: none } }, view)).toMatch(
      /\nQuorum +none is asked for by the policy of FILE\n$/,
    );
  });

  test('that is invalid names the code, what it means, the place and the message', () => {
    const verdict = { ok: false, code: 'bad_proof', message: 'Cannot accept x', data: { index: 5 }, report: null };
    expect(formatVerdict(verdict, view)).toMatch(
      /^invalid {2}bad_proof: a Merkle proof .*\n {9}at entry 5\n {9}Cannot accept x\n$/,
    );
  });
});

describe('an audit row', () => {
  const intent = entryOf({
    ...action,
    phase: 'intent',
    policy: { hash: 'x', version: '1', rule: null, decision: 'allow' },
  });
  const settled = (code: string): LogEntryView =>
    entryOf(
      { actor: scout.did, phase: 'outcome', intent: ID, result: { code } },
      { type: 'agentmesh.intent.settled.v1' },
    );

  test('is what was done, with what came of it', () => {
    expect(auditRow(intent)).toMatchObject({ outcome: 'intent', decision: 'allow', rule: '', settledBy: null });
    expect(auditRow(intent, settled('timeout'))).toMatchObject({
      action: 'execute_tool',
      outcome: 'timeout',
      settledBy: 7,
    });
    expect(auditRow(entryOf({ ...action, result: { code: 'ok' } }))).toMatchObject({
      outcome: 'ok',
      resource: 'search',
    });
    expect(intentOf(settled('ok'))).toEqual({ id: ID, isBare: true });
    expect(intentOf(entryOf({ ...action, intent: ID }))).toEqual({ id: ID, isBare: false });
    expect(intentOf(intent)).toBeUndefined();
  });

  test('as a table and as CSV says the same', () => {
    const rows = [auditRow(intent), auditRow(entryOf({ ...action, tool: '@SUM(1,2)' }))];
    expect(formatAudit(rows, view, names)).toMatch(
      /^TIME .*\n2026-11-18 11:06:40 +scout +execute_tool +search +intent +allow +7\n/,
    );
    expect(formatAudit([], view)).toBe('The audit log has no such entries.\n');
    const [, first, second] = formatAuditCsv(rows).split('\r\n');
    expect(first).toBe(
      `2026-11-18T11:06:40.123Z,${scout.did},agentmesh.agent.action.v1,execute_tool,search,intent,allow,,,7,${ID},`,
    );
    expect(second).toContain(`,"'@SUM(1,2)",`);
  });
});

test('a conviction whose notes cannot be read is shown as that', () => {
  const conviction = { did: beta.did, inForce: true, of: ['log'], proofs: [acme.genesis.id], lifted: null } as const;
  const proof = {
    id: acme.genesis.id,
    of: 'log',
    who: beta.did,
    a: 'AA',
    b: 'AA',
    rootOfAOnB: 'AA',
    proof: [],
    binding: 'AA',
  } as const;
  const shown = formatConviction({ conviction, proofs: [proof] }, view);
  expect(shown).toContain('State         convicted\n');
  expect(shown).toMatch(/\nOne note +not readable\n/);
});
