import { afterEach, describe, expect, test } from 'vitest';
import { fromHex, isMeshError, limits, toHex, verifySignatures } from '../../../../protocol/index.ts';
import { assembleReceipt, signReceiptPayload } from '../../../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf } from '../../../builders.ts';
import { input, never, operator } from '../node-world.ts';
import { CalleeWorld, encode, type HandLink, live, yaml } from './callee-world.ts';

let world: CalleeWorld;
afterEach(async () => {
  await world.close();
});

const HOUR = 3_600;

describe('what is covered and allowed', () => {
  test('is done, taken, answered, and on the log with a receipt by both', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    expect(link.frames('opened')).toHaveLength(1);
    const { out, text, isError, frame } = await link.call('echo', { a: 1 });
    expect({ out, text, isError }).toEqual({ out: 'ok', text: '{"a":1}', isError: false });
    expect(world.servers.did).toEqual(['echo']);
    const [allowed] = await world.written('action.allowed');
    expect(allowed).toMatchObject({
      actor: world.clerk,
      peer: world.reader,
      session: link.session.sid,
      action: 'tool_call',
      tool: 'echo',
      server: 'files',
    });
    expect(allowed?.['delegation']).toMatchObject({ leaf: link.session.agreed.chain.at(-1)?.id });
    const [kept] = await world.written('receipt.kept');
    const of = { role: 'callee', n: 1, half: false, outcome: 'ok', intent: allowed?.['id'], peer: world.reader };
    expect(kept).toMatchObject(of);
    const { signer } = link.session.agreed;
    const receipt = assembleReceipt(frame.rcpt, [signReceiptPayload(frame.rcpt, signer), frame.sig]);
    expect(() => verifySignatures(receipt, isSignatureValidSodium)).not.toThrow();
  });

  test('is taken before the server sees it, and the taking names the order', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    await link.start('hang');
    await world.nodes.clock.advance(200);
    expect(world.servers.did).toEqual(['hang']);
    const [taken] = link.frames('taken');
    expect(taken?.n).toBe(1);
    expect((await world.written('action.allowed')).map(({ tool }) => tool)).toEqual(['hang']);
    expect(await world.written('receipt.kept')).toEqual([]);
  });

  test('that fails at the server is an error with a receipt', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    expect(await link.call('fail')).toMatchObject({ out: 'error', isError: true });
  });

  test('lists only what the session may call', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready({ capabilities: [{ can: 'mcp:files/read' }] });
    await link.tell({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    await world.nodes.clock.advance(200);
    const result = link.said().find(({ id }) => id === 1)?.['result'] as { tools: { name: string }[] };
    expect(result.tools.map(({ name }) => name)).toEqual(['read']);
  });
});

describe('what the chain does not cover', () => {
  test('is refused, names the link, is logged and has a receipt, and the server never sees it', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready({ capabilities: [{ can: 'mcp:files/read' }] });
    const { out, code, text } = await link.call('echo');
    expect({ out, code }).toEqual({ out: 'refused', code: 'caps_insufficient' });
    const root = link.session.agreed.chain[0]?.id ?? '';
    expect(text).toContain(`Link "${root}" does not cover "mcp:files/echo"`);
    expect(world.servers.did).toEqual([]);
    const [refused] = await world.written('action.refused');
    expect(refused).toMatchObject({ code: 'caps_insufficient', tool: 'echo', peer: world.reader, actor: world.clerk });
    expect(await world.written('receipt.kept')).toMatchObject([
      { n: 1, half: false, outcome: 'refused', intent: refused?.['id'] },
    ]);
  });

  test('is refused within a session that asked for less than its links grant', async () => {
    world = await new CalleeWorld().open();
    const grant = await world.grant();
    const link = await world.openLink(await world.session(grant, [{ can: 'mcp:files/read' }]));
    expect(await link.call('echo')).toMatchObject({ out: 'refused', code: 'caps_insufficient' });
    expect(await link.call('read')).toMatchObject({ out: 'ok' });
  });

  test('is refused where resources are granted and a path lies elsewhere, or none is named', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready({ capabilities: [{ can: 'mcp:files/*', res: ['/srv/reports/'] }] });
    expect(await link.call('read', { path: '/srv/reports/q3.txt' })).toMatchObject({ out: 'ok' });
    expect(await link.call('read', { path: '/etc/passwd' })).toMatchObject({ out: 'refused' });
    expect(await link.call('read', { a: '/srv/reports/q3.txt', b: '/srv/other' })).toMatchObject({ out: 'refused' });
    expect(await link.call('read')).toMatchObject({ out: 'refused', code: 'caps_insufficient' });
    expect(world.servers.did).toEqual(['read']);
  });

  test('is a tool for which the exposure names a capability that is not granted, however it is spelt', async () => {
    world = await new CalleeWorld().open({ needs: { read: 'pay:reading' } });
    const link = await world.ready();
    expect(await link.call('read')).toMatchObject({ out: 'refused', code: 'caps_insufficient' });
    expect(await link.call('READ')).toMatchObject({ out: 'refused', code: 'caps_insufficient' });
    expect(await link.call('echo')).toMatchObject({ out: 'ok' });
  });

  test('is a server that is not exposed, or of which the session may do nothing: both answered alike', async () => {
    world = await new CalleeWorld().open();
    const session = await world.session(await world.grant({ capabilities: [{ can: 'mcp:other/*' }] }), [
      { can: 'mcp:other/*' },
    ]);
    const hidden = await world.openLink(session, 'files');
    const absent = await world.openLink(session, 'nothing');
    expect(hidden.frames('rej')).toMatchObject([{ code: 'not_found' }]);
    expect(absent.frames('rej')[0]?.why).toBe(hidden.frames('rej')[0]?.why.replace('files', 'nothing'));
    expect(await world.written('action.refused')).toMatchObject([{ code: 'not_found' }, { code: 'not_found' }]);
  });
});

