/** Attacks with chains, names and places: what is not granted, reached for by another way. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Presenter } from '../../../daemon/core/handshake.ts';
import { presenterFor } from '../../../daemon/core/presenter.ts';
import { linksTo } from '../../../protocol/index.ts';
import { SecretKey } from '../../../protocol/sodium.ts';
import { type Attack, came, ended, type Stage, tried, tries } from './attack.ts';
import type { HandLink } from './by-hand.ts';
import { ALL } from './world.ts';

type Forge = (presenter: Presenter) => Presenter;

const NOTE = [{ can: 'mcp:witness/note' }];

/** Knocks, and would use what it got. */
async function knocks(stage: Stage, how: Parameters<Stage['session']>[0]): Promise<readonly string[]> {
  const said = await tried(
    (async () => {
      const link = await stage.link(await stage.session(how));
      await tries(link, 'note', stage.args());
    })(),
  );
  return [said];
}

/** What was shown once, to be shown again. */
function keeping(): { readonly keep: Forge; readonly again: Forge } {
  let kept: Presenter | undefined;
  return { keep: (presenter) => (kept = presenter), again: (presenter) => kept ?? presenter };
}

const CHAINS: readonly Attack[] = [
  {
    name: 'a grant that was given to another agent of the same organisation',
    play: (stage) =>
      knocks(stage, {
        grant: undefined,
        forge: (presenter) => ({ ...presenter, grant: stage.grant('other') }),
      }),
    answer: ['refused chain holder_mismatch'],
  },
  {
    name: 'a grant that was given to another organisation',
    play: (stage) => {
      const { state } = stage.world.eve.node.node;
      const envelopes = linksTo(state, stage.grant('eve')).map(({ envelope }) => envelope);
      return knocks(stage, {
        grant: undefined,
        forge: (presenter) => ({
          ...presenter,
          grant: stage.grant('eve'),
          envelopes: [...presenter.envelopes, ...envelopes],
        }),
      });
    },
    answer: ['refused chain holder_mismatch'],
  },
  {
    name: 'a grant of its own organisation, which is no root for the other side',
    play: (stage) => knocks(stage, { grant: stage.grant('own') }),
    answer: ['refused chain unknown_root'],
  },
  {
    name: 'the credential of another agent',
    play: (stage) => knocks(stage, { shown: stage.agent('other'), grant: stage.grant('other') }),
    answer: ['refused sponsor_missing'],
  },
  {
    name: "another agent's credential as its grant, beside its own as who it is",
    play: async (stage) => {
      const { node, clock } = stage.world.mallory.node;
      const { organisation, agents, state } = node;
      const others = await presenterFor(
        { state, organisation, agents, clock },
        stage.agent('other'),
        stage.grant('other'),
      );
      return knocks(stage, {
        grant: undefined,
        forge: (presenter) => ({
          ...presenter,
          ...(others.grant !== undefined && { grant: others.grant }),
          envelopes: [...others.envelopes, ...presenter.envelopes],
        }),
      });
    },
    answer: ['refused chain holder_mismatch'],
  },
  {
    name: 'an agent of an honest third, played by somebody else',
    play: (stage) => knocks(stage, { as: stage.world.gamma.agent, shown: stage.reader }),
    answer: ['refused peer_not_bound'],
  },
  {
    name: 'an agent of the dishonest third, from the own node',
    play: (stage) => knocks(stage, { as: stage.agent('reader', stage.world.eve), shown: stage.reader }),
    answer: ['refused peer_not_bound'],
  },
  {
    name: 'a handshake signed by a key that nothing binds',
    play: (stage) =>
      knocks(stage, { forge: (presenter) => ({ ...presenter, signer: new SecretKey(randomBytes(32)) }) }),
    answer: ['refused bad_signature'],
  },
  {
    name: 'no grant at all, and everything wanted',
    play: (stage) => knocks(stage, { grant: undefined }),
    answer: ['refused caps_insufficient'],
  },
  {
    name: 'no grant at all, and nothing wanted',
    play: (stage) => knocks(stage, { grant: undefined, want: [] }),
    answer: ['refused not_found'],
    logged: ['not_found'],
  },
  {
    name: 'more than the grant',
    play: (stage) => knocks(stage, { grant: stage.grant('narrow'), want: ALL }),
    answer: ['refused caps_insufficient'],
  },
  {
    name: 'a link that nobody made',
    play: (stage) =>
      knocks(stage, {
        grant: undefined,
        forge: (presenter) => ({ ...presenter, grant: stage.grant('unpublished') }),
      }),
    answer: ['refused chain broken_link'],
  },
  {
    name: 'a link that has expired, and a session that outlives its link',
    play: async (stage) => {
      const grant = await stage.world.grant(stage.world.mallory, stage.reader, {
        capabilities: [...ALL],
        ttlSeconds: 2,
      });
      const { keep, again } = keeping();
      const link = await stage.link(await stage.session({ grant, forge: keep }));
      const first = await tries(link, 'note', stage.args());
      const over = await ended(link);
      await sleep(200);
      return [first, over, ...(await knocks(stage, { grant: undefined, forge: again }))];
    },
    answer: ['ok', 'end expired', 'refused chain expired'],
    runs: 1,
  },
  {
    name: 'a link that was revoked in the middle of a call, and shown again',
    play: async (stage) => {
      const { acme, mallory } = stage.world;
      const grant = await stage.world.grant(mallory, stage.reader);
      const { keep, again } = keeping();
      const link = await stage.link(await stage.session({ grant, forge: keep }));
      const n = await link.start('slow', stage.args({ ms: 30_000 }));
      await link.next(({ frame }) => frame.f === 'taken');
      await acme.mesh.revocations.create({ target: { link: grant }, reason: 'a test' });
      const middle = await came(link, n);
      const over = await ended(link);
      return [middle, over, ...(await knocks(stage, { grant: undefined, forge: again }))];
    },
    answer: ['cancelled revoked', 'end revoked', 'refused chain revoked'],
    runs: 1,
  },
];

