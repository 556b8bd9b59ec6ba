/** Attacks with frames, numbers, orders and proofs. */
import { randomBytes } from 'node:crypto';
import { encodeCallFrame, openProof } from '../../../protocol/call/index.ts';
import { encodeCbor, limits } from '../../../protocol/index.ts';
import { createOrder, createTaking, requestCommitment } from '../../../protocol/receipt/index.ts';
import { SecretKey } from '../../../protocol/sodium.ts';
import { type Attack, came, ended, tried, tries } from './attack.ts';
import { openByHand, openFrameOf, PROTOCOL, toolCall } from './by-hand.ts';

const stranger = (): SecretKey => new SecretKey(randomBytes(32));
const utf8 = new TextEncoder();

const NUMBERS: readonly Attack[] = [
  {
    name: 'a call frame twice at once',
    play: async (stage) => {
      const link = await stage.link();
      const [frame, body] = link.prepare('note', stage.args());
      await Promise.all([link.messages.send(frame, body), link.messages.send(frame, body)]);
      return [await ended(link)];
    },
    answer: ['end replay'],
    runs: { most: 1 },
    logged: ['replay'],
  },
  {
    name: 'a call frame again after its result',
    play: async (stage) => {
      const link = await stage.link();
      const [frame, body] = link.prepare('note', stage.args());
      await link.messages.send(frame, body);
      const first = await came(link, frame.n);
      await link.messages.send(frame, body);
      return [first, await ended(link)];
    },
    answer: ['ok', 'end replay'],
    runs: 1,
    logged: ['replay'],
  },
  {
    name: 'a call frame again on another stream of the session',
    play: async (stage) => {
      const link = await stage.link();
      const [frame, body] = link.prepare('note', stage.args());
      await link.messages.send(frame, body);
      const first = await came(link, frame.n);
      const second = await stage.link(link.session);
      await second.messages.send(frame, body);
      return [first, await ended(second), await tries(link, 'note', stage.args())];
    },
    answer: ['ok', 'end replay', 'ok'],
    runs: 2,
    logged: ['replay'],
  },
  {
    name: 'a call frame again in another session of the same agent',
    play: async (stage) => {
      const link = await stage.link();
      const [frame, body] = link.prepare('note', stage.args());
      await link.messages.send(frame, body);
      const first = await came(link, frame.n);
      const second = await stage.link(await stage.session());
      await second.messages.send(frame, body);
      return [first, await ended(second)];
    },
    answer: ['ok', 'end conflict'],
    runs: 1,
    logged: ['conflict'],
  },
  {
    name: 'a call frame again once its session is over',
    play: async (stage) => {
      const link = await stage.link();
      const [frame, body] = link.prepare('note', stage.args());
      await link.messages.send(frame, body);
      const first = await came(link, frame.n);
      link.session.end();
      await ended(link);
      const second = await stage.link(await stage.session());
      await second.messages.send(frame, body);
      return [first, await ended(second)];
    },
    answer: ['ok', 'end conflict'],
    runs: 1,
  },
  {
    name: 'calls in another order than their numbers',
    play: async (stage) => {
      const link = await stage.link();
      for (const n of [3, 1, 2]) await link.start('note', stage.args(), { n });
      return [await came(link, 1), await came(link, 2), await came(link, 3)];
    },
    answer: ['ok', 'ok', 'ok'],
    runs: 3,
  },
  {
    name: 'a number used again for another request',
    play: async (stage) => {
      const link = await stage.link();
      const first = await tries(link, 'note', stage.args(), { n: 5 });
      await link.start('note', stage.args({ more: 1 }), { n: 5 });
      return [first, await ended(link)];
    },
    answer: ['ok', 'end replay'],
    runs: 1,
    logged: ['replay'],
  },
  {
    name: 'the highest number there is, then one from before',
    play: async (stage) => {
      const link = await stage.link();
      const highest = await tries(link, 'note', stage.args(), { n: limits.CALL_NUMBER_MAX });
      await link.start('note', stage.args(), { n: 1 });
      return [highest, await ended(link)];
    },
    answer: ['ok', 'end replay'],
    runs: 1,
  },
  ...[0, -1, limits.CALL_NUMBER_MAX + 1, Number.MAX_SAFE_INTEGER].map(
    (n): Attack => ({
      name: `a call of number ${n}`,
      play: async (stage) => {
        const link = await stage.link();
        const [frame, body] = link.prepare('note', stage.args());
        await link.stream.send(encodeCbor({ ...frame, n, b: body }));
        return [await ended(link)];
      },
      answer: ['end aborted'],
      logged: ['schema'],
    }),
  ),
  {
    name: 'a frame of another number than its order',
    play: async (stage) => {
      const link = await stage.link();
      await link.start('note', stage.args(), { frameN: 77 });
      return [await ended(link)];
    },
    answer: ['end conflict'],
    logged: ['conflict'],
  },
];