describe('what is critical', () => {
  test('is done after the issuers were asked now, and refused while they do not answer', async () => {
    world = await new CalleeWorld().open({ needs: { echo: 'pay:invoices' } });
    const link = await world.ready({ capabilities: [{ can: 'pay:invoices' }, { can: 'mcp:files/*' }] });
    expect(await link.call('echo', {}, {}, 1_000)).toMatchObject({ out: 'ok' });
    const pull = world.acme.node.freshness.freshen.bind(world.acme.node.freshness);
    world.acme.node.freshness.freshen = async (did, how) => (did === world.beta.did ? undefined : pull(did, how));
    await world.nodes.clock.advance(1_000);
    expect(await link.call('echo', {}, {}, 1_000)).toMatchObject({ out: 'refused', code: 'status_stale' });
    expect(world.servers.did).toEqual(['echo']);
  });
});

describe('rates of links', () => {
  test('are used up by what goes ahead, and name the link', async () => {
    world = await new CalleeWorld().open();
    const grant = { capabilities: [{ can: 'mcp:files/*' }], rates: [{ can: 'mcp:files/echo', n: 2, per: HOUR }] };
    const link = await world.ready(grant);
    expect(await link.call('echo')).toMatchObject({ out: 'ok' });
    expect(await link.call('echo')).toMatchObject({ out: 'ok' });
    const { out, code, text } = await link.call('echo');
    expect({ out, code }).toEqual({ out: 'refused', code: 'limit_exceeded' });
    expect(text).toMatch(/Link "bafy[a-z2-7]+" allows 2\/hour of "mcp:files\/echo", and they are used up/);
    expect(await link.call('read')).toMatchObject({ out: 'ok' });
  });

  test('are shared by siblings below one link, over sessions and restarts', async () => {
    world = await new CalleeWorld().open();
    const capabilities = [{ can: 'mcp:files/*' }];
    const parent = await world.grant({ capabilities, rates: [{ can: 'mcp:files/*', n: 2, per: HOUR }], depth: 2 });
    const sibling = await world.employ(world.beta, 'sibling');
    const body = { as: world.reader, from: parent, to: sibling, capabilities };
    const { link: child } = await world.during(world.beta.api.delegationCreate(input(body), operator, never));
    await world.nodes.clock.advance(500);
    const first = await world.openLink(await world.session(parent, capabilities));
    const second = await world.openLink(await world.session(child.id, capabilities, sibling));
    expect(await first.call('echo')).toMatchObject({ out: 'ok' });
    expect(await second.call('echo')).toMatchObject({ out: 'ok' });
    expect(await second.call('echo')).toMatchObject({ code: 'limit_exceeded' });
    expect(await first.call('echo')).toMatchObject({ code: 'limit_exceeded' });
    await world.reopenAcme();
    const again = await world.openLink(await world.session(parent, capabilities));
    expect(await again.call('echo')).toMatchObject({ code: 'limit_exceeded' });
    expect(world.servers.did).toEqual(['echo', 'echo']);
  });
});