const narrow = async (stage: Stage): Promise<HandLink> =>
  stage.link(
    await stage.session({
      grant: stage.grant('narrow'),
      want: [{ can: 'mcp:witness/note' }, { can: 'mcp:witness/read', res: [`file://${stage.world.open}/`] }],
    }),
  );

const OUTSIDE = 'refused caps_insufficient';

/** All in one link: each has to be refused, and the one after them done. */
const each = (name: string, calls: (stage: Stage) => readonly (readonly [tool: string, more: object])[]): Attack => ({
  name,
  play: async (stage) => {
    const link = await narrow(stage);
    const said = new Set<string>();
    for (const [tool, more] of calls(stage)) {
      const one = await tries(link, tool, stage.args(more));
      said.add(one === OUTSIDE ? one : `${one} for ${tool} ${JSON.stringify(more)}`);
    }
    return [...said, await tries(link, 'note', { tag: 'afterwards' })];
  },
  answer: [OUTSIDE, 'ok'],
  logged: ['caps_insufficient'],
});

const REQUESTS: readonly Attack[] = [
  each('tools beside those of the chain', () =>
    ['erase', 'large', 'counted', 'forbidden', 'slow', 'nothing'].map((tool) => [tool, {}] as const),
  ),
  each('the name of a tool spelt in other ways', () =>
    [
      'NOTE',
      'Note',
      ' note',
      'note ',
      'note\u200b',
      'n\u00adote',
      '\uff4eote',
      'no\u0442e',
      'note/',
      '/note',
      'note/../erase',
      '../witness/note',
      'mcp:witness/note',
      '*',
      'note*',
      '~6eote',
      'n%6fte',
      '~resources',
      '~prompts/note',
      'note\0',
      '.',
      '..',
    ].map((tool) => [tool, {}] as const),
  ),
  each('places beside those of the chain', ({ world: { open, closed } }) =>
    [
      { path: `${closed}/key` },
      { path: `${open}/../closed/key` },
      { path: `${open}/./../closed/key` },
      { path: `${open}//..//closed//key` },
      { path: `${open}/link/key` },
      { path: `${open}/%2e%2e/closed/key` },
      { path: `${open}/..%2fclosed%2fkey` },
      { path: `${open}/%2E%2E/closed/key` },
      { path: `${open}\\..\\closed\\key` },
      { path: `file://${closed}/key` },
      { path: `file://localhost${open}/../closed/key` },
      { path: `FILE://${closed}/key` },
      { path: '../closed/key' },
      { path: `${open.toUpperCase()}/a` },
      { path: `${open}x/a` },
      { path: open.slice(0, -1) },
      { paths: [`${open}/a`, `${closed}/key`] },
      { path: `${open}/a`, more: { deep: [`${closed}/key`] } },
      { path: `${open}/a`, [`${closed}/key`]: 1 },
      {},
    ].map((more) => ['read', more] as const),
  ),
  {
    name: 'the name of a tool that is longer than any that could be granted',
    play: async (stage) => [await tries(await narrow(stage), 'x'.repeat(200), stage.args())],
    answer: ['refused not_covered'],
    logged: ['not_covered'],
  },
  {
    name: 'what is no tool: resources, prompts, methods that nobody knows',
    play: async (stage) => {
      const link = await narrow(stage);
      const said: string[] = [];
      const _meta = { tag: stage.tag };
      for (const [method, params] of [
        ['resources/read', { uri: `file://${stage.world.closed}/key` }],
        ['resources/read', { uri: `file://${stage.world.open}/a` }],
        ['resources/read', { uri: 'vault://key' }],
        ['prompts/get', { name: 'note' }],
        ['tools/call/', { name: 'note', arguments: { tag: stage.tag } }],
        ['Tools/Call', { name: 'note', arguments: { tag: stage.tag } }],
        ['x/note', {}],
      ] as const) {
        const message = JSON.stringify({ jsonrpc: '2.0', id: `m${said.length}`, method, params: { ...params, _meta } });
        said.push(await tries(link, '', {}, { message }));
      }
      return said;
    },
    answer: [OUTSIDE, OUTSIDE, OUTSIDE, OUTSIDE, OUTSIDE, 'refused', OUTSIDE],
    logged: ['caps_insufficient'],
  },
  {
    name: 'a file that the chain names, and a policy that denies a tool',
    play: async (stage) => {
      const link = await narrow(stage);
      const read = await tries(link, 'read', { tag: 'allowed', path: `${stage.world.open}/a` });
      const wide = await stage.link();
      return [read, await tries(wide, 'forbidden', stage.args())];
    },
    answer: ['ok', 'denied policy_denied'],
    logged: ['policy_denied'],
  },
  {
    name: 'a narrow session, and calls under it in a link of a wide one',
    play: async (stage) => {
      const wide = await stage.link();
      const narrower = await stage.session({ want: NOTE });
      const link = await stage.link(narrower);
      const body = wide.prepare('erase', stage.args())[1];
      await link.start('', {}, { message: body, order: { sid: wide.session.sid, hs: wide.session.hash } });
      const said = await ended(link);
      const again = await stage.link(narrower);
      return [said, await tries(again, 'erase', stage.args())];
    },
    answer: ['end conflict', OUTSIDE],
    logged: ['conflict', 'caps_insufficient'],
  },
];

export const REACHING: readonly Attack[] = [...CHAINS, ...REQUESTS];
