import type { Command } from 'commander';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findSession, localNames } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatSessionInFull, formatSessions } from '../views/sessions.ts';

export function addSessions(program: Command, act: Act): void {
  const sessions = withHelp(program.command('sessions'), {
    summary: 'Sessions that handshakes opened',
    about:
      'A session ends by itself with what it rests on, at once when a revocation touches it; whatever runs in it ends too.',
    examples: [
      ['sessions', 'those that are open'],
      ['sessions show 0f3a', 'one: on which chain, and what came of it'],
      ['sessions end 0f3a', 'end it, with all that runs in it'],
    ],
  }).action(act(list));

  withHelp(sessions.command('list'), {
    summary: 'Sessions that are open',
    examples: [['sessions list', 'the same as "agentmesh sessions"']],
  }).action(act(list));

  withHelp(sessions.command('show'), {
    summary: 'A session: with whom, on which chain, since when, and what came of it',
    about: 'Calls and bytes are as this side counts them. The chain goes from the root to the leaf that was presented.',
    examples: [['sessions show 0f3a', 'as "sessions" lists it; the beginning of its id will do']],
  })
    .argument('<session>', 'its id, or the beginning of it')
    .action(act(show));

  withHelp(sessions.command('end'), {
    summary: 'End a session, and whatever runs in it',
    examples: [['sessions end 0f3a', 'as "sessions" lists it; the beginning of its id will do']],
  })
    .argument('<session>', 'its id, or the beginning of it')
    .action(act(end));
}

async function list(invocation: Invocation): Promise<void> {
  const mesh = await invocation.mesh();
  const [answer, names] = await Promise.all([mesh.call('sessionList'), localNames(mesh)]);
  invocation.answer(answer, (view) => formatSessions(answer.sessions, view, names));
}

async function show(invocation: Invocation, text: string): Promise<void> {
  const mesh = await invocation.mesh();
  const sid = await findSession(mesh, text);
  const [answer, names] = await Promise.all([mesh.call('sessionShow', { params: { sid } }), localNames(mesh)]);
  invocation.answer(answer, (view) => formatSessionInFull(answer, view, names));
}

async function end(invocation: Invocation, text: string): Promise<void> {
  const mesh = await invocation.mesh();
  const sid = await findSession(mesh, text);
  const answer = await mesh.call('sessionClose', { params: { sid } });
  invocation.answer(answer, () => `ended ${answer.sid} (${answer.code})\n`);
}