describe('policies of the callee', () => {
  const DENY = yaml(
    ['{name: no-echo, description: Nobody echoes, condition: "tool.name == \'echo\'", action: deny}'],
    'default: allow',
  );

  test('deny with their rule, and tell nothing of its condition', async () => {
    world = await new CalleeWorld([live(DENY)]).open();
    const link = await world.ready();
    const { out, code, text, body } = await link.call('echo');
    expect({ out, code }).toEqual({ out: 'denied', code: 'policy_denied' });
    expect(text).toContain('Rule "no-echo" of policy "base" denies it: Nobody echoes');
    expect(new TextDecoder().decode(body)).not.toContain('tool.name');
    expect(await world.written('action.refused')).toMatchObject([{ code: 'policy_denied', peer: world.reader }]);
    expect(await world.written('receipt.kept')).toMatchObject([{ outcome: 'denied', half: false }]);
  });

  test('know who calls: another organisation, its agent, the score and the chain', async () => {
    const rule = (condition: string) => yaml([`{name: known, condition: "${condition}", action: allow}`]);
    world = await new CalleeWorld().open();
    const link = await world.ready();
    for (const condition of [
      `agent.organisation == '${world.beta.did}'`,
      `peer.did == '${world.reader}'`,
      'trust.score >= 300',
      `'mcp:files/*' in delegation.capabilities`,
    ]) {
      world.sources = [live(rule(condition))];
      await world.during(world.acme.node.governance.library.reload());
      expect(await link.call('echo'), condition).toMatchObject({ out: 'ok' });
    }
    world.sources = [live(rule(`agent.organisation == '${world.acme.did}'`))];
    await world.during(world.acme.node.governance.library.reload());
    expect(await link.call('echo')).toMatchObject({ out: 'denied' });
  });

  test('that change so that they deny end what runs, and the rest goes on', async () => {
    world = await new CalleeWorld([live(yaml([], 'default: allow'))]).open();
    const link = await world.ready();
    const n = await link.start('hang');
    await world.nodes.clock.advance(200);
    world.sources = [
      live(yaml(['{name: no-hang, condition: "tool.name == \'hang\'", action: deny}'], 'default: allow')),
    ];
    await world.during(world.acme.node.governance.library.reload());
    expect(link.result(n)).toMatchObject({ out: 'cancelled', code: 'policy_changed' });
    expect(await link.call('echo')).toMatchObject({ out: 'ok' });
    const cancelled = world.servers.opened[0]?.sent.filter(({ kind }) => kind === 'notification');
    expect(cancelled).toMatchObject([{ method: 'notifications/cancelled', params: { requestId: `call ${n}` } }]);
  });

  test('that change while what they allowed is being logged end it too', async () => {
    world = await new CalleeWorld([live(yaml([], 'default: allow'))]).open();
    const link = await world.ready();
    await link.call('echo'); // with whatever is written at first
    const { store } = world;
    const disk = Promise.withResolvers<void>();
    const batch = store.batch.bind(store);
    store.batch = async (...of) => {
      await disk.promise;
      return batch(...of);
    };
    const n = await link.start('hang');
    await world.nodes.clock.advance(200);
    world.sources = [live(yaml([], 'default: deny'))];
    await world.during(world.acme.node.governance.library.reload());
    expect(world.servers.did).toEqual(['echo']);
    disk.resolve();
    await world.nodes.clock.advance(200);
    expect(link.result(n)).toMatchObject({ out: 'cancelled', code: 'policy_changed' });
  });
});

