/** Attacks with receipts, keys, approvals and rates. */
import { randomBytes } from 'node:crypto';
import { SecretKey } from '../../../protocol/sodium.ts';
import { verifyReceipt } from '../../../sdk/index.ts';
import { until } from '../daemon-process.ts';
import { type Attack, came, type Stage, tries } from './attack.ts';
import type { HandLink } from './by-hand.ts';

const stranger = (): SecretKey => new SecretKey(randomBytes(32));

/** What the honest side keeps of a call. */
async function kept(stage: Stage, link: HandLink, n: number): Promise<string> {
  const { half, outcome, taken } = await stage.world.receipt(stage.world.acme, link.session.sid, n);
  return `${half ? 'half' : 'full'} ${outcome}${taken ? ' taken' : ''}`;
}

const RECEIPTS: readonly Attack[] = [
  {
    name: 'a signature for a receipt that was never offered',
    play: async (stage) => {
      const link = await stage.link();
      await link.messages.send({ f: 'sign', n: 99, sig: new Uint8Array(64).fill(1) });
      await link.messages.send({ f: 'decline', n: 98, code: 'bad_proof' });
      const said = await tries(link, 'note', stage.args());
      return [said, await kept(stage, link, 1)];
    },
    answer: ['ok', 'full ok taken'],
    runs: 1,
  },
  {
    name: 'a wrong signature, one by another key, and one of another receipt',
    play: async (stage) => {
      const link = await stage.link(undefined, { isSigning: false });
      const results = [];
      for (const n of [1, 2, 3, 4]) {
        await link.start('note', stage.args(), { n });
        results.push((await link.outcome(n)).frame);
      }
      const [one, two, three, four] = results;
      if (one === undefined || two === undefined || three === undefined || four === undefined) return [];
      await link.messages.send({ f: 'sign', n: 1, sig: new Uint8Array(64).fill(1) });
      await link.sign(two, stranger());
      await link.sign({ ...three, rcpt: four.rcpt });
      await link.sign(four);
      return Promise.all([1, 2, 3, 4].map((n) => kept(stage, link, n)));
    },
    answer: ['half ok taken', 'half ok taken', 'half ok taken', 'full ok taken'],
    runs: 4,
  },
  {
    name: 'a receipt that is signed twice, then declined',
    play: async (stage) => {
      const link = await stage.link(undefined, { isSigning: false });
      await link.start('note', stage.args());
      const { frame } = await link.outcome(1);
      await link.sign(frame);
      await link.sign(frame, stranger());
      await link.messages.send({ f: 'decline', n: 1, code: 'bad_proof' });
      const said = await tries(link, 'note', { tag: 'afterwards' });
      return [said, await kept(stage, link, 1)];
    },
    answer: ['ok', 'full ok taken'],
    runs: 1,
  },
  {
    name: 'a receipt that is declined, although the result came',
    play: async (stage) => {
      const link = await stage.link(undefined, { isSigning: false });
      const said = await tries(link, 'note', stage.args());
      await link.messages.send({ f: 'decline', n: 1, code: 'bad_proof' });
      return [said, await kept(stage, link, 1)];
    },
    answer: ['ok', 'half ok taken'],
    runs: 1,
  },
  {
    name: 'a receipt that is never signed: the link is left',
    play: async (stage) => {
      const link = await stage.link(undefined, { isSigning: false });
      const said = await tries(link, 'note', stage.args());
      link.close();
      return [said, await kept(stage, link, 1)];
    },
    answer: ['ok', 'half ok taken'],
    runs: 1,
  },
  {
    name: 'a caller that denies having called',
    play: async (stage) => {
      const { acme, mallory } = stage.world;
      const link = await stage.link(undefined, { isSigning: false });
      const said = await tries(link, 'note', stage.args());
      await link.messages.send({ f: 'decline', n: 1, code: 'bad_proof' });
      const { id } = await stage.world.receipt(acme, link.session.sid, 1);
      // As anybody would who knows both organisations, with nothing but the file.
      const { half, checks, proven } = verifyReceipt(await acme.mesh.receipts.file(id), {
        roots: [acme.daemon.did, mallory.node.did],
      });
      const good = checks.filter(({ status }) => status === 'ok').map(({ check }) => check);
      return [said, `half by the ${half}`, good.join(' '), ...proven];
    },
    answer: [
      'ok',
      'half by the callee',
      'receipt order taking handshake caller callee authority need calleeLog',
      'against the caller: it ordered call 1 to "witness"',
      'against the callee: it took the order',
    ],
    runs: 1,
  },
  {
    name: 'a call that is left in the middle',
    play: async (stage) => {
      const link = await stage.link(undefined, { isSigning: false });
      await link.start('slow', stage.args({ ms: 20_000 }));
      await link.next(({ frame }) => frame.f === 'taken');
      link.close();
      return [await kept(stage, link, 1)];
    },
    answer: ['half cancelled taken'],
    runs: 1,
  },
  {
    name: 'a call that is cancelled, and its answer waited for',
    play: async (stage) => {
      const link = await stage.link();
      const n = await link.start('slow', stage.args({ ms: 20_000 }));
      await link.next(({ frame }) => frame.f === 'taken');
      await link.tell('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call 1"}}');
      return [await came(link, n), await kept(stage, link, 1)];
    },
    answer: ['cancelled cancelled', 'full cancelled taken'],
    runs: 1,
  },
];