const ORDERS: readonly Attack[] = [
  {
    name: 'an order by another key',
    play: async (stage) => {
      const link = await stage.link();
      await link.start('note', stage.args(), { signer: stranger() });
      return [await ended(link)];
    },
    answer: ['end bad_signature'],
    logged: ['bad_signature'],
  },
  {
    name: "an order that names the session's key and is signed by another",
    play: async (stage) => {
      const link = await stage.link();
      const { publicKey } = link.session.signer;
      const forger = stranger();
      await link.start('note', stage.args(), {
        signer: { publicKey, sign: (message) => forger.sign(message) },
      });
      return [await ended(link)];
    },
    answer: ['end bad_signature'],
    logged: ['bad_signature'],
  },
  ...(['iss', 'aud', 'sid', 'hs'] as const).map(
    (field): Attack => ({
      name: `an order of another ${field}`,
      play: async (stage) => {
        const link = await stage.link();
        const other = {
          iss: stage.agent('other'),
          aud: stage.world.acme.daemon.did,
          sid: new Uint8Array(16).fill(7),
          hs: new Uint8Array(32).fill(7),
        };
        await link.start('note', stage.args(), { order: { [field]: other[field] } });
        return [await ended(link)];
      },
      answer: ['end conflict'],
      logged: ['conflict'],
    }),
  ),
  {
    name: 'an order for another server',
    play: async (stage) => {
      const link = await stage.link();
      return [
        await tries(link, 'note', stage.args(), { order: { srv: 'side' } }),
        await tries(link, 'note', { tag: 'afterwards' }),
      ];
    },
    answer: ['refused conflict', 'ok'],
    logged: ['conflict'],
  },
  {
    name: 'an order for another body',
    play: async (stage) => {
      const link = await stage.link();
      return [await tries(link, 'note', {}, { body: toolCall('swapped', 'erase', stage.args()) })];
    },
    answer: ['refused conflict'],
    logged: ['conflict'],
  },
  {
    name: 'an order with another salt',
    play: async (stage) => {
      const link = await stage.link();
      return [await tries(link, 'note', stage.args(), { salt: new Uint8Array(limits.CALL_SALT_BYTES) })];
    },
    answer: ['refused conflict'],
    logged: ['conflict'],
  },
  {
    name: 'a statement of another kind as an order',
    play: async (stage) => {
      const link = await stage.link();
      const order = link.orderOf(utf8.encode('{}'), new Uint8Array(16), 1, {});
      await link.start('note', stage.args(), {
        envelope: createTaking(order, { iat: order.payload.iat }, link.session.signer).envelope,
      });
      return [await ended(link)];
    },
    answer: ['end schema'],
    logged: ['schema'],
  },
  {
    name: 'noise as an order',
    play: async (stage) => {
      const link = await stage.link();
      await link.start('note', stage.args(), { envelope: new Uint8Array(500).fill(0xa1) });
      return [await ended(link)];
    },
    answer: ['end malformed'],
    logged: ['malformed'],
  },
  {
    name: "an order that another agent made for the same call, in one's own link",
    play: async (stage) => {
      const own = await stage.link();
      const others = await stage.session({ as: stage.agent('other'), grant: stage.grant('other') });
      const body = toolCall('a', 'note', stage.args());
      const salt = new Uint8Array(limits.CALL_SALT_BYTES);
      const { sid, hash, to } = own.session;
      const order = createOrder(
        {
          iat: Math.floor(Date.now() / 1000),
          iss: stage.reader,
          aud: to,
          sid,
          n: 1,
          hs: hash,
          srv: 'witness',
          req: requestCommitment(salt, utf8.encode(body)),
        },
        others.signer,
      );
      await own.start('note', {}, { n: 1, envelope: order.envelope, salt, message: body });
      return [await ended(own)];
    },
    answer: ['end bad_signature'],
    logged: ['bad_signature'],
  },
];