describe('approvals', () => {
  const ASK = yaml(
    ['{name: ask, condition: "tool.name == \'echo\'", action: require_approval, approvers: [clerk@example.com]}'],
    'default: allow',
  );
  const pending = async (): Promise<string> =>
    (await world.acme.api.approvalList(input(undefined), operator, never)).approvals[0]?.id ?? '';

  test('hold the call with progress, and let it through once somebody of the callee gave one', async () => {
    world = await new CalleeWorld([live(ASK)]).open();
    const link = await world.ready();
    const n = await link.start('echo', {}, { meta: { progressToken: 'p' } });
    await world.nodes.clock.advance(6_000);
    const progress = link.said().filter(({ method }) => method === 'notifications/progress');
    expect(progress.length).toBeGreaterThan(0);
    expect(world.servers.did).toEqual([]);
    const { sponsors } = await world.acme.api.sponsorList(input(undefined), operator, never);
    const body = { decision: 'approve' as const, approver: sponsors[0]?.did ?? '', reason: 'looked at it' };
    await world.during(world.acme.api.approvalDecide(input(body, { id: await pending() }), operator, never), 6_000);
    expect(link.result(n)).toMatchObject({ out: 'ok' });
    expect(await world.written('approval.requested')).toMatchObject([{ actor: world.clerk, peer: world.reader }]);
  });

  test('that nobody gives in time are told to be those of the other organisation, without who they are', async () => {
    world = await new CalleeWorld([live(ASK)]).open();
    const link = await world.ready();
    const n = await link.start('echo');
    await world.nodes.clock.advance(limits.EXPOSED_APPROVAL_WAIT_MS + 1_000);
    const { out, code, text, body } = link.result(n);
    expect({ out, code }).toEqual({ out: 'denied', code: 'approval_pending' });
    expect(text).toContain(`approval ${await pending()} by somebody of "${world.acme.did}"`);
    const said = new TextDecoder().decode(body);
    expect(said).not.toContain('agentmesh approvals');
    expect(said).not.toContain('clerk@example.com');
  });
});

describe('orders', () => {
  async function violated(link: HandLink, code: string): Promise<void> {
    await world.nodes.clock.advance(500);
    expect(link.ended()?.code).toBe(code);
    expect(link.frames('result').length).toBeLessThanOrEqual(1);
    const refused = await world.written('action.refused');
    expect(refused.at(-1)).toMatchObject({ action: 'peer_call', code, peer: world.reader });
  }

  test('with a number that was used end the link, also from another link of the session', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    const other = await world.openLink(link.session);
    expect(await link.call('echo', {}, { n: 7 })).toMatchObject({ out: 'ok' });
    await other.start('echo', {}, { n: 7 });
    await violated(other, 'replay');
    await link.start('echo', {}, { n: 7 });
    await violated(link, 'replay');
    expect(world.servers.did).toEqual(['echo']);
  });

  test('may come out of order by number', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    expect(await link.call('echo', {}, { n: 9 })).toMatchObject({ out: 'ok' });
    expect(await link.call('echo', {}, { n: 3 })).toMatchObject({ out: 'ok' });
  });

  test('that another key signed are nobody’s: the link ends', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    await link.start('echo', {}, { signer: keyOf('somebody else') });
    await violated(link, 'bad_signature');
    expect(world.servers.did).toEqual([]);
    expect(await world.written('receipt.kept')).toEqual([]);
  });

  test('of another session, handshake, caller or callee are refused', async () => {
    world = await new CalleeWorld().open();
    const grant = await world.grant();
    const session = await world.session(grant);
    const wrong = [
      { sid: fromHex('00'.repeat(16)) ?? new Uint8Array() },
      { hs: new Uint8Array(32) },
      { iss: world.clerk },
      { aud: world.reader },
      { n: 99 },
    ];
    for (const order of wrong) {
      const link = await world.openLink(session);
      await link.start('echo', {}, { order });
      await violated(link, 'conflict');
    }
    expect(world.servers.did).toEqual([]);
  });

  test('dated outside of the session are refused: their receipt would be judged by what held then', async () => {
    world = await new CalleeWorld().open();
    const session = await world.session(await world.grant());
    const openedSeconds = Math.floor(session.openedMs / 1000);
    const wrong = [
      ['conflict', 1],
      ['conflict', openedSeconds - limits.SKEW_SECONDS - 2],
      ['too_early', openedSeconds + 2 * limits.SKEW_SECONDS],
    ] as const;
    for (const [code, iat] of wrong) {
      const link = await world.openLink(session);
      await link.start('echo', {}, { order: { iat } });
      await violated(link, code);
    }
    expect(world.servers.did).toEqual([]);
    const link = await world.openLink(session);
    expect(await link.call('echo', {}, { order: { iat: openedSeconds - limits.SKEW_SECONDS } })).toMatchObject({
      out: 'ok',
    });
  });

  test('for another server or request are refused with a receipt, since they are the caller’s', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    expect(await link.call('echo', {}, { order: { srv: 'other' } })).toMatchObject({
      out: 'refused',
      code: 'conflict',
    });
    expect(await link.call('echo', {}, { order: { req: new Uint8Array(32) } })).toMatchObject({
      out: 'refused',
      code: 'conflict',
    });
    expect(await world.written('action.refused')).toMatchObject([{ code: 'conflict' }, { code: 'conflict' }]);
    expect(await world.written('receipt.kept')).toHaveLength(2);
    expect(world.servers.did).toEqual([]);
  });

  test('for what is no message, or no call, are refused with a receipt', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    expect(await link.call('echo', {}, { body: encode('{'.repeat(3)) })).toMatchObject({ out: 'refused' });
    const list = encode({ jsonrpc: '2.0', id: 'l', method: 'tools/list' });
    expect(await link.call('echo', {}, { body: list })).toMatchObject({ out: 'refused', code: 'malformed' });
    expect(await link.call('echo')).toMatchObject({ out: 'ok' });
  });

  test('are needed by whatever may do something; what has none is not passed on', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    await link.tell({ jsonrpc: '2.0', id: 5, method: 'tools/call', params: { name: 'echo' } });
    await link.tell({ jsonrpc: '2.0', id: 6, method: 'vendor/do' });
    await link.tell({ jsonrpc: '2.0', method: 'tools/call', params: { name: 'echo' } });
    await link.tell({ jsonrpc: '2.0', method: 'vendor/do' });
    await world.nodes.clock.advance(200);
    expect(link.said().map(({ id, error }) => [id, error !== undefined])).toEqual([
      [5, true],
      [6, true],
    ]);
    expect(world.servers.opened[0]?.sent).toEqual([]);
  });
});