const keyed = (stage: Stage): string => `key of ${stage.tag}`.padEnd(20, '.').slice(0, 64).replaceAll(' ', '_');

const KEYS: readonly Attack[] = [
  {
    name: 'one key twice, at once in two links, then once more',
    play: async (stage) => {
      const [one, two] = [await stage.link(), await stage.link()];
      const key = keyed(stage);
      const [a, b] = [
        await one.start('slow', stage.args({ ms: 200 }), { key }),
        await two.start('slow', stage.args({ ms: 200 }), { key }),
      ];
      const both = await Promise.all([came(one, a), came(two, b)]);
      return [...both.toSorted(), await tries(two, 'slow', stage.args({ ms: 200 }), { key })];
    },
    answer: ['ok', 'refused outcome_unknown', 'ok'],
    runs: 1,
    logged: ['outcome_unknown', 'duplicate'],
  },
  {
    name: 'one key for another request',
    play: async (stage) => {
      const link = await stage.link();
      const key = keyed(stage);
      return [
        await tries(link, 'note', stage.args(), { key }),
        await tries(link, 'erase', stage.args(), { key }),
        await tries(link, 'note', stage.args({ more: 1 }), { key }),
      ];
    },
    answer: ['ok', 'refused conflict', 'refused conflict'],
    runs: 1,
    logged: ['conflict'],
  },
  {
    name: 'the key of another organisation, and of another agent',
    play: async (stage) => {
      const key = keyed(stage);
      const first = await stage.link();
      await first.start('note', stage.args(), { key });
      const { frame } = await first.outcome(1);
      const others = await stage.link(await stage.session({ as: stage.agent('other'), grant: stage.grant('other') }));
      const eves = await stage.link(await stage.session({}, stage.world.eve));
      const said: string[] = [];
      for (const link of [others, eves]) {
        await link.start('note', stage.args(), { key });
        const { out, frame: got } = await link.outcome(1);
        said.push(`${out}${Buffer.from(got.rcpt).equals(frame.rcpt) ? ' of another' : ''}`);
      }
      return said;
    },
    answer: ['ok', 'ok'],
    runs: 3,
  },
  {
    name: 'a result asked for again by a key, with a session that may not have it',
    play: async (stage) => {
      const key = keyed(stage);
      const wide = await stage.link();
      const first = await tries(wide, 'large', stage.args({ bytes: 10 }), { key });
      const narrow = await stage.link(await stage.session({ want: [{ can: 'mcp:witness/note' }] }));
      return [first, await tries(narrow, 'large', stage.args({ bytes: 10 }), { key })];
    },
    answer: ['ok', 'refused caps_insufficient'],
    runs: 1,
    logged: ['caps_insufficient'],
  },
];

/** The approval for which a call of this agent waits. */
async function approve({ world }: Stage, agent: string): Promise<void> {
  const { mesh } = world.acme;
  let id: string | undefined;
  await until('it waits for an approval', async () => {
    id = (await mesh.approvals.list()).find((approval) => approval.agent === agent)?.id;
    return id !== undefined;
  });
  await mesh.approvals.decide(id ?? '', { decision: 'approve', approver: world.approver, reason: 'looked at it' });
}

const LIMITS: readonly Attack[] = [
  {
    name: 'an approval that was used, used again, by itself and by another agent',
    play: async (stage) => {
      const link = await stage.link();
      const n = await link.start('erase', stage.args());
      await approve(stage, stage.reader);
      const first = await came(link, n);
      const again = await link.start('erase', stage.args());
      const others = await stage.link(await stage.session({ as: stage.agent('other'), grant: stage.grant('other') }));
      const stolen = await others.start('erase', stage.args());
      await new Promise((resolve) => setTimeout(resolve, 500));
      for (const one of [link, others])
        await one.tell(
          `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call ${one === link ? again : stolen}"}}`,
        );
      return [first, await came(link, again), await came(others, stolen)];
    },
    answer: ['ok', 'cancelled cancelled', 'cancelled cancelled'],
    runs: 1,
    logged: ['approval_pending'],
  },
  {
    name: 'the rate of one link, used up by siblings below it at once',
    play: async (stage) => {
      const links = await Promise.all(
        ['other', 'third', 'fourth'].map(async (name) =>
          stage.link(await stage.session({ as: stage.agent(name), grant: stage.grant(`rated ${name}`) })),
        ),
      );
      const said = await Promise.all(
        links.flatMap((link) =>
          [1, 2, 3, 4].map(async (n) => {
            await link.start('counted', stage.args(), { n });
            return came(link, n);
          }),
        ),
      );
      return said.toSorted();
    },
    answer: [...Array<string>(5).fill('ok'), ...Array<string>(7).fill('refused limit_exceeded')],
    runs: 5,
    logged: ['limit_exceeded'],
  },
];

export const KEEPING: readonly Attack[] = [...RECEIPTS, ...KEYS, ...LIMITS];