const PROOFS: readonly Attack[] = [
  {
    name: 'the proof that opened a link, again',
    play: async (stage) => {
      const session = await stage.session();
      const first = openFrameOf(session, 'witness');
      await stage.link(session, { first });
      return [await tried(openByHand(session, { first }))];
    },
    answer: ['refused replay'],
  },
  {
    name: 'the proof of somebody else, from another connection',
    play: async (stage) => {
      const session = await stage.session();
      const eves = await stage.session({}, stage.world.eve);
      const first = openFrameOf(session, 'witness');
      return [await tried(openByHand(eves, { first }))];
    },
    answer: ['refused not_found'],
  },
  {
    name: 'the proof of one session for another',
    play: async (stage) => {
      const [one, two] = [await stage.session(), await stage.session()];
      const first = { ...openFrameOf(one, 'witness'), sid: two.sid };
      return [await tried(openByHand(two, { first }))];
    },
    answer: ['refused bad_signature'],
  },
  {
    name: 'a proof for one server to open another',
    play: async (stage) => {
      const session = await stage.session();
      const first = { ...openFrameOf(session, 'side'), srv: 'witness' };
      return [await tried(openByHand(session, { first }))];
    },
    answer: ['refused bad_signature'],
  },
  {
    name: 'the proof of a question to open a link',
    play: async (stage) => {
      const session = await stage.session();
      const non = new Uint8Array(randomBytes(limits.CALL_NONCE_BYTES));
      const { sid, hash, signer } = session;
      const about = { protocolId: PROTOCOL, hash, sid, nonce: non };
      const asked = openProof({ ...about, frame: 'ask', subject: 'services' }, signer);
      const first = { f: 'open', v: 1, sid, srv: 'services', non, sig: asked } as const;
      const renewing = openProof({ ...about, frame: 'renew', subject: 'witness' }, signer);
      return [
        await tried(openByHand(session, { first })),
        await tried(openByHand(session, { first: { ...first, srv: 'witness', sig: renewing } })),
      ];
    },
    answer: ['refused bad_signature', 'refused bad_signature'],
  },
  {
    name: 'a proof by another key',
    play: async (stage) => {
      const session = await stage.session();
      const first = openFrameOf({ ...session, signer: stranger() }, 'witness');
      return [await tried(openByHand(session, { first }))];
    },
    answer: ['refused bad_signature'],
  },
  {
    name: 'the session of an honest third, named',
    play: async (stage) => {
      const { acme, gamma } = stage.world;
      const honest = (await acme.mesh.sessions.list()).find(({ did }) => did === gamma.agent);
      const session = await stage.session();
      const sid = Uint8Array.from(Buffer.from(honest?.sid ?? '', 'hex'));
      const first = { ...openFrameOf(session, 'witness'), sid };
      return [await tried(openByHand(session, { first }))];
    },
    answer: ['refused not_found'],
  },
  {
    name: 'a server of which nothing is granted, and one that there is not',
    play: async (stage) => {
      const session = await stage.session();
      return [await tried(openByHand(session, { srv: 'side' })), await tried(openByHand(session, { srv: 'nothing' }))];
    },
    answer: ['refused not_found', 'refused not_found'],
    logged: ['not_found'],
  },
  {
    name: 'a call before anything is opened',
    play: async (stage) => {
      const link = await stage.link();
      const [frame, body] = link.prepare('note', stage.args());
      const first = encodeCallFrame(frame, { inline: body });
      return [await tried(openByHand(link.session, { first }))];
    },
    answer: ['refused schema'],
  },
  {
    name: "renewing by another's session, by one that is over, and by a proof that was used",
    play: async (stage) => {
      const said: string[] = [];
      const others = await stage.session({ as: stage.agent('other'), grant: stage.grant('other') });
      const eves = await stage.session({}, stage.world.eve);
      const gone = await stage.session();
      gone.end();
      await stage.session();
      for (const { sid, hash, signer } of [others, eves, gone]) {
        const link = await stage.link();
        const nonce = new Uint8Array(randomBytes(limits.CALL_NONCE_BYTES));
        const claim = { protocolId: PROTOCOL, hash, sid, frame: 'renew', subject: 'witness', nonce } as const;
        await link.messages.send({ f: 'renew', sid, non: nonce, sig: openProof(claim, signer) });
        said.push(await ended(link));
      }
      const link = await stage.link();
      const { sid, non, sig } = openFrameOf(link.session, 'witness');
      await link.messages.send({ f: 'renew', sid, non, sig });
      return [...said, await ended(link)];
    },
    answer: ['end conflict', 'end not_found', 'end not_found', 'end bad_signature'],
    logged: ['conflict', 'not_found', 'bad_signature'],
  },
  {
    name: 'frames that only a callee sends',
    play: async (stage) => {
      const said: string[] = [];
      for (const frame of [
        { f: 'opened' } as const,
        { f: 'renewed', sid: new Uint8Array(16) } as const,
        { f: 'rej', code: 'busy', why: '' } as const,
      ]) {
        const link = await stage.link();
        await link.messages.send(frame);
        said.push(await ended(link));
      }
      return said;
    },
    answer: ['end schema', 'end schema', 'end schema'],
    logged: ['schema'],
  },
];

export const ORDERING: readonly Attack[] = [...NUMBERS, ...ORDERS, ...PROOFS];