describe('a proof that opens a link', () => {
  const rejected = async (link: HandLink): Promise<string | undefined> => {
    await world.nodes.clock.advance(100);
    return link.frames('rej')[0]?.code;
  };

  test('counts once, for one server, and by the key of the session alone', async () => {
    world = await new CalleeWorld().open();
    const session = await world.session(await world.grant());
    const proof = world.opening(session, 'files');
    const first = await world.openLink(session, 'files', proof);
    expect(first.frames('opened')).toHaveLength(1);
    expect(await rejected(await world.openLink(session, 'files', proof))).toBe('replay');
    const other = world.opening(session, 'others');
    expect(await rejected(await world.openLink(session, 'files', { ...other, srv: 'files' }))).toBe('bad_signature');
    const unknown = { sid: fromHex('ab'.repeat(16)) ?? new Uint8Array() };
    expect(await rejected(await world.openLink(session, 'files', unknown))).toBe('not_found');
    expect(world.servers.opened).toHaveLength(1);
  });
});

describe('a session that ends', () => {
  test('by a revocation ends its calls in the middle, with the reason, a receipt and the server gone', async () => {
    world = await new CalleeWorld().open();
    const grant = await world.grant();
    const link = await world.openLink(await world.session(grant));
    const n = await link.start('hang');
    await world.nodes.clock.advance(200);
    const body = { target: { link: grant }, reason: 'over' };
    await world.during(world.acme.api.revocationCreate(input(body), operator, never), 3_000);
    expect(link.result(n)).toMatchObject({ out: 'cancelled', code: 'revoked', isError: true });
    expect(link.ended()?.code).toBe('revoked');
    expect(world.servers.opened[0]?.isEnded).toBe(true);
    const [kept] = await world.written('receipt.kept');
    expect(kept).toMatchObject({ outcome: 'cancelled', n, half: false });
    const [allowed] = await world.written('action.allowed');
    expect(await world.written('intent.settled')).toContainEqual(
      expect.objectContaining({ intent: allowed?.['id'], result: { code: 'closed' } }),
    );
  });

  test('by its time ends its calls', async () => {
    world = await new CalleeWorld().open();
    const grant = await world.grant({ capabilities: [{ can: 'mcp:files/*' }], ttlSeconds: 120 });
    const link = await world.openLink(await world.session(grant));
    const n = await link.start('hang');
    await world.nodes.clock.advance(130_000);
    expect(link.result(n)).toMatchObject({ out: 'cancelled', code: 'expired' });
  });

  test('since its agent is suspended ends its calls, and no link opens any more', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    const n = await link.start('hang');
    await world.nodes.clock.advance(200);
    await world.during(world.acme.api.agentSuspend(input(undefined, { did: world.clerk }), operator, never), 3_000);
    expect(link.result(n)).toMatchObject({ out: 'cancelled' });
    expect(link.ended()).toBeDefined();
    const late = await world.openLink(link.session).catch((error: unknown) => error);
    expect(isMeshError(late) ? late.code : (late as HandLink).frames('rej')[0]?.code).toBe('not_found');
  });
});

