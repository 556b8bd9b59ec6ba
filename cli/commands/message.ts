import type { Command } from 'commander';
import { limits } from '../../protocol/index.ts';
import { encodeMessage } from '../../sdk/index.ts';
import { secondsBetween } from '../arguments.ts';
import { withHelp } from '../help.ts';
import { findMeshDid, localNames, speakerOf } from '../lookup.ts';
import type { Mesh } from '../mesh.ts';
import type { Act } from '../program.ts';
import { formatInbox, formatOutbox, formatSent } from '../views/messages.ts';

const WHOSE = 'own agent; without it the only one (DID of the organisation: itself)';

export function addMessage(program: Command, act: Act): void {
  const message = withHelp(program.command('message'), {
    summary: 'Messages to and from other agents',
    about:
      'The daemon keeps a message until the other side has it, refuses it for good, or it expires: at least once, in the order of sending. ' +
      'Another organisation takes messages of those to whom it granted "mesh:message".',
    examples: [
      ['message send did:mesh:bafyrei… "the report is ready" --as my-agent', 'to an agent anywhere'],
      ['message list --as my-agent', 'what waits for it'],
      ['message outbox', 'what became of those that were sent'],
    ],
  });
  addSend(message, act);
  addList(message, act);
  addOutbox(message, act);
}

interface SendOptions {
  readonly as?: string;
  readonly expires?: number;
  readonly contentType?: string;
  readonly grant?: string;
}

function addSend(message: Command, act: Act): void {
  withHelp(message.command('send'), {
    summary: 'Send a message',
    about: 'It is on disk when this ends; "message outbox" says what becomes of it.',
    examples: [
      ['message send did:mesh:bafyrei… "the report is ready" --as my-agent', 'a text'],
      ['message send did:mesh:bafyrei… - --content-type application/json --as my-agent', 'what standard input holds'],
      ['message send clerk "call me" --expires 1h', 'to an own agent, within the hour'],
    ],
  })
    .argument('<to>', 'DID of an agent or organisation, or the name of an own agent')
    .argument('<text>', `what it says, or "-" for standard input; at most ${limits.MESSAGE_BODY_BYTES_MAX} bytes`)
    .option('--as <agent>', WHOSE)
    .option(
      '--expires <time>',
      'how long it may take, like 10m or 2d (default: 1d)',
      secondsBetween(1, limits.MESSAGE_SECONDS_MAX, 'from 1s to 7d'),
    )
    .option('--content-type <type>', 'of what it says (default: text/plain; charset=utf-8)')
    .option('--grant <link>', 'leaf of the chain to present (default: one that is held)')
    .action(
      act(async (invocation, recipient: string, text: string, options: SendOptions) => {
        const { as, expires, contentType, grant } = options;
        const mesh = await invocation.mesh();
        const to = await findMeshDid(mesh, recipient);
        const said = text === '-' ? await invocation.world.readInput(limits.MESSAGE_BODY_BYTES_MAX) : text;
        const encoded = encodeMessage(said);
        const body = {
          to,
          body: encoded.body,
          contentType: contentType ?? (text === '-' ? TEXT : encoded.contentType),
          ...(await ownOf(mesh, as)),
          ...(expires !== undefined && { expiresInSeconds: expires }),
          ...(grant !== undefined && { grant }),
        };
        const answer = await mesh.call('messageSend', { body });
        const names = await localNames(mesh);
        invocation.answer(answer, (view) => formatSent(answer.message, view, names));
        if (answer.message.state === 'waiting') invocation.suggest('what becomes of it', 'message', 'outbox');
      }),
    );
}

const TEXT = 'text/plain; charset=utf-8';

function addList(message: Command, act: Act): void {
  withHelp(message.command('list'), {
    summary: 'Messages that nobody has acknowledged, the oldest first',
    about: 'Programs read the same inbox. With --ack they are gone once they are shown here.',
    examples: [
      ['message list --as my-agent', 'what waits for this agent'],
      ['message list --as my-agent --ack', 'and has been read now'],
    ],
  })
    .option('--as <agent>', WHOSE)
    .option('--ack', 'acknowledge those that are shown: they come no more')
    .action(
      act(async (invocation, { as, ack }: { as?: string; ack?: true }) => {
        const mesh = await invocation.mesh();
        const own = await ownOf(mesh, as);
        const [answer, names] = await Promise.all([mesh.call('inboxList', { query: own }), localNames(mesh)]);
        invocation.answer(answer, (view) => formatInbox(answer.messages, view, names));
        const ids = answer.messages.map(({ id }) => id);
        if (ack === true && ids.length > 0) await mesh.call('inboxAck', { body: { ...own, ids } });
        if (ids.length === limits.INBOX_PAGE_MAX)
          invocation.note(`There may be more: ${limits.INBOX_PAGE_MAX} are shown at a time.`);
      }),
    );
}

function addOutbox(message: Command, act: Act): void {
  withHelp(message.command('outbox'), {
    summary: 'Messages that were sent, the newest first, and what became of them',
    examples: [
      ['message outbox', 'of all agents'],
      ['message outbox --as my-agent', 'of one'],
    ],
  })
    .option('--as <agent>', 'local name or DID of the agent (default: all)')
    .action(
      act(async (invocation, { as }: { as?: string }) => {
        const mesh = await invocation.mesh();
        const query = as === undefined ? {} : await ownOf(mesh, as);
        const [answer, names] = await Promise.all([mesh.call('outboxList', { query }), localNames(mesh)]);
        invocation.answer(answer, (view) => formatOutbox(answer.messages, view, names));
      }),
    );
}

/** Errors: not_found, usage. */
async function ownOf(mesh: Mesh, named: string | undefined): Promise<{ readonly as?: string }> {
  const as = await speakerOf(mesh, named);
  return as === undefined ? {} : { as };
}