describe('a call', () => {
  test('that its caller cancels has a receipt that says so, and the server is told', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    const n = await link.start('hang');
    await world.nodes.clock.advance(200);
    await link.cancel(`call ${n}`);
    await world.nodes.clock.advance(200);
    expect(link.result(n)).toMatchObject({ out: 'cancelled', code: 'cancelled' });
    expect(world.servers.opened[0]?.sent.at(-1)).toMatchObject({ method: 'notifications/cancelled' });
    expect(await world.written('receipt.kept')).toMatchObject([{ outcome: 'cancelled' }]);
  });

  test('of which the server says nothing for too long ends', async () => {
    world = await new CalleeWorld().open();
    const grant = await world.grant();
    const session = await world.session(grant);
    const link = await world.openLink(session);
    const n = await link.start('hang');
    await world.nodes.clock.advance(limits.CALL_IDLE_MS + 1_000);
    expect(link.result(n)).toMatchObject({ out: 'timeout', code: 'timeout' });
  });

  test('whose server dies ends with the link, and nothing of this machine is told', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    const result = await link.call('die');
    expect(result).toMatchObject({ out: 'error', code: 'outcome_unknown' });
    expect(link.ended()).toMatchObject({ code: 'closed' });
    expect(result.text + (link.ended()?.why ?? '')).not.toContain('/srv');
  });

  test('is refused while the log is halted, and the server never sees it', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    expect(await link.call('echo')).toMatchObject({ out: 'ok' });
    Object.defineProperty(world.acme.auditLog, 'problem', { value: { message: 'it was tampered with' } });
    expect(await link.call('echo')).toMatchObject({ out: 'refused', code: 'log_halted' });
    expect(world.servers.did).toEqual(['echo']);
  });

  test('beyond what one link may have under way is refused as busy, and others go on', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    for (let i = 0; i < limits.CALLS_A_LINK_MAX; i++) await link.start('hang');
    await world.nodes.clock.advance(500);
    expect(await link.call('echo', {}, {}, 1_000)).toMatchObject({ out: 'refused', code: 'busy' });
    expect(world.servers.did).toHaveLength(limits.CALLS_A_LINK_MAX);
    const other = await world.openLink(link.session);
    expect(await other.call('echo', {}, {}, 1_000)).toMatchObject({ out: 'ok' });
  });
});

describe('an idempotency key', () => {
  const KEY = encode('a key of a test that is long enough');

  test('asked again gives what was given, with the receipt of then, and nothing is done twice', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    const first = await link.call('echo', { a: 1 }, { key: KEY });
    const again = await link.call('echo', { a: 1 }, { key: KEY, id: 'another id', meta: { progressToken: 9 } });
    expect(again.frame.n).toBe(2);
    expect([again.frame.rcpt, again.frame.sig, again.frame.salt, again.body]).toEqual([
      first.frame.rcpt,
      first.frame.sig,
      first.frame.salt,
      first.body,
    ]);
    expect(world.servers.did).toEqual(['echo']);
    expect(await world.written('action.refused')).toMatchObject([{ code: 'duplicate', tool: 'echo' }]);
    await world.reopenAcme();
    const late = await world.openLink(await world.session(link.session.agreed.chain.at(-2)?.id ?? ''));
    expect((await late.call('echo', { a: 1 }, { key: KEY })).frame.rcpt).toEqual(first.frame.rcpt);
    expect(world.servers.did).toEqual(['echo']);
  });

  test('with another request is a conflict, and is another agent’s own', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    expect(await link.call('echo', { a: 1 }, { key: KEY })).toMatchObject({ out: 'ok' });
    expect(await link.call('echo', { a: 2 }, { key: KEY })).toMatchObject({ out: 'refused', code: 'conflict' });
    expect(await link.call('read', { a: 1 }, { key: KEY })).toMatchObject({ out: 'refused', code: 'conflict' });
    const other = await world.employ(world.beta, 'other');
    const capabilities = [{ can: 'mcp:files/*' }];
    const theirs = await world.openLink(
      await world.session(await world.grant({ capabilities }, other), capabilities, other),
    );
    expect(await theirs.call('echo', { a: 2 }, { key: KEY })).toMatchObject({ out: 'ok' });
  });

  test('for another server is a conflict: what one gave is not given as the answer of the other', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready({ capabilities: [{ can: 'mcp:files/*' }, { can: 'mcp:mail/*' }] });
    const mail = { name: 'mail', command: ['mail'], cwd: '/srv', policy: 'permissive' };
    await world.during(world.acme.node.calls.exposures.add(mail));
    expect(await link.call('echo', { a: 1 }, { key: KEY })).toMatchObject({ out: 'ok' });
    const other = await world.openLink(link.session, 'mail');
    expect(await other.call('echo', { a: 1 }, { key: KEY })).toMatchObject({ out: 'refused', code: 'conflict' });
  });

  test('of what runs, or of which a crash left no outcome, is answered as not known', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    await link.start('hang', {}, { key: KEY });
    await world.nodes.clock.advance(200);
    const other = await world.openLink(link.session);
    expect(await other.call('hang', {}, { key: KEY })).toMatchObject({ out: 'refused', code: 'outcome_unknown' });
    await world.reopenAcme();
    const late = await world.openLink(await world.session(link.session.agreed.chain.at(-2)?.id ?? ''));
    expect(await late.call('hang', {}, { key: KEY })).toMatchObject({ out: 'refused', code: 'outcome_unknown' });
    expect(world.servers.did).toEqual(['hang']);
  });

  test('of what was refused is free: nothing was done', async () => {
    world = await new CalleeWorld([live(yaml([], 'default: deny'))]).open();
    const link = await world.ready();
    expect(await link.call('echo', {}, { key: KEY })).toMatchObject({ out: 'denied' });
    world.sources = [];
    await world.during(world.acme.node.governance.library.reload());
    expect(await link.call('echo', {}, { key: KEY })).toMatchObject({ out: 'ok' });
  });

  test('gives nothing again to whom policies deny it now', async () => {
    world = await new CalleeWorld([live(yaml([], 'default: allow'))]).open();
    const link = await world.ready();
    expect(await link.call('echo', {}, { key: KEY })).toMatchObject({ out: 'ok' });
    world.sources = [live(yaml([], 'default: deny'))];
    await world.during(world.acme.node.governance.library.reload());
    expect(await link.call('echo', {}, { key: KEY })).toMatchObject({ out: 'refused', code: 'policy_denied' });
  });
});

describe('a flood', () => {
  test('of links of one session is refused as busy, and ends with them', async () => {
    world = await new CalleeWorld().open();
    const session = await world.session(await world.grant());
    const links: HandLink[] = [];
    for (let i = 0; i < limits.CALL_LINKS_A_SESSION_MAX + 2; i++) links.push(await world.openLink(session));
    const opened = links.filter((link) => link.frames('opened').length > 0);
    expect(opened).toHaveLength(Math.min(limits.CALL_LINKS_A_SESSION_MAX, limits.CALL_SERVERS_AN_ORGANISATION_MAX));
    expect(links.at(-1)?.frames('rej')).toMatchObject([{ code: 'busy' }]);
    await opened[0]?.messages.close();
    await world.nodes.clock.advance(5_000);
    expect((await world.openLink(session)).frames('opened')).toHaveLength(1);
  });

  test('of calls that are refused is answered at a pace, and nothing is lost', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready({ capabilities: [{ can: 'mcp:files/read' }] });
    const count = limits.CALLS_REFUSED_BURST + 100;
    for (let i = 0; i < count; i++) await link.start('echo', {}, { order: { srv: 'other' } });
    await world.nodes.clock.advance(100);
    const early = link.frames('result').length;
    expect(early).toBeLessThan(limits.CALLS_REFUSED_BURST + 20);
    await world.nodes.clock.advance(5_000);
    expect(link.frames('result')).toHaveLength(count);
  });

  test('of calls that the chain does not cover is answered at a pace too', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready({ capabilities: [{ can: 'mcp:files/read' }] });
    const count = limits.CALLS_REFUSED_BURST + limits.CALLS_A_LINK_MAX + 100;
    for (let i = 0; i < count; i++) await link.start('echo');
    await world.nodes.clock.advance(200);
    expect(link.frames('result').length).toBeLessThan(count - 50);
    await world.nodes.clock.advance(8_000);
    expect(link.frames('result')).toHaveLength(count);
    expect(world.servers.did).toEqual([]);
  });

  test('of calls by one organisation keeps no other waiting', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready({ capabilities: [{ can: 'mcp:files/read' }] });
    const gamma = await world.nodes.open('gamma');
    world.nodes.mesh.connect(world.acme.network, gamma.network);
    await world.nodes.clock.advance(500);
    const capabilities = [{ can: 'mcp:files/*' }];
    const theirs = await world.employ(gamma, 'theirs');
    const grant = await world.grant({ capabilities }, theirs);
    const session = await world.session(grant, capabilities, theirs, gamma);
    const other = await world.openLink(session, 'files', {}, gamma);
    for (let i = 0; i < 2 * limits.CALLS_REFUSED_BURST; i++) await link.start('echo', {}, { order: { srv: 'other' } });
    await world.nodes.clock.advance(20);
    for (let i = 0; i < 5; i++) expect(await other.call('echo', { i }, {}, 40)).toMatchObject({ out: 'ok' });
    expect(link.frames('result').length).toBeLessThan(2 * limits.CALLS_REFUSED_BURST);
  });

  test('of calls to a server that takes no more is not read any further, until it does', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    const server = world.servers.opened[0];
    if (server === undefined) throw new Error('no server');
    server.isFull = true;
    await link.start('echo');
    await world.nodes.clock.advance(200);
    await link.start('echo');
    await world.nodes.clock.advance(200);
    expect(server.did.length).toBeLessThan(2);
    server.isFull = false;
    server.events.drained();
    await world.nodes.clock.advance(200);
    expect(server.did).toHaveLength(2);
  });
});

describe('an exposure that changes', () => {
  test('ends its links, and calls under way', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    const n = await link.start('hang');
    await world.nodes.clock.advance(200);
    await world.during(world.acme.node.calls.exposures.remove('files'), 3_000);
    expect(link.result(n)).toMatchObject({ out: 'cancelled', code: 'closed' });
    expect(link.ended()?.code).toBe('closed');
    expect((await world.openLink(link.session)).frames('rej')).toMatchObject([{ code: 'not_found' }]);
  });
});

describe('a receipt', () => {
  test('that the caller does not sign, declines or signs as another is kept by half', async () => {
    world = await new CalleeWorld().open();
    const link = await world.ready();
    link.isSigning = false;
    await link.call('echo');
    const declined = await link.call('echo');
    await link.messages.send({ f: 'decline', n: declined.frame.n, code: 'bad_proof' });
    const forged = await link.call('echo');
    await link.sign(forged.frame, keyOf('somebody else'));
    await world.nodes.clock.advance(limits.CALL_SIGN_MS);
    const kept = await world.written('receipt.kept');
    expect(kept.map(({ n, half, outcome }) => [n, half, outcome])).toEqual([
      [2, true, 'ok'],
      [3, true, 'ok'],
      [1, true, 'ok'],
    ]);
  });
});

describe('renewal', () => {
  test('puts another session under the link; what runs goes on, and orders of both count', async () => {
    world = await new CalleeWorld().open();
    const grant = await world.grant();
    const link = await world.openLink(await world.session(grant));
    const n = await link.start('hang');
    await world.nodes.clock.advance(200);
    const [old, next] = [link.session, await world.session(grant)];
    await link.messages.send({ f: 'renew', ...world.proof(next, 'renew', 'files') });
    await world.nodes.clock.advance(100);
    expect(link.frames('renewed').map(({ sid }) => toHex(sid))).toEqual([next.sid]);
    expect(await link.call('echo')).toMatchObject({ out: 'ok' });
    link.session = next;
    expect(await link.call('echo', {}, { n: 101 })).toMatchObject({ out: 'ok' });
    world.beta.node.sessions.end(old.sid, 'closed');
    await world.nodes.clock.advance(500);
    expect(link.ended()).toBeUndefined();
    expect(await link.call('echo', {}, { n: 102 })).toMatchObject({ out: 'ok' });
    expect(() => link.result(n)).toThrow('no result');
    expect(world.acme.node.calls.callee.linksOf(next.sid)).toEqual(['files']);
  });

  test('does not save a call whose own session lost its grounds', async () => {
    world = await new CalleeWorld().open();
    const capabilities = [{ can: 'mcp:files/*' }];
    const grant = await world.grant({ capabilities });
    const link = await world.openLink(await world.session(grant));
    const n = await link.start('hang');
    await world.nodes.clock.advance(1_200);
    const next = await world.session(await world.grant({ capabilities, ttlSeconds: 3_000 }));
    await link.messages.send({ f: 'renew', ...world.proof(next, 'renew', 'files') });
    await world.nodes.clock.advance(100);
    const body = { target: { link: grant }, reason: 'over' };
    await world.during(world.acme.api.revocationCreate(input(body), operator, never), 3_000);
    expect(link.result(n)).toMatchObject({ out: 'cancelled', code: 'revoked', isError: true });
    expect(link.ended()).toBeUndefined();
    link.session = next;
    expect(await link.call('echo', {}, { n: 101 })).toMatchObject({ out: 'ok' });
  });
});
